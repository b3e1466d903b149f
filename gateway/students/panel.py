"""Several teachers for a task: a share of what its teacher answered is asked of the others too, in the background, and
the answer most of them agree on becomes the label that students learn. What clients got stays what they got.

The others are asked through the same gate as everything that learning asks: clients come first. A task's day has a
budget in money; where a price is unknown nothing is asked, because nobody could say when it is spent.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import time
from collections.abc import Callable

from gateway import errors
from gateway.config import CandidateRef, Ensemble
from gateway.context import Exchange
from gateway.money.accounting import Accountant
from gateway.protocol.chat import last_user_text
from gateway.providers.codec import AttemptFailed, failed
from gateway.resilience.gate import Gate
from gateway.storage.protocols import Recorder
from gateway.storage.records import CallRecord, VoteRecord
from gateway.structured.demand import enforcement
from gateway.structured.wording import fitted
from gateway.upstreams.asking import Asker
from optimizer.panel import vote
from optimizer.routing.plan import Candidate

_log = logging.getLogger("understudy.learning")
_WORKERS, _QUEUE, _PATIENCE_S, _DAY_S = 2, 500, 60.0, 86_400.0


class Panel:
    """Hears of finished calls; asks a few at a time, and drops and counts what does not fit."""

    def __init__(
        self, asker: Asker, gate: Gate, recorder: Recorder, accountant: Accountant, rng: random.Random,
        clock: Callable[[], float] = time.time,
    ) -> None:  # fmt: skip
        self._asker, self._gate = asker, gate
        self._recorder, self._accountant = recorder, accountant
        self._rng, self._clock = rng, clock
        self._queue: asyncio.Queue[tuple[Exchange, Ensemble, str]] = asyncio.Queue(_QUEUE)
        self._spent: dict[tuple[str, str], tuple[int, float]] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self.dropped = 0

    def start(self) -> None:
        self._tasks = [asyncio.create_task(self._work()) for _ in range(_WORKERS)]

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def finished(self, exchange: Exchange, record: CallRecord, text: str) -> None:
        rules = exchange.task.learn.ensemble if exchange.task is not None and exchange.task.learn else None
        if rules is None or record.text is None or not record.text.trainable or not text:
            return
        rung = exchange.answered_by
        asked = rung is not None and rung.role == "teacher" and not exchange.replayed and not exchange.ineligible
        if not asked or self._rng.random() >= rules.rate or not self._affordable(record, rules):
            return
        try:
            self._queue.put_nowait((exchange, rules, text))
        except asyncio.QueueFull:
            self.dropped += 1

    def _affordable(self, record: CallRecord, rules: Ensemble) -> bool:
        day, spent = self._spent.get((record.project, record.task), (0, 0.0))
        return int(self._clock() // _DAY_S) != day or spent < rules.budget_usd_day

    def _charge(self, scope: tuple[str, str], usd: float | None, rules: Ensemble) -> None:
        """An unknown price ends the day: nobody could say when the budget is spent."""
        today = int(self._clock() // _DAY_S)
        day, spent = self._spent.get(scope, (today, 0.0))
        before = spent if day == today else 0.0
        self._spent[scope] = today, before + (rules.budget_usd_day if usd is None else usd)

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
                self._charge((principal.project, task.name), usd, rules)
                known, total = known and usd is not None, total + (usd or 0.0)
                if answer is not None:
                    answers.append(answer)
        if len(answers) < 2 and not total:
            return
        found = vote(answers, task.learn.comparison)
        self._recorder.append(VoteRecord(
            call_id=exchange.call_id, project=principal.project, task=task.name, at=self._clock(),
            asked=last_user_text(exchange.request.messages), label=found.label, share=found.share,
            votes=found.votes, extra_cost_usd=total if known else None, mask=task.capture.mask,
        ))  # fmt: skip

    async def _one(self, exchange: Exchange, ref: CandidateRef) -> tuple[str | None, float | None]:
        """(the answer, None when it is no whole one; what it cost). Raises AttemptFailed."""
        candidate, runtime = Candidate(provider=ref.provider, model=ref.model), exchange.runtime
        if not self._gate.breakers.healthy(candidate):
            raise failed("busy", errors.Unavailable(f"The candidate '{candidate.name}' is failing at the moment."))
        body = fitted(exchange.body, enforcement(runtime, candidate))
        with await self._gate.enter(candidate, runtime.config.upstreams, _PATIENCE_S, yields=True):
            answer = await self._asker.whole(runtime, candidate, body, remaining=60.0)
        usd = self._accountant.extra_cost(exchange, candidate, answer.usage)
        return (answer.text if answer.finish_reason == "stop" else None), usd
