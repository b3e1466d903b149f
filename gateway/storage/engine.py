"""Database engines: one that writes and one that only reads, for SQLite and PostgreSQL.

SQLite below 3.51.3 can corrupt its write-ahead log when two connections write or checkpoint at once, so exactly
one connection of one process writes and checkpoints; every other one is opened read-only and never checkpoints.
"""

from __future__ import annotations

import logging
import os
import sqlite3
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.engine import make_url
from sqlalchemy.pool import QueuePool, StaticPool

from gateway.storage.second_name import kept
from gateway.storage.write_ahead import Connection, IndexRemoved, connected, emptied, opened

_log = logging.getLogger(__name__)
_WRITE_LOCK = 0x756E6465  # one number for every session-level and transaction-level advisory lock of ours
STATEMENT_S = 5
"""The longest a statement of PostgreSQL may take where nothing else is said."""
BULK_S = 60
"""The same for what reads or erases much at a time, in the background or at a person's command."""
_LOCK_MS = 4000
_PSYCOPG = "postgresql+psycopg"


def normal_url(url: str) -> sa.URL:
    """``url`` with our PostgreSQL driver filled in. Raises ValueError for any other kind of database."""
    parsed = make_url(url)
    backend = parsed.get_backend_name()
    if backend == "postgresql":
        return parsed.set(drivername=_PSYCOPG)
    if backend != "sqlite":
        raise ValueError(f"UNDERSTUDY_DATABASE_URL must be a sqlite or postgresql address, not {backend!r}.")
    return parsed


def is_sqlite(url: str) -> bool:
    return normal_url(url).get_backend_name() == "sqlite"


def sqlite_file(url: str) -> Path:
    return Path(normal_url(url).database or "")


def write_engine(url: str) -> sa.Engine:
    """The engine of the one writer. On SQLite it holds a single connection that any thread may use in turn."""
    if is_sqlite(url):
        return _sqlite_writer(sqlite_file(url))
    return _postgres(url, STATEMENT_S, "", most=2)


def read_engine(url: str, *, bulk: bool = False) -> sa.Engine:
    """A small pool of read-only connections; usable from several threads. Connects lazily. ``bulk``: for whom nobody
    waits, whose statements may take :data:`BULK_S`."""
    if is_sqlite(url):
        return _sqlite_reader(sqlite_file(url))
    return _postgres(url, BULK_S if bulk else STATEMENT_S, " -c default_transaction_read_only=on", most=4)


def _postgres(url: str, statement_s: int, more: str, *, most: int) -> sa.Engine:
    from gateway.storage.patience import bounded  # the driver is an extra

    options = f"-c statement_timeout={statement_s * 1000} -c lock_timeout={_LOCK_MS}{more}"
    engine = sa.create_engine(
        normal_url(url), pool_size=most, max_overflow=most, pool_pre_ping=True, pool_timeout=5,
        connect_args={"connect_timeout": 3, "options": options},
    )  # fmt: skip
    return bounded(engine, statement_s)


def allow(connection: sa.Connection, *, statement_s: float, lock_s: float = _LOCK_MS / 1000) -> None:
    """Lets what follows in this transaction take longer than usual: a migration, the erasure of a person."""
    if connection.dialect.name == "postgresql":
        from gateway.storage.patience import lengthen

        lengthen(connection, max(statement_s, lock_s))
        for name, seconds in (("statement_timeout", statement_s), ("lock_timeout", lock_s)):
            connection.execute(sa.select(sa.func.set_config(name, str(round(seconds * 1000)), True)))


def is_damage(problem: BaseException) -> bool:
    """Whether SQLite says that its file is no sound database: the one thing for which Python has no class of its own
    (SQLITE_CORRUPT, SQLITE_NOTADB). Nothing that was asked is at fault then, and nothing may be taken for done."""
    return type(problem) is sa.exc.DatabaseError


def serialise_writes(connection: sa.Connection) -> None:
    """Makes write transactions of several processes queue up (SQLite has one writer to begin with)."""
    if connection.dialect.name == "postgresql":
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_WRITE_LOCK)))


def _sqlite_writer(path: Path) -> sa.Engine:
    def connect() -> sqlite3.Connection:
        # A file that is there is not opened: closing it would end this process's locks on it, those of SQLite too
        # (https://www.sqlite.org/howtocorrupt.html, 2.2), and another process would remove the log under its readers.
        with suppress(FileExistsError):
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o600))
        connection = connected(path, lambda: sqlite3.connect(
            path, timeout=10, isolation_level=None, check_same_thread=False, factory=Connection
        ))  # fmt: skip
        _pragmas(
            connection,
            ("journal_mode", "WAL"), ("synchronous", "FULL"), ("foreign_keys", "ON"),
            ("trusted_schema", "OFF"), ("secure_delete", "ON"), ("busy_timeout", "10000"), ("mmap_size", "0"),
        )  # fmt: skip
        return connection

    engine = sa.create_engine("sqlite://", creator=connect, poolclass=StaticPool)
    event.listen(engine, "begin", _begin_immediate)
    _watch_log(engine, path, _saved)
    event.listen(engine, "connect", lambda connection, _: _name_twice(connection, path))
    return engine


def _sqlite_reader(path: Path) -> sa.Engine:
    def connect() -> sqlite3.Connection:
        uri = f"{path.resolve().as_uri()}?mode=ro"
        connection = connected(path, lambda: sqlite3.connect(
            uri, uri=True, timeout=5, isolation_level=None, check_same_thread=False, factory=Connection
        ))  # fmt: skip
        _pragmas(
            connection,
            ("query_only", "ON"), ("wal_autocheckpoint", "0"), ("trusted_schema", "OFF"),
            ("busy_timeout", "5000"), ("mmap_size", "0"),
        )  # fmt: skip
        return connection

    engine = sa.create_engine(
        "sqlite://", creator=connect, poolclass=QueuePool, pool_size=4, max_overflow=8, pool_timeout=10
    )
    event.listen(engine, "begin", _begin)
    _watch_log(engine, path, _followed)
    return engine


def _watch_log(engine: sa.Engine, path: Path, over: Callable[[Connection], bool]) -> None:
    """Connects again where ``over`` says of a connection that is about to be used that its log is no longer the one."""

    def used(connection: Any, *_: Any) -> None:
        if over(connection):
            raise sa.exc.DisconnectionError

    event.listen(engine, "connect", lambda connection, _: opened(connection, path))
    event.listen(engine, "checkout", used)


def _name_twice(connection: Connection, path: Path) -> None:
    """After the log was looked at, which makes it where there was none."""
    kept(path)
    connection.writes = True


def _followed(connection: Connection) -> bool:
    log = connection.log
    if log is not None and log.index_removed():
        raise sa.exc.TimeoutError(str(IndexRemoved()))
    return log is None or log.followed()


def _saved(connection: Connection) -> bool:
    """Whether the log was removed under the writer. What it says is in the database by then. Raises IndexRemoved, and
    TimeoutError of SQLAlchemy while readers are in the way."""
    log = connection.log
    if log is not None and log.foreign:
        raise IndexRemoved
    lost = log is not None and log.index_removed()
    if log is None or not (lost or log.removed()):
        return log is None
    if not emptied(connection):
        raise sa.exc.TimeoutError("the database's log was removed, and is still being read")
    if lost:
        raise IndexRemoved
    _log.warning("somebody removed the database's log; all it said was saved, and another one is begun")
    return True


def _pragmas(connection: sqlite3.Connection, *settings: tuple[str, str]) -> None:
    for name, value in settings:
        connection.execute(f"PRAGMA {name}={value}")


def _begin_immediate(connection: sa.Connection) -> Any:
    connection.exec_driver_sql("BEGIN IMMEDIATE")


def _begin(connection: sa.Connection) -> Any:
    connection.exec_driver_sql("BEGIN")
