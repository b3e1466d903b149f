"""The simulated teacher's half of OpenAI's chat completions: read a request, write an answer. No sockets."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
from msgspec import Struct

MODEL = "simulated-teacher-large"
_encode = msgspec.json.encode
_PIECES = re.compile(r"\W?\w+")


class _Message(Struct):
    role: str
    content: str | list[dict[str, Any]] | None = None

    @property
    def text(self) -> str:
        if isinstance(self.content, str):
            return self.content
        return "\n".join(
            str(part.get("text", "")) for part in self.content or [] if part.get("type") == "text"
        )


class _StreamOptions(Struct):
    include_usage: bool = False


class Request(Struct):
    """The parameters the simulated teacher acts on; it ignores all others, as it has no use for them."""

    model: str
    messages: list[_Message]
    stream: bool | None = None
    stream_options: _StreamOptions | None = None
    n: int | None = None

    @property
    def ticket(self) -> str:
        return next((message.text for message in reversed(self.messages) if message.role == "user"), "")

    @property
    def author_text(self) -> str:
        return "".join(message.text for message in self.messages if message.role in {"system", "developer"})


class Refusal(Exception):
    """A request the simulated teacher cannot answer: an HTTP status and OpenAI's error object."""

    def __init__(
        self, status: int, message: str, *, param: str | None = None, code: str | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        kind = "invalid_request_error"
        self.payload = {"error": {"message": message, "type": kind, "param": param, "code": code}}


_decode = msgspec.json.Decoder(Request).decode


def read(body: bytes) -> Request:
    """The request in ``body``. Raises Refusal in OpenAI's shape."""
    try:
        request = _decode(body)
    except msgspec.ValidationError as problem:
        raise Refusal(400, f"Invalid request: {problem}") from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise Refusal(400, "The body is not valid JSON.") from None
    if request.model != MODEL:
        message = (
            f"The model `{request.model}` does not exist here. The simulated teacher serves `{MODEL}` only."
        )
        raise Refusal(404, message, param="model", code="model_not_found")
    if not request.ticket.strip():
        raise Refusal(400, "`messages` must hold a user message with text.", param="messages")
    if request.n not in (None, 1):
        raise Refusal(400, "The simulated teacher writes one choice per request.", param="n")
    return request


def tokens(text: str) -> int:
    """About what a tokenizer counts for English: one token per four characters."""
    return (len(text) + 3) // 4


def usage(request: Request, answer: str, cached: bool) -> dict[str, Any]:
    """OpenAI's usage object. ``cached``: this author text was seen before and is in the prompt cache.

    Real providers cache from 1,024 tokens on; the simulated one caches any shared text in steps of 64 tokens.
    """
    prompt = sum(tokens(message.text) + 4 for message in request.messages) + 3
    shared = tokens(request.author_text) // 64 * 64 if cached else 0
    completion = tokens(answer)
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": {"cached_tokens": shared, "audio_tokens": 0},
        "completion_tokens_details": {
            "reasoning_tokens": 0, "audio_tokens": 0,
            "accepted_prediction_tokens": 0, "rejected_prediction_tokens": 0,
        },
    }  # fmt: skip


def whole(
    completion_id: str, created: int, answer: str, used: dict[str, Any], calls: Sequence[tuple[str, str]] = ()
) -> bytes:
    """``calls``: (tool, arguments) of each tool call, in the place of an ``answer`` in words."""
    message: dict[str, Any] = {"role": "assistant", "content": answer, "refusal": None, "annotations": []}
    if calls:
        message |= {"content": None, "tool_calls": [
            {"id": f"call_{completion_id[-12:]}{at}", "type": "function", "function": {"name": name, "arguments": said}}
            for at, (name, said) in enumerate(calls)
        ]}  # fmt: skip
    finish = "tool_calls" if calls else "stop"
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": finish}
    frame = _frame(completion_id, created, "chat.completion")
    return _encode({**frame, "choices": [choice], "usage": used, "service_tier": "default"})


def events(
    completion_id: str, created: int, answer: str, used: dict[str, Any], *, include_usage: bool
) -> Iterator[bytes]:
    """The answer as server-sent events: role, a few pieces of text, the end, usage when asked for, [DONE]."""
    frame = _frame(completion_id, created, "chat.completion.chunk")
    extra: dict[str, Any] = {"usage": None} if include_usage else {}

    def event(delta: dict[str, Any], finish: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
        return b"data: " + _encode({**frame, "choices": [choice], **extra}) + b"\n\n"

    yield event({"role": "assistant", "content": "", "refusal": None})
    for piece in _PIECES.findall(answer):
        yield event({"content": piece})
    yield event({}, "stop")
    if include_usage:
        yield b"data: " + _encode({**frame, "choices": [], "usage": used}) + b"\n\n"
    yield b"data: [DONE]\n\n"


def model_card() -> dict[str, Any]:
    return {"id": MODEL, "object": "model", "created": 1_760_000_000, "owned_by": "simulated"}


def _frame(completion_id: str, created: int, kind: str) -> dict[str, Any]:
    return {
        "id": completion_id,
        "object": kind,
        "created": created,
        "model": MODEL,
        "system_fingerprint": "simulated",
    }
