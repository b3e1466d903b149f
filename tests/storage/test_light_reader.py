"""The reader that does not load SQLAlchemy says what the whole one says, and hands on what it does not know."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import msgspec
import pytest
from storage_samples import Room, call, student, text

from gateway.storage.away import DatabaseAway, database_errors
from gateway.storage.commands import AddStudent, CreateKey
from gateway.storage.data_values import AddFile, StoredFile
from gateway.storage.home import Home
from gateway.storage.reading.light import LightReader, light_reader
from gateway.storage.reading.reader import open_reader
from gateway.storage.records import SwitchRecord
from gateway.storage.values import Key


def key(name: str) -> Key:
    return Key(
        id=f"key_{name}", name=name, project="p", digest=f"digest-{name}", hint="us-…", scopes=("inference",),
        models=("m",), requests_per_minute=60, created_at=1.0, expires_at=None, revoked_at=2.0,
    )  # fmt: skip


def test_both_readers_see_the_same(room: Room) -> None:
    light = light_reader(room.home)
    assert light.generation() == room.reader.generation()
    room.writer.execute(CreateKey(key("a"), actor="admin"))
    room.writer.execute(AddStudent(student("stu"), "data", {"agreement": 0.9}, 2.0))
    room.add(SwitchRecord(True, "admin", "", 3.0), call("c1", body=text("q", "a")))
    assert light.generation() == room.reader.generation() > 0
    seen, whole = light.snapshot(), room.reader.snapshot()
    assert msgspec.json.encode(seen) == msgspec.json.encode(whole)
    assert seen == whole
    assert seen.students_off
    assert light.completion("p", "c1") == room.reader.completion("p", "c1") is not None
    light.close()


def test_tables_with_something_in_them_are_read_by_the_whole_reader(home: Home) -> None:
    room = Room(home)
    light = LightReader(home, open_reader)
    assert light.expired_files(time.time()) == []
    assert light.erasures() == []
    assert not light.batch_waiting(time.time())
    assert light._whole is None
    old = StoredFile(
        id="file-" + "0" * 32, project="p", key_id="k", filename="a", purpose="batch", bytes=1, created_at=1.0,
        expires_at=2.0,
    )  # fmt: skip
    room.writer.execute(AddFile(old, quota=10))
    assert [one.id for one in light.expired_files(time.time())] == [old.id]
    light.close()
    room.close()


def test_a_database_that_is_not_there_is_away_and_may_come_later(home: Home) -> None:
    light = light_reader(home)
    for ask in (light.generation, light.snapshot, lambda: light.batch_waiting(0.0)):
        with pytest.raises(DatabaseAway):
            ask()
    made = Room(home)
    assert light.generation() == made.reader.generation()
    made.close()
    light.close()


def test_only_what_can_have_been_raised_is_caught() -> None:
    assert database_errors(OSError)[-1] is OSError
    assert issubclass(DatabaseAway, database_errors())


def test_the_gateway_is_loaded_without_what_it_seldom_needs() -> None:
    heavy = ("sqlalchemy", "sqlmodel", "alembic", "numpy", "aiohttp", "pydantic", "openai", "sklearn", "torch")
    told = subprocess.run(
        [sys.executable, "-c", f"import gateway.server, sys; print([n for n in {heavy!r} if n in sys.modules])"],
        capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2],
    )  # fmt: skip
    assert told.stdout.strip() == "[]"
