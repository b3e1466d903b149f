"""Anthropic's Messages API, the answer: whole, as stream events, and errors. Pure."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from gateway.errors import GatewayError
from gateway.protocol.blocks import Block, Blocks, Close, More, Open, Step, as_chunks
from gateway.protocol.chat import Usage
from gateway.protocol.hints import CONTAINER, CONTEXT
from gateway.protocol.messages.request import NO_THREADS
from gateway.protocol.phases import begins
from gateway.protocol.server_blocks import is_use

_encode = msgspec.json.encode
_STOPS = {
    "stop": "end_turn",
    "length": "max_tokens",
    "tool_calls": "tool_use",
    "function_call": "tool_use",
    "content_filter": "refusal",
}
OVERLOADED = 529
"""What Anthropic answers where others say 503."""
_KINDS = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
}


class MessageWriter:
    """One answer. ``thinks``: the client asked for thinking, so reasoning is shown."""

    def __init__(
        self, message_id: str, model: str, *, thinks: bool, stops: list[str], begun: Callable[[], Usage] = Usage
    ) -> None:
        """``begun``: what a stream says was used when it begins."""
        self._id, self._model, self._thinks, self._stops = message_id, model, thinks, stops
        self._before = begun
        self._blocks = Blocks(cited=True)
        self._numbers: dict[int, int] = {}
        self._refused = False
        self._called = False
        self._begun = False
        self._text = ""

    # ------------------------------------------------------------------ whole
    def whole(self, completion: dict[str, Any], usage: Usage) -> dict[str, Any]:
        """The message that a chat completion is."""
        steps = [step for chunk in as_chunks(completion) for step in self._blocks.feed(chunk)]
        closed = [step for step in [*steps, *self._blocks.finish()] if isinstance(step, Close)]
        content = [self._closed(step) for step in closed if self._shown(step.block)]
        return self._message(content, usage) | self._end() | self._where() | self._cleared()

    # ------------------------------------------------------------------ streamed
    def _begin(self) -> bytes:
        """Claude Code and others read the input tokens here alone. Most upstreams count them at the end, and the last
        event tells them again."""
        if self._begun:
            return b""
        self._begun = True
        return _event("message_start", message=self._message([], self._before())) + _event("ping")

    def chunk(self, data: dict[str, Any]) -> bytes:
        return self._begin() + b"".join(self._frames(step) for step in self._blocks.feed(data))

    def finish(self, usage: Usage) -> bytes:
        frames = self._begin() + b"".join(self._frames(step) for step in self._blocks.finish())
        delta = _event("message_delta", delta=self._end() | self._where(), usage=usage_shown(usage), **self._cleared())
        return frames + delta + _event("message_stop")

    def _frames(self, step: Step) -> bytes:
        block = step.block
        if not self._shown(block):
            return b""
        index = self._numbers.setdefault(block.number, len(self._numbers))
        match step:
            case Open():
                self._text += block.left_out  # citations count it
                return _begun(block, index)
            case More():
                if step.signature:
                    signed = {"type": "signature_delta", "signature": step.signature}
                    return _event("content_block_delta", index=index, delta=signed)
                return b"".join(
                    _event("content_block_delta", index=index, delta=one) for one in self._grown(step)
                )
            case Close():
                return _event("content_block_stop", index=index)

    def _grown(self, step: More) -> list[dict[str, Any]]:
        deltas = [_grown(step)] if step.text else []
        if step.block.kind == "text":
            self._text += step.text
            deltas += [{"type": "citations_delta", "citation": one} for one in _cited(step, self._text)]
        return deltas

    def _closed(self, step: Close) -> dict[str, Any]:
        if step.block.kind != "text":
            return _closed(step)
        self._text += step.block.left_out + step.text
        cited = _cited(step, self._text)
        return _closed(step) | ({"citations": cited} if cited else {})

    def _shown(self, block: Block) -> bool:
        self._refused = self._refused or block.kind == "refusal"
        self._called = self._called or block.kind == "call"
        if block.kind == "server":
            return not begins(block.done)
        return block.kind not in ("reasoning", "redacted") or self._thinks

    def _message(self, content: list[dict[str, Any]], usage: Usage) -> dict[str, Any]:
        return {
            "id": self._id,
            "type": "message",
            "role": "assistant",
            "model": self._model,
            "content": content,
            "stop_reason": None,
            "stop_sequence": None,
            "usage": usage_shown(usage),
        }

    def _where(self) -> dict[str, Any]:
        container = self._blocks.container
        return {} if container is None else {CONTAINER: container}

    def _cleared(self) -> dict[str, Any]:
        cleared = self._blocks.cleared
        return {} if cleared is None else {CONTEXT: cleared}

    def _end(self) -> dict[str, Any]:
        found = self._blocks
        reason = _STOPS.get(found.finish_reason, "end_turn")
        if self._refused:
            reason = "refusal"
        elif self._called and reason == "end_turn":
            reason = "tool_use"  # a forced call ends with "stop" in chat
        if found.paused and reason == "end_turn":
            return {"stop_reason": "pause_turn", "stop_sequence": None}
        if reason == "end_turn" and self._stops and found.stop in (*self._stops, ""):
            return {"stop_reason": "stop_sequence", "stop_sequence": found.stop or None}
        return {"stop_reason": reason, "stop_sequence": None}


def usage_shown(usage: Usage) -> dict[str, Any]:
    """Anthropic counts tokens read from and written to a cache beside the input, chat inside it."""
    told: dict[str, Any] = {
        "input_tokens": max(0, usage.prompt - usage.cached - usage.written),
        "output_tokens": usage.completion,
        "cache_creation_input_tokens": usage.written,
        "cache_read_input_tokens": usage.cached,
    }
    if usage.searches:
        told["server_tool_use"] = {"web_search_requests": usage.searches, "web_fetch_requests": 0}
    if not usage.written:
        return told
    hour = usage.written_hour
    kept = {"ephemeral_5m_input_tokens": usage.written - hour, "ephemeral_1h_input_tokens": hour}
    return {**told, "cache_creation": kept}


def kind_of(status: int) -> str:
    """What Anthropic calls an error of this status."""
    return _KINDS.get(status, "invalid_request_error" if status < 500 else "api_error")


def error_payload(error: GatewayError, request_id: str) -> dict[str, Any]:
    told: dict[str, Any] = {"type": kind_of(error.status), "message": _sentence(error)}
    if error.code == NO_THREADS:
        told["details"] = {"error_code": NO_THREADS}
    return {"type": "error", "error": told, "request_id": request_id}


def _sentence(error: GatewayError) -> str:
    """Anthropic's errors have no code: that a conversation is too long, its clients know by these words."""
    lower = error.message.lower()
    known = error.code != "context_length_exceeded" or "prompt is too long" in lower or "exceed context limit" in lower
    return error.message if known else f"prompt is too long: {error.message}"


def error_frame(error: GatewayError, request_id: str) -> bytes:
    return b"event: error\ndata: " + _encode(error_payload(error, request_id)) + b"\n\n"


def _event(kind: str, **fields: Any) -> bytes:
    return b"event: " + kind.encode() + b"\ndata: " + _encode({"type": kind, **fields}) + b"\n\n"


def _begun(block: Block, index: int) -> bytes:
    """The start of a block. What a tool was asked comes behind it, as its client expects it."""
    opened = _opened(block)
    if block.kind != "server" or not is_use(opened):
        return _event("content_block_start", index=index, content_block=opened)
    start = _event("content_block_start", index=index, content_block={**opened, "input": {}})
    asked = _encode(opened.get("input") or {}).decode()
    delta = {"type": "input_json_delta", "partial_json": asked}
    return start + _event("content_block_delta", index=index, delta=delta)


def _opened(block: Block) -> dict[str, Any]:
    if block.kind == "server":
        return block.done
    if block.kind == "call":
        return {"type": "tool_use", "id": block.id, "name": block.name, "input": {}}
    if block.kind == "reasoning":
        return {"type": "thinking", "thinking": "", "signature": ""}
    if block.kind == "redacted":
        return {"type": "redacted_thinking", "data": block.signature}
    return {"type": "text", "text": ""}


def _grown(step: More) -> dict[str, Any]:
    if step.block.kind == "call":
        return {"type": "input_json_delta", "partial_json": step.text}
    if step.block.kind == "reasoning":
        return {"type": "thinking_delta", "thinking": step.text}
    return {"type": "text_delta", "text": step.text}


def _closed(step: Close) -> dict[str, Any]:
    whole = _opened(step.block)
    if step.block.kind == "call":
        return whole | {"input": _arguments(step.text)}
    if step.block.kind == "reasoning":
        return whole | {"thinking": step.text, "signature": step.signature}
    return whole if step.block.kind in ("redacted", "server") else whole | {"text": step.text}


def _cited(step: More | Close, text: str) -> list[dict[str, Any]]:
    """Claude's citations as it wrote them; pages as its web search tells them. ``text`` is all that was said."""
    found = [one["citation"] for one in step.citations if isinstance(one.get("citation"), dict)]
    for note in step.annotations:
        page = note.get("url_citation")
        if isinstance(page, dict) and isinstance(page.get("url"), str):
            start, end = page.get("start_index"), page.get("end_index")
            told = text[start:end] if isinstance(start, int) and isinstance(end, int) else ""
            found.append({
                "type": "web_search_result_location", "cited_text": told, "encrypted_index": "",
                "title": page.get("title"), "url": page["url"],
            })  # fmt: skip
    return found


def _arguments(text: str) -> dict[str, Any]:
    """A model may write arguments that are no JSON object; they are shown as they are, under one key."""
    try:
        value = msgspec.json.decode(text or "{}")
    except (msgspec.DecodeError, RecursionError):
        return {"_invalid_json": text}
    return value if isinstance(value, dict) else {"_invalid_json": text}
