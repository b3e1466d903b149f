"""Teachers that will be gone: said in time, so that a student can learn from them while they are there."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime

from msgspec import Struct

from gateway.config import Config
from gateway.config.models import shutdown_at
from gateway.storage.commands import NoteDrift
from gateway.storage.protocols import Reader, Writer

DAY_S = 86_400.0
_LOOK_S = 60.0
_LINES = 1_000


class Retiring(Struct, frozen=True):
    """``at``: the first second of the day on which ``teacher`` is no longer served."""

    task: str
    teacher: str
    at: float


def retiring(config: Config, now: float) -> Iterator[Retiring]:
    """Tasks that learn and whose teacher goes within ``watch.retiring_days``."""
    for task in config.tasks:
        if task.learn is None or task.teacher is None:
            continue
        at = shutdown_at(config.models, task.teacher)
        if at is not None and now >= at - task.watch.retiring_days * DAY_S:
            yield Retiring(task.name, f"{task.teacher.provider}/{task.teacher.model}", at)


class RetiringWatch:
    """Tells the journal and webhooks of each teacher once; the journal is what remembers it."""

    def __init__(self, reader: Reader, writer: Writer, now: Callable[[], float]) -> None:
        self._reader, self._writer, self._now = reader, writer, now
        self._told: set[tuple[str, str]] | None = None
        self._looked = float("-inf")

    def tick(self, config: Config) -> None:
        """Raises WriterAway, Refused, SQLAlchemyError."""
        now = self._now()
        if now - self._looked < _LOOK_S:
            return
        self._looked = now
        for one in retiring(config, now):
            for version in self._reader.task_versions():
                if version.task == one.task:
                    self._tell(version.project, version.fingerprint, one, now)

    def _tell(self, project: str, fingerprint: str, one: Retiring, now: float) -> None:
        if self._told is None:
            lines = self._reader.journal(limit=_LINES, kind="watch")
            self._told = {(line.subject, line.reason) for line in lines if line.action == "shutdown"}
        day = datetime.fromtimestamp(one.at, UTC).date().isoformat()
        reason = f"the teacher of {one.task} is gone from {day} on: every call is recorded, and training does not wait"
        if (one.teacher, reason) in self._told:
            return
        self._writer.execute(NoteDrift(
            project, one.task, fingerprint, subject=one.teacher, measure="shutdown",
            event="understudy.teacher.retiring", reason=reason,
            numbers={"days_left": max(0.0, (one.at - now) / DAY_S)}, retrain=False, at=now,
        ))  # fmt: skip
        self._told.add((one.teacher, reason))
