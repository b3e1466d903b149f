"""May they, now: requests per minute for each key, and a bound on what is in flight altogether."""

from __future__ import annotations

import math
import time
from collections.abc import AsyncIterator, Callable

from gateway.context import Answer, Chunk, ChunkStream, Exchange, Principal, WholeAnswer
from gateway.errors import RateLimited, Unavailable
from gateway.pipeline import Handler
from gateway.storage.counters import Counter, Decision, MemoryCounters, gcra

__all__ = ["Limit", "gcra", "wire_duration"]


class Limit:
    """The stage. ``max_concurrent`` calls at once, streams counted until their end; more are shed at once."""

    def __init__(
        self,
        counter: Counter | None = None,
        *,
        max_concurrent: int = 1000,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._counter = counter if counter is not None else MemoryCounters()
        self._max_concurrent = max_concurrent
        self._now = now
        self.in_flight = 0

    async def __call__(self, exchange: Exchange, inner: Handler) -> Answer:
        principal = exchange.principal
        if principal is not None and principal.requests_per_minute is not None:
            await self._take(exchange, principal, principal.requests_per_minute)
        if self.in_flight >= self._max_concurrent:
            raise Unavailable(
                "The gateway is at its limit of concurrent calls. Try again in a moment.",
                code="overloaded",
                headers={"retry-after": "1"},
            )
        self.in_flight += 1
        try:
            answer = await inner(exchange)
        except BaseException:
            self.in_flight -= 1
            raise
        if isinstance(answer, WholeAnswer):
            self.in_flight -= 1
            return answer
        return _Counted(answer, self)

    async def _take(self, exchange: Exchange, principal: Principal, limit: int) -> None:
        now = self._now()
        decision = await self._counter.take(principal.key_id, now, limit / 60.0, limit)
        headers = rate_headers(decision, now, limit)
        exchange.response_headers.update(headers)
        if not decision.allowed:
            wait = wire_duration(decision.retry_after)
            raise RateLimited(
                f"Rate limit reached for requests per minute (RPM): Limit {limit}, Used {limit}, "
                f"Requested 1. Please try again in {wait}.",
                headers={
                    **headers,
                    "retry-after": str(math.ceil(decision.retry_after)),
                    "retry-after-ms": str(math.ceil(decision.retry_after * 1000)),
                },
            )


def rate_headers(decision: Decision, now: float, limit: int) -> dict[str, str]:
    """OpenAI's three headers; ``reset`` is when the whole limit is free again."""
    ahead = max(decision.tat - now, 0.0)
    remaining = math.floor(limit - ahead * limit / 60.0 + 1e-9)
    return {
        "x-ratelimit-limit-requests": str(limit),
        "x-ratelimit-remaining-requests": str(max(remaining, 0)),
        "x-ratelimit-reset-requests": wire_duration(ahead),
    }


def wire_duration(seconds: float) -> str:
    """A duration as OpenAI writes it: ``6ms``, ``1s``, ``6m0s``; rounded up."""
    if seconds < 1.0:
        return f"{math.ceil(seconds * 1000)}ms"
    whole = math.ceil(seconds)
    if whole < 60:
        return f"{whole}s"
    return f"{whole // 60}m{whole % 60}s"


class _Counted:
    """A stream that gives its place back when it ends, fails or is closed, whichever comes first."""

    def __init__(self, inner: ChunkStream, limit: Limit) -> None:
        self._inner = inner
        self._limit = limit
        self._held = True

    def __aiter__(self) -> AsyncIterator[Chunk]:
        self._chunks = aiter(self._inner)
        return self

    async def __anext__(self) -> Chunk:
        try:
            return await anext(self._chunks)
        except BaseException:
            self._release()
            raise

    async def aclose(self) -> None:
        self._release()
        await self._inner.aclose()

    def _release(self) -> None:
        if self._held:
            self._held = False
            self._limit.in_flight -= 1
