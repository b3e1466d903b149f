"""SQLite's write-ahead log and its index, files beside the database (``-wal``, ``-shm``): what to do when somebody
removes them under running processes.

Whoever has the log open goes on with it, removed or not, while new connections make another one: they disagree about
what the database says, nobody new can read, and what only the removed log says is lost with the process that writes.
So connections are looked at whenever they are used: the writer moves everything into the database and begins anew,
and readers follow it. The index is where processes meet and lock each other out, and all connections of a process share
it: without it no process can go on. The writer saves everything and ends; to readers the database is away until they
are started again, so that nobody is let in by keys as they once were. A writer that is killed before it notices has
left the log a second name (``second_name``).
"""

from __future__ import annotations

import sqlite3
import threading
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from msgspec import Struct

from gateway.storage.second_name import dropped, put_back


class IndexRemoved(Exception):
    """The log's index was removed: only processes that start now agree on another one."""

    def __init__(self) -> None:
        super().__init__(
            "The file understudy.db-shm was removed while it was in use. What was written is in the database: stop all "
            "processes of Understudy and start them again."
        )


class _Seen(Struct, frozen=True):
    file: tuple[int, int]
    size: int


class Connection(sqlite3.Connection):
    """One that says when it is closed, so that it is known whether the process has any open."""

    log: WriteAheadLog | None = None
    database: Path | None = None
    """Set while it counts among those that are open."""
    writes = False
    """Whether it is the one that writes, which has given the log a second name."""

    def close(self) -> None:
        if self.writes and self.log is not None:
            self.log.drop()
        self._leave()
        super().close()
        self._closed()

    def __del__(self) -> None:
        self._leave()
        self._closed()

    def _leave(self) -> None:
        log, self.log = self.log, None
        if log is not None:
            _indexes.left(log.index)

    def _closed(self) -> None:
        database, self.database = self.database, None
        if database is not None:
            _databases.left(database)


class _Databases:
    """How many connections this process has to each database, from before one is made until it is closed."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._open: Counter[Path] = Counter()

    def joined(self, database: Path) -> None:
        """One more. Before the first of all a log that lost its name gets it back. To look for that means to open the
        index and to close it, which would end the locks that other connections of this process have on it
        (https://www.sqlite.org/howtocorrupt.html, 2.2), and a process that comes later would begin it anew under them.
        """
        with self._guard:
            if not self._open[database]:
                put_back(database)
            self._open[database] += 1

    def left(self, database: Path) -> None:
        with self._guard:
            self._open[database] -= 1


_databases = _Databases()


def connected(database: Path, connect: Callable[[], Connection]) -> Connection:
    """The connection to ``database`` that ``connect`` makes. Raises what it does."""
    place = database.resolve()
    _databases.joined(place)
    try:
        connection = connect()
    except BaseException:
        _databases.left(place)
        raise
    connection.database = place
    return connection


class _Indexes:
    """Which index this process has open of each database: the one that its first connection met."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._open: Counter[Path] = Counter()
        self._met: dict[Path, tuple[int, int] | None] = {}
        self._gone: set[Path] = set()

    def joined(self, index: Path) -> bool:
        """Another connection. Whether the index that it got with the process's others was gone by then."""
        with self._guard:
            first = not self._open[index]
            if first:
                self._met[index] = _file(index)
            self._open[index] += 1
        return self.removed(index)

    def left(self, index: Path) -> None:
        with self._guard:
            self._open[index] -= 1

    def removed(self, index: Path) -> bool:
        """Once it was, it stays so for this process."""
        now = _file(index)
        with self._guard:
            if self._met[index] is None:  # none was needed so far
                self._met[index] = now
            if now != self._met[index]:
                self._gone.add(index)
            return index in self._gone


_indexes = _Indexes()


class WriteAheadLog:
    """The log that a connection has open: made right after that has read something."""

    def __init__(self, database: Path) -> None:
        self._database = database
        self._path = database.with_name(f"{database.name}-wal")
        self.index = database.with_name(f"{database.name}-shm")
        self._mine = _seen(self._path)
        self.foreign = _indexes.joined(self.index)
        """It may be another log than the one that the index is about: nothing may be written, nor moved."""

    def removed(self) -> bool:
        """For who writes: whether the log that is open has no name any more."""
        now = _seen(self._path)
        if self._mine is None:  # no log was needed so far
            self._mine = now
        return self._mine is not None and (now is None or now.file != self._mine.file)

    def followed(self) -> bool:
        """For who reads: whether another log is in use by now. Until then the one that is open tells everything."""
        now = _seen(self._path)
        return now is not None and now.size > 0 and (self._mine is None or now.file != self._mine.file)

    def drop(self) -> None:
        """Who writes closes it: its second name goes first."""
        dropped(self._database, None if self._mine is None else self._mine.file)

    def index_removed(self) -> bool:
        return _indexes.removed(self.index)


def opened(connection: Connection, database: Path) -> WriteAheadLog:
    """Raises sqlite3.Error when the database cannot be read."""
    connection.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchone()
    connection.log = WriteAheadLog(database)
    return connection.log


def emptied(connection: Any) -> bool:
    """Moves everything into the database; False while somebody reads what is to be moved."""
    busy, *_ = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    return not busy


def _seen(path: Path) -> _Seen | None:
    with suppress(OSError):
        found = path.stat()
        return _Seen((found.st_dev, found.st_ino), found.st_size)
    return None


def _file(path: Path) -> tuple[int, int] | None:
    found = _seen(path)
    return None if found is None else found.file
