"""Copies of the SQLite database, each checked before it counts as one, and how the last try went.

``VACUUM INTO`` reads one snapshot while the writer goes on, and leaves erased text behind: a copy holds no free
pages (https://www.sqlite.org/lang_vacuum.html). On PostgreSQL nothing here is of use.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import sqlite3
import time
from calendar import timegm
from pathlib import Path

import msgspec
from msgspec import Struct, structs

from gateway.storage.home import Home
from gateway.storage.settled import settle, sync_file

_NAME = re.compile(r"understudy-(\d{8}T\d{6}Z)\.db")
_STAMP = "%Y%m%dT%H%M%SZ"
_ROOM = 64 * 1024 * 1024
"""Bytes that a copy must leave free: the spool needs room more than a copy does."""
_DRAFT = ".part"


class BackupFailed(Exception):
    """There is no copy, or it is none that could be restored; the text says why."""


class BackupState(Struct, frozen=True):
    """The last good copy, and the last try. Times are unix seconds, 0 for never; ``problem`` "" when it went well."""

    at: float = 0.0
    file: str = ""
    size: int = 0
    took_s: float = 0.0
    tried_at: float = 0.0
    problem: str = ""
    every_s: float = 0.0

    def overdue(self, now: float) -> bool:
        """Whether something is wrong: the last try failed, or none came when it should have."""
        return bool(self.problem) or (self.every_s > 0 and now - self.tried_at > 2 * self.every_s)


def read_state(home: Home) -> BackupState:
    """What is known; an empty state where no copy was ever tried."""
    try:
        return msgspec.json.decode((home.backups / "state.json").read_bytes(), type=BackupState)
    except (FileNotFoundError, NotADirectoryError, msgspec.DecodeError):
        return BackupState()


def back_up(home: Home, database: Path, now: float, *, every_s: float | None = None) -> BackupState:
    """A new copy in the folder of backups. → the state, which is also left on disk, as it is when this fails.
    ``every_s``: when the next one is expected (None: as before). Raises BackupFailed."""
    before, began = read_state(home), time.monotonic()
    every_s = before.every_s if every_s is None else every_s
    name = f"understudy-{time.strftime(_STAMP, time.gmtime(now))}.db"
    try:
        home.backups.mkdir(mode=0o700, parents=True, exist_ok=True)
        size = copy(database, home.backups / name)
    except (BackupFailed, OSError) as problem:
        why = str(problem) if isinstance(problem, BackupFailed) else problem.strerror or "the disk failed"
        _keep(home, structs.replace(before, tried_at=now, problem=why, every_s=every_s))
        raise BackupFailed(why) from None
    state = BackupState(now, name, size, time.monotonic() - began, now, "", every_s)
    _keep(home, state)
    return state


def copy(database: Path, target: Path) -> int:
    """Copies ``database`` to ``target``, readable by its owner alone, and checks the copy. → its bytes. Raises
    BackupFailed, with nothing left behind."""
    draft = target.with_name(target.name + _DRAFT)
    try:
        _ask_for_room(database, target.parent)
        draft.unlink(missing_ok=True)
        os.close(os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600))
        source = sqlite3.connect(f"{database.resolve().as_uri()}?mode=ro", uri=True, timeout=30)
        with contextlib.closing(source):
            source.execute("PRAGMA trusted_schema=OFF")
            source.execute("VACUUM INTO ?", (str(draft),))
        check(draft)
        _settle(draft, target)
    except (OSError, sqlite3.Error) as problem:
        said = problem.strerror if isinstance(problem, OSError) else str(problem)
        raise BackupFailed(f"the database could not be copied: {said}") from None
    finally:
        draft.unlink(missing_ok=True)
    return target.stat().st_size


def check(path: Path) -> None:
    """Raises BackupFailed unless ``path`` is a sound database of ours."""
    try:
        with contextlib.closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as found:
            verdict = str(found.execute("PRAGMA integrity_check(1)").fetchone()[0])
            version = found.execute("SELECT version_num FROM alembic_version").fetchone()
    except sqlite3.Error as problem:
        raise BackupFailed(f"{path.name} is no sound database of ours: {problem}") from None
    if verdict != "ok" or version is None:
        raise BackupFailed(f"{path.name} is damaged: {verdict}")


def copies(home: Home) -> list[tuple[float, Path]]:
    """When each copy was made and where it lies, oldest first."""
    found = []
    for path in home.backups.glob("understudy-*.db"):
        match = _NAME.fullmatch(path.name)
        if match is not None:
            found.append((_time_of(match.group(1)), path))
    return sorted(found)


def prune(home: Home, *, keep: int, erased_at: float = 0.0) -> list[Path]:
    """Removes all but the ``keep`` newest copies, and those that are older than the last erasure of a person once
    there is a younger one. → what was removed."""
    found = copies(home)
    gone = [path for _, path in found[:-keep]]
    if found and found[-1][0] > erased_at:
        gone += [path for at, path in found[-keep:] if at <= erased_at]
    for path in gone:
        path.unlink(missing_ok=True)
    for path in home.backups.glob(f"*{_DRAFT}"):
        path.unlink(missing_ok=True)
    return gone


def restore(home: Home, source: Path, database: Path, now: float) -> Path | None:
    """Puts a checked copy in the place of the database. → where the old one lies now; None when there was none. The
    caller is the one writer, and no reader runs. Raises BackupFailed, with the old one in place."""
    check(source)
    _ask_for_room(source, database.parent)
    fresh = database.with_name(database.name + _DRAFT)
    try:
        fresh.unlink(missing_ok=True)
        descriptor = os.open(fresh, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600)
        with source.open("rb") as reading, os.fdopen(descriptor, "wb") as writing:
            shutil.copyfileobj(reading, writing, 1024 * 1024)
        check(fresh)
        aside = _put_aside(database, now)
        _settle(fresh, database)
    except OSError as problem:
        raise BackupFailed(f"the copy could not be put in place: {problem.strerror}") from None
    finally:
        fresh.unlink(missing_ok=True)
    return aside


def _put_aside(database: Path, now: float) -> Path | None:
    """The database with its log, under another name: a restore that was a mistake can be taken back."""
    if not database.exists():
        return None
    aside = database.with_name(f"{database.name}.before-{time.strftime(_STAMP, time.gmtime(now))}")
    for ending in ("-wal", "-shm", ""):  # the database last: half of it never looks like all of it
        part = database.with_name(database.name + ending)
        if part.exists():
            part.rename(aside.with_name(aside.name + ending))
    return aside


def _ask_for_room(source: Path, folder: Path) -> None:
    need, free = source.stat().st_size + _ROOM, shutil.disk_usage(folder).free
    if free < need:
        raise BackupFailed(f"a copy needs {need // 2**20} MiB of room on the disk, and {free // 2**20} MiB are free")


def _settle(draft: Path, target: Path) -> None:
    """On stable storage, and only then under its name."""
    sync_file(draft)
    settle(draft, target)


def _keep(home: Home, state: BackupState) -> None:
    fresh = home.backups / f"state.json.{os.getpid()}"
    with contextlib.suppress(OSError):  # a full disk: the log has it, and the state stays what it was
        fresh.write_bytes(msgspec.json.encode(state))
        fresh.replace(home.backups / "state.json")


def _time_of(stamp: str) -> float:
    return float(timegm(time.strptime(stamp, _STAMP)))
