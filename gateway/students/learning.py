"""What the gateway does for the loop after a call was answered: copies to shadow students, random re-asks of
the teacher, and asking the teacher twice. Never in the way of a client."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING

from msgspec import Struct, structs

from gateway.concurrency.telling import Ended
from gateway.context import Exchange
from gateway.protocol.called import lesson_of
from gateway.providers.codec import AttemptFailed
from gateway.runtime import student_provider
from gateway.stages.dispatch import ask_student
from gateway.storage.protocols import Recorder
from gateway.storage.records import CallRecord, PairKind, PairRecord
from gateway.students.deferral import slice_name
from gateway.students.judging import Judged, Judging
from gateway.students.measuring import Measuring, Spoken
from gateway.students.questions import DayBudget, Questions
from gateway.upstreams.asking import Asker
from optimizer.rollout import Stage, Student
from optimizer.routing.eligibility import ineligible
from optimizer.routing.plan import Candidate, Rung
from optimizer.scorers import agrees

if TYPE_CHECKING:
    from gateway.storage.spending import Purpose

_log = logging.getLogger("understudy.learning")
_WORKERS = 8
_QUEUE = 2000


class Job(Struct, frozen=True):
    """One thing to ask after a call, and the probability with which it was chosen."""

    kind: PairKind
    student: Student | None
    propensity: float


def jobs_for(
    exchange: Exchange, students: tuple[Student, ...], rng: random.Random, self_asked: int
) -> list[Job]:
    """Which comparisons this finished call gives rise to."""
    task, rung = exchange.task, exchange.answered_by
    if task is None or task.learn is None or rung is None or exchange.replayed:
        return []
    rules = exchange.runtime.config.promotion
    if rung.role == "student":
        for student in students:
            if student.id != rung.student:
                continue
            canary = student.stage is Stage.CANARY
            rate = rules.canary.reask_rate if canary else task.watch.reask_rate
            asked = [Job("canary" if canary else "reask", student, rate)] if rng.random() < rate else []
            return asked + shadows_for(exchange, students, rng)
        return []
    if rung.role != "teacher" or exchange.ineligible:
        return []
    jobs = shadows_for(exchange, students, rng)
    if self_asked < task.learn.ceiling_calls and rng.random() < task.learn.ceiling_rate:
        jobs.append(Job("self", None, task.learn.ceiling_rate))
    return jobs


def shadows_for(exchange: Exchange, students: tuple[Student, ...], rng: random.Random) -> list[Job]:
    """The shadow students that are asked as well: all of them at one draw, so that those of one round are compared on
    the same calls. What a live student answered is sampled at the same rate as what the teacher answered, else its
    successor would be judged by the calls it passed on: the hard ones."""
    sample = exchange.runtime.config.promotion.shadow.sample
    shadows = [one for one in students if one.stage is Stage.SHADOW and not one.paused]
    if not shadows or rng.random() >= sample:
        return []
    return [
        Job("shadow", student, sample)
        for student in shadows
        if not ineligible(exchange.body, max_answer_tokens=student.max_answer_tokens)
    ]  # fmt: skip


class Again:
    """The teacher's own answer to a call that a student answered, or its second one: asked for once, however many
    comparisons need it."""

    def __init__(self, ask: Callable[[], Awaitable[tuple[str | None, float | None]]]) -> None:
        self._ask = ask
        self._asking = asyncio.Lock()
        self._known: tuple[str | None, float | None] | None = None

    async def said(self) -> tuple[str | None, float | None, float | None]:
        """The text, what it cost, and what it cost on top of what was asked before: nothing the second time. Raises
        AttemptFailed; then the next comparison asks again."""
        async with self._asking:
            first = self._known is None
            if self._known is None:
                self._known = await self._ask()
            text, usd = self._known
            return text, usd, usd if first else 0.0


class Learner:
    """Asks in the background with a few workers and a bounded queue; what does not fit is dropped and counted."""

    def __init__(
        self,
        asker: Asker,
        questions: Questions,
        recorder: Recorder,
        rng: random.Random,
        observe: Callable[[PairRecord], None],
        measuring: Measuring | None = None,
    ) -> None:
        self._measuring = measuring if measuring is not None else Measuring()
        self._judging = Judging(questions.ask, rng, time.time)
        self._copies = DayBudget()
        self.budgets: dict[Purpose, DayBudget] = {"judge": self._judging.budget, "shadow": self._copies}
        """Of what is asked for evidence, by purpose."""
        self._asker, self._questions, self._recorder = asker, questions, recorder
        self._rng, self._observe = rng, observe
        self._queue: asyncio.Queue[tuple[Exchange, Job, str, Again]] = asyncio.Queue(_QUEUE)
        self._self_asked: Counter[str] = Counter()
        self._tasks: list[asyncio.Task[None]] = []
        self.dropped = 0

    def start(self) -> None:
        self._tasks = [asyncio.create_task(self._work()) for _ in range(_WORKERS)]

    async def stop(self) -> None:
        """Finishes what is being asked now, for a second at most, and drops the rest."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._queue.join(), 1.0)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def finished(self, calls: Sequence[Ended]) -> None:
        for one in calls:
            task = one.exchange.task
            if task is not None and task.learn is not None and one.record.status == "ok":
                self._compare(one.exchange, one.record, one.text)

    def _compare(self, exchange: Exchange, record: CallRecord, text: str) -> None:
        scope = (record.project, record.task, record.fingerprint)
        students = exchange.runtime.students.get(scope, ())
        again = Again(lambda: self._teacher(exchange))
        for job in jobs_for(exchange, students, self._rng, self._self_asked[record.task]):
            self._self_asked[record.task] += job.kind == "self"
            try:
                self._queue.put_nowait((exchange, job, text, again))
            except asyncio.QueueFull:
                self.dropped += 1

    async def _work(self) -> None:
        while True:
            exchange, job, text, again = await self._queue.get()
            try:
                pair = await self._ask(exchange, job, text, again)
                if pair is not None:
                    self._recorder.append(pair)
                    self._observe(pair)
            except AttemptFailed as problem:
                self.dropped += problem.failure.kind == "busy"
                _log.info("a %s comparison got no answer: %s", job.kind, problem.error.message)
            except Exception:
                _log.exception("a %s comparison failed", job.kind)
            finally:
                self._queue.task_done()

    async def _ask(self, exchange: Exchange, job: Job, text: str, asked: Again) -> PairRecord | None:
        by_student = exchange.answered_by is not None and exchange.answered_by.role == "student"
        if job.kind == "shadow" and not self._affords(exchange):
            return None
        if job.kind == "shadow" and not by_student:
            return await self._shadow(exchange, job, text, 0.0, exchange.teacher_cost_usd)
        again, usd, extra = await asked.said()
        if again is None:
            return None
        if job.kind == "shadow":
            return await self._shadow(exchange, job, again, extra, usd)
        if job.kind == "self":
            spoken = Spoken(student=again, teacher=text)
            return _pair(exchange, job, spoken, {}, confidence=1.0, answered=True, extra=extra)
        assert exchange.confidence is not None
        spoken = Spoken(exchange.student_text, again, exchange.student_cost_usd, usd)
        return await self._compared(
            exchange, job, spoken, confidence=exchange.confidence, answered=True, extra=extra
        )

    def _affords(self, exchange: Exchange) -> bool:
        """Whether the day has money left for the task's copies: what was spent says nothing of what this one shows."""
        budget = exchange.runtime.config.promotion.shadow.usd_per_day
        return budget is None or exchange.task is None or self._copies.affords(("", exchange.task.name), budget)

    async def _shadow(
        self, exchange: Exchange, job: Job, text: str, extra: float | None, teacher_usd: float | None
    ) -> PairRecord:
        """``text``: the teacher's answer, which cost ``extra`` when it was asked for this."""
        student = job.student
        assert student is not None and exchange.task is not None
        rung = Rung(
            candidate=Candidate(provider=student_provider(exchange.runtime), model=student.id),
            role="student", student=student.id, threshold=student.threshold,
        )  # fmt: skip
        passage = await self._questions.enter(exchange.runtime, rung.candidate)
        began = time.monotonic()
        with passage:
            reply = await ask_student(self._asker, exchange, rung, remaining=5.0)
        took = (time.monotonic() - began) * 1000
        config = exchange.runtime.config
        own = reply.cpu_ms / 3_600_000 * config.engines.usd_per_hour(reply.engine)
        extra = None if extra is None else extra + own
        self._copies.charge(("", exchange.task.name), extra, config.promotion.shadow.usd_per_day or 0.0)
        spoken = Spoken(reply.text, text, own, teacher_usd)
        return await self._compared(
            exchange, job, spoken, confidence=reply.confidence,
            answered=reply.confidence >= student.threshold, extra=extra, took=took,
        )  # fmt: skip

    async def _compared(
        self, exchange: Exchange, job: Job, spoken: Spoken, *, confidence: float, answered: bool,
        extra: float | None, took: float | None = None,
    ) -> PairRecord:  # fmt: skip
        scores = await self._measuring.scores(exchange, spoken)
        judge_usd = 0.0
        if answered:
            judged = await self._judged(exchange, spoken)
            if judged is not None:
                scores["judge"], judge_usd = judged.preference, judged.usd or 0.0
                extra = None if extra is None or judged.usd is None else extra + judged.usd
        pair = _pair(
            exchange, job, spoken, scores, confidence=confidence, answered=answered, extra=extra, took=took
        )
        return structs.replace(pair, judge_usd=judge_usd)

    async def _judged(self, exchange: Exchange, spoken: Spoken) -> Judged | None:
        """A judge that fails takes nothing from the comparison but its own word."""
        try:
            return await self._judging.judge(exchange, spoken)
        except AttemptFailed as problem:
            _log.info("the judge gave no answer: %s", problem.error.message)
            return None

    async def _teacher(self, exchange: Exchange) -> tuple[str | None, float | None]:
        """The teacher's own answer to a call that was answered already, and what asking cost."""
        assert exchange.task is not None and exchange.task.teacher is not None
        ref = exchange.task.teacher
        candidate = Candidate(provider=ref.provider, model=ref.model)
        answer, usd = await self._questions.ask(exchange, candidate, exchange.body)
        said = lesson_of(answer, exchange.body)
        return (None, None) if said is None else (said, usd)


def _pair(
    exchange: Exchange,
    job: Job,
    spoken: Spoken,
    scores: dict[str, float],
    *,
    confidence: float,
    answered: bool,
    extra: float | None,
    took: float | None = None,
) -> PairRecord:
    task, principal = exchange.task, exchange.principal
    assert task is not None and task.learn is not None and task.capture is not None and principal is not None
    return PairRecord(
        call_id=exchange.call_id,
        kind=job.kind,
        created_at=exchange.received_at,
        project=principal.project,
        task=task.name,
        fingerprint=exchange.fingerprint,
        student=job.student.id if job.student else "",
        epoch=job.student.epoch if job.student else 0,
        session=exchange.session,
        answered=answered,
        agree=agrees(task.learn.comparison, spoken.student, spoken.teacher),
        confidence=confidence,
        propensity=job.propensity,
        student_latency_ms=took if took is not None else exchange.student_ms,
        extra_cost_usd=extra,
        teacher_text=spoken.teacher,
        student_text=spoken.student,
        mask=task.capture.mask,
        scores=scores,
        slice=(slice_name(exchange, job.student, spoken.student) or "") if job.student else "",
        principal=f"{principal.key_id}/{exchange.request.end_user}",
    )
