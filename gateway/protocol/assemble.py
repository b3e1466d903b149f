"""Between a streamed and a whole chat completion: :func:`assemble` and :func:`split` are inverses.

Chunks come from providers, so nothing about their shape is taken for granted: a part of the wrong type is
skipped, never raised over, because the client has already been given it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from gateway.protocol import server_blocks
from gateway.protocol.lists import dicts
from gateway.protocol.server_blocks import NAME as SERVER_BLOCKS

_ENVELOPE = ("id", "created", "model", "service_tier", "system_fingerprint")
_LOGPROBS = ("content", "refusal")
_MESSAGE = frozenset({"role", "content", "refusal", "tool_calls", "function_call"})
REASONING = ("reasoning_content", "reasoning")
"""What vendors call the text of thoughts."""
_THOUGHTS = frozenset({*REASONING, "thinking_blocks"})


_GROWING = frozenset({"thinking_blocks", "citations", SERVER_BLOCKS})
"""Lists that a stream tells entry by entry."""


def assemble(chunks: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """The chat completion that ``chunks`` stream. Texts are joined, tool calls are put together by index,
    unknown text fields of a delta are joined too and other unknown fields keep their last value."""
    answer: dict[str, Any] = {"id": "", "object": "chat.completion", "created": 0, "model": "", "choices": []}
    choices: dict[int, _Choice] = {}
    usage: Any = None
    for chunk in chunks:
        for name in _ENVELOPE:
            if chunk.get(name) and not answer.get(name):
                answer[name] = chunk[name]
        if isinstance(chunk.get("usage"), dict):
            usage = chunk["usage"]
        for part in dicts(chunk.get("choices")):
            index = _index(part)
            choices.setdefault(index, _Choice()).feed(part)
    answer["choices"] = [choices[index].whole(index) for index in sorted(choices)]
    if usage is not None:
        answer["usage"] = usage
    return answer


def split(completion: dict[str, Any]) -> list[dict[str, Any]]:
    """The chunks of a whole completion, without a usage chunk: per choice a role delta, the content, the tool
    calls, and an empty delta that carries the finish reason."""
    envelope = {name: completion[name] for name in _ENVELOPE if completion.get(name) is not None}
    envelope["object"] = "chat.completion.chunk"
    chunks: list[dict[str, Any]] = []
    for choice in dicts(completion.get("choices")):
        index = _index(choice)
        message = choice["message"] if isinstance(choice.get("message"), dict) else {}
        for delta in _deltas(message):
            part: dict[str, Any] = {"index": index, "delta": delta, "finish_reason": None}
            chunks.append({**envelope, "choices": [part]})
        if isinstance(choice.get("logprobs"), dict):
            chunks[-1]["choices"][0]["logprobs"] = choice["logprobs"]
        last: dict[str, Any] = {
            "index": index,
            "delta": {},
            "finish_reason": choice.get("finish_reason") or "stop",
        }
        if choice.get("stop_reason") is not None:
            last["stop_reason"] = choice["stop_reason"]
        chunks.append({**envelope, "choices": [last]})
    return chunks


def chunk_text(chunk: dict[str, Any]) -> str:
    """The text that one chunk adds to the first choice; "" when it adds none."""
    for choice in dicts(chunk.get("choices")):
        delta = choice.get("delta")
        if _index(choice) == 0 and isinstance(delta, dict) and isinstance(delta.get("content"), str):
            return str(delta["content"])
    return ""


def answer_text(completion: dict[str, Any]) -> str:
    """The first choice's text of a whole completion; "" when it has none."""
    for choice in dicts(completion.get("choices")):
        message = choice.get("message")
        if isinstance(message, dict) and isinstance(message.get("content"), str):
            return str(message["content"])
        return ""
    return ""


def finish_reason(data: dict[str, Any]) -> str | None:
    """The first choice's finish reason, of a chunk or of a whole completion."""
    for choice in dicts(data.get("choices")):
        if _index(choice) == 0 and isinstance(choice.get("finish_reason"), str):
            return str(choice["finish_reason"])
    return None


class _Choice:
    """One choice while its deltas arrive; texts are kept in lists so that a long stream stays linear."""

    __slots__ = ("calls", "extra", "finish", "function", "logprobs", "role", "stop", "texts")

    def __init__(self) -> None:
        self.role = "assistant"
        self.texts: dict[str, list[str]] = {}
        self.extra: dict[str, Any] = {}
        self.calls: dict[int, _ToolCall] = {}
        self.function: _ToolCall | None = None
        self.logprobs: dict[str, list[Any]] = {}
        self.finish: str | None = None
        self.stop: str | None = None

    def feed(self, part: dict[str, Any]) -> None:
        if isinstance(part.get("stop_reason"), str):
            self.stop = part["stop_reason"]
        if isinstance(part.get("finish_reason"), str):
            self.finish = part["finish_reason"]
        if isinstance(part.get("logprobs"), dict):
            for name in _LOGPROBS:
                if isinstance(part["logprobs"].get(name), list):
                    self.logprobs.setdefault(name, []).extend(part["logprobs"][name])
        delta = part.get("delta")
        if isinstance(delta, dict):
            self._feed_delta(delta)

    def _feed_delta(self, delta: dict[str, Any]) -> None:
        for name, value in delta.items():
            if name == "role":
                self.role = value if isinstance(value, str) and value else self.role
            elif name == "tool_calls":
                for call in dicts(value):
                    self.calls.setdefault(_index(call), _ToolCall()).feed(call)
            elif name == "function_call":
                if isinstance(value, dict):
                    self.function = self.function or _ToolCall()
                    self.function.feed({"function": value})
            elif isinstance(value, str):
                self.texts.setdefault(name, []).append(value)
            elif value is not None and name not in _MESSAGE:
                self.extra[name] = added(self.extra.get(name), value) if name in _GROWING else value

    def whole(self, index: int) -> dict[str, Any]:
        texts = {name: "".join(pieces) for name, pieces in self.texts.items() if name != "obfuscation"}
        message: dict[str, Any] = {"role": self.role, "content": texts.pop("content", None)}
        message["refusal"] = texts.pop("refusal", None)
        message["annotations"] = []
        message |= self.extra | texts
        if self.calls:
            message["tool_calls"] = [self.calls[at].whole() for at in sorted(self.calls)]
        if self.function is not None:
            message["function_call"] = self.function.whole()["function"]
        if not message["content"] and (self.calls or self.function is not None or message["refusal"]):
            message["content"] = None
        logprobs = {name: self.logprobs.get(name) for name in _LOGPROBS} if self.logprobs else None
        made = {"index": index, "message": message, "logprobs": logprobs, "finish_reason": self.finish}
        return made | ({"stop_reason": self.stop} if self.stop is not None else {})


def added(before: Any, value: Any) -> Any:
    """A list that grows: entries with an ``index`` add up, as OpenAI's clients do it (which fail over lists that are
    told again without); anything else takes the place of what was told before."""
    if not isinstance(value, list) or not isinstance(before, list | None):
        return value
    fresh = [{name: one[name] for name in one if name != "index"} for one in dicts(value) if "index" in one]
    return [*(before or []), *fresh] if len(fresh) == len(value) and (fresh or before) else value


class _ToolCall:
    __slots__ = ("arguments", "fields", "function")

    def __init__(self) -> None:
        self.fields: dict[str, Any] = {}
        self.function: dict[str, Any] = {}
        self.arguments: list[str] = []

    def feed(self, call: dict[str, Any]) -> None:
        """A field keeps its first value; ``arguments`` (and a custom tool's ``input``) add up."""
        for name, value in call.items():
            if name in {"function", "custom"} and isinstance(value, dict):
                text = "arguments" if name == "function" else "input"
                if isinstance(value.get(text), str):
                    self.arguments.append(value[text])
                kept = self.function if name == "function" else self.fields.setdefault("custom", {})
                for key, item in value.items():
                    if key != text and item is not None:
                        kept.setdefault(key, item)
            elif name != "index" and value is not None:
                self.fields.setdefault(name, value)

    def whole(self) -> dict[str, Any]:
        fields = {"id": "", "type": "function"} | self.fields
        if "custom" in fields:
            return fields | {"custom": fields["custom"] | {"input": "".join(self.arguments)}}
        return fields | {"function": {"name": "", **self.function, "arguments": "".join(self.arguments)}}


def _deltas(message: dict[str, Any]) -> list[dict[str, Any]]:
    """A message as the deltas a provider would have sent."""
    calls = dicts(message.get("tool_calls"))
    function = message.get("function_call")
    content, refusal = message.get("content"), message.get("refusal")
    opening = None if calls or function or (refusal and not content) else ""
    first = {"role": message.get("role") or "assistant", "content": opening, "refusal": None}
    deltas: list[dict[str, Any]] = [first, *told_of(message)]
    if isinstance(refusal, str) and refusal:
        deltas.append({"refusal": refusal})
    own = _MESSAGE | _THOUGHTS | {SERVER_BLOCKS}
    extra = {name: value for name, value in message.items() if name not in own and value}
    if extra:
        deltas.append(extra)
    if calls:
        deltas.append({"tool_calls": [{"index": at, **call} for at, call in enumerate(calls)]})
    if isinstance(function, dict):
        deltas.append({"function_call": function})
    return deltas


def told_of(
    message: dict[str, Any], spoken: Callable[[dict[str, Any], int, int | None], Iterable[dict[str, Any]]] | None = None
) -> list[dict[str, Any]]:
    """What a message thought, said and had done by its provider's own tools, as deltas in the order in which it was.
    ``spoken`` gives the deltas of the text between two places; the last goes to its end (None)."""
    say, deltas = spoken or _said, list[dict[str, Any]]()
    at, thought = 0, 0
    for number, entry in enumerate(server_blocks.of(message)):
        before = max(thought, server_blocks.place(entry, "thoughts"))
        place = max(at, server_blocks.place(entry, "start_index"))
        deltas += thoughts_of(message, thought, before)
        deltas += say(message, at, place) if place > at else ()
        deltas.append({SERVER_BLOCKS: [{"index": number, **entry}]})
        at, thought = place, before
    return [*deltas, *thoughts_of(message, thought), *say(message, at, None)]


def _said(message: dict[str, Any], start: int, end: int | None) -> list[dict[str, Any]]:
    content = message.get("content")
    text = content[start:end] if isinstance(content, str) else ""
    return [{"content": text}] if text else []


def thoughts_of(message: dict[str, Any], start: int = 0, end: int | None = None) -> list[dict[str, Any]]:
    """A message's thoughts as deltas, which come before what was said: of signed ones each text, then the block
    with its signature, as a provider streams them. ``start`` and ``end``: those of them."""
    signed = dicts(message.get("thinking_blocks"))
    if not signed:
        plain = {name: message[name] for name in REASONING if message.get(name)}
        return [plain] if plain and end is None else []
    deltas: list[dict[str, Any]] = []
    for at, block in enumerate(signed[start:end], start + 1):
        if isinstance(block.get("thinking"), str):
            deltas.append({"reasoning_content": block["thinking"]})
        deltas.append({"thinking_blocks": [{"index": at - 1, **block}]})
    return deltas


def _index(part: dict[str, Any]) -> int:
    index = part.get("index")
    return index if isinstance(index, int) and index >= 0 else 0
