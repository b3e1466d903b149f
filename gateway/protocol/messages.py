"""Anthropic's Messages API, the request: into chat form, or an error that names the field.

Source: Anthropic's public API reference, "Messages". What only Claude understands travels along for providers that
speak Anthropic's dialect (``cache_control``, thinking with its signatures, ``is_error``); others are not sent it. What
chat has no word for and would change the answer is refused.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct

from gateway.errors import BadRequest
from gateway.protocol.chat import effort_for
from gateway.protocol.hints import ANTHROPIC, SEARCH_RESULT


class MessagesRequest(Struct, frozen=True):
    """The typed view of ``POST /v1/messages``; ranges are Anthropic's."""

    model: Annotated[str, Meta(min_length=1, max_length=256)]
    messages: list[dict[str, Any]]
    max_tokens: Annotated[int, Meta(ge=1)]
    system: str | list[dict[str, Any]] | None = None
    stream: bool | None = None
    temperature: Annotated[float, Meta(ge=0, le=1)] | None = None
    top_p: Annotated[float, Meta(ge=0, le=1)] | None = None
    top_k: Annotated[int, Meta(ge=0)] | None = None
    stop_sequences: list[str] | None = None
    tools: list[dict[str, Any]] | None = None
    tool_choice: dict[str, Any] | None = None
    thinking: dict[str, Any] | None = None
    metadata: dict[str, Any] | None = None
    service_tier: str | None = None
    output_config: dict[str, Any] | None = None

    @property
    def thinks(self) -> bool:
        return bool(self.thinking) and (self.thinking or {}).get("type") != "disabled"


class CountRequest(Struct, frozen=True):
    """The typed view of ``POST /v1/messages/count_tokens``."""

    model: Annotated[str, Meta(min_length=1, max_length=256)]
    messages: list[dict[str, Any]]
    system: str | list[dict[str, Any]] | None = None
    tools: list[dict[str, Any]] | None = None


_KNOWN = frozenset(MessagesRequest.__struct_fields__) | {"context_management", "cache_control"}
_CHOICES = {"auto": "auto", "any": "required", "none": "none"}
_TIERS = {"auto": "auto", "standard_only": "default"}


def chat_body(data: dict[str, Any], request: MessagesRequest) -> dict[str, Any]:
    """The chat form of a request. Raises BadRequest for what cannot be said in it."""
    for name, value in data.items():
        if name not in _KNOWN and value is not None:
            raise _unsupported(name, f"'{name}' is not supported by this gateway. Leave it out.")
    _check_context_management(data.get("context_management"))
    body: dict[str, Any] = {
        "model": request.model,
        "messages": chat_messages(request.system, request.messages),
        "max_completion_tokens": request.max_tokens,
    }
    for name in ("stream", "temperature", "top_p", "top_k"):
        if getattr(request, name) is not None:
            body[name] = getattr(request, name)
    if request.stop_sequences:
        body["stop"] = request.stop_sequences
    if request.tools:
        body["tools"] = [_tool(tool, at) for at, tool in enumerate(request.tools)]
    if request.tool_choice is not None:
        body.update(_tool_choice(request.tool_choice))
    if request.service_tier in _TIERS:
        body["service_tier"] = _TIERS[request.service_tier]
    user = (request.metadata or {}).get("user_id")
    if isinstance(user, str):
        body["user"] = user
    body.update(_thinking(request))
    hints = _hints(data, request)
    return {**body, ANTHROPIC: hints} if hints else body


def _hints(data: dict[str, Any], request: MessagesRequest) -> dict[str, Any]:
    """What Claude is told as its client wrote it."""
    effort = (request.output_config or {}).get("effort")
    found = {"thinking": request.thinking, "effort": effort, "cache_control": data.get("cache_control"),
             "citations": _wants_citations(request.messages)}  # fmt: skip
    return {name: value for name, value in found.items() if value}


def _wants_citations(messages: list[dict[str, Any]]) -> bool:
    """Whether the answer has to say on which places of a document or of something found it rests."""
    return any(
        isinstance(block.get("citations"), dict) and block["citations"].get("enabled") is True
        for message in messages
        for block in _sources(message.get("content"))
    )


def _sources(content: Any) -> Iterator[dict[str, Any]]:
    """The documents and search results of a turn, those in results of tools too."""
    for block in content if isinstance(content, list) else ():
        if isinstance(block, dict) and block.get("type") in ("document", "search_result"):
            yield block
        elif isinstance(block, dict) and block.get("type") == "tool_result":
            yield from _sources(block.get("content"))


def _thinking(request: MessagesRequest) -> dict[str, Any]:
    """Effort and output format; a thinking budget in tokens becomes the nearest effort."""
    wishes: dict[str, Any] = {}
    config = request.output_config or {}
    for name, value in config.items():
        if name not in ("effort", "format") and value is not None:
            raise _unsupported(f"output_config.{name}", f"'output_config.{name}' is not supported by this gateway.")
    if config.get("effort") is not None:
        effort = str(config["effort"])
        wishes["reasoning_effort"] = "high" if effort in ("max", "xhigh") else effort
    elif (request.thinking or {}).get("type") == "enabled":
        budget = (request.thinking or {}).get("budget_tokens")
        if not isinstance(budget, int) or budget < 1024:
            raise BadRequest(
                "'thinking.budget_tokens' must be a whole number of at least 1024.",
                param="thinking.budget_tokens",
            )
        wishes["reasoning_effort"] = effort_for(budget)
    wanted = config.get("format")
    if isinstance(wanted, dict):
        if wanted.get("type") != "json_schema" or not isinstance(wanted.get("schema"), dict):
            raise _unsupported(
                "output_config.format", "'output_config.format' must be of type 'json_schema'."
            )
        schema = {"name": "answer", "schema": wanted["schema"], "strict": True}
        wishes["response_format"] = {"type": "json_schema", "json_schema": schema}
    return wishes


def _check_context_management(value: Any) -> None:
    """Clearing old thinking is what happens here anyway; every other edit would be silently left undone."""
    if value is None:
        return
    edits = value.get("edits") if isinstance(value, dict) else None
    for edit in edits if isinstance(edits, list) else [None]:
        if not isinstance(edit, dict) or not str(edit.get("type", "")).startswith("clear_thinking"):
            raise _unsupported(
                "context_management",
                "'context_management' edits other than clear_thinking are not supported.",
            )


# ---------------------------------------------------------------- messages
def chat_messages(
    system: str | list[dict[str, Any]] | None, messages: list[dict[str, Any]]
) -> list[dict[str, Any]]:
    """Turns in chat form. A turn with tool results becomes one ``tool`` turn each, and a user turn for the rest."""
    turns: list[dict[str, Any]] = []
    if system:
        written = system if isinstance(system, str) else _parts(system, "system")
        turns.append({"role": "system", "content": _plain(written)})
    if not messages:
        raise BadRequest("messages: at least one message is required", param="messages", code="empty_array")
    for at, message in enumerate(messages):
        where, role, content = f"messages.{at}", message.get("role"), message.get("content")
        if role not in ("user", "assistant", "system"):
            raise BadRequest(
                f"{where}.role: must be 'user' or 'assistant'. System text goes into the parameter 'system'.",
                param=f"{where}.role",
            )
        if isinstance(content, str):
            turns.append({"role": role, "content": content})
            continue
        if not isinstance(content, list) or not all(isinstance(block, dict) for block in content):
            raise BadRequest(f"{where}.content: must be text or a list of blocks.", param=f"{where}.content")
        turns.extend(_assistant(content, where) if role == "assistant" else _user(content, where, str(role)))
    return turns


def _user(blocks: list[dict[str, Any]], where: str, role: str) -> list[dict[str, Any]]:
    turns: list[dict[str, Any]] = []
    parts: list[dict[str, Any]] = []
    for at, block in enumerate(blocks):
        place = f"{where}.content.{at}"
        if block.get("type") == "tool_result":
            said, others = _result(block, place)
            turn: dict[str, Any] = {"role": "tool", "tool_call_id": _text(block, "tool_use_id", place), "content": said}
            if block.get("is_error") is True:
                turn["is_error"] = True
            turns.append(turn | _cached(block))
            parts.extend(others)
        else:
            parts.append(_part(block, place))
    if parts:
        turns.append({"role": role, "content": _plain(parts)})
    return turns


def _assistant(blocks: list[dict[str, Any]], where: str) -> list[dict[str, Any]]:
    texts: list[dict[str, Any]] = []
    calls: list[dict[str, Any]] = []
    thoughts: list[dict[str, Any]] = []
    for at, block in enumerate(blocks):
        place, kind = f"{where}.content.{at}", block.get("type")
        if kind == "text":
            texts.append({"type": "text", "text": _text(block, "text", place)} | _cached(block))
        elif kind == "tool_use":
            arguments = msgspec.json.encode(block.get("input") or {}).decode()
            function = {"name": _text(block, "name", place), "arguments": arguments}
            call = {"id": _text(block, "id", place), "type": "function", "function": function}
            calls.append(call | _cached(block))
        elif kind in ("thinking", "redacted_thinking"):
            thoughts.append(block)
        else:
            raise _unsupported(place, f"{place}: a block of type '{str(kind)[:40]}' is not supported here.")
    said: str | list[dict[str, Any]] = "".join(part["text"] for part in texts)
    if any("cache_control" in part for part in texts):
        said = texts
    turn: dict[str, Any] = {"role": "assistant", "content": said or None}
    if thoughts:
        turn |= _thoughts(thoughts)
    if calls:
        turn["tool_calls"] = calls
    return [turn] if texts or calls else []


def _thoughts(blocks: list[dict[str, Any]]) -> dict[str, Any]:
    """Signed thoughts are their author's alone; some vendors want those back that nobody signs."""
    signed = [block for block in blocks if block.get("signature") or block.get("data")]
    plain = "".join(str(block.get("thinking") or "") for block in blocks if block not in signed)
    found = {"thinking_blocks": signed, "reasoning_content": plain}
    return {name: value for name, value in found.items() if value}


def _result(block: dict[str, Any], where: str) -> tuple[str | list[dict[str, Any]], list[dict[str, Any]]]:
    """A tool's result: its text, with what was found in between, and what is neither (chat's tool turns hold text
    only; search results are Claude's alone and stay where they are)."""
    content = block.get("content")
    failed = block.get("is_error") is True
    if content is None or isinstance(content, str):
        return content or ("The tool failed." if failed else ""), []
    parts = _parts(content, f"{where}.content")
    text = "\n".join(part["text"] for part in parts if part["type"] == "text")
    others = [part for part in parts if part["type"] not in ("text", SEARCH_RESULT)]
    if any(part["type"] == SEARCH_RESULT for part in parts):
        return [part for part in parts if part not in others], others
    return text or ("The tool failed." if failed else "See the next message." if others else ""), others


def _parts(blocks: Any, where: str) -> list[dict[str, Any]]:
    if not isinstance(blocks, list) or not all(isinstance(block, dict) for block in blocks):
        raise BadRequest(f"{where}: must be text or a list of blocks.", param=where)
    return [_part(block, f"{where}.{at}") for at, block in enumerate(blocks)]


def _part(block: dict[str, Any], where: str) -> dict[str, Any]:
    kind, source = block.get("type"), block.get("source")
    if kind == "text":
        return {"type": "text", "text": _text(block, "text", where)} | _cached(block)
    if kind == "image" and isinstance(source, dict):
        if source.get("type") == "url":
            image = {"url": _text(source, "url", f"{where}.source")}
            return {"type": "image_url", "image_url": image} | _cached(block)
        if source.get("type") == "base64":
            return {"type": "image_url", "image_url": {"url": _data_url(source, where)}} | _cached(block)
    if kind == "document" and isinstance(source, dict):
        return _document(block, source, where) | _cached(block)
    if kind == SEARCH_RESULT:
        return _search_result(block, where)
    raise _unknown(kind, source, where)


def _search_result(block: dict[str, Any], where: str) -> dict[str, Any]:
    """What was found, as its client wrote it; the texts have to be where guardrails and estimates look for them."""
    for name in ("source", "title"):
        _text(block, name, where)
    texts = block.get("content")
    if not isinstance(texts, list) or not all(isinstance(one, dict) and one.get("type") == "text" for one in texts):
        raise BadRequest(f"{where}.content: must be a list of text blocks.", param=f"{where}.content")
    for at, one in enumerate(texts):
        _text(one, "text", f"{where}.content.{at}")
    return block


def _document(block: dict[str, Any], source: dict[str, Any], where: str) -> dict[str, Any]:
    """A document as a part; what Claude alone reads of it stands beside it."""
    names = ("title", "context", "citations")
    own = {"document": {name: block[name] for name in names if block.get(name) is not None}}
    name = block["title"] if isinstance(block.get("title"), str) else "document.pdf"
    kind = source.get("type")
    if kind == "text":
        return {"type": "text", "text": _text(source, "data", f"{where}.source")} | own
    if kind == "base64":
        return {"type": "file", "file": {"filename": name, "file_data": _data_url(source, where)}} | own
    if kind == "file":
        return {"type": "file", "file": {"file_id": _text(source, "file_id", f"{where}.source")}} | own
    if kind == "url":
        return {"type": "file", "file": {"filename": name, "file_url": _text(source, "url", f"{where}.source")}} | own
    raise _unknown("document", source, where)


def _unknown(kind: Any, source: Any, where: str) -> BadRequest:
    shown = str(kind)[:40] + (
        f" with source '{str(source.get('type'))[:40]}'" if isinstance(source, dict) else ""
    )
    return _unsupported(where, f"{where}: a block of type '{shown}' is not supported here.")


def _cached(block: dict[str, Any]) -> dict[str, Any]:
    """A block's wish to be cached up to here; Claude alone is told of it."""
    wish = block.get("cache_control")
    return {"cache_control": wish} if isinstance(wish, dict) else {}


def _data_url(source: dict[str, Any], where: str) -> str:
    kind, data = (_text(source, name, f"{where}.source") for name in ("media_type", "data"))
    return f"data:{kind};base64,{data}"


def _plain(content: str | list[dict[str, Any]]) -> str | list[dict[str, Any]]:
    """One part of text is that text: a student reads both the same, and every provider reads this one."""
    if isinstance(content, list) and len(content) == 1 and content[0].keys() == {"type", "text"}:
        return str(content[0]["text"])
    return content


# ---------------------------------------------------------------- tools
def _tool(tool: dict[str, Any], at: int) -> dict[str, Any]:
    if tool.get("type") not in (None, "custom"):
        raise _unsupported(
            f"tools.{at}.type",
            f"tools.{at}: '{str(tool['type'])[:60]}' runs at Anthropic. Only tools that the client runs work here.",
        )
    function = {"name": _text(tool, "name", f"tools.{at}"), "parameters": tool.get("input_schema") or {}}
    for name in ("description", "strict", "input_examples"):
        if tool.get(name) is not None:
            function[name] = tool[name]
    return {"type": "function", "function": function | _cached(tool)}


def _tool_choice(choice: dict[str, Any]) -> dict[str, Any]:
    kind = choice.get("type")
    wishes: dict[str, Any] = {}
    if kind == "tool":
        function = {"name": _text(choice, "name", "tool_choice")}
        wishes["tool_choice"] = {"type": "function", "function": function}
    elif kind in _CHOICES:
        wishes["tool_choice"] = _CHOICES[str(kind)]
    else:
        raise BadRequest("'tool_choice.type' must be auto, any, tool or none.", param="tool_choice.type")
    if choice.get("disable_parallel_tool_use") is not None:
        wishes["parallel_tool_calls"] = not choice["disable_parallel_tool_use"]
    return wishes


def _text(value: dict[str, Any], name: str, where: str) -> str:
    found = value.get(name)
    if not isinstance(found, str):
        raise BadRequest(f"{where}.{name}: Field required, as text.", param=f"{where}.{name}")
    return found


def _unsupported(param: str, message: str) -> BadRequest:
    return BadRequest(message, param=param, code="unsupported_parameter")
