"""Row 38: whoever is killed while it migrates leaves the old schema, and the next start carries on."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from migrated import migrated

from gateway.storage.home import Home
from gateway.storage.migrations import migrate

LOOKS = 6


@contextmanager
def before_each(look: Callable[[str], None]) -> Iterator[None]:
    """``look`` is called with each statement of any engine, before it is executed."""

    def told(*given: Any) -> None:
        look(given[2])

    sa.event.listen(sa.engine.Engine, "before_cursor_execute", told)
    try:
        yield
    finally:
        sa.event.remove(sa.engine.Engine, "before_cursor_execute", told)


def as_it_lies(database: Path, into: Path) -> Path:
    """What a process that takes over finds: the files, in which nothing is committed that was not."""
    into.mkdir()
    for ending in ("", "-wal"):
        part = database.with_name(database.name + ending)
        if part.exists():
            shutil.copyfile(part, into / part.name)
    return into / database.name


def schema(database: Path) -> list[tuple[str, str]]:
    with closing(sqlite3.connect(database)) as opened:
        return opened.execute("SELECT name, sql FROM sqlite_master WHERE sql != '' ORDER BY name").fetchall()


def test_row_38_a_migration_that_is_killed_anywhere_is_done_by_the_next(home: Home, tmp_path: Path) -> None:
    changes: list[str] = []
    with before_each(changes.append):
        migrate(home.database_url)
    whole, step = schema(home.database), max(1, len(changes) // LOOKS)
    assert len(changes) > 60
    other = Home(tmp_path / "other").prepare()
    taken: list[Path] = []
    seen = 0

    def look(said: str) -> None:
        nonlocal seen
        seen += 1
        if seen % step == 0:
            taken.append(as_it_lies(other.database, tmp_path / f"killed{seen}"))

    with before_each(look):
        migrate(f"sqlite:///{other.database}")
    assert len(taken) >= LOOKS
    for database in taken:
        assert schema(database) in ([], whole), "half of a schema was there"
        migrate(f"sqlite:///{database}")
        assert schema(database) == whole


def test_row_38_a_step_that_fails_leaves_the_data_as_it_was(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """An older database with something in it, and a newest migration that does not get through."""
    from gateway.storage import migrations

    migrated(home)
    with closing(sqlite3.connect(home.database)) as database:
        (newest,) = database.execute("SELECT version_num FROM alembic_version").fetchone()
        database.execute("INSERT INTO meta (name, value) VALUES ('kept', 'yes')")
        database.commit()
    before = schema(home.database)

    def fail(said: str) -> None:
        if "later_table" in said and said.startswith("INSERT"):
            raise RuntimeError("the machine went down")

    folder = home.root / "migrations"
    shutil.copytree(Path(migrations.__file__).parent, folder)
    (folder / "versions" / "9999_later.py").write_text(
        f'"""A later step."""\nimport sqlalchemy as sa\nfrom alembic import op\nrevision, down_revision = "9999", "{newest}"\n'
        'branch_labels = depends_on = None\n\n\ndef upgrade() -> None:\n'
        '    op.create_table("later_table", sa.Column("a", sa.Integer))\n'
        '    op.add_column("calls", sa.Column("later", sa.String, nullable=True))\n'
        '    op.execute("INSERT INTO later_table VALUES (1)")\n'
    )
    monkeypatch.setattr(migrations, "__file__", str(folder / "__init__.py"))
    with before_each(fail), pytest.raises(RuntimeError):
        migrate(home.database_url)
    assert schema(home.database) == before
    migrate(home.database_url)
    with closing(sqlite3.connect(home.database)) as database:
        assert database.execute("SELECT value FROM meta WHERE name = 'kept'").fetchone() == ("yes",)
        assert database.execute("SELECT count(*), max(a) FROM later_table").fetchone() == (1, 1)
        assert "later" in [row[1] for row in database.execute("PRAGMA table_info(calls)")]
