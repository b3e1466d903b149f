"""Moves the spool into the database: ``python -m gateway.storage.spooling.ingester --home DIR``.

Each batch is one transaction that also stores how far the spool was read, so it happens once however often this
process is killed. While the database is away the spool grows and nothing is lost. On SQLite this process is the
one writer, and serves the commands of the others on the writer socket.
"""

from __future__ import annotations

import argparse
import logging
import math
import signal
import sys
import threading
import time
from contextlib import ExitStack, suppress
from pathlib import Path
from types import FrameType

import sqlalchemy as sa

from gateway.storage.away import said
from gateway.storage.commands import WriterAway
from gateway.storage.engine import BULK_S, allow, is_damage, is_sqlite, sqlite_file, write_engine
from gateway.storage.home import Home
from gateway.storage.migrations import migrate
from gateway.storage.records import SpoolRecord
from gateway.storage.seals import AT_ONCE, EVERY_S, seal
from gateway.storage.settled import sync_folder
from gateway.storage.spooling.format import SpoolKeyError
from gateway.storage.spooling.reader import Batch, SpoolReader
from gateway.storage.write_ahead import IndexRemoved
from gateway.storage.writing.backing_up import DAILY, BackingUp, BackupRules
from gateway.storage.writing.erase import erase_expired
from gateway.storage.writing.ingest import ingest, load_cursors, prune
from gateway.storage.writing.journal import append_journal
from gateway.storage.writing.socket_server import WriterServer
from gateway.storage.writing.writer import SqlWriter
from gateway.storage.writing.writers import writer_lock

_log = logging.getLogger("gateway.storage.spooling.ingester")
_PAUSE_S = 0.1  # what arrives meanwhile is one transaction, which costs as much as twenty records
_LOCK_S = 15.0  # a command-line tool may be the writer for a moment
_PARTING_S = 1.5  # whoever stops us waits; what is left then is moved at the next start
_RETENTION_S = 3600.0
_SWEEP_S = 30.0
_LOOK_S = 0.5  # at whether the database's log is still there
_BACKOFF_S = (0.1, 5.0)
_AWAY = (sa.exc.OperationalError, sa.exc.InterfaceError, sa.exc.TimeoutError)
_DAMAGED = (
    "The database understudy.db is damaged. Put it aside and restore a backup (or start empty); the spool holds "
    "what was not yet ingested."
)


class Damaged(Exception):
    """The database file does not pass its integrity check."""


class Ingester:
    """One spool, one database. ``step`` until ``stop`` is set, then ``drain`` for a moment."""

    def __init__(self, home: Home, writer: SqlWriter, stop: threading.Event) -> None:
        self._writer = writer
        self._stop = stop
        with writer.transaction() as connection:
            cursors = load_cursors(connection)
        self._reader = SpoolReader(home, cursors)
        sync_folder(home.spool)  # a power cut must not bring segments back whose cursors are forgotten
        with writer.transaction() as connection:
            prune(connection, self._reader.writers())
        self._erase_at = self._seal_at = self._sweep_at = self._look_at = 0.0

    def run(self) -> None:
        while not self._stop.is_set():
            self._keep_tidy()
            self._keep_log()
            self._keep_retention()
            self._keep_sealing()
            if self.step() < 100:  # otherwise there is more to do at once
                self._stop.wait(_PAUSE_S)
        self.drain(_PARTING_S)
        self._seal_at = 0.0
        self._keep_sealing()

    def step(self) -> int:
        """Moves one batch. → how many records. Waits for the database while it is away and nobody says stop."""
        batch = self._reader.read()
        if batch.moved and not self._store(batch):
            return 0
        self._reader.commit(batch)
        return len(batch.records)

    def drain(self, seconds: float = math.inf) -> None:
        """Moves what is in the spool now, beginning no batch after ``seconds``; gives up at once when the database is
        away."""
        until = time.monotonic() + seconds
        while self.step() and time.monotonic() < until:
            continue

    def _store(self, batch: Batch) -> bool:
        pause, longest = _BACKOFF_S
        while True:
            try:
                self._store_once(batch)
            except _AWAY as problem:
                _log.warning("the database is away (%s); the spool keeps everything", said(problem))
                if self._stop.wait(pause):
                    return False
                pause = min(longest, pause * 2)
            else:
                return True

    def _store_once(self, batch: Batch) -> None:
        try:
            with self._writer.transaction() as connection:
                ingest(connection, batch.records, batch.positions)
                if batch.unreadable:
                    _note_unreadable(connection, batch.unreadable)
        except _AWAY:
            raise
        except Exception as problem:
            if is_damage(problem) or isinstance(problem, IndexRemoved):
                raise
            # One record must not stop all others for ever: find it, note it, go on.
            _log.exception("a batch of %d records was refused; trying them one by one", len(batch.records))
            self._store_one_by_one(batch)

    def _store_one_by_one(self, batch: Batch) -> None:
        with self._writer.transaction() as connection:
            for record in batch.records:
                try:
                    with connection.begin_nested():
                        ingest(connection, [record], {})
                except _AWAY:
                    raise
                except Exception as problem:
                    if is_damage(problem):  # of the file and not of the record, which waits in the spool
                        raise
                    _note_refused(connection, record, problem)
            ingest(connection, [], batch.positions)
            if batch.unreadable:
                _note_unreadable(connection, batch.unreadable)

    def _keep_tidy(self) -> None:
        """What killed writers leave: a gateway that cannot stay up would fill the disk with its reserves."""
        if time.monotonic() >= self._sweep_at:
            self._sweep_at = time.monotonic() + _SWEEP_S
            self._reader.sweep()

    def _keep_log(self) -> None:
        if time.monotonic() >= self._look_at:
            self._look_at = time.monotonic() + _LOOK_S
            with suppress(*_AWAY):
                self._writer.look()

    def _keep_retention(self) -> None:
        if time.monotonic() < self._erase_at:
            return
        self._erase_at = time.monotonic() + _RETENTION_S
        try:
            while not self._stop.is_set():
                with self._writer.transaction() as connection:
                    allow(connection, statement_s=BULK_S)
                    if erase_expired(connection, time.time(), limit=500) < 500:
                        return
        except _AWAY:
            self._erase_at = time.monotonic() + _BACKOFF_S[1]

    def _keep_sealing(self) -> None:
        if time.monotonic() < self._seal_at:
            return
        self._seal_at = time.monotonic() + EVERY_S
        try:
            while self.seal() == AT_ONCE:
                continue
        except _AWAY:
            self._seal_at = time.monotonic() + _BACKOFF_S[1]

    def seal(self) -> int:
        """Seals what guardrails said since the last time into the journal. → how many verdicts."""
        with self._writer.transaction() as connection:
            return seal(connection, time.time())


def _note_refused(connection: sa.Connection, record: SpoolRecord, problem: Exception) -> None:
    _log.error("a %s was refused by the database: %s", type(record).__name__, type(problem).__name__)
    subject = str(getattr(record, "id", "") or getattr(record, "call_id", ""))
    append_journal(
        connection, "admin", at=time.time(), actor="ingester", subject=subject, action="record refused",
        reason=f"{type(record).__name__}: {type(problem).__name__}",
    )  # fmt: skip


def _note_unreadable(connection: sa.Connection, count: int) -> None:
    _log.error("%d spool records were damaged and are lost", count)
    append_journal(
        connection, "admin", at=time.time(), actor="ingester", subject="spool", action="records unreadable",
        reason=f"{count} damaged records were skipped", detail={"count": count},
    )  # fmt: skip


# ---------------------------------------------------------------- the process
def run(home: Home, stop: threading.Event, backups: BackupRules = DAILY) -> None:
    """Ingests until ``stop`` is set. Raises WriterAway when another writer runs, Damaged, SpoolKeyError."""
    home.prepare()
    url = home.database_url
    with ExitStack() as stack:
        stack.enter_context(writer_lock(home, wait_s=_LOCK_S))
        marker = home.root / "ingester.running"
        if is_sqlite(url):
            _check_after_crash(sqlite_file(url), marker)
        marker.touch(mode=0o600)
        if _wait_for_database(url, stop):
            writer = SqlWriter(write_engine(url))
            stack.callback(writer.close)
            ingester = Ingester(home, writer, stop)
            if is_sqlite(url):
                stack.callback(WriterServer(home.writer_socket, writer).close)
                copying = BackingUp(home, sqlite_file(url), writer, backups)
                threading.Thread(target=copying.run, args=(stop,), name="backups", daemon=True).start()
            _log.info("ready")
            _run(ingester)
        marker.unlink(missing_ok=True)


def _run(ingester: Ingester) -> None:
    try:
        ingester.run()
    except sa.exc.DatabaseError as problem:
        raise Damaged(_DAMAGED) if is_damage(problem) else problem from None


def _wait_for_database(url: str, stop: threading.Event) -> bool:
    """Migrates as soon as the database can be reached. False when ``stop`` came first."""
    pause, longest = _BACKOFF_S
    while not stop.is_set():
        try:
            migrate(url)
        except _AWAY as problem:
            _log.warning("the database cannot be reached yet (%s); the spool keeps everything", said(problem))
            stop.wait(pause)
            pause = min(longest, pause * 2)
        except sa.exc.DatabaseError:
            if is_sqlite(url):
                raise Damaged(_DAMAGED) from None
            raise
        else:
            return True
    return False


def _check_after_crash(path: Path, marker: Path) -> None:
    if not marker.exists() or not path.exists():
        return
    engine = write_engine(f"sqlite:///{path}")
    try:
        with engine.connect() as connection:
            verdict = connection.exec_driver_sql("PRAGMA integrity_check(1)").scalar()
    except sa.exc.DatabaseError:
        verdict = "unreadable"
    finally:
        engine.dispose()
    if verdict != "ok":
        raise Damaged(_DAMAGED)


def main(arguments: list[str] | None = None) -> int:
    """Exit codes: 0 stopped, 3 cannot work (another writer, damaged or removed files, wrong spool key)."""
    parser = argparse.ArgumentParser(prog="python -m gateway.storage.spooling.ingester", description=__doc__)
    parser.add_argument("--home", type=Path, help="data directory (default: UNDERSTUDY_HOME or .understudy)")
    parser.add_argument("--backup-every-h", type=float, default=DAILY.every_s / 3600, metavar="N")
    parser.add_argument("--backup-keep", type=int, default=DAILY.keep, metavar="N")
    options = parser.parse_args(arguments)
    home = Home(options.home.resolve()) if options.home else Home.from_env()
    logging.basicConfig(
        level=logging.INFO, stream=sys.stderr, format="%(asctime)s ingester %(levelname)s %(message)s"
    )
    stop = threading.Event()

    def finish(_signal: int, _frame: FrameType | None) -> None:
        stop.set()

    signal.signal(signal.SIGTERM, finish)
    signal.signal(signal.SIGINT, finish)
    try:
        run(home, stop, BackupRules(options.backup_every_h * 3600, options.backup_keep))
    except (WriterAway, Damaged, IndexRemoved, SpoolKeyError, PermissionError) as problem:
        _log.error("%s", problem)
        return 3
    return 0


if __name__ == "__main__":
    sys.exit(main())
