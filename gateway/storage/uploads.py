"""Files that arrive in parts: ``uploads/<project>/<upload>/upload.json`` under the data directory, and a file for each
part beside it, all readable by their owner alone.

What is on disk is all there is, so any worker may take a part and a restart loses nothing. A lock on the folder keeps
those apart who would change an upload at the same time. An upload that is not completed within an hour is deleted.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import re
import secrets
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Literal

import msgspec
from msgspec import Struct, structs

from gateway.storage.data_values import StoredFile
from gateway.storage.files import Upload, read_pieces
from gateway.storage.home import Home
from gateway.storage.settled import write_whole

LIFE_S = 3600.0
LARGEST_PART = 64 * 1024 * 1024
MOST_PARTS = 10_000
MOST_OPEN = 100
"""Of one project at a time."""
_KEPT_S = 24 * 3600.0
"""For so long after its end an upload still says what became of it."""
_WAIT_S = 5.0
_ID, _PART = re.compile(r"upload_[0-9a-f]{32}"), re.compile(r"part_[0-9a-f]{32}")


class UploadRefused(Exception):
    """For the client: what keeps an upload from what was asked. ``param`` is at fault, if any is; ``wait``: another
    request is at work on it."""

    def __init__(self, message: str, param: str | None = None, *, wait: bool = False) -> None:
        super().__init__(message)
        self.param, self.wait = param, wait


class PendingUpload(Struct, frozen=True):
    """``bytes`` are announced; ``lifetime_s`` is the file's, from its creation on; ``part_ids`` and ``file``: what it
    was completed with."""

    id: str
    project: str
    key_id: str
    filename: str
    purpose: str
    bytes: int
    created_at: float
    expires_at: float
    lifetime_s: int | None = None
    status: Literal["pending", "completed", "cancelled"] = "pending"
    part_ids: tuple[str, ...] = ()
    file: StoredFile | None = None

    def over(self, now: float) -> bool:
        return self.status == "pending" and self.expires_at <= now


def new_upload_id() -> str:
    return "upload_" + secrets.token_hex(16)


def file_id_of(upload_id: str) -> str:
    """The id of the file that an upload becomes: always the same, so that no crash makes two of it."""
    return "file-" + hashlib.sha256(upload_id.encode()).hexdigest()[:32]


_decode = msgspec.json.Decoder(PendingUpload).decode


class UploadStore:
    """Blocking."""

    def __init__(self, home: Home, now: Callable[[], float] = time.time) -> None:
        self._root, self._project, self._now = home.uploads, home.uploads_of, now

    def create(self, upload: PendingUpload, room: int) -> None:
        """``room``: bytes that the project has left, not counting its open uploads. Raises UploadRefused."""
        folder = self._project(upload.project)
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with _locked(folder):
            mine = [one for one in self._all(folder) if one.status == "pending" and not one.over(self._now())]
            if len(mine) >= MOST_OPEN:
                raise UploadRefused(
                    f"The project has {MOST_OPEN} uploads open already. Complete or cancel one.", wait=True
                )
            if upload.bytes > room - sum(one.bytes for one in mine):
                raise UploadRefused("The project's files would take more bytes than they may.", "bytes")
            self._put(upload)

    def get(self, project: str, upload_id: str) -> PendingUpload:
        """Raises KeyError, for another project's too."""
        if _ID.fullmatch(upload_id) is None:
            raise KeyError(upload_id)
        try:
            return _decode((self._project(project) / upload_id / "upload.json").read_bytes())
        except (FileNotFoundError, msgspec.DecodeError):
            raise KeyError(upload_id) from None

    def begin_part(self, upload: PendingUpload) -> Upload:
        """Where a part's bytes go while they arrive. Raises UploadRefused, OSError."""
        self._open(upload)
        part = "part_" + secrets.token_hex(16)
        return Upload(part, self._folder(upload) / f"{part}.new")

    def add_part(self, upload: PendingUpload, part: Upload) -> None:
        """Keeps a part that was written. Raises KeyError, UploadRefused, OSError."""
        folder = self._folder(upload)
        with _locked(folder):
            self._open(self.get(upload.project, upload.id))
            sizes = [path.stat().st_size for path in self._parts(folder)]
            if len(sizes) >= MOST_PARTS:
                raise UploadRefused(f"An upload takes at most {MOST_PARTS} parts.", "data")
            if sum(sizes) + part.size > upload.bytes + LARGEST_PART:  # a part that was sent again has its room
                raise UploadRefused(
                    f"The parts have more bytes than the {upload.bytes} that were announced.", "data"
                )
            part.settle(folder / part.id)

    def take(
        self, upload: PendingUpload, part_ids: Sequence[str]
    ) -> tuple[Callable[[], None], list[Path] | PendingUpload]:
        """The parts in their order, and what lets the upload go again: until then nobody else may change it. The upload
        itself when it was completed with these parts before. Raises KeyError, UploadRefused."""
        folder = self._folder(upload)
        with contextlib.ExitStack() as stack:
            stack.enter_context(_locked(folder))
            known = self.get(upload.project, upload.id)
            if known.status == "completed" and known.part_ids == tuple(part_ids):
                return stack.pop_all().close, known  # the answer was lost on its way
            self._open(known)
            return stack.pop_all().close, self._chosen(upload, folder, part_ids)

    def completed(self, upload: PendingUpload, part_ids: Sequence[str], file: StoredFile) -> PendingUpload:
        """While the upload is taken."""
        done = structs.replace(upload, status="completed", part_ids=tuple(part_ids), file=file)
        self._end(done)
        return done

    def cancel(self, upload: PendingUpload) -> PendingUpload:
        """Raises KeyError, UploadRefused."""
        with _locked(self._folder(upload)):
            known = self.get(upload.project, upload.id)
            if known.status == "cancelled":
                return known
            self._open(known)
            self._end(done := structs.replace(known, status="cancelled"))
            return done

    def sweep(self) -> None:
        """Deletes the bytes of uploads whose time is over, and those that ended a day ago altogether."""
        for folder in self._root.glob("*/upload_*"):
            with contextlib.suppress(KeyError, FileNotFoundError, UploadRefused, msgspec.DecodeError):
                upload = _decode((folder / "upload.json").read_bytes())
                if upload.expires_at > self._now():
                    continue
                with _locked(folder, wait_s=0.0):
                    if upload.expires_at + _KEPT_S <= self._now():
                        shutil.rmtree(folder, ignore_errors=True)
                    else:
                        self._clear(folder)

    # ------------------------------------------------------------------ within
    def _folder(self, upload: PendingUpload) -> Path:
        return self._project(upload.project) / upload.id

    def _all(self, folder: Path) -> Iterator[PendingUpload]:
        for path in folder.glob("upload_*/upload.json"):
            with contextlib.suppress(FileNotFoundError, msgspec.DecodeError):
                yield _decode(path.read_bytes())

    def _put(self, upload: PendingUpload) -> None:
        write_whole(self._folder(upload) / "upload.json", msgspec.json.encode(upload))

    def _open(self, upload: PendingUpload) -> None:
        if upload.over(self._now()):
            raise UploadRefused("The upload has expired: it was not completed within an hour. Begin anew.")
        if upload.status != "pending":
            raise UploadRefused(f"The upload is {upload.status} already.")

    def _parts(self, folder: Path) -> list[Path]:
        return [path for path in folder.glob("part_*") if path.suffix != ".new"]

    def _chosen(self, upload: PendingUpload, folder: Path, part_ids: Sequence[str]) -> list[Path]:
        if len(set(part_ids)) != len(part_ids):
            raise UploadRefused("A part is named twice.", "part_ids")
        paths = [folder / part for part in part_ids if _PART.fullmatch(part)]
        lost = next((part for part in part_ids if not _PART.fullmatch(part) or not (folder / part).is_file()), None)
        if lost is not None:
            raise UploadRefused(f"The upload has no part '{lost[:80]}'.", "part_ids")
        size = sum(path.stat().st_size for path in paths)
        if size != upload.bytes:
            raise UploadRefused(
                f"The parts have {size} bytes together, and {upload.bytes} were announced.", "part_ids"
            )
        return paths

    def _end(self, upload: PendingUpload) -> None:
        self._put(upload)
        self._clear(self._folder(upload))

    def _clear(self, folder: Path) -> None:
        for path in folder.glob("part_*"):
            path.unlink(missing_ok=True)


async def join(paths: Sequence[Path], target: Upload) -> str:
    """Writes the parts after each other. → the MD5 of all of it, in hex. Raises OSError."""
    digest = hashlib.md5(usedforsecurity=False)
    for path in paths:
        async for piece in read_pieces(path):
            digest.update(piece)
            target.write(piece)
            await target.flush()
    return digest.hexdigest()


@contextlib.contextmanager
def _locked(folder: Path, wait_s: float | None = None) -> Iterator[None]:
    """Raises KeyError for a folder that is gone, UploadRefused while somebody else is at work there for longer."""
    try:
        lock = os.open(folder / "lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    except FileNotFoundError:
        raise KeyError(folder.name) from None
    until = time.monotonic() + (_WAIT_S if wait_s is None else wait_s)
    try:
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= until:
                    message = "Another request is at work on this upload. Try again shortly."
                    raise UploadRefused(message, wait=True) from None
                time.sleep(0.01)
        yield
    finally:
        os.close(lock)
