"""Files of projects: bytes under ``UNDERSTUDY_HOME/files`` by generated names, and a row for each in the database.

An upload is written to ``<id>.part`` and renamed when it is complete and on disk; only then the row makes it
visible. A deletion takes the bytes first, so that no crash leaves deleted text behind.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import secrets
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

from gateway.storage.away import database_errors
from gateway.storage.data_values import AddFile, DeleteFile, StoredFile
from gateway.storage.home import Home
from gateway.storage.protocols import Reader, Writer
from gateway.storage.settled import make_folders, settle, write_all
from gateway.storage.tombstones import Place, Tombstones

_ID = re.compile(r"file-[0-9a-f]{32}")
_PIECE = 1024 * 1024
_FORGOTTEN_S = 24 * 3600.0


def new_file_id() -> str:
    return "file-" + secrets.token_hex(16)


class Upload:
    """A file that is being written. ``write`` only collects; ``flush`` puts it on disk in a thread."""

    def __init__(self, file_id: str, path: Path) -> None:
        self.id, self._path = file_id, path
        self._descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o600)
        self._waiting: list[bytes] = []
        self._pending = 0
        self.size = 0

    def write(self, piece: bytes) -> None:
        self._waiting.append(bytes(piece))
        self._pending += len(piece)
        self.size += len(piece)

    async def flush(self, *, least: int = _PIECE) -> None:
        """Raises OSError, for a full disk above all."""
        if self._pending >= least and self._waiting:
            data, self._waiting, self._pending = b"".join(self._waiting), [], 0
            await asyncio.to_thread(write_all, self._descriptor, data)

    async def finish(self, target: Path) -> None:
        await self.flush(least=0)
        await asyncio.to_thread(self.settle, target)

    def settle(self, target: Path) -> None:
        """Moves what was flushed to its place, once it is on disk. Blocking."""
        os.fsync(self._descriptor)
        settle(self._path, target)
        self.close()

    async def pieces(self) -> AsyncIterator[bytes]:
        """What was flushed so far, from its beginning."""
        place = 0
        while piece := await asyncio.to_thread(os.pread, self._descriptor, _PIECE, place):
            place += len(piece)
            yield piece

    def close(self) -> None:
        """Drops what was not finished; closing twice is fine."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
            with contextlib.suppress(FileNotFoundError):
                self._path.unlink()


class FileStore:
    """``limit`` and ``quota`` are given per call: they are settings and may change."""

    def __init__(
        self, home: Home, reader: Reader, writer: Writer, now: Callable[[], float] = time.time
    ) -> None:
        self._folder, self._reader, self._writer, self._now = home.files, reader, writer, now
        self._gone = Tombstones(home, now)
        self.forget: Callable[[str, str], None] = lambda project, file_id: None
        """Told of every file that goes, before it does; blocking. Set by who keeps what was made of files."""
        self.datasets = home.datasets

    def path(self, file_id: str) -> Path:
        """Where a file's bytes lie. Raises KeyError for a text that is no id of ours."""
        if _ID.fullmatch(file_id) is None:
            raise KeyError(file_id)
        return self._folder / file_id

    def begin(self, file_id: str = "") -> Upload:
        """``file_id``: one that nobody else is writing now, else a new one. Raises OSError."""
        draft = self._folder / f"{file_id or (file_id := new_file_id())}.part"
        make_folders([self._folder])
        draft.unlink(missing_ok=True)  # a process that was killed has left it
        return Upload(file_id, draft)

    async def add(self, upload: Upload, file: StoredFile, quota: int) -> StoredFile:
        """Makes an upload a file. Raises Refused over the quota, WriterAway, OSError; the bytes are gone then."""
        target = self.path(upload.id)
        await upload.finish(target)
        return await self.register(file, quota)

    async def register(self, file: StoredFile, quota: int) -> StoredFile:
        """The row of a file whose bytes are in place."""
        try:
            stored: StoredFile = await asyncio.to_thread(self._writer.execute, AddFile(file, quota))
        except BaseException:
            self.path(file.id).unlink(missing_ok=True)
            raise
        return stored

    async def room(self, project: str, quota: int) -> int:
        """Bytes that are free; while nothing can be read the whole quota, for the writer counts again."""
        try:
            return quota - await asyncio.to_thread(self._reader.file_bytes, project)
        except database_errors():
            return quota

    async def get(self, project: str, file_id: str) -> StoredFile | None:
        """None for an unknown, foreign or expired file."""
        if _ID.fullmatch(file_id) is None:
            return None
        file = await asyncio.to_thread(self._reader.file, project, file_id)
        if file is None or (file.expires_at is not None and file.expires_at <= self._now()):
            return None
        return file

    async def delete(self, file: StoredFile) -> None:
        await asyncio.to_thread(self._delete, file)

    async def place(self, project: str, file_id: str) -> Place | None:
        """Where a file stands in the list, or stood before it was deleted or expired."""
        return await asyncio.to_thread(self._place, project, file_id)

    def _place(self, project: str, file_id: str) -> Place | None:
        file = self._reader.file(project, file_id)
        return (file.created_at, file.id) if file is not None else self._gone.place(project, file_id)

    def _delete(self, file: StoredFile) -> None:
        self._gone.bury(file.project, file.id, file.created_at)
        self.forget(file.project, file.id)
        self.path(file.id).unlink(missing_ok=True)
        self._writer.execute(DeleteFile(file.project, file.id))

    async def sweep(self) -> None:
        """Deletes expired files and what uploads that never ended have left."""
        await asyncio.to_thread(self._sweep)

    def _sweep(self) -> None:
        self._gone.sweep()
        for file in self._reader.expired_files(self._now()):
            self._delete(file)
        if not self._folder.is_dir():
            return
        for part in self._folder.glob("*.part"):
            with contextlib.suppress(FileNotFoundError):
                if part.stat().st_mtime < time.time() - _FORGOTTEN_S:
                    part.unlink()


async def read_pieces(path: Path) -> AsyncIterator[bytes]:
    """A file's bytes in pieces of a mebibyte. Raises OSError."""
    source = await asyncio.to_thread(path.open, "rb")
    try:
        while piece := await asyncio.to_thread(source.read, _PIECE):
            yield piece
    finally:
        source.close()
