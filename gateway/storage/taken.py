"""Work that is taken by a lock on its file: when the process dies that has it, the lock is free for another."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable
from pathlib import Path


def taken(path: Path, *, create: bool = False) -> Callable[[], None] | None:
    """What gives it back; None when somebody has it, or it is gone. ``create``: the file is there for the lock alone,
    and made where its folder exists."""
    flags = os.O_RDWR | os.O_CLOEXEC | (os.O_CREAT if create else 0)
    try:
        lock = os.open(path, flags, 0o600)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(lock)
        return None
    return lambda: os.close(lock)


def written_at(path: Path) -> float:
    """Unix seconds; 0 for what is gone."""
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return 0.0
