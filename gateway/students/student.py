"""Asking a student, and its text as the answer the client asked for."""

from __future__ import annotations

import json
import uuid
from collections.abc import Sequence
from typing import Any

from gateway import errors
from gateway.context import Exchange
from gateway.protocol.answer import Answer, Chunk, ReadyStream, WholeAnswer
from gateway.protocol.asked import asked_of
from gateway.protocol.assemble import split
from gateway.protocol.called import ToolCall, reads_calls
from gateway.providers.classifier import CPU_HEADER, ENGINE_HEADER, confidence_of
from gateway.providers.codec import AttemptFailed
from gateway.texts.masking import mask
from gateway.texts.unmasking import unmask
from gateway.upstreams.asking import Asker
from optimizer.routing.attempts import Failure
from optimizer.routing.plan import Rung

TELL = "x-understudy-tell"


class StudentReply:
    """What a student said: text with the client's own values back in it, probability, milliseconds of ``engine``."""

    __slots__ = ("confidence", "cpu_ms", "engine", "fields", "text")

    def __init__(
        self, text: str, confidence: float, cpu_ms: float, engine: str, fields: dict[str, float] | None = None
    ) -> None:
        self.text, self.confidence, self.cpu_ms, self.engine = text, confidence, cpu_ms, engine
        self.fields = fields or {}
        """How sure it is of each field of its answer, where that has any."""


async def ask_student(asker: Asker, exchange: Exchange, rung: Rung, *, remaining: float) -> StudentReply:
    """Asks a student about the masked last user text: it was trained on masked text and sees nothing else.

    Raises AttemptFailed, also when the answer carries no probability.
    """
    masked = mask(asked_of(exchange.request.messages))
    body = {"messages": [{"role": "user", "content": masked.text}], "logprobs": True}
    headers: dict[str, str] = {}
    answer = await asker.whole(
        exchange.runtime, rung.candidate, body, remaining=remaining, heard=headers.update
    )
    confidence = confidence_of(answer.data)
    if confidence is None:
        raise AttemptFailed(
            Failure("failed", 502), errors.UpstreamFailed("The student's answer carries no probability.")
        )
    try:
        cpu_ms = float(headers.get(CPU_HEADER, "0"))
    except ValueError:
        cpu_ms = 0.0
    engine = headers.get(ENGINE_HEADER, "classifier")
    called = reads_calls(exchange.body, answer.text) is not None
    said = unmask(answer.text, masked.values, in_json=called)
    return StudentReply(said, confidence, cpu_ms, engine, _fields(answer.data.get("fields")))


def _fields(told: Any) -> dict[str, float]:
    if not isinstance(told, dict):
        return {}
    return {str(name): float(sure) for name, sure in told.items() if isinstance(sure, int | float)}


def tell_confidence(exchange: Exchange, found: StudentReply) -> None:
    """Says how sure the student was, of the whole and of each field, to a client that asked for it."""
    if exchange.headers.get(TELL) != "confidence":
        return
    exchange.response_headers["x-understudy-confidence"] = f"{found.confidence:.6f}"
    if found.fields:
        exchange.response_headers["x-understudy-field-confidence"] = json.dumps(found.fields)


def answer_of(exchange: Exchange, text: str) -> Answer:
    """A student's text as the answer the client asked for, in words or in tool calls, whole or as a stream."""
    calls = reads_calls(exchange.body, text)
    message: dict[str, Any] = {"role": "assistant", "content": text, "refusal": None, "annotations": []}
    finish = "stop"
    if calls is not None:
        message |= {"content": None, "tool_calls": _wired(calls)}
        text, finish = "", "tool_calls"
    data: dict[str, Any] = {
        "id": exchange.call_id,
        "object": "chat.completion",
        "created": int(exchange.received_at),
        "model": exchange.request.model,
        "choices": [{
            "index": 0,
            "message": message,
            "logprobs": None,
            "finish_reason": finish,
        }],
        "service_tier": "default",
        "system_fingerprint": None,
    }  # fmt: skip
    if not exchange.request.streamed:
        return WholeAnswer(data=data, text=text, finish_reason=finish, usage=None)
    chunks = []
    for piece in split(data):
        choice = piece["choices"][0]
        chunks.append(Chunk(piece, choice["delta"].get("content") or "", choice["finish_reason"]))
    return ReadyStream(chunks)


def _wired(calls: Sequence[ToolCall]) -> list[dict[str, Any]]:
    """The calls under fresh ids: the client names them by these when it sends their results."""
    return [
        {
            "id": f"call_{uuid.uuid4().hex[:24]}",
            "type": "function",
            "function": {"name": call.name, "arguments": call.arguments},
        }
        for call in calls
    ]
