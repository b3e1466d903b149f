"""The ingester's daily copy of the SQLite database, in a thread of its own: writing goes on meanwhile."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path

import sqlalchemy as sa
from msgspec import Struct

from gateway.storage.backups import BackupFailed, back_up, copies, prune, read_state
from gateway.storage.home import Home
from gateway.storage.tables.erasures import ERASURES
from gateway.storage.writing.events import announce
from gateway.storage.writing.journal import append_journal
from gateway.storage.writing.writer import SqlWriter

_log = logging.getLogger("gateway.storage.backups")
LOOK_S = 30.0
AGAIN_S = 1800.0
"""After a try that failed."""


class BackupRules(Struct, frozen=True):
    """``every_s`` 0: none is made."""

    every_s: float
    keep: int


DAILY = BackupRules(every_s=86_400.0, keep=3)


class BackingUp:
    """``step`` now and then; ``run`` does so until ``stop`` is set."""

    def __init__(
        self, home: Home, database: Path, writer: SqlWriter, rules: BackupRules, now: Callable[[], float] = time.time
    ) -> None:
        self._home, self._database, self._writer, self._rules, self._now = home, database, writer, rules, now

    def run(self, stop: threading.Event) -> None:
        while not stop.wait(LOOK_S):
            try:
                self.step()
            except Exception:
                _log.exception("the backup could not be looked after")

    def step(self) -> None:
        """Makes a copy when one is due: after ``every_s``, and when a person was erased whom older ones still hold."""
        now, erased_at = self._now(), self._erased_at()
        state = read_state(self._home)
        failed_at = state.tried_at if state.problem else 0.0
        if not due(now, self._rules, self._last(), failed_at, erased_at):
            return
        try:
            made = back_up(self._home, self._database, now, every_s=self._rules.every_s)
        except BackupFailed as problem:
            _log.error("no backup: %s", problem)
            self._tell("failed", str(problem), now)
            return
        gone = prune(self._home, keep=self._rules.keep, erased_at=erased_at)
        _log.info("backed up in %.1f s: %s, %d bytes; %d older removed", made.took_s, made.file, made.size, len(gone))

    def _last(self) -> float:
        found = copies(self._home)
        return found[-1][0] if found else 0.0

    def _erased_at(self) -> float:
        with self._writer.transaction() as connection:
            return float(connection.execute(sa.select(sa.func.max(ERASURES.c.at))).scalar() or 0.0)

    def _tell(self, action: str, reason: str, now: float) -> None:
        """In the journal, and to webhooks: once a day at most."""
        with self._writer.transaction() as connection:
            append_journal(
                connection, "admin", at=now, actor="ingester", subject="backup", action=f"backup {action}",
                reason=reason,
            )  # fmt: skip
            announce(connection, "", f"understudy.backup.{action}", "backup", now, str(int(now // 86_400)))


def due(now: float, rules: BackupRules, last: float, failed_at: float, erased_at: float) -> bool:
    """Whether a copy is to be made now. A clock that was set back makes one at most."""
    if rules.every_s <= 0 or 0 <= now - failed_at < AGAIN_S:
        return False
    return not 0 <= now - last < rules.every_s or 0 < last <= erased_at
