"""A second name for SQLite's write-ahead log, so that a log that is removed while its writer is killed is not gone.

Whoever writes gives the log another name, a hard link that costs nothing: the bytes stay while either name is there.
Who connects next finds the first name gone and puts it back, if it is still the log that the index (``-shm``) is about:
the index says which one that is and where it ends. SQLite removes log and index together when the last connection
closes, and makes another index when it finds none in use, so that a log that is over never comes back over what was
written since. File systems without hard links do without. A leaf.

https://www.sqlite.org/walformat.html has both formats; its salts and checksums are compared as the bytes they are.
"""

from __future__ import annotations

import logging
import os
import struct
import threading
from contextlib import suppress
from pathlib import Path

_log = logging.getLogger(__name__)
_INDEX_HEADER = 48
_LOG_HEADER, _FRAME_HEADER = 32, 24
_LARGEST_PAGE = 65536


def second_name(database: Path) -> Path:
    return database.with_name(f"{database.name}.log-kept")


def kept(database: Path) -> None:
    """Names the log that a writer has just opened once more."""
    name, other = second_name(database), second_name(database).with_suffix(".new")
    with suppress(OSError):
        other.unlink(missing_ok=True)
        os.link(_log_of(database), other)
        other.replace(name)


def dropped(database: Path, file: tuple[int, int] | None) -> None:
    """The writer of the log ``file`` (device and inode) closes it: SQLite knows what to do with it."""
    name = second_name(database)
    with suppress(OSError):
        found = name.stat()
        if (found.st_dev, found.st_ino) == file:
            name.unlink()


def put_back(database: Path) -> bool:
    """Before anybody connects: gives a log that lost its first name that name again. → whether there was one. It opens
    the index and closes it, so it is for a process that has no connection (``write_ahead.connected`` sees to that).

    An empty log in its place was made by somebody who only reads: SQLite makes one for them, too.
    """
    name, first = second_name(database), _log_of(database)
    other = name.with_suffix(f".{os.getpid()}.{threading.get_ident()}")
    with suppress(OSError):
        if _size(first) or not _described(database.with_name(f"{database.name}-shm"), name):
            return False
        os.link(name, other)
        other.replace(first)
        _log.warning("somebody removed the database's log and its writer ended; the log has its name again")
        return True
    return False


def _size(path: Path) -> int:
    """0 for none."""
    with suppress(FileNotFoundError):
        return path.stat().st_size
    return 0


def _log_of(database: Path) -> Path:
    return database.with_name(f"{database.name}-wal")


def _described(index: Path, log: Path) -> bool:
    """Whether ``index`` is about ``log``: its salts, and the checksum of the last frame that was committed. Raises
    OSError when one of them is not there."""
    with index.open("rb") as file:
        head = file.read(2 * _INDEX_HEADER)
    if len(head) < 2 * _INDEX_HEADER or head[:_INDEX_HEADER] != head[_INDEX_HEADER:] or not head[12]:
        return False
    (page,) = struct.unpack_from("=H", head, 14)
    (frames,) = struct.unpack_from("=I", head, 16)
    size = _LARGEST_PAGE if page == 1 else page
    with log.open("rb") as file:
        salts = file.read(_LOG_HEADER)[16:24]
        file.seek(_LOG_HEADER + (frames - 1) * (size + _FRAME_HEADER) if frames else 0)
        last = file.read(_FRAME_HEADER)
    return bool(frames) and salts == head[32:40] and last[8:16] == salts and _words(last[16:24]) == _checksum(head)


def _words(data: bytes) -> tuple[int, ...]:
    """As the log has them: its numbers are big-endian."""
    return struct.unpack(">2I", data) if len(data) == 8 else ()


def _checksum(head: bytes) -> tuple[int, ...]:
    """As the index has it: in the machine's own order."""
    return struct.unpack_from("=2I", head, 24)
