"""Waiting for somebody else for so long at most, where time in which this loop itself stood still does not count.

A loop that is held up (a burst of connections, a large body, a machine that is busy) finds the end of the wait and the
answer at once, and takes the timer first: the other side would be called away although it had answered in time. So a
timer that is late begins again, and one that is not lets the loop go round a few times, for an answer that lies there
has several steps to go.
"""

from __future__ import annotations

import asyncio
from types import TracebackType

_LATE_S = 0.01
"""A timer that fires so late says that the loop stood still."""
_STALLS = 5
"""So often the wait begins again: a loop that always stands still must come to an end, too."""
_ROUNDS = 10
"""From the socket to whoever waits; nothing for a loop that has nothing else to do."""


class Patience:
    """A context of one wait. Raises TimeoutError after ``seconds``, as ``asyncio.timeout`` does."""

    __slots__ = ("_due", "_handle", "_limit", "_loop", "_rounds", "_seconds", "_stalls")

    def __init__(self, seconds: float) -> None:
        self._seconds, self._stalls, self._rounds = seconds, _STALLS, _ROUNDS
        self._limit = asyncio.timeout(None)

    async def __aenter__(self) -> None:
        self._loop = asyncio.get_running_loop()
        await self._limit.__aenter__()
        self._begin()

    async def __aexit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._handle.cancel()
        await self._limit.__aexit__(kind, problem, trace)

    def _begin(self) -> None:
        self._due = self._loop.time() + self._seconds
        self._handle: asyncio.Handle = self._loop.call_at(self._due, self._end)

    def _end(self) -> None:
        if self._stalls and self._loop.time() - self._due > _LATE_S:
            self._stalls -= 1
            self._begin()
        else:
            self._go_round()

    def _go_round(self) -> None:
        if self._rounds:
            self._rounds -= 1
            self._handle = self._loop.call_soon(self._go_round)
        else:
            self._limit.reschedule(self._loop.time())
