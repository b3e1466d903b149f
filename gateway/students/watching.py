"""The watch over students that serve: agreement on random re-asks, errors, latency and cost. Detection is
``optimizer.drift``; taking the traffic back is ``gateway.live``."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from gateway.config import CanaryRules, Task
from optimizer import canary, drift
from optimizer.rollout import Stage, Student
from optimizer.stats.intervals import wilson

_RECENT = 200  # student answers over which errors and latency are judged
_PRICED = 500  # answers and re-asks over which the cost is judged
_ENOUGH = 50


@dataclass(slots=True)
class _Watched:
    student: Student
    task: Task
    state: drift.WatchState
    growth: canary.Growth
    answers: deque[tuple[bool, float]] = field(default_factory=lambda: deque(maxlen=_RECENT))
    since_check: int = 0
    prices: deque[tuple[bool, float, float]] = field(default_factory=lambda: deque(maxlen=_PRICED))
    """(an answer, else a re-ask; spent; what the teacher would have cost)."""


class Watcher:
    """One entry per serving student and epoch. ``alarm`` is called with (student id, reason, numbers)."""

    def __init__(self, alarm: Callable[[str, str, dict[str, float]], None]) -> None:
        self._alarm = alarm
        self._watched: dict[str, _Watched] = {}

    def missing(self, students: Iterable[Student]) -> list[Student]:
        """The serving students that are not watched at their present epoch yet."""
        return [
            one for one in students
            if one.stage in (Stage.CANARY, Stage.LIVE)
            and (one.id not in self._watched or self._watched[one.id].student.epoch != one.epoch)
        ]  # fmt: skip

    def begin(self, student: Student, task: Task, agreements: Iterable[bool]) -> None:
        """Starts (or restarts, after a restart of the gateway, from what was recorded) a student's watch."""
        assert task.learn is not None
        state = drift.start(task.learn.target, task.learn.margin, task.watch.average_run_length)
        growth = canary.begin(task.learn.target, task.learn.margin, task.learn.alpha, student.round)
        for agree in agreements:
            state, growth = drift.observe(state, agree), canary.observe(growth, agree)
        self._watched[student.id] = _Watched(student, task, state, growth)
        self._judge(self._watched[student.id])

    def forget(self, serving: set[str]) -> None:
        for gone in self._watched.keys() - serving:
            del self._watched[gone]

    def pair(self, student: str, epoch: int, agree: bool, *, judge: bool = True) -> None:
        """One random re-ask of an answered call has come back."""
        watched = self._watched.get(student)
        if watched is None or watched.student.epoch != epoch:
            return
        watched.state = drift.observe(watched.state, agree)
        watched.growth = canary.observe(watched.growth, agree)
        if judge:
            self._judge(watched)

    def answered(self, student: str, ok: bool, milliseconds: float) -> None:
        """One attempt at a student has ended."""
        watched = self._watched.get(student)
        if watched is None:
            return
        watched.answers.append((ok, milliseconds))
        watched.since_check += 1
        if watched.since_check >= 20 and len(watched.answers) >= _ENOUGH:
            watched.since_check = 0
            errors, p95 = self._health(watched)
            reason = drift.health(errors, len(watched.answers), p95, watched.task.watch)
            if reason:
                self._alarm(student, reason, self.numbers(student))

    def paid(self, student: str, spent: float | None, teacher: float | None) -> None:
        """An answer of a student has been priced, or a re-ask of one, which saves nothing: ``teacher`` None. What has
        no known price is left out."""
        watched = self._watched.get(student)
        if watched is None or spent is None:
            return
        watched.prices.append((teacher is not None, spent, teacher or 0.0))
        if teacher is None or len(watched.prices) % 20:
            return
        reason = drift.overpriced(*_prices(watched), watched.task.watch)
        if reason:
            self._alarm(student, reason, self.numbers(student))

    def canary_share(self, student: Student, rules: CanaryRules) -> float:
        """The share of its eligible calls that a student in canary answers by now."""
        watched = self._watched.get(student.id)
        if watched is None or watched.student.epoch != student.epoch:
            return rules.share
        return canary.share(watched.growth, rules.share, rules.most)

    def numbers(self, student: str) -> dict[str, float]:
        """What the page shows; {} when the student is not watched."""
        watched = self._watched.get(student)
        if watched is None:
            return {}
        state = watched.state
        low, high = wilson(state.agreed, state.n, 0.95) if state.n else (0.0, 1.0)
        errors, p95 = self._health(watched)
        _, spent, teacher = _prices(watched)
        return {
            "reasks": float(state.n),
            "agreement": state.agreed / state.n if state.n else 0.0,
            "agreement_low": low,
            "agreement_high": high,
            "evidence": state.evidence,
            "alarm_at": state.alarm_at,
            "error_rate": errors / max(1, len(watched.answers)),
            "p95_ms": p95,
            **({"cost_share": spent / teacher} if teacher else {}),
        }

    def _judge(self, watched: _Watched) -> None:
        state = watched.state
        if state.alarmed:
            reason = (
                f"agreement with the teacher fell: {state.agreed} of {state.n} random re-asks agreed "
                f"(evidence {state.evidence:.0f}, alarm at {state.alarm_at:.0f})"
            )
            self._alarm(watched.student.id, reason, self.numbers(watched.student.id))

    @staticmethod
    def _health(watched: _Watched) -> tuple[int, float]:
        errors = sum(1 for ok, _ in watched.answers if not ok)
        times = sorted(took for _, took in watched.answers)
        return errors, times[int(0.95 * (len(times) - 1))] if times else 0.0


def _prices(watched: _Watched) -> tuple[int, float, float]:
    """Recent answers, what was spent on them and their re-asks, and what the teacher would have cost."""
    answers = sum(answer for answer, _, _ in watched.prices)
    spent = sum(cost for _, cost, _ in watched.prices)
    return answers, spent, sum(teacher for _, _, teacher in watched.prices)
