"""Several teachers for a task: a share of what its teacher answered is asked of the others too, in the background, and
the answer most of them agree on becomes the label that students learn. What clients got stays what they got.

The others are asked through the same gate as everything that learning asks: clients come first. A task's day has a
budget in money; where a price is unknown nothing is asked, because nobody could say when it is spent. Where no answer
has more than half of the votes, a judge may choose among them, within the same budget.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import time
from collections.abc import Callable, Sequence

from gateway.concurrency.telling import Ended
from gateway.config import CandidateRef, Ensemble, EnsembleJudge
from gateway.context import Exchange
from gateway.protocol.asked import asked_of
from gateway.protocol.called import lesson_of
from gateway.providers.codec import AttemptFailed
from gateway.storage.protocols import Recorder
from gateway.storage.records import CallRecord, VoteRecord
from gateway.students.judging import in_both_orders, masked_alike
from gateway.students.measuring import context_of
from gateway.students.questions import DayBudget, Questions, teaches
from optimizer.panel import Vote, vote
from optimizer.routing.plan import Candidate
from optimizer.scorers.judge import contest

_log = logging.getLogger("understudy.learning")
_WORKERS, _QUEUE = 2, 500


class Panel:
    """Hears of finished calls; asks a few at a time, and drops and counts what does not fit."""

    def __init__(
        self, questions: Questions, recorder: Recorder, rng: random.Random,
        clock: Callable[[], float] = time.time,
    ) -> None:  # fmt: skip
        self._questions, self._recorder = questions, recorder
        self._rng, self._clock = rng, clock
        self._queue: asyncio.Queue[tuple[Exchange, Ensemble, str]] = asyncio.Queue(_QUEUE)
        self.budget = DayBudget(clock)
        self._tasks: list[asyncio.Task[None]] = []
        self.dropped = 0

    def start(self) -> None:
        self._tasks = [asyncio.create_task(self._work()) for _ in range(_WORKERS)]

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def finished(self, calls: Sequence[Ended]) -> None:
        for one in calls:
            task = one.exchange.task
            if task is not None and task.learn is not None and task.learn.ensemble is not None:
                self._poll(one.exchange, one.record, one.text, task.learn.ensemble)

    def _poll(self, exchange: Exchange, record: CallRecord, text: str, rules: Ensemble) -> None:
        if not teaches(exchange, record, text) or self._rng.random() >= rules.rate:
            return
        if not self.budget.affords((record.project, record.task), rules.budget_usd_day):
            return
        try:
            self._queue.put_nowait((exchange, rules, text))
        except asyncio.QueueFull:
            self.dropped += 1

    async def _work(self) -> None:
        while True:
            exchange, rules, text = await self._queue.get()
            try:
                await self._ask(exchange, rules, text)
            except Exception:
                _log.exception("a vote failed")
            finally:
                self._queue.task_done()

    async def _ask(self, exchange: Exchange, rules: Ensemble, text: str) -> None:
        """Whoever fails has no vote; with fewer than two votes there is none."""
        task, principal = exchange.task, exchange.principal
        assert task is not None and task.learn is not None and task.capture is not None and principal is not None
        answers, total = [text], 0.0
        known = True
        for ref in rules.teachers:
            with contextlib.suppress(AttemptFailed):
                answer, usd = await self._one(exchange, ref)
                self.budget.charge((principal.project, task.name), usd, rules.budget_usd_day)
                known, total = known and usd is not None, total + (usd or 0.0)
                if answer is not None:
                    answers.append(answer)
        if len(answers) < 2 and not total:
            return
        found, judged = vote(answers, task.learn.comparison), False
        if rules.judge is not None and found.split and len(found.groups) > 1:
            found, judged, usd = await self._judge(exchange, rules, rules.judge, found)
            known, total = known and usd is not None, total + (usd or 0.0)
        self._recorder.append(VoteRecord(
            call_id=exchange.call_id, project=principal.project, task=task.name, at=self._clock(),
            asked=asked_of(exchange.request.messages), label=found.label, share=found.share,
            votes=found.votes, extra_cost_usd=total if known else None, mask=task.capture.mask,
            judged=judged,
        ))  # fmt: skip

    async def _one(self, exchange: Exchange, ref: CandidateRef) -> tuple[str | None, float | None]:
        """(the answer, None when it is no whole one; what it cost). Raises AttemptFailed."""
        candidate = Candidate(provider=ref.provider, model=ref.model)
        answer, usd = await self._questions.ask(exchange, candidate, exchange.body)
        return lesson_of(answer, exchange.body), usd

    async def _judge(
        self, exchange: Exchange, rules: Ensemble, judge: EnsembleJudge, found: Vote
    ) -> tuple[Vote, bool, float | None]:
        """The vote with the answer that the judge chose, whether it chose at all, and what that cost. The answer with
        the most votes stands until one is preferred to it in both orders. A judge that fails, or a day whose money is
        spent, leaves the vote as it was."""
        assert exchange.task is not None and exchange.principal is not None
        scope = exchange.principal.project, exchange.task.name
        request, stands, total = context_of(exchange), found.label, 0.0
        who = Candidate(provider=judge.provider, model=judge.model)
        if max(len(text) for text in (request, *(answer for answer, _ in found.groups))) > judge.max_chars:
            return found, False, 0.0
        known = True

        def charge(usd: float | None) -> None:
            nonlocal total, known
            self.budget.charge(scope, usd, rules.budget_usd_day)
            known, total = known and usd is not None, total + (usd or 0.0)

        complete = True
        for answer, _ in found.groups:
            if answer == found.label:
                continue
            complete = self.budget.affords(scope, rules.budget_usd_day)
            if not complete:
                break
            texts = contest(*masked_alike(exchange, request, answer, stands))
            try:
                word = await in_both_orders(self._questions.ask, exchange, who, texts, charge)
            except AttemptFailed:
                complete = False
                break
            stands = answer if word.preference == 1.0 else stands
        usd = total if known else None
        return (found.chosen(stands), True, usd) if complete else (found, False, usd)
