"""Looks every few seconds at what came in since the last look, and says what has changed.

It reads finished calls from the database, a bounded number at a time, in the order in which they arrived there, and
keeps its own place, so it costs the serving path nothing and a call that comes late is seen when it comes. After a
restart it plays the same games again from the database; what it told is in its file, and is not told twice.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
from msgspec import Struct

from gateway.config import Config, Drift, Task
from gateway.storage.commands import NoteDrift
from gateway.storage.protocols import Reader, Writer
from gateway.storage.reading.watch import WatchedCall
from gateway.storage.settled import write_whole
from optimizer import two_sample
from optimizer.rollout import Stage, Student
from optimizer.stats.intervals import wilson
from trainer.planner import Scope, scope_of
from trainer.watch.games import Game, Games
from trainer.watch.rises import Rise, Rises, together

EVERY_S = 5.0
AT_A_LOOK = 2_000
BEFORE = 4_000
"""Calls from before the student that the recent ones are compared with, the newest ones."""
MOST_RECENT = 20_000
"""How far back a restart goes."""
_SERVING = (Stage.CANARY, Stage.LIVE)
_log = logging.getLogger("understudy.watch")


class Finding(Struct, frozen=True):
    """A measure of a student as it stands. ``told``: how often recent values were told from the earlier ones, with its
    95 % Wilson interval; ``alarmed_at``: when it was found to have changed, None: it was not."""

    student: str
    measure: str
    rounds: int
    told: float | None
    low: float
    high: float
    evidence: float
    alarm_at: float
    alarmed_at: float | None


class Seen(Struct, frozen=True):
    """What the file holds: every game, and the typical latency (ms) and cost (US dollars) by task and party."""

    games: list[Finding] = []
    levels: dict[str, dict[str, dict[str, float]]] = {}


@dataclass(slots=True)
class _Place:
    """How far the calls of a scope, or of a student, were read."""

    after: int
    rises: Rises = field(default_factory=Rises)
    games: Games | None = None


class DriftWatch:
    """``tick`` as often as you like; it looks every five seconds."""

    def __init__(self, reader: Reader, writer: Writer, path: Path, now: Callable[[], float]) -> None:
        self._reader, self._writer, self._path, self._now = reader, writer, path, now
        self._scopes: dict[Scope, _Place] = {}
        self._students: dict[str, _Place] = {}
        self._told: dict[tuple[str, str], float] = self._read()
        self._looked = float("-inf")

    def tick(self, config: Config) -> None:
        """Raises WriterAway, Refused, OSError, SQLAlchemyError."""
        now = self._now()
        if now - self._looked < EVERY_S:
            return
        self._looked = now
        tasks = {task.name: task for task in config.tasks if task.learn is not None}
        for version in self._reader.task_versions():
            if version.task in tasks:
                self._levels(scope_of(version), tasks[version.task])
        serving = [one for one in self._reader.students(include_retired=False) if one.stage in _SERVING]
        for student in serving:
            if student.task in tasks:
                self._play(student, tasks[student.task].watch.drift)
        here = {one.id for one in serving}
        self._students = {name: place for name, place in self._students.items() if name in here}
        self._show()

    # ------------------------------------------------------------ latency and cost
    def _levels(self, scope: Scope, task: Task) -> None:
        place = self._scopes.get(scope)
        if place is None:
            place, calls = self._place(scope, since=0.0, limit=AT_A_LOOK)
            self._scopes[scope] = place
            for call in calls:
                list(place.rises.see(call, task.watch.drift))  # what was before this start is told by nobody
            return
        calls = self._calls(scope, place)
        for rise in together(rise for call in calls for rise in place.rises.see(call, task.watch.drift)):
            self._writer.execute(_risen(scope, rise, self._now()))

    def _place(self, scope: Scope, *, since: float, limit: int) -> tuple[_Place, Sequence[WatchedCall]]:
        """Behind all calls that are here, and the newest of them."""
        arrived = self._reader.last_arrival(*scope[:2])
        newest = self._reader.watched_between(*scope, since=since, until=math.inf, limit=limit)
        return _Place(arrived), [call for call in newest if call.arrival <= arrived]

    def _calls(self, scope: Scope, place: _Place) -> Sequence[WatchedCall]:
        arrived = self._reader.last_arrival(*scope[:2])
        if arrived == place.after:
            return []
        calls = self._reader.watched_calls(*scope, after=place.after, limit=AT_A_LOOK)
        place.after = calls[-1].arrival if len(calls) == AT_A_LOOK else max([arrived, *(one.arrival for one in calls)])
        return calls

    # ------------------------------------------------------------ inputs, outputs, confidence
    def _play(self, student: Student, settings: Drift) -> None:
        place = self._students.get(student.id)
        if place is None:
            place = self._students[student.id] = self._begin(student, settings)
        assert place.games is not None
        for call in self._calls(scope_of(student), place):
            place.games.see(call)
        for game in place.games.all:
            if game.state.alarmed and (student.id, game.measure) not in self._told:
                retrain = settings.on_alarm == "retrain"
                self._writer.execute(_changed(student, game, retrain=retrain, at=self._now()))
                self._told[student.id, game.measure] = self._now()

    def _begin(self, student: Student, settings: Drift) -> _Place:
        scope = scope_of(student)
        made_at = float(self._reader.student_detail(student.id).get("created_at", 0.0))
        before = self._reader.watched_between(*scope, since=0.0, until=made_at, limit=BEFORE)
        copies = self._reader.pairs(student=student.id, kinds=("shadow",), limit=BEFORE)
        games = Games(settings, before, [(pair.call_id, pair.confidence) for pair in copies])
        place, recent = self._place(scope, since=made_at, limit=MOST_RECENT)
        for call in recent:
            games.see(call)
        place.games = games
        return place

    # ------------------------------------------------------------ what people see
    def _read(self) -> dict[tuple[str, str], float]:
        try:
            seen = msgspec.json.decode(self._path.read_bytes(), type=Seen)
        except (OSError, msgspec.MsgspecError):
            return {}
        return {
            (one.student, one.measure): one.alarmed_at for one in seen.games if one.alarmed_at is not None
        }

    def _show(self) -> None:
        games = [
            _finding(student, game, self._told.get((student, game.measure)))
            for student, place in self._students.items()
            if place.games is not None
            for game in place.games.all
        ]
        levels: dict[str, dict[str, dict[str, float]]] = {}
        for (_, task, _), place in self._scopes.items():
            levels.setdefault(task, {}).update(place.rises.means())
        write_whole(self._path, msgspec.json.encode(Seen(games, levels)))


def _finding(student: str, game: Game, alarmed_at: float | None) -> Finding:
    state = game.state
    low, high = wilson(state.n - state.agreed, state.n, 0.95) if state.n else (0.0, 1.0)
    return Finding(
        student, game.measure, state.n, two_sample.told_share(state), low, high, state.evidence,
        state.alarm_at, alarmed_at,
    )  # fmt: skip


def _changed(student: Student, game: Game, *, retrain: bool, at: float) -> NoteDrift:
    found = _finding(student.id, game, at)
    assert found.told is not None
    reason = (
        f"the {game.measure} of recent calls differ from those before the student: they were told apart in "
        f"{found.told:.1%} of {found.rounds} rounds (evidence {found.evidence:.0f}, alarm at {found.alarm_at:.0f})"
    )
    numbers = {"rounds": float(found.rounds), "told": found.told, "low": found.low, "high": found.high}
    _log.warning("student %s: %s", student.id, reason)
    return _note(scope_of(student), student.id, game.measure, reason, numbers, retrain=retrain, at=at)


def _risen(scope: Scope, rise: Rise, at: float) -> NoteDrift:
    unit = "ms" if rise.measure == "latency" else "US dollars"
    reason = (
        f"the {rise.measure} of {rise.party} rose: a typical call took {rise.before:.4g} {unit} and now "
        f"{rise.after:.4g} {unit} (the last {rise.calls:,} calls)"
    )
    numbers = {"before": rise.before, "after": rise.after, "calls": float(rise.calls)}
    _log.warning("%s: %s", scope[1], reason)
    return _note(scope, rise.party, rise.measure, reason, numbers, retrain=False, at=at)


def _note(
    scope: Scope, subject: str, measure: str, reason: str, numbers: dict[str, float], *, retrain: bool, at: float,
) -> NoteDrift:  # fmt: skip
    return NoteDrift(
        *scope, subject=subject, measure=measure, event="understudy.drift.detected", reason=reason,
        numbers=numbers, retrain=retrain, at=at,
    )  # fmt: skip
