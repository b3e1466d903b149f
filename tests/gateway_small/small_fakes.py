"""Small real parts for the tests of the gateway's small rooms."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from gateway.config import Config
from gateway.context import Chunk, Exchange, Principal, WholeAnswer
from gateway.guardrails import Guardrail
from gateway.guardrails.guardrail import WHOLE
from gateway.protocol.assemble import chunk_text, finish_reason
from gateway.protocol.body import typed
from gateway.protocol.chat import ChatRequest
from gateway.runtime import Runtime, build_runtime
from gateway.storage.values import Key, Snapshot

ALICE = Principal(key_id="key_alice", project="p1")
BOB = Principal(key_id="key_bob", project="p2")


def runtime_of(
    config: Config | None = None, *, keys: Sequence[Key] = (), students: Sequence[Any] = ()
) -> Runtime:
    snapshot = Snapshot(generation=1, keys=tuple(keys), students=tuple(students), students_off=False)
    return build_runtime(config or Config(), snapshot)


def exchange_of(
    runtime: Runtime,
    body: dict[str, Any] | None = None,
    *,
    text: str = "hello",
    headers: dict[str, str] | None = None,
    principal: Principal | None = ALICE,
) -> Exchange:
    full = {"model": "m", "messages": [{"role": "user", "content": text}], **(body or {})}
    now = time.monotonic()
    return Exchange(
        call_id="chatcmpl-x", request_id="req_x", received_at=1_700_000_000.0, started=now, deadline=now + 60,
        headers=headers or {}, body=full, request=typed(full, ChatRequest), runtime=runtime, principal=principal,
    )  # fmt: skip


def completion(text: str, finish: str = "stop", **message: Any) -> dict[str, Any]:
    full = {"role": "assistant", "content": text, "refusal": None, "annotations": [], **message}
    choice = {"index": 0, "message": full, "logprobs": None, "finish_reason": finish}
    return {"id": "up", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice]}


def whole(text: str, finish: str = "stop", **message: Any) -> WholeAnswer:
    return WholeAnswer(completion(text, finish, **message), text, finish, None)


def chunk(delta: dict[str, Any], finish: str | None = None) -> Chunk:
    part = {"index": 0, "delta": delta, "finish_reason": finish}
    data = {"id": "up", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [part]}
    return Chunk(data, chunk_text(data), finish_reason(data))


class Stream:
    """Gives its items, raises those that are errors, and notes that it was closed."""

    def __init__(self, *items: Chunk | BaseException) -> None:
        self.items = list(items)
        self.closed = 0

    def __aiter__(self) -> Stream:
        return self

    async def __anext__(self) -> Chunk:
        if not self.items:
            raise StopAsyncIteration
        item = self.items.pop(0)
        if isinstance(item, BaseException):
            raise item
        return item

    async def aclose(self) -> None:
        self.closed += 1


def texts(*pieces: str) -> Stream:
    opening = chunk({"role": "assistant", "content": ""})
    return Stream(opening, *(chunk({"content": piece}) for piece in pieces), chunk({}, "stop"))


async def read(stream: Any) -> str:
    return "".join([one.text async for one in stream])


class Asking(Guardrail, frozen=True, kw_only=True):
    """A guardrail that asks others, of ``window`` characters at a time."""

    window: int = WHOLE
    outside: bool = False
    breaks: bool = False

    @property
    def asks(self) -> bool:
        return True

    @property
    def asks_outside(self) -> bool:
        return self.outside

    @property
    def asked_reach(self) -> int:
        return self.window
