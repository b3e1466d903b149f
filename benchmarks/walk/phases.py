"""The walk itself: what the demo waits for, in order, and why each step is there."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import httpx

from benchmarks.walk.admin import AdminClient, Entry, RunSeen, StudentSeen, TaskSeen, Totals
from benchmarks.walk.processes import Children, TrafficReader, WalkFailed
from benchmarks.walk.show import Board, Display, Line

POLL_S = 0.5
HOLD_LIVE_S = 20.0
"""How long the student serves before the teacher changes, so that its savings can be seen and measured."""
LEAST_REASKS = 120
_SILENCE_S = 20.0
_RANK = {"shadow": 2, "canary": 3, "live": 4}
Found = str | None


def checklist() -> list[Line]:
    return [
        Line("Start", "the gateway, its trainer and engine, and the simulated teacher come up"),
        Line("Capture", "every call goes to the simulated teacher; question, answer and price are recorded"),
        Line("Train", "a dataset is split and curated, a classifier is trained, its threshold calibrated"),
        Line("Shadow", "the student answers copies and serves nobody; the gate compares it with the teacher"),
        Line("Canary", "it serves a small share; random answers are asked of the teacher again"),
        Line("Live", "it answers what it is sure of, the teacher the rest; the cost per call falls"),
        Line(
            "Drift",
            "the simulated teacher has changed its policy for a fifth of the tickets; the watch looks",
        ),
        Line("Taken back", "traffic is back on the teacher, and a retrain is queued"),
    ]


@dataclass(slots=True)
class Walk:
    """Where the walk stands and what it has measured; :meth:`go` takes it from the first call to the end."""

    admin: AdminClient
    teacher_url: str
    task_name: str
    children: Children
    traffic: TrafficReader
    board: Board
    display: Display
    figures: dict[str, Any] = field(default_factory=dict)
    task: TaskSeen = field(init=False)
    totals: Totals = field(default_factory=Totals)
    journal: list[Entry] = field(default_factory=list)
    live_id: str = ""
    _heard_at: float = field(default_factory=time.monotonic)

    def go(self) -> None:
        """Raises WalkFailed when a step does not come to pass in its time."""
        self._capture()
        self._train()
        self._rise("Shadow", "canary", "the gate did not let the student serve", 120)
        self._rise("Canary", "live", "the student was not promoted to live", 150)
        self._live()
        self._drift()
        self._taken_back()

    # ------------------------------------------------------------ phases
    def _capture(self) -> None:
        def enough() -> Found:
            needed = self.task.needed_calls or 0
            self.board.progress = f"{self.task.captured_calls:,} of {needed:,} calls captured"
            if self.task.captured_calls < needed or self.task.cost.per_call_usd is None:
                return None
            return (
                f"{self.task.captured_calls:,} calls captured, {_usd(self.totals.per_1000)} per 1,000 calls"
            )

        self._phase("Capture", 150, enough, "the captured calls did not reach the number a training needs")
        self.figures["before_usd_per_1000_calls"] = self.totals.per_1000
        self.figures["captured_calls"] = self.task.captured_calls

    def _train(self) -> None:
        def trained() -> Found:
            run = next(iter(self.task.runs), None)
            if run is not None and run.state == "failed":
                raise WalkFailed(f"The training run {run.id} failed: {run.error}")
            self.board.progress = f"run {run.id}: {run.step} {run.progress:.0%}" if run else "no run yet"
            student = self._student_at("shadow")
            if student is None:
                return None
            return f"{student.recipe} v{student.version}, answers above confidence {student.threshold:.2f}"

        self._phase("Train", 180, trained, "no student came out of the training")

    def _rise(self, title: str, to: str, problem: str, limit_s: float) -> None:
        def risen() -> Found:
            leading = self.task.leading
            if leading is not None:
                self.board.progress = f"agreement so far {leading.evidence}"
                if leading.stage == title.lower() and leading.evidence.n:
                    self.figures[f"{title.lower()}_agreement"] = _evidence(leading)
            student = self._student_at(to)
            return (
                None if student is None else f"gate passed: agreement {self._last_agreement(title, student)}"
            )

        self._phase(title, limit_s, risen, problem)

    def _live(self) -> None:
        student = self._student_at("live")
        assert student is not None
        self.live_id = student.id
        before, began = self.totals, time.monotonic()

        def held() -> Found:
            mine = self.task.student(self.live_id)
            if mine is None or not mine.serves:
                raise WalkFailed("The live student was taken back before its teacher had changed.")
            self.board.progress = f"asked of the teacher again: {mine.evidence.n} answers"
            if time.monotonic() - began < HOLD_LIVE_S or mine.evidence.n < LEAST_REASKS:
                return None
            now = self.totals.since(before)
            self._remember_live(mine, now)
            return (
                f"{_usd(self.figures['before_usd_per_1000_calls'])} → {_usd(now.per_1000)} per 1,000 calls, the "
                f"student answers {now.student_share or 0:.0%}, agreement {mine.evidence}"
            )

        self._phase("Live", 120, held, "the live student was not measured")

    def _remember_live(self, student: StudentSeen, live: Totals) -> None:
        self.figures |= {
            "live_usd_per_1000_calls": live.per_1000,
            "live_student_share": live.student_share,
            "live_saved_share": live.saved_share,
            "live_calls": live.calls,
            "live_agreement": _evidence(student),
            "student": student.id,
            "threshold": student.threshold,
            "certificate": (student.certificate or {}).get("path", ""),
            "teacher_self_agreement": str(self.task.ceiling or ""),
        }

    def _drift(self) -> None:
        change = httpx.post(
            f"{self.teacher_url}/simulation/behaviour", json={"behaviour": "drifted"}, trust_env=False
        )
        change.raise_for_status()
        began, at = time.monotonic(), time.time()
        self.figures["drift_at"] = at
        calls_before = self.totals.calls

        def alarmed() -> Found:
            mine = self.task.student(self.live_id)
            if mine is not None and mine.watch:
                self.board.progress = _watched(mine.watch)
            if mine is not None and mine.serves:
                return None
            entry = self._taken_back_entry()
            if entry is None:
                return None
            self.figures["drift_seconds"] = round(time.monotonic() - began, 1)
            self.figures["drift_calls"] = self.totals.calls - calls_before
            self.figures["drift_reason"] = entry.reason
            return f"alarm after {self.figures['drift_seconds']:.0f} s: {entry.reason}"

        self._phase("Drift", 150, alarmed, "the watch did not notice that the teacher had changed")

    def _taken_back(self) -> None:
        given_back = False

        def back() -> Found:
            nonlocal given_back
            share = self.traffic.student_share(self.task.teacher or "")
            cost, teacher = self.task.cost.per_call_usd, self.task.cost.teacher_per_call_usd
            dear_again = cost is None or teacher is None or cost > 0.9 * teacher
            given_back = given_back or ((share or 0.0) <= 0.01 and dear_again)
            run = self._retrain()
            told = "a retrain is queued" if run is None else f"retrain {run.id} is {run.state}"
            asked = run is not None or self._retrain_asked()
            self.board.progress = (
                f"the student answers {share or 0:.0%}; {told if asked else 'no retrain yet'}"
            )
            if not given_back or not asked:
                return None
            self.figures["retrain"] = run.id if run else "queued"
            self.figures["after_usd_per_1000_calls"] = _per_1000(cost)
            return f"the teacher answers every call again, at {_usd(_per_1000(cost))} per 1,000; {told}"

        self._phase("Taken back", 90, back, "traffic did not return to the teacher, or no retrain was queued")

    # ------------------------------------------------------------ looking
    def _phase(self, title: str, limit_s: float, done: Callable[[], Found], problem: str) -> None:
        """Watches until ``done`` tells a result. Raises WalkFailed with ``problem`` after ``limit_s``."""
        line = next(one for one in self.board.lines if one.title == title)
        line.state, line.began = "running", time.monotonic()
        self.board.progress = ""
        self.display.changed(phase=line)
        try:
            while True:
                if self._observe() and (found := done()) is not None:
                    break
                self.display.changed()
                self._still(line, limit_s, problem)
                time.sleep(POLL_S)
        except WalkFailed as failure:
            line.state, line.result = "failed", str(failure)
            raise
        else:
            line.state, line.result = "done", found
        finally:
            line.took_s = time.monotonic() - line.began
            self.figures.setdefault("seconds", {})[title.lower()] = round(line.took_s, 1)
            self.display.changed(phase=line)

    def _still(self, line: Line, limit_s: float, problem: str) -> None:
        if time.monotonic() - line.began > limit_s:
            news = self.board.progress or "no news"
            raise WalkFailed(f"{line.title}: within {limit_s:.0f} s {problem} ({news}).")

    def _observe(self) -> bool:
        """Reads everything once. False when the gateway did not answer this time; raises WalkFailed when a
        process has ended or the gateway is silent for long."""
        for child in self.children.running:
            child.check()
        try:
            self.task = self.admin.task(self.task_name)
            self.totals = self.admin.totals()
            self.journal = self.admin.journal()
        except httpx.HTTPError as problem:
            if time.monotonic() - self._heard_at > _SILENCE_S:
                raise WalkFailed(f"The gateway's admin API does not answer: {problem}") from None
            return False
        self._heard_at = time.monotonic()
        self._show()
        return True

    def _show(self) -> None:
        seen, leading = self.traffic.latest, self.task.leading
        share = self.traffic.student_share(self.task.teacher or "")
        errors = f", {seen.errors} errors ({seen.last_error})" if seen.errors else ""
        newest = next(iter(self.journal), None)
        self.board.figures = {
            "calls": f"{seen.answers:,} ({seen.streamed:,} streamed){errors}",
            "calls/s": f"{seen.calls_per_s:.0f}, p50 {seen.p50_ms:.0f} ms in compressed time",
            "cost per 1,000 calls": _usd(_per_1000(self.task.cost.per_call_usd))
            + f" (the teacher alone: {_usd(_per_1000(self.task.cost.teacher_per_call_usd))})",
            "answered by the student": "-" if share is None else f"{share:.0%}",
            "agreement": "-" if leading is None else str(leading.evidence),
            "stage": "no student" if leading is None else f"{leading.stage} (v{leading.version})",
            "journal": str(newest) if newest else "-",
        }

    def _student_at(self, stage: str) -> StudentSeen | None:
        leading = self.task.leading
        return leading if leading is not None and leading.rank >= _RANK[stage] else None

    def _last_agreement(self, title: str, student: StudentSeen) -> str:
        kept = self.figures.get(f"{title.lower()}_agreement")
        return kept["text"] if kept else str(student.evidence)

    def _taken_back_entry(self) -> Entry | None:
        return next(
            (
                one
                for one in self.journal
                if one.subject == self.live_id and one.at >= self.figures["drift_at"]
            ),
            None,
        )

    def _retrain(self) -> RunSeen | None:
        return next((run for run in self.task.runs if run.created_at >= self.figures["drift_at"]), None)

    def _retrain_asked(self) -> bool:
        entry = self._taken_back_entry()
        return entry is not None and bool(entry.detail.get("retrain"))


def _evidence(student: StudentSeen) -> dict[str, Any]:
    found = student.evidence
    return {
        "n": found.n,
        "agreement": found.agreement,
        "low": found.low,
        "high": found.high,
        "text": str(found),
    }


def _watched(watch: dict[str, float]) -> str:
    evidence, alarm = watch.get("evidence"), watch.get("alarm_at")
    if evidence is None or alarm is None:
        return ""
    asked = watch.get("reasks", 0)
    return f"evidence of a change: {evidence:,.1f} (alarm at {alarm:,.1f}), {asked:.0f} answers asked again"


def _per_1000(per_call: float | None) -> float | None:
    return None if per_call is None else 1000 * per_call


def _usd(value: float | None) -> str:
    return "unknown price" if value is None else f"${value:.3f}"
