"""Segment files of one spool writer, and their names: ``<name>-<start ns>-<random>-<number>.seg``.

A live writer holds an exclusive flock on its newest segment from before the file gets its name until the process
ends, however it ends. So a reader that gets the lock knows that nobody will write there again.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import secrets
import threading
import time
from collections.abc import Iterable
from pathlib import Path

from gateway.storage.settled import make_folders, sync_folder
from gateway.storage.spooling.format import HEADER_SIZE, SpoolCipher, header

SUFFIX, RESERVE_SUFFIX, DRAFT_SUFFIX = ".seg", ".reserve", ".tmp"
_AHEAD = 256 * 1024
"""Bytes of room below which more is made."""
_SPACE = frozenset({errno.ENOSPC, errno.EFBIG, errno.EDQUOT})


class Segment:
    """An open segment. ``size`` bytes of it are good; ``reserved`` means its blocks exist already. Of an ordinary one
    those that are written next exist by ``make_room``: a write that makes a file longer waits whenever its file system
    commits, for milliseconds (docs/experiments.md)."""

    def __init__(self, path: Path, descriptor: int, folder: Path, *, reserved: bool) -> None:
        self.path = path
        self.size = HEADER_SIZE
        self.synced = 0
        self.reserved = reserved
        self.too_large = False
        self._descriptor = descriptor
        self._folder: Path | None = folder
        self._closed = self._doubtful = False
        self._room = 0
        self._making = threading.Lock()

    def fits(self, data: bytes, limit: int) -> bool:
        """Whether ``data`` may go here; an ordinary segment takes at least one record however long."""
        end = self.size + len(data)
        return end <= limit or (not self.reserved and self.size == HEADER_SIZE)

    def write(self, data: bytes) -> bool:
        """One write at the end of the good part; a partial one is cut back. False: no space (or an I/O error)."""
        if self.size + len(data) <= self._room:
            return self._write(data)
        with self._making:  # who makes room may do so by writing zeros, on file systems that know no other way
            return self._write(data)

    def _write(self, data: bytes) -> bool:
        try:
            count = os.pwrite(self._descriptor, data, self.size)
        except OSError as problem:
            count = 0
            self.too_large = problem.errno == errno.EFBIG or problem.errno not in _SPACE
        if count == len(data):
            self.size += count
            return True
        if count and not self.reserved:
            os.ftruncate(self._descriptor, self.size)
            self._room = 0
        return False

    def make_room(self, limit: int) -> None:
        """Sets the blocks aside that are written next, ``limit`` bytes altogether at most. Where there are none, the
        next write says so. Blocking, and meant for another thread than the one that writes."""
        if self.reserved or self._doubtful or self._room - self.size >= _AHEAD:
            return
        with self._making:
            start = max(self._room, self.size)
            if (more := min(2 * _AHEAD, limit - start)) <= 0:
                return
            with contextlib.suppress(OSError):
                os.posix_fallocate(self._descriptor, start, more)
                self._room = start + more

    def flush(self) -> None:
        """Its bytes on stable storage, whatever its name is by then. Raises OSError."""
        size = self.size
        if self.synced < size:
            os.fsync(self._descriptor)
            self.synced = size

    def sync(self) -> bool:
        """False when the disk did not take it; the segment is then never trusted beyond ``synced`` again."""
        if self._doubtful:
            return False
        try:
            self.flush()
            if self._folder is not None:
                sync_folder(self._folder)
                self._folder = None
        except OSError:
            self._doubtful = True
            return False
        return True

    def cut_unsynced(self) -> None:
        """Drops the part that a failed fsync leaves in doubt, once it has been written elsewhere."""
        try:
            os.ftruncate(self._descriptor, max(HEADER_SIZE, self.synced))
            self._room = 0
        except OSError:  # the copies carry the same numbers, so a reader that meets both takes one
            return

    def discard(self) -> None:
        self.path.unlink(missing_ok=True)
        self.close()

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        if self._room > self.size:
            with contextlib.suppress(OSError):  # room that is left over reads as zeros, which are no records
                os.ftruncate(self._descriptor, self.size)
        os.close(self._descriptor)


class SegmentFolder:
    """Makes one writer's segments, in order, and its reserve."""

    def __init__(self, folder: Path, name: str, cipher: SpoolCipher) -> None:
        self._folder = folder
        make_folders([folder])
        safe = "".join(letter if letter.isalnum() else "_" for letter in name)
        self.writer = f"{safe}-{time.time_ns():020d}-{secrets.token_hex(4)}"
        self._header = header(cipher)
        self._number = 0
        self._reserve: Segment | None = None

    def create(self, frames: Iterable[bytes] = (), *, durable: bool = False) -> Segment:
        """The next segment, locked, with ``frames`` in it; ``durable``: its bytes are on stable storage. It gets its
        name last: a reader that sees it holds those before it for finished, so one that fails must never be seen.
        Raises OSError."""
        self._number += 1
        return self._make(f"{self.writer}-{self._number:08d}{SUFFIX}", 0, frames, durable=durable)

    def reserve(self, size: int) -> None:
        """Sets ``size`` bytes of disk aside for text-less records, when there is room for that now."""
        if self._reserve is None:
            try:
                self._reserve = self._make(f"{self.writer}{RESERVE_SUFFIX}", size)
            except OSError:
                self._reserve = None

    def take_reserve(self, data: bytes, limit: int) -> Segment | None:
        """The reserve as the newest segment (a rename needs no space); None when it is used up, or too small for
        ``data``: it is kept for those that fit, then."""
        if self._reserve is None or not self._reserve.fits(data, limit):
            return None
        reserve, self._reserve = self._reserve, None
        path = self._folder / f"{self.writer}-{self._number + 1:08d}{SUFFIX}"
        try:
            reserve.path.rename(path)
        except OSError:
            reserve.discard()
            return None
        self._number += 1
        reserve.path = path
        return reserve

    def close(self) -> None:
        if self._reserve is not None:
            self._reserve.discard()
            self._reserve = None

    def _make(self, name: str, size: int, frames: Iterable[bytes] = (), *, durable: bool = False) -> Segment:
        path = self._folder / name
        draft = path.with_suffix(DRAFT_SUFFIX)
        descriptor = os.open(draft, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if size:
                os.posix_fallocate(descriptor, 0, size)
            if os.pwrite(descriptor, self._header, 0) != len(self._header):
                raise OSError(errno.ENOSPC, "No space left on device")
            segment = Segment(path, descriptor, self._folder, reserved=bool(size))
            if not all(segment.write(data) for data in frames):
                raise OSError(errno.ENOSPC, "No space left on device")
            if durable:
                segment.flush()
            draft.rename(path)
        except OSError:
            draft.unlink(missing_ok=True)
            os.close(descriptor)
            raise
        return segment


def parse_name(name: str) -> tuple[str, int] | None:
    """(writer, number) of a segment's file name; None for other files."""
    if not name.endswith(SUFFIX):
        return None
    writer, _, number = name.removesuffix(SUFFIX).rpartition("-")
    return (writer, int(number)) if writer and number.isdigit() else None


def is_abandoned(path: Path) -> bool:
    """Whether no process holds this segment (or it is gone)."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return False
    else:
        return True
    finally:
        os.close(descriptor)
