"""What becomes of datasets and students when captured text is erased, by a person's wish or by its age.

Rows of datasets become tombstones. A student that learnt from rows somebody asked to have erased is marked with
their number, and ``learn.erased`` says what follows: a successor is trained without them (it passes the same gates;
the old one serves until then), the student is retired, or nothing. Files of marked students go once they are
retired; certificates hold no text and stay.
"""

from __future__ import annotations

import hashlib
import logging
import shutil
from contextlib import suppress
from pathlib import Path

import msgspec
from sqlalchemy.exc import SQLAlchemyError

from gateway.config import Config, Learn
from gateway.storage.commands import EnqueueRun, MoveStudent, Refused, WriterAway
from gateway.storage.erasure_values import DatasetErasure, NoteErased, lessons_of
from gateway.storage.home import Home
from gateway.storage.protocols import Reader, Writer
from gateway.storage.settled import write_whole
from optimizer.rollout import Stage, Student
from trainer.datasets.erasing import bury
from trainer.datasets.versions import Erased
from trainer.planner import OPEN, scope_of

_EVERY_S, _FOLLOW_S = 2.0, 30.0
_OVERLAP_S = 600.0
"""Erasures become visible a little after the time they carry."""
_DAY_S = 86_400.0
"""A dataset that is new may have been read as long ago, before its calls were erased."""
_RUNS_READ = 10_000
_log = logging.getLogger("understudy.trainer")


class Forgetting:
    """One step at a time, so that the trainer's heartbeat never waits long. Everything may be repeated."""

    def __init__(self, home: Home, reader: Reader, writer: Writer) -> None:
        self._datasets, self._artifacts = home.datasets, home.artifacts
        self._mark = home.datasets / "erased-until"
        self._reader, self._writer = reader, writer
        self._until = _stored(self._mark)
        self._known: set[str] = set()
        self._seen: set[str] = set()
        self._fates: dict[str, Erased] = {}
        self._todo: list[Path] = []
        self._looked_at = self._look_at = self._follow_at = 0.0

    def tick(self, config: Config, now: float) -> None:
        """Raises WriterAway, Refused, SQLAlchemyError, OSError; the next tick goes on."""
        if self._todo:
            self._bury(self._todo[-1], now)
            self._todo.pop()
            if not self._todo:
                self._until = self._looked_at
                write_whole(self._mark, str(self._until).encode())
                self._follow_at = now
        elif now >= self._look_at:
            self._look_at = now + _EVERY_S
            self._look(now)
        if now >= self._follow_at and not self._todo:
            self._follow_at = now + _FOLLOW_S
            self._follow(config, now)

    # ------------------------------------------------------------ datasets
    def _look(self, now: float) -> None:
        erased = self._reader.erased_calls(since=self._until - _OVERLAP_S)
        fresh = {call_id for call_id, _ in erased} - self._seen
        folders = [path for path in self._datasets.iterdir() if len(path.name) == 64]
        unknown = [path for path in folders if path.name not in self._known]
        if not fresh and not unknown:
            return
        since = min(self._until - _OVERLAP_S, now - _DAY_S)
        self._fates = {
            hashlib.sha256(call_id.encode()).hexdigest(): "request" if asked else "retention"
            for call_id, asked in self._reader.erased_calls(since=since)
        }
        self._todo = folders if fresh else unknown
        self._looked_at, self._seen = now, {call_id for call_id, _ in erased}
        self._known = {path.name for path in folders}

    def _bury(self, folder: Path, now: float) -> None:
        buried = bury(folder, self._fates) if self._fates else None
        if buried is None:
            return
        erasure = DatasetErasure(folder.name, buried.rows, buried.requested, now)
        before = self._reader.dataset_erasures().get(folder.name)
        if before is None or (before.rows, before.requested) != (buried.rows, buried.requested):
            self._writer.execute(NoteErased(erasure, buried.card))
            _log.info("dataset %s: %d rows are erased", folder.name[:12], buried.rows)

    # ------------------------------------------------------------ students
    def _follow(self, config: Config, now: float) -> None:
        asked = {one.digest: one for one in self._reader.dataset_erasures().values() if one.requested}
        if not asked:
            return
        learning = {task.name: task.learn for task in config.tasks if task.learn is not None}
        datasets = {one.digest: one.task for one in self._reader.datasets()}
        for student in self._reader.students():
            lessons = lessons_of(self._reader.student_detail(student.id))
            concerned = max((asked[one] for one in lessons if one in asked), key=lambda one: one.at, default=None)
            if concerned is None:
                continue
            learn = learning.get(student.task or datasets.get(lessons[0], ""), Learn())
            with suppress(Refused):  # somebody else moved it meanwhile: the next look sees how it stands
                self._treat(student, learn, concerned, now)

    def _treat(self, student: Student, learn: Learn, erasure: DatasetErasure, now: float) -> None:
        if student.stage is Stage.RETIRED:
            shutil.rmtree(self._artifacts / student.id, ignore_errors=True)
            shutil.rmtree(self._artifacts / f".{student.id}.training", ignore_errors=True)
        elif learn.erased == "retire":
            self._writer.execute(MoveStudent(
                student=student.id, to=Stage.RETIRED, paused=False, expected_epoch=student.epoch,
                actor="trainer", reason=_why(erasure), at=now, certificate=None,
                detail={"erased": msgspec.to_builtins(erasure)},
            ))  # fmt: skip
            self._follow_at = now
        elif learn.erased == "retrain" and student.task:
            self._retrain(student, learn, erasure, now)

    def _retrain(self, student: Student, learn: Learn, erasure: DatasetErasure, now: float) -> None:
        """Queues a successor unless a younger run has begun or ended already."""
        runs = self._reader.runs(task=student.task, limit=_RUNS_READ)
        mine = [run for run in runs if run.kind == "train" and scope_of(run) == scope_of(student)]
        if any(run.state in OPEN or run.created_at >= erasure.at for run in mine):
            return
        params = {"reason": _why(erasure), "not_before_calls": learn.min_calls}
        self._writer.execute(EnqueueRun("train", *scope_of(student), params=params, at=now))


def _why(erasure: DatasetErasure) -> str:
    rows = f"{erasure.requested} rows of the dataset {erasure.digest[:12]} it learnt from"
    return f"{rows} were erased because somebody asked for it"


def _stored(mark: Path) -> float:
    try:
        return float(mark.read_bytes())
    except (FileNotFoundError, ValueError):
        return 0.0


def attempt(forgetting: Forgetting, config: Config, now: float) -> None:
    """A tick whose failures are told and tried again."""
    try:
        forgetting.tick(config, now)
    except (WriterAway, SQLAlchemyError, OSError) as problem:
        _log.warning("erasing in datasets waits (%s); trying again", type(problem).__name__)
    except Refused as problem:
        _log.warning("%s", problem)
