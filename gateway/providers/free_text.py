"""Custom tools, which take free text, for providers that know functions alone: a function of one text, and back.

A grammar is enforced by who knows custom tools and by nobody else, so it is refused by name, or told to the model
where the operator lets parameters be dropped. https://platform.openai.com/docs/guides/function-calling#custom-tools
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec
from msgspec import structs

from gateway.protocol.answer import Chunk, WholeAnswer
from gateway.protocol.lists import dicts
from gateway.providers.codec import Codec, StreamDecoder
from gateway.providers.steps import Around
from gateway.providers.translate_request import Reader

_FIELD = "input"
_PARAMETERS = {
    "type": "object",
    "properties": {_FIELD: {"type": "string", "description": "The tool's input, as plain text."}},
    "required": [_FIELD],
    "additionalProperties": False,
}


def has_custom(body: Mapping[str, Any]) -> bool:
    """Whether a request offers custom tools, or remembers calls of such."""
    if any(tool.get("type") == "custom" for tool in dicts(body.get("tools"))):
        return True
    return any(
        call.get("type") == "custom"
        for message in dicts(body.get("messages"))
        if "tool_calls" in message
        for call in dicts(message["tool_calls"])
    )


def takes_custom(codec: Codec) -> bool:
    """Whether a provider knows custom tools itself."""
    return getattr(codec, "takes_custom", False)


def spoken_to(provider: str, body: Mapping[str, Any], *, drop: bool) -> Mapping[str, Any]:
    """``body`` as a provider can take it that knows functions alone. Raises AttemptFailed for a grammar that nobody
    would enforce."""
    new = dict(body)
    reader = Reader(provider, body, drop=drop)
    if body.get("tools"):
        new["tools"] = [_tool(reader, at, tool) for at, tool in enumerate(body["tools"])]
    new["messages"] = [_message(one) for one in body.get("messages") or ()]
    if isinstance(body.get("tool_choice"), dict):
        new["tool_choice"] = _choice(body["tool_choice"])
    return new


def _tool(reader: Reader, at: int, tool: Any) -> Any:
    if not isinstance(tool, dict) or tool.get("type") != "custom":
        return tool
    custom = tool.get("custom")
    if not isinstance(custom, dict) or not isinstance(custom.get("name"), str):
        raise reader.refused(f"tools[{at}].custom", "A custom tool needs a name.", code="invalid_value")
    description = str(custom.get("description") or "")
    form = custom.get("format")
    if isinstance(form, dict) and form.get("type") == "grammar":
        reader.cannot(f"tools[{at}].custom.format", "no grammar is enforced here. Use the format 'text'.")
        grammar = form["grammar"] if isinstance(form.get("grammar"), dict) else form
        description += f"\n\nThe input must fit this grammar ({grammar.get('syntax')}):\n{grammar.get('definition')}"
    function = {"name": custom["name"], "description": description.strip(), "parameters": _PARAMETERS}
    return {"type": "function", "function": function}


def _message(message: Any) -> Any:
    if not isinstance(message, dict) or not isinstance(message.get("tool_calls"), list):
        return message
    return {**message, "tool_calls": [_call(one) for one in message["tool_calls"]]}


def _call(call: Any) -> Any:
    custom = call.get("custom") if isinstance(call, dict) and call.get("type") == "custom" else None
    if not isinstance(custom, dict):
        return call
    arguments = msgspec.json.encode({_FIELD: str(custom.get("input") or "")}).decode()
    rest = {name: value for name, value in call.items() if name != "custom"}
    return {**rest, "type": "function", "function": {"name": custom.get("name"), "arguments": arguments}}


def _choice(choice: dict[str, Any]) -> dict[str, Any]:
    if isinstance(choice.get("custom"), dict):
        return {"type": "function", "function": {"name": choice["custom"].get("name")}}
    allowed = choice.get("allowed_tools")
    if isinstance(allowed, dict):
        return {**choice, "allowed_tools": {**allowed, "tools": [_choice(one) for one in dicts(allowed.get("tools"))]}}
    return choice


# ------------------------------------------------------------------------------------------------ answers
def custom_names(asked: Mapping[str, Any]) -> frozenset[str]:
    """The names of a client's custom tools."""
    return frozenset(
        str(tool["custom"].get("name"))
        for tool in dicts(asked.get("tools"))
        if tool.get("type") == "custom" and isinstance(tool.get("custom"), dict)
    )


def heard(answer: WholeAnswer, asked: Mapping[str, Any]) -> WholeAnswer:
    """An answer in the client's words: calls of its custom tools are such again."""
    names = custom_names(asked)
    choices = [_choice_heard(one, names) for one in dicts(answer.data.get("choices"))]
    return structs.replace(answer, data={**answer.data, "choices": choices}) if names else answer


def _choice_heard(choice: dict[str, Any], names: frozenset[str]) -> dict[str, Any]:
    message = choice.get("message")
    if not isinstance(message, dict) or not message.get("tool_calls"):
        return choice
    calls = [_custom(one) if _name(one) in names else one for one in dicts(message["tool_calls"])]
    return {**choice, "message": {**message, "tool_calls": calls}}


def _name(call: Mapping[str, Any]) -> str:
    function = call.get("function")
    return str(function.get("name") or "") if isinstance(function, dict) else ""


def _custom(call: dict[str, Any]) -> dict[str, Any]:
    rest = {name: value for name, value in call.items() if name != "function"}
    text = _text(str(call["function"].get("arguments") or ""))
    return {**rest, "type": "custom", "custom": {"name": _name(call), "input": text}}


def _text(arguments: str) -> str:
    """The one text; what a model wrote where it kept to no form."""
    try:
        found = msgspec.json.decode(arguments)
    except (msgspec.DecodeError, RecursionError):
        return arguments
    value = found.get(_FIELD) if isinstance(found, dict) else found
    return value if isinstance(value, str) else arguments


class CustomCalls(Around):
    """A stream's decoder whose calls of custom tools come whole: only then is their JSON a text."""

    def __init__(self, inner: StreamDecoder, asked: Mapping[str, Any]) -> None:
        super().__init__(inner)
        self._names = custom_names(asked)
        self._held: dict[tuple[int, int], dict[str, Any]] = {}

    def finish(self) -> list[Chunk]:
        """A call whose end no finish reason told is complete with the stream."""
        chunks = super().finish()
        left = [{"index": at, "delta": self._whole(at)} for at in sorted({choice for choice, _ in self._held})]
        return [*chunks, *([Chunk({"choices": left})] if left else [])]

    def told(self, chunk: Chunk) -> Iterator[Chunk]:
        choices, before = list[Any](), list[dict[str, Any]]()
        for choice in dicts(chunk.data.get("choices")):
            at = choice.get("index") or 0
            choices.append(self._without_held(choice, at))
            if choice.get("finish_reason") and any(place == at for place, _ in self._held):
                before.append({"index": at, "delta": self._whole(at), "finish_reason": None})
        if before:
            yield Chunk({**{name: value for name, value in chunk.data.items() if name != "usage"}, "choices": before})
        same = all(one is other for one, other in zip(choices, chunk.data.get("choices") or (), strict=False))
        if same:
            yield chunk
        elif chunk.usage is not None or any(one.get("finish_reason") or one["delta"] for one in choices):
            yield structs.replace(chunk, own={**chunk.data, "choices": choices}, pattern=None, literals=())

    def _without_held(self, choice: dict[str, Any], at: int) -> dict[str, Any]:
        """A choice without the pieces that are kept; the same object where there are none."""
        delta = choice.get("delta")
        calls = dicts(delta.get("tool_calls")) if isinstance(delta, dict) else []
        others = [one for place, one in enumerate(calls) if not self._holds(at, place, one)]
        if not isinstance(delta, dict) or len(others) == len(calls):
            return choice
        rest = {name: value for name, value in delta.items() if name != "tool_calls"}
        return {**choice, "delta": {**rest, **({"tool_calls": others} if others else {})}}

    def _holds(self, choice: int, place: int, call: dict[str, Any]) -> bool:
        """Whether a piece is one of a custom tool's call, which is kept then."""
        key = choice, call["index"] if isinstance(call.get("index"), int) else place
        held = self._held.get(key)
        if held is None and _name(call) not in self._names:
            return False
        function = call["function"] if isinstance(call.get("function"), dict) else {}
        arguments = str(function.get("arguments") or "")
        if held is None:
            self._held[key] = {**call, "function": {"name": _name(call), "arguments": arguments}, "index": key[1]}
        else:
            held["function"]["arguments"] += arguments
        return True

    def _whole(self, choice: int) -> dict[str, Any]:
        mine = sorted(key for key in self._held if key[0] == choice)
        return {"tool_calls": [_custom(self._held.pop(key)) for key in mine]}
