"""The ingester's side of the writer socket: other processes of the same user send commands, and get replies."""

from __future__ import annotations

import logging
import os
import socket
import stat
import threading
from contextlib import suppress
from pathlib import Path

import msgspec

from gateway.storage.commands import Refused, WriterAway
from gateway.storage.protocols import Writer
from gateway.storage.writing.wire import Done, NotDone, NotNow, Reply, decode_command, encode, receive, send

_log = logging.getLogger(__name__)
_MOST_CONNECTIONS = 32
_IDLE_S = 300.0
_MESSAGE_S = 10.0


class WriterServer:
    """Listens on a unix socket that only its owner can reach, one thread per connection."""

    def __init__(self, path: Path, writer: Writer) -> None:
        self._writer = writer
        self._path = path
        self._slots = threading.BoundedSemaphore(_MOST_CONNECTIONS)
        self._open: set[socket.socket] = set()
        self._guard = threading.Lock()
        _check_folder(path.parent)
        path.unlink(missing_ok=True)  # writer.lock is held: whoever made it is gone
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        before = os.umask(0o177)
        try:
            self._listener.bind(str(path))
        finally:
            os.umask(before)
        self._listener.listen(_MOST_CONNECTIONS)
        self._thread = threading.Thread(target=self._accept_forever, name="writer-socket", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stops listening; a command that is being executed is still answered."""
        self._path.unlink(missing_ok=True)
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # wakes the accepting thread
        self._listener.close()
        with self._guard:
            for connection in self._open:
                try:
                    connection.shutdown(socket.SHUT_RD)
                except OSError:
                    continue

    def _accept_forever(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            if not self._slots.acquire(blocking=False):
                connection.close()
                continue
            with self._guard:
                self._open.add(connection)
            threading.Thread(target=self._serve, args=(connection,), name="writer-peer", daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        try:
            with connection:
                connection.settimeout(_IDLE_S)
                while (message := receive(connection)) is not None:
                    connection.settimeout(_MESSAGE_S)
                    send(connection, encode(self._answer(message)))
                    connection.settimeout(_IDLE_S)
        except (OSError, ValueError):
            _log.debug("a peer of the writer socket left", exc_info=True)
        finally:
            with self._guard:
                self._open.discard(connection)
            self._slots.release()

    def _answer(self, message: bytes) -> Reply:
        try:
            result = self._writer.execute(decode_command(message))
        except Refused as refusal:
            return NotDone(str(refusal))
        except WriterAway as problem:
            return NotNow(str(problem))
        except (msgspec.DecodeError, UnicodeDecodeError):
            return NotDone("The writer does not know this command; both sides must run the same version.")
        except Exception:
            _log.exception("a command failed")
            return NotDone("The writer failed to carry out this command; its log says why.")
        return Done(msgspec.Raw(encode(result)))


def _check_folder(folder: Path) -> None:
    """Raises PermissionError unless the folder is ours alone: others could put their own socket there."""
    found = folder.lstat()
    if found.st_uid != os.getuid() or not stat.S_ISDIR(found.st_mode) or found.st_mode & 0o022:
        raise PermissionError(
            f"{folder} must be a folder of the user who runs Understudy, writable by nobody else."
        )
