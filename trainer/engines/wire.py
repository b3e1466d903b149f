"""A classifier's reply in OpenAI's shapes: a whole chat completion, or the events of a streamed one."""

from __future__ import annotations

import math
import uuid
from collections.abc import Iterator
from typing import Any

import msgspec

from gateway.protocol.chat import ChatRequest, Usage, text_of, usage_to_wire
from trainer.engines.batching import Reply

_CHARACTERS_PER_TOKEN = 4  # a rule of thumb for English: these counts are estimates
_encode = msgspec.json.encode


def completion(request: ChatRequest, reply: Reply, now: float) -> dict[str, Any]:
    """The whole answer: the likeliest answer verbatim, its probability as one token's logprob, and how sure
    it is of each field where it has any."""
    answer = reply.top[0][0]
    return {
        **_head(request, reply, now),
        "object": "chat.completion",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": answer, "refusal": None},
                "logprobs": _logprobs(reply),
                "finish_reason": "stop",
            }
        ],
        "usage": usage_to_wire(_usage(request, answer)),
        **({"fields": {name: round(sure, 6) for name, sure in reply.fields.items()}} if reply.fields else {}),
    }


def events(request: ChatRequest, reply: Reply, now: float) -> Iterator[bytes]:
    """The same answer as server-sent events, ``[DONE]`` last."""
    head = {**_head(request, reply, now), "object": "chat.completion.chunk"}
    answer = reply.top[0][0]
    steps: tuple[tuple[dict[str, Any], dict[str, Any] | None, str | None], ...] = (
        ({"role": "assistant", "content": "", "refusal": None}, None, None),
        ({"content": answer}, _logprobs(reply), None),
        ({}, None, "stop"),
    )
    for delta, logprobs, finish in steps:
        choice = {"index": 0, "delta": delta, "logprobs": logprobs, "finish_reason": finish}
        yield _event({**head, "choices": [choice]})
    if request.wants_usage:
        yield _event({**head, "choices": [], "usage": usage_to_wire(_usage(request, answer))})
    yield b"data: [DONE]\n\n"


def models(names: list[str]) -> dict[str, Any]:
    data = [{"id": name, "object": "model", "created": 0, "owned_by": "understudy"} for name in names]
    return {"object": "list", "data": data}


def _event(value: dict[str, Any]) -> bytes:
    return b"data: " + _encode(value) + b"\n\n"


def _head(request: ChatRequest, reply: Reply, now: float) -> dict[str, Any]:
    return {
        "id": f"chatcmpl-{uuid.uuid4().hex}",
        "created": int(now),
        "model": request.model,
        "system_fingerprint": f"us_{reply.digest[:12]}",
    }


def _logprobs(reply: Reply) -> dict[str, Any]:
    top = [_token(answer, probability) for answer, probability in reply.top]
    return {"content": [{**top[0], "top_logprobs": top}], "refusal": None}


def _token(answer: str, probability: float) -> dict[str, Any]:
    return {"token": answer, "logprob": math.log(max(probability, 1e-300)), "bytes": None}


def _usage(request: ChatRequest, answer: str) -> Usage:
    prompt = sum(_tokens(text_of(message)) for message in request.messages)
    return Usage(prompt=prompt, completion=_tokens(answer), estimated=True)


def _tokens(text: str) -> int:
    return math.ceil(len(text) / _CHARACTERS_PER_TOKEN)
