"""``understudy backup`` and ``understudy restore``: checked copies of the SQLite database."""

from __future__ import annotations

import time
from argparse import Namespace
from pathlib import Path

from gateway.commands.common import fail, prepared_home, say
from gateway.storage.backups import BackupFailed, back_up, copies, copy, read_state, restore
from gateway.storage.home import Home

_ELSEWHERE = (
    "The database is PostgreSQL (UNDERSTUDY_DATABASE_URL): back it up with its own tools, such as pg_dump, "
    "and restore it with them."
)


def take(options: Namespace) -> int:
    """A copy now, while everything runs; or the list of those there are."""
    home = prepared_home()
    if options.list:
        return _list(home)
    try:
        database = _database(home)
        if options.to is not None:
            say(f"{options.to}: {copy(database, Path(options.to)):,} bytes, checked.")
            return 0
        made = back_up(home, database, time.time())
    except BackupFailed as problem:
        return fail(str(problem))
    say(f"{home.backups / made.file}: {made.size:,} bytes, checked.")
    return 0


def put_back(options: Namespace) -> int:
    """Puts a copy in the place of the database, while nothing runs."""
    from gateway.processes.supervisor import CannotStart, only_one
    from gateway.storage.commands import WriterAway
    from gateway.storage.writing.writers import writer_lock

    home = prepared_home()
    try:
        database = _database(home, there=False)
        with only_one(home), writer_lock(home):
            aside = restore(home, _source(home, options.copy), database, time.time())
    except (BackupFailed, CannotStart) as problem:
        return fail(str(problem))
    except WriterAway:
        return fail("a running understudy writes the database: stop it first.")
    say(f"{database} is now {options.copy}." + (f" The old one lies at {aside}." if aside else ""))
    say("Keys that were revoked and people who were erased since the copy was made: revoke and erase them again.")
    return 0


def _list(home: Home) -> int:
    for at, path in copies(home):
        say(f"{time.strftime('%Y-%m-%d %H:%M:%S', time.gmtime(at))} UTC  {path.stat().st_size:>14,}  {path}")
    state = read_state(home)
    if state.problem:
        return fail(f"the last try failed: {state.problem}")
    if not state.tried_at:
        say("No copy was made yet.")
    return 0


def _database(home: Home, *, there: bool = True) -> Path:
    from gateway.storage.engine import is_sqlite, sqlite_file

    if not is_sqlite(home.database_url):
        raise BackupFailed(_ELSEWHERE)
    found = sqlite_file(home.database_url)
    if there and not found.exists():
        raise BackupFailed(f"there is no database yet at {found}.")
    return found


def _source(home: Home, named: str) -> Path:
    """A path, or the name of one of our own copies. Raises BackupFailed."""
    for path in (Path(named), home.backups / named):
        if path.is_file():
            return path
    raise BackupFailed(f"there is no copy {named}; understudy backup --list shows those there are.")
