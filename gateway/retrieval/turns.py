"""Whose document is read next. Reading one may take a minute, so nobody's documents may keep all readers busy; files
on their way into vector stores and runs of evals take turns likewise.

A project has at most ``each`` of the ``places`` at a time; of those who wait, whoever has the fewest goes first, then
whoever was let in longest ago. So the first document of a project waits for no other project's queue.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import (
    AsyncIterator,
    Callable,
    Collection,
    Hashable,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from contextlib import asynccontextmanager
from typing import Generic, TypeVar

Place = TypeVar("Place", bound=Hashable)


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


class InTurn(Generic[Place]):
    """What a crew takes next of the places that wait; ``project``: whose one is."""

    def __init__(self, project: Callable[[Place], str], *, places: int, each: int) -> None:
        self._project, self._places, self._each = project, places, each
        self._last: dict[str, int] = {}
        self._count = 0

    def begun(self, place: Place) -> None:
        """There is work on it."""
        self._count += 1
        self._last[self._project(place)] = self._count

    def of(self, waiting: Iterable[Place], at_work: Collection[Place]) -> Iterator[Place]:
        """One by one, since what is handed out may be at work when the next is chosen, or be another worker's."""
        left = [place for place in waiting if place not in at_work]
        concerned = {self._project(place) for place in (*left, *at_work)}
        self._last = {project: at for project, at in self._last.items() if project in concerned}
        while left:
            projects, busy = [self._project(one) for one in left], Counter(self._project(one) for one in at_work)
            at = next_in_turn(projects, busy, self._last, places=self._places, each=self._each)
            if at is None:
                return
            yield left.pop(at)


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
