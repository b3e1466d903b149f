"""Opens a Writer from any process.

On PostgreSQL every process executes its own commands. On SQLite one process writes: while an ingester runs it is
asked over its socket; when none runs, this process takes ``writer.lock`` for the length of the command.
"""

from __future__ import annotations

import fcntl
import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

import msgspec

from gateway.storage.commands import Command, Refused, WriterAway
from gateway.storage.home import Home
from gateway.storage.protocols import Writer
from gateway.storage.writing.wire import RESULTS, Done, NotDone, decode_reply, encode, receive, send

if TYPE_CHECKING:
    from gateway.storage.writing.writer import SqlWriter

_REPLY_S = 20.0
_PATIENCE_S = 5.0  # an ingester that starts or stops holds the lock without listening for a moment


def open_writer(home: Home) -> Writer:
    """A Writer for this home's database. Connects when the first command is executed."""
    if home.embedded:
        return LocalWriter(home)
    from gateway.storage.engine import is_sqlite

    url = home.database_url
    return LocalWriter(home) if is_sqlite(url) else DirectWriter(url)


@contextmanager
def writer_lock(home: Home, *, wait_s: float = 0.0) -> Iterator[None]:
    """Makes this process the one writer. Raises WriterAway when another one is, for ``wait_s`` seconds."""
    home.root.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(home.root / "writer.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        until = time.monotonic() + wait_s
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except OSError:
                if time.monotonic() >= until:
                    raise WriterAway("Another process is writing the database now; try again.") from None
                time.sleep(0.02)
        yield
    finally:
        os.close(descriptor)


class DirectWriter:
    """Executes in this process; brings the schema up to date before the first command."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._writer: SqlWriter | None = None
        self._guard = threading.Lock()

    def execute(self, command: Command) -> Any:
        with self._guard:
            if self._writer is None:
                self._writer = _connected(self._url)
        return self._writer.execute(command)

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()


class LocalWriter:
    """Asks the ingester, or is the writer itself while none runs."""

    def __init__(self, home: Home) -> None:
        self._home = home
        self._guard = threading.Lock()
        self._connection: socket.socket | None = None

    def execute(self, command: Command) -> Any:
        message = encode(command)
        until = time.monotonic() + _PATIENCE_S
        with self._guard:
            while True:
                if self._connect():
                    return self._ask(command, message)
                with suppress(WriterAway), writer_lock(self._home):
                    writer = _connected(self._home.database_url)
                    try:
                        return writer.execute(command)
                    finally:
                        writer.close()
                if time.monotonic() >= until:
                    raise WriterAway("The process that writes the database does not answer; try again.")
                time.sleep(0.05)

    def close(self) -> None:
        with self._guard:
            self._drop()

    def _connect(self) -> bool:
        if self._connection is not None and _peer_left(self._connection):
            self._drop()
        if self._connection is None:
            connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            connection.settimeout(_REPLY_S)
            try:
                connection.connect(str(self._home.writer_socket))
            except OSError:
                connection.close()
                return False
            self._connection = connection
        return True

    def _ask(self, command: Command, message: bytes) -> Any:
        assert self._connection is not None
        try:
            send(self._connection, message)
            answer = receive(self._connection)
        except ValueError as problem:
            self._drop()
            raise Refused(str(problem)) from None
        except OSError:
            answer = None
        if answer is None:
            # Whether it was carried out is unknown; commands are safe to repeat, so the caller decides.
            self._drop()
            raise WriterAway("The process that writes the database left before it answered; try again.")
        reply = decode_reply(answer)
        if isinstance(reply, Done):
            return msgspec.msgpack.decode(reply.value, type=RESULTS[type(command)])
        if isinstance(reply, NotDone):
            raise Refused(reply.reason)
        raise WriterAway(reply.reason)

    def _drop(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def _peer_left(connection: socket.socket) -> bool:
    """Between commands the ingester says nothing: anything to read is the end of the connection."""
    try:
        connection.setblocking(False)
        try:
            connection.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return False
        finally:
            connection.settimeout(_REPLY_S)
    except OSError:
        return True
    return True


def _connected(url: str) -> SqlWriter:
    """Loads SQLAlchemy and every table: whoever asks the ingester never needs them."""
    from sqlalchemy.exc import SQLAlchemyError

    from gateway.storage.engine import write_engine
    from gateway.storage.migrations import migrate
    from gateway.storage.write_ahead import IndexRemoved
    from gateway.storage.writing.writer import SqlWriter

    try:
        migrate(url)
    except SQLAlchemyError:
        raise WriterAway("The database cannot be reached now; try again.") from None
    except IndexRemoved as problem:
        raise WriterAway(str(problem)) from None
    return SqlWriter(write_engine(url))
