"""Databases of this version, without a migration for each: the first of a process is copied."""

from __future__ import annotations

import tempfile
from functools import cache
from pathlib import Path

from gateway.storage.home import Home
from gateway.storage.migrations import migrate

__all__ = ["migrated"]


def migrated(home: Home) -> Home:
    """``home`` with a database of this version. One that is there already is migrated, and so is PostgreSQL."""
    if not home.embedded or home.database.exists():
        migrate(home.database_url)
    else:
        home.database.touch(0o600)
        home.database.write_bytes(_empty())
    return home


@cache
def _empty() -> bytes:
    with tempfile.TemporaryDirectory(prefix="understudy-") as folder:
        file = Path(folder) / "understudy.db"
        migrate(f"sqlite:///{file}")
        return file.read_bytes()
