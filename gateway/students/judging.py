"""Asks the judge which of two answers is better: a sample of the compared calls, twice each, within a day's budget.

Whether a call is judged never depends on what its answers say. So equal answers are a tie without a question, but only
while the judge answers: were it away, ties alone would come in, and a student would look better than it is.
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from typing import Any

from msgspec import Struct

from gateway.context import Exchange
from gateway.protocol.answer import WholeAnswer
from gateway.students.measuring import Spoken, context_of
from gateway.students.questions import DayBudget
from gateway.texts.masking import Masker
from optimizer.routing.plan import Candidate
from optimizer.scorers.judge import Contest, Word, contest, parse, preference, render

_TOKENS = 2000
"""Room for a judge that thinks before it speaks."""

Asks = Callable[[Exchange, Candidate, dict[str, Any]], Awaitable[tuple[WholeAnswer, float | None]]]
"""One question to a candidate: its answer and what it cost. Raises AttemptFailed."""
Charge = Callable[[float | None], None]


class Judged(Struct, frozen=True):
    """``preference``: 1 the student's answer is better, 0 the teacher's, ½ neither. ``usd``: None when unknown."""

    preference: float
    usd: float | None


class Judging:
    """One per gateway: remembers what was spent today, by task, and whether the judge answers."""

    def __init__(self, ask: Asks, rng: random.Random, clock: Callable[[], float]) -> None:
        self._ask, self._rng, self.budget = ask, rng, DayBudget(clock)
        self._well: set[Candidate] = set()

    async def judge(self, exchange: Exchange, spoken: Spoken) -> Judged | None:
        """None when the call is not in the sample, the day's money is spent, or the texts are too long. Raises
        AttemptFailed when the judge gives no answer."""
        rules = exchange.runtime.config.promotion.judge
        task = exchange.task.name if exchange.task else ""
        if (
            rules is None
            or self._rng.random() >= rules.sample
            or not self.budget.affords(("", task), rules.usd_per_day)
        ):
            return None
        request = context_of(exchange)
        if max(map(len, (request, spoken.student, spoken.teacher))) > rules.max_chars:
            return None
        judge = Candidate(provider=rules.provider, model=rules.model)
        if spoken.student == spoken.teacher and judge in self._well:
            return Judged(0.5, 0.0)
        self._well.discard(judge)
        texts = contest(*masked_alike(exchange, request, spoken.student, spoken.teacher))
        found = await in_both_orders(self._ask, exchange, judge, texts, self._charge(task))
        self._well.add(judge)
        return found

    def _charge(self, task: str) -> Charge:
        return lambda usd: self.budget.charge(("", task), usd or 0.0, 0.0)


async def in_both_orders(
    ask: Asks, exchange: Exchange, judge: Candidate, texts: Contest, charge: Charge
) -> Judged:
    """Two questions; ``charge`` hears of the price of each as soon as it is asked. Raises AttemptFailed."""
    words: list[Word | None] = []
    total: float | None = 0.0
    for student_first in (True, False):
        body: dict[str, Any] = {
            "messages": render(texts, student_first=student_first),
            "max_completion_tokens": _TOKENS,
        }
        answer, usd = await ask(exchange, judge, body)
        charge(usd)
        total = None if total is None or usd is None else total + usd
        words.append(parse(answer.text))
    return Judged(preference(texts, words[0], words[1]), total)


def masked_alike(exchange: Exchange, request: str, student: str, teacher: str) -> tuple[str, str, str]:
    """Request and answers as the task's captures may hold them: equal values behind equal placeholders."""
    texts = (request, student, teacher)
    if exchange.task is None or exchange.task.capture is None or not exchange.task.capture.mask:
        return texts
    masker = Masker()
    for text in texts:
        masker.reserve(text)
    return masker.mask(texts[0]), masker.mask(texts[1]), masker.mask(texts[2])
