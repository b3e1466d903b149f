"""Executes every command of ``gateway.storage.protocols``, one transaction each."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import msgspec
import sqlalchemy as sa

from gateway.storage import sql_runs, sql_students
from gateway.storage.commands import (
    AddDataset,
    AddStudent,
    CancelRun,
    ClaimRun,
    Command,
    CreateKey,
    EnqueueRun,
    FinishRun,
    HandleWish,
    MoveStudent,
    Refused,
    ReportRun,
    RevokeKey,
    WriterAway,
)
from gateway.storage.engine import serialise_writes
from gateway.storage.rows import key_of, key_row, storable
from gateway.storage.sql_journal import append_journal, bump_generation
from gateway.storage.tables import API_KEYS
from gateway.storage.values import Key


def create_key(connection: sa.Connection, command: CreateKey) -> Key:
    key = command.key
    same_name = sa.and_(API_KEYS.c.project == key.project, API_KEYS.c.name == key.name)
    taken = sa.select(API_KEYS.c.id).where(
        sa.or_(API_KEYS.c.id == key.id, API_KEYS.c.digest == key.digest, same_name)
    )
    if connection.execute(taken).first() is not None:
        raise Refused(f"Project {key.project!r} already has a key named {key.name!r}. Choose another name.")
    connection.execute(sa.insert(API_KEYS).values(**storable(key_row(key))))
    append_journal(
        connection, "key", at=key.created_at, actor=command.actor, subject=key.id, action="created",
        detail={"name": key.name, "project": key.project, "scopes": list(key.scopes), "hint": key.hint},
    )  # fmt: skip
    bump_generation(connection)
    return key


def revoke_key(connection: sa.Connection, command: RevokeKey) -> Key:
    ref = command.ref
    matches = sa.select(API_KEYS).where(
        sa.or_(API_KEYS.c.id == ref, API_KEYS.c.name == ref, API_KEYS.c.hint == ref)
    )
    found = [key_of(row) for row in connection.execute(matches).mappings()]
    active = [key for key in found if key.revoked_at is None]
    if not found:
        raise Refused(f"No key has the id, name or hint {ref!r}. `understudy keys list` shows them.")
    if len(active) > 1:
        ids = ", ".join(sorted(key.id for key in active))
        raise Refused(f"{len(active)} keys match {ref!r}; name one by its id: {ids}.")
    if not active:
        return found[0]
    key = msgspec.structs.replace(active[0], revoked_at=command.at)
    connection.execute(
        sa.update(API_KEYS).where(API_KEYS.c.id == key.id).values(revoked_at=command.at)
    )  # fmt: skip
    append_journal(
        connection, "key", at=command.at, actor=command.actor, subject=key.id, action="revoked",
        detail={"name": key.name, "project": key.project, "hint": key.hint},
    )  # fmt: skip
    bump_generation(connection)
    return key


_HANDLERS: dict[type[Any], Callable[[sa.Connection, Any], Any]] = {
    CreateKey: create_key,
    RevokeKey: revoke_key,
    EnqueueRun: sql_runs.enqueue_run,
    ClaimRun: sql_runs.claim_run,
    ReportRun: sql_runs.report_run,
    FinishRun: sql_runs.finish_run,
    CancelRun: sql_runs.cancel_run,
    AddDataset: sql_runs.add_dataset,
    AddStudent: sql_students.add_student,
    MoveStudent: sql_students.move_student,
    HandleWish: sql_students.handle_wish,
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

    def execute(self, command: Command) -> Any:
        """Raises Refused, or WriterAway when the database cannot be reached or written."""
        try:
            with self.transaction() as connection:
                return _HANDLERS[type(command)](connection, command)
        except (sa.exc.OperationalError, sa.exc.InterfaceError, sa.exc.TimeoutError):
            raise WriterAway("The database cannot be written now; try again.") from None

    def close(self) -> None:
        self._engine.dispose()
