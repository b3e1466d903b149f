"""The turns of Anthropic's Messages API in chat form, block by block, or an error that names the place."""

from __future__ import annotations

from typing import Any

import msgspec

from gateway.errors import BadRequest
from gateway.protocol.hints import SEARCH_RESULT
from gateway.protocol.server_blocks import NAME as SERVER_BLOCKS
from gateway.protocol.server_blocks import is_server_block

_FIELDS = {
    "text": {"text", "citations"}, "image": {"source"}, "document": {"source", "title", "context", "citations"},
    "search_result": {"source", "title", "content", "citations"}, "thinking": {"thinking", "signature"},
    "redacted_thinking": {"data"}, "tool_use": {"id", "name", "input", "caller"},
    "tool_result": {"tool_use_id", "content", "is_error"}, "tool_reference": {"tool_name"},
}  # fmt: skip
_DIRECT = {"type": "direct"}


def _looked_at(block: dict[str, Any], where: str) -> str:
    """The block's type. Raises BadRequest for a field that would be lost: Anthropic knows it, or nobody does."""
    kind = str(block.get("type"))
    for name, value in block.items():
        if kind in _FIELDS and value is not None and name not in _FIELDS[kind] | {"type", "cache_control"}:
            problem = f"{where}: '{name[:60]}' is not supported by this gateway. Leave it out."
            raise unsupported(f"{where}.{name}", problem)
    if kind == "tool_use" and block.get("caller") not in (None, _DIRECT):
        raise unsupported(f"{where}.caller", f"{where}: calls by code that runs at Anthropic are not supported here.")
    return kind


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
        if _looked_at(block, place) == "tool_result":
            said, others = _result(block, place)
            id_ = text_in(block, "tool_use_id", place)
            turn: dict[str, Any] = {"role": "tool", "tool_call_id": id_, "content": said}
            if block.get("is_error") is True:
                turn["is_error"] = True
            turns.append(turn | cached(block))
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
    done: list[dict[str, Any]] = []
    for at, block in enumerate(blocks):
        place = f"{where}.content.{at}"
        kind = _looked_at(block, place)
        if kind == "text":
            cites = {"citations": block["citations"]} if block.get("citations") else {}
            texts.append({"type": "text", "text": text_in(block, "text", place)} | cites | cached(block))
        elif kind == "tool_use":
            arguments = msgspec.json.encode(block.get("input") or {}).decode()
            function = {"name": text_in(block, "name", place), "arguments": arguments}
            call = {"id": text_in(block, "id", place), "type": "function", "function": function}
            calls.append(call | cached(block))
        elif kind in ("thinking", "redacted_thinking"):
            thoughts.append(block)
        elif is_server_block(block):
            signed = sum(1 for one in thoughts if one.get("signature") or one.get("data"))
            done.append({"parts": len(texts), "thoughts": signed, "block": block})
        else:
            raise unsupported(place, f"{place}: a block of type '{str(kind)[:40]}' is not supported here.")
    said: str | list[dict[str, Any]] = "".join(part["text"] for part in texts)
    if any(part.keys() > {"type", "text"} for part in texts) or done:
        said = texts
    turn: dict[str, Any] = {"role": "assistant", "content": said or None}
    if thoughts:
        turn |= _thoughts(thoughts)
    if calls:
        turn["tool_calls"] = calls
    if done:
        turn[SERVER_BLOCKS] = done
    return [turn] if texts or calls or done else []


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
    kind, source = _looked_at(block, where), block.get("source")
    if kind == "text":
        return {"type": "text", "text": text_in(block, "text", where)} | cached(block)
    if kind == "tool_reference":  # a client's own search found it, and offers it beside
        found = f"The tool '{text_in(block, 'tool_name', where)}' is available now."
        return {"type": "text", "text": found} | cached(block)
    if kind == "image" and isinstance(source, dict):
        if source.get("type") == "url":
            image = {"url": text_in(source, "url", f"{where}.source")}
            return {"type": "image_url", "image_url": image} | cached(block)
        if source.get("type") == "base64":
            return {"type": "image_url", "image_url": {"url": _data_url(source, where)}} | cached(block)
        if source.get("type") == "file":
            held = {"file_id": text_in(source, "file_id", f"{where}.source"), "kind": "image"}
            return {"type": "file", "file": held} | cached(block)
    if kind == "document" and isinstance(source, dict):
        return _document(block, source, where) | cached(block)
    if kind == SEARCH_RESULT:
        return _search_result(block, where)
    raise _unknown(kind, source, where)


def _search_result(block: dict[str, Any], where: str) -> dict[str, Any]:
    """What was found, as its client wrote it; the texts have to be where guardrails and estimates look for them."""
    for name in ("source", "title"):
        text_in(block, name, where)
    texts = block.get("content")
    if not isinstance(texts, list) or not all(isinstance(one, dict) and one.get("type") == "text" for one in texts):
        raise BadRequest(f"{where}.content: must be a list of text blocks.", param=f"{where}.content")
    for at, one in enumerate(texts):
        text_in(one, "text", f"{where}.content.{at}")
    return block


def _document(block: dict[str, Any], source: dict[str, Any], where: str) -> dict[str, Any]:
    """A document as a part; what Claude alone reads of it stands beside it."""
    names = ("title", "context", "citations")
    own = {"document": {name: block[name] for name in names if block.get(name) is not None}}
    name = block["title"] if isinstance(block.get("title"), str) else "document.pdf"
    kind = source.get("type")
    if kind == "text":
        return {"type": "text", "text": text_in(source, "data", f"{where}.source")} | own
    if kind == "content":
        own["document"]["source"] = source
        return {"type": "text", "text": _text_of(source.get("content"), f"{where}.source.content")} | own
    if kind == "base64":
        return {"type": "file", "file": {"filename": name, "file_data": _data_url(source, where)}} | own
    if kind == "file":
        return {"type": "file", "file": {"file_id": text_in(source, "file_id", f"{where}.source")}} | own
    if kind == "url":
        return {"type": "file", "file": {"filename": name, "file_url": text_in(source, "url", f"{where}.source")}} | own
    raise _unknown("document", source, where)


def _text_of(content: Any, where: str) -> str:
    """A document that its client has cut into texts itself: Claude cites them by their number, others read them."""
    if isinstance(content, str):
        return content
    parts = _parts(content, where)
    for at, part in enumerate(parts):
        if part["type"] != "text":
            raise unsupported(f"{where}.{at}", f"{where}.{at}: only text is supported inside a document.")
    return "\n".join(part["text"] for part in parts)


def _unknown(kind: Any, source: Any, where: str) -> BadRequest:
    shown = str(kind)[:40] + (
        f" with source '{str(source.get('type'))[:40]}'" if isinstance(source, dict) else ""
    )
    return unsupported(where, f"{where}: a block of type '{shown}' is not supported here.")


def cached(block: dict[str, Any]) -> dict[str, Any]:
    """A block's wish to be cached up to here; Claude alone is told of it."""
    wish = block.get("cache_control")
    return {"cache_control": wish} if isinstance(wish, dict) else {}


def _data_url(source: dict[str, Any], where: str) -> str:
    kind, data = (text_in(source, name, f"{where}.source") for name in ("media_type", "data"))
    return f"data:{kind};base64,{data}"


def _plain(content: str | list[dict[str, Any]]) -> str | list[dict[str, Any]]:
    """One part of text is that text: a student reads both the same, and every provider reads this one."""
    if isinstance(content, list) and len(content) == 1 and content[0].keys() == {"type", "text"}:
        return str(content[0]["text"])
    return content


def text_in(value: dict[str, Any], name: str, where: str) -> str:
    found = value.get(name)
    if not isinstance(found, str):
        raise BadRequest(f"{where}.{name}: Field required, as text.", param=f"{where}.{name}")
    return found


def unsupported(param: str, message: str) -> BadRequest:
    return BadRequest(message, param=param, code="unsupported_parameter")
