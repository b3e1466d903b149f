"""Whose document is read next. Reading one may take a minute, so nobody's documents may keep all readers busy.

A project has at most ``each`` of the ``places`` at a time; of those who wait, whoever has the fewest goes first, then
whoever was let in longest ago. So the first document of a project waits for no other project's queue.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager


def next_in_turn(
    waiting: Sequence[str], reading: Mapping[str, int], last: Mapping[str, int], *, places: int, each: int
) -> int | None:
    """Which of ``waiting`` (projects, in the order in which their documents came) is let in; None: nobody yet.
    ``reading``: how many of a project's documents are being read; ``last``: when it was let in last, as a number that
    grows."""
    if sum(reading.values()) >= places:
        return None
    free = [at for at, project in enumerate(waiting) if reading.get(project, 0) < each]
    return min(free, key=lambda at: (reading.get(waiting[at], 0), last.get(waiting[at], 0), at), default=None)


class Turns:
    """The readers of one worker, and who waits for one."""

    def __init__(self, places: int, each: int) -> None:
        self._places, self._each = places, each
        self._waiting: list[tuple[str, asyncio.Future[None]]] = []
        self._reading: Counter[str] = Counter()
        self._last: dict[str, int] = {}
        self._count = 0

    @asynccontextmanager
    async def taken(self, project: str) -> AsyncIterator[None]:
        """A place, once it is the project's turn."""
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((project, turn))
        self._let_in()
        try:
            await turn
            yield
        finally:
            if turn.done() and not turn.cancelled():
                self._reading[project] -= 1
            self._let_in()

    def _let_in(self) -> None:
        self._waiting = [one for one in self._waiting if not one[1].done()]  # who has left meanwhile is done, too
        while True:
            projects = [project for project, _ in self._waiting]
            at = next_in_turn(projects, self._reading, self._last, places=self._places, each=self._each)
            if at is None:
                break
            project, turn = self._waiting.pop(at)
            self._count += 1
            self._reading[project] += 1
            self._last[project] = self._count
            turn.set_result(None)
        self._reading = +self._reading
        self._last = {one: at for one, at in self._last.items() if one in self._reading or one in projects}
