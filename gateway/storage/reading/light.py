"""A Reader that loads SQLAlchemy and the tables when the first question comes that needs them.

They take as long to load as the rest of the gateway, and a third of its memory. What a gateway asks the embedded
database by itself, again and again, is little: keys, students and the switch, read here with the standard library,
and whether anybody was erased or any batch or file waits, to which an empty table is the whole answer.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal, TypeVar, cast

from gateway.storage.away import DatabaseAway
from gateway.storage.data_values import StoredFile
from gateway.storage.erasure_values import Erasure
from gateway.storage.home import Home
from gateway.storage.protocols import Reader
from gateway.storage.rows import key_of, student_of
from gateway.storage.values import Snapshot
from gateway.storage.write_ahead import Connection, IndexRemoved, connected, opened
from optimizer.rollout import Stage

if TYPE_CHECKING:
    from gateway.storage.spending import Spent

T = TypeVar("T")
_META = "SELECT value FROM meta WHERE name = ?"
_KEYS = "SELECT * FROM api_keys ORDER BY created_at"
_STUDENTS = "SELECT * FROM students WHERE stage != ? ORDER BY created_at"
_ANY = {
    "day_spending": "SELECT 1 FROM day_spending LIMIT 1",
    "batches": "SELECT 1 FROM batches LIMIT 1",
    "erasures": "SELECT 1 FROM erasures LIMIT 1",
    "files": "SELECT 1 FROM files LIMIT 1",
}


class LightReader:
    """Whatever it does not know itself, the whole reader is asked. Blocking; usable from several threads."""

    def __init__(self, home: Home, whole: Callable[[Home], Reader]) -> None:
        self._home, self._open = home, whole
        self._whole: Reader | None = None
        self._opening, self._asking = threading.Lock(), threading.Lock()
        self._connection: Connection | None = None

    def generation(self) -> int:
        """Raises DatabaseAway, as all that follow."""
        return self._asked(lambda connection: int(_meta(connection, "generation", "0")))

    def snapshot(self) -> Snapshot:
        return self._asked(_snapshot)

    def batch_waiting(self, before: float) -> bool:
        return self._any("batches") and self._reader().batch_waiting(before)

    def erasures(self, *, after: int = 0, limit: int = 1000) -> list[Erasure]:
        return self._reader().erasures(after=after, limit=limit) if self._any("erasures") else []

    def expired_files(self, now: float, *, limit: int = 500) -> list[StoredFile]:
        return self._reader().expired_files(now, limit=limit) if self._any("files") else []

    def spent_on_day(self, now: float) -> list[Spent]:
        return self._reader().spent_on_day(now) if self._any("day_spending") else []

    def close(self) -> None:
        with self._asking:
            self._drop()
        if self._whole is not None:
            self._whole.close()

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)

        def ask(*args: Any, **named: Any) -> Any:
            return getattr(self._reader(), name)(*args, **named)

        return ask

    def _reader(self) -> Reader:
        with self._opening:
            if self._whole is None:
                self._whole = self._open(self._home)
            return self._whole

    def _any(self, table: Literal["batches", "day_spending", "erasures", "files"]) -> bool:
        return self._asked(lambda connection: connection.execute(_ANY[table]).fetchone() is not None)

    def _asked(self, query: Callable[[sqlite3.Connection], T]) -> T:
        """The answer to ``query`` in one read transaction, of a connection that is used in turn."""
        with self._asking:
            self._look()
            try:
                if self._connection is None:
                    self._connection = _connected(self._home)
                    opened(self._connection, self._home.database)
                self._connection.execute("BEGIN")
                found = query(self._connection)
                self._connection.execute("COMMIT")
            except sqlite3.Error as problem:
                self._drop()
                raise DatabaseAway(str(problem)) from problem
            return found

    def _look(self) -> None:
        log = self._connection.log if self._connection is not None else None
        if log is not None and log.index_removed():
            raise DatabaseAway(str(IndexRemoved()))
        if log is not None and log.followed():
            self._drop()

    def _drop(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def _connected(home: Home) -> Connection:
    uri = f"{home.database.resolve().as_uri()}?mode=ro"
    connection = connected(home.database, lambda: sqlite3.connect(
        uri, uri=True, timeout=5, isolation_level=None, check_same_thread=False, factory=Connection
    ))  # fmt: skip
    for setting in ("query_only=ON", "wal_autocheckpoint=0", "trusted_schema=OFF", "mmap_size=0"):
        connection.execute(f"PRAGMA {setting}")
    connection.row_factory = sqlite3.Row
    return connection


def _snapshot(connection: sqlite3.Connection) -> Snapshot:
    keys = [dict(row) for row in connection.execute(_KEYS)]
    students = [
        dict(row) | {"paused": bool(row["paused"])}
        for row in connection.execute(_STUDENTS, (Stage.RETIRED.value,))
    ]
    return Snapshot(
        generation=int(_meta(connection, "generation", "0")),
        keys=tuple(map(key_of, keys)),
        students=tuple(map(student_of, students)),
        students_off=_meta(connection, "students_off", "0") == "1",
    )


def _meta(connection: sqlite3.Connection, name: str, default: str) -> str:
    row = connection.execute(_META, (name,)).fetchone()
    return default if row is None else str(row[0])


def light_reader(home: Home) -> Reader:
    """A Reader of this home's database, for a process that may never ask it much."""
    if not home.embedded:
        return _whole(home)
    return cast(Reader, LightReader(home, _whole))


def _whole(home: Home) -> Reader:
    from gateway.storage.reading.reader import open_reader

    return open_reader(home)
