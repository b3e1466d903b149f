"""Executes every command of ``gateway.storage.protocols``, one transaction each."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import sqlalchemy as sa

from gateway.storage.commands import (
    AddDataset,
    AddForeign,
    AddStudent,
    CancelRun,
    ClaimRun,
    Command,
    CreateKey,
    EnqueueRun,
    FinishRun,
    HandleWish,
    MoveStudent,
    NoteDrift,
    PauseRun,
    PrioritiseRun,
    ReportRun,
    ResumeRun,
    RevokeKey,
    RotateKey,
    WriterAway,
)
from gateway.storage.data_values import (
    AddBatch,
    AddEvent,
    AddFile,
    CancelBatch,
    ClaimBatch,
    ClaimEvent,
    DeleteFile,
    ReportBatch,
    SettleEvent,
    TrimFile,
)
from gateway.storage.engine import is_damage, serialise_writes
from gateway.storage.erasure_values import EraseUser, NoteErased
from gateway.storage.write_ahead import IndexRemoved
from gateway.storage.writing import batches as sql_batches
from gateway.storage.writing import erasures, ingest
from gateway.storage.writing import events as sql_events
from gateway.storage.writing import files as sql_files
from gateway.storage.writing import keys as sql_keys
from gateway.storage.writing import runs as sql_runs
from gateway.storage.writing import students as sql_students

_HANDLERS: dict[type[Any], Callable[[sa.Connection, Any], Any]] = {
    CreateKey: sql_keys.create_key,
    RevokeKey: sql_keys.revoke_key,
    RotateKey: sql_keys.rotate_key,
    EnqueueRun: sql_runs.enqueue_run,
    ClaimRun: sql_runs.claim_run,
    ReportRun: sql_runs.report_run,
    FinishRun: sql_runs.finish_run,
    CancelRun: sql_runs.cancel_run,
    PauseRun: sql_runs.pause_run,
    ResumeRun: sql_runs.resume_run,
    PrioritiseRun: sql_runs.prioritise_run,
    AddDataset: sql_runs.add_dataset,
    AddStudent: sql_students.add_student,
    MoveStudent: sql_students.move_student,
    HandleWish: sql_students.handle_wish,
    NoteDrift: sql_students.note_drift,
    AddFile: sql_files.add_file,
    DeleteFile: sql_files.delete_file,
    TrimFile: sql_files.trim_file,
    AddBatch: sql_batches.add_batch,
    ClaimBatch: sql_batches.claim_batch,
    ReportBatch: sql_batches.report_batch,
    CancelBatch: sql_batches.cancel_batch,
    AddEvent: sql_events.add_event,
    ClaimEvent: sql_events.claim_event,
    SettleEvent: sql_events.settle_event,
    EraseUser: erasures.erase_user,
    NoteErased: erasures.note_erased,
    AddForeign: ingest.add_foreign,
}


class SqlWriter:
    """A Writer on an engine of its own. Threads take turns: SQLite has a single writing connection."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine
        self._lock = threading.Lock()

    @contextmanager
    def transaction(self) -> Iterator[sa.Connection]:
        """A write transaction; everything in it happens, or nothing."""
        with self._lock, self._engine.begin() as connection:
            serialise_writes(connection)
            yield connection

    def look(self) -> None:
        """Notices, without waiting for something to write, that the database's log was removed. Raises IndexRemoved,
        and as the engine does when it cannot be reached."""
        if self._engine.dialect.name == "sqlite":
            with self._lock, self._engine.connect():
                pass

    def execute(self, command: Command) -> Any:
        """Raises Refused, or WriterAway when the database cannot be reached or written."""
        try:
            with self.transaction() as connection:
                return _HANDLERS[type(command)](connection, command)
        except (sa.exc.OperationalError, sa.exc.InterfaceError, sa.exc.TimeoutError, IndexRemoved):
            raise WriterAway("The database cannot be written now; try again.") from None
        except sa.exc.DatabaseError as problem:
            if is_damage(problem):
                raise WriterAway("The database is damaged; its ingester's log says what to do.") from None
            raise

    def close(self) -> None:
        self._engine.dispose()
