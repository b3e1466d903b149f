"""What everything that learning asks in the background has in common: clients come first, and a day has a budget."""

from __future__ import annotations

import asyncio
import math
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from gateway import errors
from gateway.context import Exchange, WholeAnswer
from gateway.money.accounting import Accountant
from gateway.providers.codec import failed
from gateway.resilience.gate import Gate, Passage
from gateway.runtime import Runtime
from gateway.storage.away import database_errors
from gateway.storage.protocols import Reader
from gateway.storage.records import CallRecord
from gateway.structured.demand import enforcement
from gateway.structured.wording import fitted
from gateway.upstreams.asking import Asker
from optimizer.routing.plan import Candidate

if TYPE_CHECKING:
    from gateway.storage.spending import Purpose, Spent

DAY_S = 86_400.0
_PATIENCE_S, _ANSWER_S = 60.0, 60.0


class Questions:
    """Asks one candidate one thing, behind all clients."""

    def __init__(self, asker: Asker, gate: Gate, accountant: Accountant) -> None:
        self._asker, self._gate, self._accountant = asker, gate, accountant

    async def ask(
        self, exchange: Exchange, candidate: Candidate, body: Mapping[str, Any]
    ) -> tuple[WholeAnswer, float | None]:
        """The answer, and what it cost; None when that is unknown. Raises AttemptFailed."""
        runtime = exchange.runtime
        with await self.enter(runtime, candidate):
            answer = await self._asker.whole(
                runtime, candidate, fitted(body, enforcement(runtime, candidate)), remaining=_ANSWER_S
            )
        return answer, self._accountant.extra_cost(exchange, candidate, answer.usage)

    async def enter(self, runtime: Runtime, candidate: Candidate) -> Passage:
        """A question that finds no place for a minute, or a candidate that is failing, is dropped. Raises
        AttemptFailed ``busy``."""
        if not self._gate.breakers.healthy(candidate):
            raise failed(
                "busy", errors.Unavailable(f"The candidate '{candidate.name}' is failing at the moment.")
            )
        return await self._gate.enter(candidate, runtime.config.upstreams, _PATIENCE_S, yields=True)


class DayBudget:
    """What a task's day (UTC) of asking has cost so far, as far as this process knows."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._spent: dict[tuple[str, str], tuple[int, float]] = {}

    @property
    def begins(self) -> float:
        """When today began, in unix seconds."""
        return self._clock() // DAY_S * DAY_S

    def affords(self, scope: tuple[str, str], budget: float) -> bool:
        return self._today(scope) < budget

    def charge(self, scope: tuple[str, str], usd: float | None, budget: float) -> None:
        """An unknown price ends the day: nobody could say when the budget is spent."""
        self._spent[scope] = self._day(), self._today(scope) + (budget if usd is None else usd)

    def hear(self, scope: tuple[str, str], usd: float) -> None:
        """At least so much was spent today, by whomever."""
        self._spent[scope] = self._day(), max(self._today(scope), usd)

    def _day(self) -> int:
        return int(self._clock() // DAY_S)

    def _today(self, scope: tuple[str, str]) -> float:
        day, spent = self._spent.get(scope, (0, 0.0))
        return spent if day == self._day() else 0.0


_LISTEN_S = 10.0


class Spending:
    """Tells this process's budgets what all processes spent today. ``budgets``: by purpose; those of the judge and of
    copies count a task over all projects."""

    def __init__(
        self, reader: Reader, budgets: Mapping[Purpose, DayBudget], clock: Callable[[], float] = time.time
    ) -> None:
        self._reader, self._budgets, self._clock = reader, budgets, clock

    async def run(self) -> None:
        while True:
            try:
                self.hear(await asyncio.to_thread(self._reader.spent_on_day, self._clock()))
            except database_errors():
                pass  # it is heard later
            await asyncio.sleep(_LISTEN_S)

    def hear(self, spent: Iterable[Spent]) -> None:
        sums: dict[tuple[str, tuple[str, str]], float] = defaultdict(float)
        for one in spent:
            scope = ("", one.task) if one.purpose in ("judge", "shadow") else (one.project, one.task)
            sums[one.purpose, scope] += math.inf if one.unpriced else one.usd
        for (purpose, scope), usd in sums.items():
            for name, budget in self._budgets.items():
                if name == purpose:
                    budget.hear(scope, usd)


def teaches(exchange: Exchange, record: CallRecord, text: str) -> bool:
    """Whether the call is the teacher's own answer to a request that a student might answer, and is kept to learn."""
    rung = exchange.answered_by
    by_teacher = (
        rung is not None and rung.role == "teacher" and not exchange.replayed and not exchange.ineligible
    )
    return by_teacher and record.text is not None and record.text.trainable and bool(text)
