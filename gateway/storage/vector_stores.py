"""Vector stores as files, readable by their owner alone: ``vector_stores/<project>/<store>/store.json``, and beside it
``files/`` (what is known of each file), ``chunks/`` (its texts and vectors), ``open/`` (those that are not taken in
yet), ``batches/`` and ``generation``, which is new after every change.

What is on disk is all there is, so any worker may search or take in, and a restart loses nothing. A lock on the folder
keeps those apart who would change a store at the same time; each holds it for milliseconds.
"""

from __future__ import annotations

import fcntl
import os
import re
import secrets
import shutil
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Literal, TypeVar

import msgspec
from msgspec import Struct, structs

from gateway.storage.home import Home
from gateway.storage.settled import sync_folder, write_whole
from gateway.storage.taken import taken, written_at
from gateway.storage.tombstones import Place, Tombstones

_STORE, _BATCH = re.compile(r"vs_[0-9a-f]{32}"), re.compile(r"vsfb_[0-9a-f]{32}")
_FILE = re.compile(r"file-[0-9a-f]{32}")
_DAY_S = 86_400.0
_LISTED = 64
"""Stores whose lists of files are remembered."""
FileStatus = Literal["in_progress", "completed", "cancelled", "failed"]
Attributes = dict[str, str | int | float | bool]
T = TypeVar("T", bound=Struct)


class Chunking(Struct, frozen=True):
    """In tokens: the longest chunk, and how much of it the next one repeats."""

    size: int = 800
    overlap: int = 400


class VectorStore(Struct, frozen=True):
    """Times in unix seconds. ``expires_days``: after it was last searched, changed or made."""

    id: str
    project: str
    created_at: float
    last_active_at: float
    name: str = ""
    description: str | None = None
    metadata: dict[str, str] = {}
    expires_days: int | None = None

    @property
    def expires_at(self) -> float | None:
        return self.last_active_at + self.expires_days * _DAY_S if self.expires_days is not None else None

    def expired(self, now: float) -> bool:
        return self.expires_at is not None and self.expires_at <= now


class VectorFile(Struct, frozen=True):
    """A file of a store. ``key_id``: who attached it, and pays for its vectors; ``error``: OpenAI's code, and why."""

    id: str
    key_id: str
    created_at: float
    chunking: Chunking = Chunking()
    attributes: Attributes = {}
    status: FileStatus = "in_progress"
    error: tuple[str, str] | None = None
    bytes: int = 0
    batch: str = ""
    turn: int = 0
    """How often it was made anew, because lines of it were erased."""


class Chunks(Struct, frozen=True):
    """What is searched of a file. ``vectors``: float32, a row of ``width`` for each text; empty without a ``model``."""

    filename: str
    texts: list[str]
    model: str = ""
    width: int = 0
    vectors: bytes = b""


class FileBatch(Struct, frozen=True):
    id: str
    created_at: float
    file_ids: tuple[str, ...]
    cancelled: bool = False


class VectorStores:
    """Blocking. Whatever takes a project and an id raises KeyError for what is not there."""

    def __init__(self, home: Home, now: Callable[[], float] = time.time) -> None:
        self._root, self._project, self._now = home.vector_stores, home.vector_stores_of, now
        self._gone = Tombstones(home, now)
        self._listed: OrderedDict[tuple[str, str], tuple[bytes, list[VectorFile]]] = OrderedDict()

    # ------------------------------------------------------------ stores
    def folder(self, project: str, store_id: str) -> Path:
        if _STORE.fullmatch(store_id) is None:
            raise KeyError(store_id)
        return self._project(project) / store_id

    def put(self, store: VectorStore) -> None:
        write_whole(self.folder(store.project, store.id) / "store.json", msgspec.json.encode(store))

    def replace(self, store: VectorStore) -> None:
        """In the place of what it was before."""
        with self._changing(store.project, store.id):
            self.put(store)

    def get(self, project: str, store_id: str) -> VectorStore:
        return self._as_active(self.folder(project, store_id))

    def all(self, project: str) -> list[VectorStore]:
        """Oldest first."""
        return sorted(self._read_all(self._project(project).glob("vs_*")), key=lambda one: (one.created_at, one.id))

    def touch(self, store: VectorStore) -> None:
        """It is used now."""
        with suppress(FileNotFoundError):
            (self.folder(store.project, store.id) / "active").touch()

    def delete(self, store: VectorStore) -> None:
        self._gone.bury(store.project, store.id, store.created_at)
        with self._changing(store.project, store.id) as folder:
            gone = folder.with_name(f".gone-{secrets.token_hex(8)}")
            folder.rename(gone)
            sync_folder(folder.parent)
        shutil.rmtree(gone, ignore_errors=True)

    def stood(self, project: str, name: str, store_id: str = "") -> Place | None:
        """Where a store, or a file of one, stood in its list before it went."""
        return self._gone.place(project, name, within=store_id)

    def size(self, project: str) -> int:
        """What the project's chunks take, in bytes."""
        return sum(_size(one) for one in self._project(project).glob("vs_*/chunks/*"))

    def generation(self, project: str, store_id: str) -> bytes:
        """Another one after every change of the files."""
        with suppress(FileNotFoundError):
            return (self.folder(project, store_id) / "generation").read_bytes()
        return b""

    # ------------------------------------------------------------ files
    def attach(self, store: VectorStore, files: Sequence[VectorFile], batch: FileBatch | None = None) -> None:
        """Each in the place of what it was before; somebody will take it in."""
        with self._changing(store.project, store.id) as folder:
            if batch is not None:
                write_whole(folder / "batches" / f"{batch.id}.json", msgspec.json.encode(batch))
            for one in files:
                (folder / "chunks" / one.id).unlink(missing_ok=True)
                self._put_file(folder, one)

    def file(self, project: str, store_id: str, file_id: str) -> VectorFile:
        if _FILE.fullmatch(file_id) is None:
            raise KeyError(file_id)
        return _read(self.folder(project, store_id) / "files" / f"{file_id}.json", VectorFile)

    def count(self, project: str, store_id: str) -> int:
        """How many files a store has."""
        with suppress(FileNotFoundError):
            return sum(1 for _ in (self.folder(project, store_id) / "files").iterdir())
        return 0

    def files(self, project: str, store_id: str) -> list[VectorFile]:
        """Oldest first; read once for each generation."""
        place, now = (project, store_id), self.generation(project, store_id)
        known = self._listed.get(place)
        if known is None or known[0] != now:
            known = now, self._files(project, store_id)
        if now:  # a store that is empty, or gone, has no generation
            self._listed[place] = known
            self._listed.move_to_end(place)
        while len(self._listed) > _LISTED:
            self._listed.popitem(last=False)
        return known[1]

    def _files(self, project: str, store_id: str) -> list[VectorFile]:
        found = []
        for path in (self.folder(project, store_id) / "files").glob("file-*.json"):
            with suppress(KeyError):
                found.append(_read(path, VectorFile))
        return sorted(found, key=lambda one: (one.created_at, one.id))

    def chunks(self, project: str, store_id: str, file_id: str) -> Chunks:
        self.file(project, store_id, file_id)
        try:
            raw = (self.folder(project, store_id) / "chunks" / file_id).read_bytes()
        except FileNotFoundError:
            raise KeyError(file_id) from None
        return msgspec.msgpack.decode(raw, type=Chunks)

    def change(
        self, project: str, store_id: str, file_id: str, change: Callable[[VectorFile], VectorFile]
    ) -> VectorFile:
        with self._changing(project, store_id) as folder:
            changed = change(self.file(project, store_id, file_id))
            self._put_file(folder, changed)
        return changed

    def finish(self, store: VectorStore, done: VectorFile, chunks: Chunks | None) -> None:
        """Keeps what was made of a file, unless it was detached, attached anew or cancelled meanwhile."""
        with suppress(KeyError), self._changing(store.project, store.id) as folder:
            known = self.file(store.project, store.id, done.id)
            if known.status != "in_progress" or (known.created_at, known.turn) != (done.created_at, done.turn):
                return
            if chunks is not None:
                write_whole(folder / "chunks" / done.id, raw := msgspec.msgpack.encode(chunks))
                done = structs.replace(done, bytes=len(raw))
            self._put_file(folder, structs.replace(done, attributes=known.attributes))

    def detach(self, project: str, store_id: str, file_id: str) -> None:
        with self._changing(project, store_id) as folder:
            known = self.file(project, store_id, file_id)
            self._gone.bury(project, file_id, known.created_at, within=store_id)
            for path in (folder / "chunks" / file_id, folder / "open" / file_id, folder / "files" / f"{file_id}.json"):
                _remove(path)

    def forget(self, project: str, file_id: str) -> None:
        """The file is deleted, or has expired: no store has it any more."""
        for folder in self._holding(project, file_id):
            with suppress(KeyError):
                self.detach(project, folder.name, file_id)

    def again(self, project: str, file_id: str) -> None:
        """The file has lost lines: what was made of it goes at once, and is made anew."""
        for folder in self._holding(project, file_id):
            with suppress(KeyError), self._changing(project, folder.name):
                _remove(folder / "chunks" / file_id)
                known = self.file(project, folder.name, file_id)
                self._put_file(folder, structs.replace(known, status="in_progress", bytes=0, turn=known.turn + 1))

    # ------------------------------------------------------------ batches
    def batch(self, project: str, store_id: str, batch_id: str) -> FileBatch:
        if _BATCH.fullmatch(batch_id) is None:
            raise KeyError(batch_id)
        return _read(self.folder(project, store_id) / "batches" / f"{batch_id}.json", FileBatch)

    def cancel(self, project: str, store_id: str, batch_id: str) -> FileBatch:
        """Those of its files that are not taken in yet are cancelled."""
        with self._changing(project, store_id) as folder:
            known = self.batch(project, store_id, batch_id)
            for one in known.file_ids:
                with suppress(KeyError):
                    file = self.file(project, store_id, one)
                    if file.status == "in_progress" and file.batch == batch_id:
                        self._put_file(folder, structs.replace(file, status="cancelled"))
            stopped = structs.replace(known, cancelled=True)
            write_whole(folder / "batches" / f"{batch_id}.json", msgspec.json.encode(stopped))
        return stopped

    # ------------------------------------------------------------ work
    def waiting(self) -> list[tuple[VectorStore, str]]:
        """(store, file) of what is not taken in yet, oldest first."""
        found = []
        for path in sorted(self._root.glob("*/vs_*/open/file-*"), key=written_at):
            with suppress(KeyError):
                found.append((self._as_active(path.parent.parent), path.name))
        return found

    def taken(self, store: VectorStore, file_id: str) -> Callable[[], None] | None:
        """What gives a waiting file back; None when somebody is at work on it, or it waits no more."""
        return taken(self.folder(store.project, store.id) / "open" / file_id)

    def sweep(self) -> None:
        """Empties stores that have expired; they stay in the list until they are deleted."""
        for folder in self._root.glob("*/vs_*"):
            with suppress(KeyError):
                store = self._as_active(folder)
                if store.expired(self._now()) and (folder / "files").is_dir():
                    with self._changing(store.project, store.id):
                        for name in ("open", "chunks", "batches", "files"):
                            shutil.rmtree(folder / name, ignore_errors=True)

    # ------------------------------------------------------------ within
    def _put_file(self, folder: Path, one: VectorFile) -> None:
        write_whole(folder / "files" / f"{one.id}.json", msgspec.json.encode(one))
        mark = folder / "open" / one.id
        if one.status == "in_progress":
            mark.parent.mkdir(mode=0o700, exist_ok=True)
            mark.touch(mode=0o600)
        else:
            mark.unlink(missing_ok=True)

    @contextmanager
    def _changing(self, project: str, store_id: str) -> Iterator[Path]:
        folder = self.folder(project, store_id)
        try:
            lock = os.open(folder / "lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        except FileNotFoundError:
            raise KeyError(store_id) from None
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not _same(lock, folder / "lock"):  # it was deleted while we waited
                raise KeyError(store_id)
            yield folder
            if folder.is_dir():
                write_whole(folder / "generation", secrets.token_bytes(16))
        finally:
            os.close(lock)

    def _holding(self, project: str, file_id: str) -> list[Path]:
        if _FILE.fullmatch(file_id) is None:
            return []
        return [path.parent.parent for path in self._project(project).glob(f"vs_*/files/{file_id}.json")]

    def _as_active(self, folder: Path) -> VectorStore:
        """A store with the time of its last use."""
        store = _read(folder / "store.json", VectorStore)
        return structs.replace(store, last_active_at=max(store.last_active_at, written_at(folder / "active")))

    def _read_all(self, folders: Iterable[Path]) -> Iterator[VectorStore]:
        for folder in folders:
            with suppress(KeyError):
                yield self._as_active(folder)


def _same(descriptor: int, path: Path) -> bool:
    try:
        return os.fstat(descriptor).st_ino == path.stat().st_ino
    except FileNotFoundError:
        return False


def _remove(path: Path) -> None:
    """For good, also when the power is cut."""
    if path.exists():
        path.unlink(missing_ok=True)
        sync_folder(path.parent)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _read(path: Path, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except (FileNotFoundError, NotADirectoryError):
        raise KeyError(path.stem) from None
