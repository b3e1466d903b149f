"""What a gateway process does when a person was erased: it forgets what it holds of theirs in memory.

The database tells every process of it, so it does not matter who asked, or where. Recent calls and stored documents
know whose they are; caches do not, because one answer serves many, so they are emptied. A new spool segment
begins, and the one before goes as soon as it was ingested.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence

from gateway.caching.semantic import Semantic
from gateway.client_data.client_state import ClientStates
from gateway.control import Control
from gateway.storage.answers import Clears
from gateway.storage.away import database_errors
from gateway.storage.erasure_values import Erasure, who_of
from gateway.storage.recent import RecentCalls
from gateway.storage.spooling.spool import Spool

_EVERY_S = 0.25
_AGAIN_S = 900.0
"""Calls that were in flight have ended by then, and what they left is forgotten as well."""
_STARTED_S = 86_400.0
"""At its start a process empties shared caches for erasures as young as this: answers do not live longer."""


class Forgetting:
    def __init__(
        self, control: Control, recent: RecentCalls, states: ClientStates, answers: Sequence[Clears],
        semantic: Semantic, spool: Spool, clock: Callable[[], float] = time.time,
    ) -> None:  # fmt: skip
        self._control, self._clock = control, clock
        self._recent, self._states = recent, states
        self._answers, self._semantic, self._spool = answers, semantic, spool
        self._generation, self._last = -1, -1
        self._again: list[tuple[float, str, Erasure]] = []

    async def run(self) -> None:
        while True:
            try:
                await self.catch_up()
            except database_errors():
                pass  # it is away; what it says is heard later
            await asyncio.sleep(_EVERY_S)

    async def catch_up(self) -> None:
        """Forgets what the database says was erased. Raises SQLAlchemyError while it is away."""
        now = self._clock()
        due = [(salt, one) for at, salt, one in self._again if at <= now]
        self._again = [waiting for waiting in self._again if waiting[0] > now]
        generation = self._control.runtime().snapshot.generation
        if generation != self._generation:
            salt, found = await asyncio.to_thread(self._news)
            due += [(salt, one) for one in found]
            self._again += [(now + _AGAIN_S, salt, one) for one in found]
            self._generation = generation
        for salt, erasure in due:
            self._forget(salt, erasure)
        if due:
            for answers in self._answers:
                answers.clear()
            self._spool.rotate()

    def _news(self) -> tuple[str, list[Erasure]]:
        """(salt, erasures that this process has not heard of). Blocking."""
        reader, first = self._control.reader, self._last < 0
        found = reader.erasures(after=max(self._last, 0))
        self._last = max((one.id for one in found), default=max(self._last, 0))
        if first:
            found = [one for one in found if one.at > self._clock() - _STARTED_S]
        return (reader.salt() if found else ""), found

    def _forget(self, salt: str, erasure: Erasure) -> None:
        project = erasure.project

        def is_them(end_user: str) -> bool:
            return who_of(salt, project, end_user) == erasure.who

        self._recent.forget_people(project, is_them)
        self._states.forget_people(project, is_them)
        self._semantic.forget(project)
