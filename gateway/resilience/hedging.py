"""A second call beside a slow one, before the first byte (Dean and Barroso, "The Tail at Scale", CACM 2013).

Whoever is first answers; the other is hung up on, so that one answer is delivered and priced.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from gateway.config import Hedge
from gateway.providers.codec import AttemptFailed

T = TypeVar("T")
_REMEMBERED = 200
_ENOUGH = 20
_EVERY = 20


class Hedging:
    """How long calls take by candidate, and how many second calls were made."""

    def __init__(self) -> None:
        self._took: dict[str, deque[float]] = {}
        self._p95: dict[str, float] = {}
        self._fresh: dict[str, int] = {}
        self._calls = self._hedged = 0.0

    def took(self, name: str, seconds: float) -> None:
        """The time to the first byte of a call that was answered."""
        self._took.setdefault(name, deque(maxlen=_REMEMBERED)).append(seconds)
        self._fresh[name] = self._fresh.get(name, 0) + 1

    def after(self, name: str, rule: Hedge) -> float | None:
        """Seconds to wait for ``name`` before asking a second time; None while too little is known."""
        if rule.after_ms is not None:
            return rule.after_ms / 1000
        known = self._took.get(name, ())
        if len(known) < _ENOUGH:
            return None
        if name not in self._p95 or self._fresh[name] >= _EVERY:
            self._p95[name] = sorted(known)[int(0.95 * (len(known) - 1))]
            self._fresh[name] = 0
        return self._p95[name]

    def called(self) -> None:
        if self._calls >= 10_000:
            self._calls, self._hedged = self._calls / 2, self._hedged / 2
        self._calls += 1

    def take(self, share: float) -> bool:
        """Whether one more second call is within ``share`` of all calls; counts it if so."""
        if self._hedged + 1 > share * self._calls:
            return False
        self._hedged += 1
        return True


async def race(
    first: Callable[[], Awaitable[T]],
    second: Callable[[], Awaitable[T]],
    *,
    after: float,
    allowed: Callable[[], bool],
    discard: Callable[[T], Awaitable[None]],
) -> T:
    """The first answer of ``first`` and, when that has said nothing ``after`` seconds, ``second``.

    A failure counts only when both have failed; then it is ``first``'s. ``discard`` gets an answer that came too
    late, and one that nobody takes because this call was cancelled. Both are over when this returns or raises,
    cancellation included.
    """
    tasks = [asyncio.ensure_future(first())]
    winner: asyncio.Future[T] | None = None
    try:
        done, _ = await asyncio.wait(tasks, timeout=after)
        if not done and allowed():
            tasks.append(asyncio.ensure_future(second()))
        winner = await _decided(tasks)
    finally:
        losers = [task for task in tasks if task is not winner]
        try:
            if losers:
                await _through(_hang_up(losers, discard))
        except BaseException:
            if winner is not None and not winner.cancelled() and winner.exception() is None:
                await _through(discard(winner.result()))  # nobody is there any more to close it
            raise
    return winner.result()


async def _decided(tasks: Sequence[asyncio.Future[T]]) -> asyncio.Future[T]:
    """The task whose end counts: a good one, one that failed by no provider's fault, else the first."""
    pending = set(tasks)
    while pending:
        done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            if task in done and (task.cancelled() or not isinstance(task.exception(), AttemptFailed)):
                return task
    return tasks[0]


async def _hang_up(tasks: Sequence[asyncio.Future[T]], discard: Callable[[T], Awaitable[None]]) -> None:
    for task in tasks:
        task.cancel()
    for found in await asyncio.gather(*tasks, return_exceptions=True):
        if not isinstance(found, BaseException):
            await discard(found)


async def _through(work: Awaitable[None]) -> None:
    """Does ``work`` to its end whoever cancels this meanwhile; the cancellation is raised afterwards."""
    doing = asyncio.ensure_future(work)
    cancelled: asyncio.CancelledError | None = None
    while not doing.done():
        try:
            await asyncio.shield(doing)
        except asyncio.CancelledError as problem:
            cancelled = problem
    if cancelled is not None:
        raise cancelled
    doing.result()
