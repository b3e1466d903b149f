"""Copies of the SQLite database: whole, checked, private, as many as wanted, and told of when they fail."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import msgspec
import pytest
import sqlalchemy as sa
from migrated import migrated
from storage_samples import call, script, text

from gateway.cli import main
from gateway.storage import backups
from gateway.storage.backups import BackupFailed, back_up, check, copies, copy, prune, read_state, restore
from gateway.storage.engine import write_engine
from gateway.storage.erasure_values import EraseUser
from gateway.storage.home import Home
from gateway.storage.reading.reader import open_reader
from gateway.storage.tables.data import EVENTS
from gateway.storage.writing.backing_up import AGAIN_S, DAILY, BackingUp, BackupRules, due
from gateway.storage.writing.ingest import ingest
from gateway.storage.writing.writer import SqlWriter
from gateway.telemetry.backup_gauges import BackupGauges

DAY = 86_400.0
NOW = 1_772_000_000.5


class Clock:
    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def writer(home: Home) -> Iterator[SqlWriter]:
    migrated(home)
    made = SqlWriter(write_engine(home.database_url))
    yield made
    made.close()


def store(writer: SqlWriter, *ids: str) -> None:
    with writer.transaction() as connection:
        ingest(connection, [call(one, body=text("a question of " + one, "an answer")) for one in ids], {})


def ids_in(path: Path) -> set[str]:
    with closing(sqlite3.connect(path)) as found, found:
        return {row[0] for row in found.execute("SELECT id FROM calls")}


def test_a_copy_is_whole_private_and_checked_while_somebody_writes(home: Home, writer: SqlWriter) -> None:
    store(writer, "c0")
    stop, count = threading.Event(), 0

    def write_on() -> None:
        nonlocal count
        while not stop.is_set():
            count += 1
            store(writer, f"c{count}")

    thread = threading.Thread(target=write_on)
    thread.start()
    try:
        made = back_up(home, home.database, NOW, every_s=DAY)
    finally:
        stop.set()
        thread.join()
    path = home.backups / made.file
    check(path)
    found = ids_in(path)
    assert found == {f"c{n}" for n in range(len(found))}, "a snapshot: all calls until one moment, and none after it"
    assert path.stat().st_mode & 0o777 == 0o600 and home.backups.stat().st_mode & 0o777 == 0o700
    assert read_state(home) == made and made.size == path.stat().st_size and not made.overdue(NOW + DAY)
    assert made.overdue(NOW + 3 * DAY), "the ingester that should have made another does not run"
    assert sorted(one.name for one in home.backups.iterdir()) == sorted(["state.json", made.file])


def test_a_damaged_copy_is_none(home: Home, writer: SqlWriter, monkeypatch: pytest.MonkeyPatch) -> None:
    store(writer, *(f"c{n}" for n in range(50)))
    target = home.root / "copy.db"
    copy(home.database, target)
    whole = target.read_bytes()
    for damage in (whole[: len(whole) // 2], b"x" * 100, whole[:8192] + b"\xff" * 4096 + whole[12288:]):
        target.write_bytes(damage)
        with pytest.raises(BackupFailed):
            check(target)
    sqlite3.connect(home.root / "foreign.db").execute("CREATE TABLE t (x)").connection.close()
    with pytest.raises(BackupFailed, match="no sound database of ours"):
        check(home.root / "foreign.db")

    def refuse(path: Path) -> None:
        raise BackupFailed(f"{path.name} is damaged: page 7")

    monkeypatch.setattr(backups, "check", refuse)
    with pytest.raises(BackupFailed, match="page 7"):
        back_up(home, home.database, NOW)
    assert copies(home) == [] and read_state(home).problem.endswith("page 7") and read_state(home).at == 0.0


def test_a_full_disk_leaves_nothing_behind(home: Home, writer: SqlWriter, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backups, "_ROOM", 2**60)
    with pytest.raises(BackupFailed, match="MiB are free"):
        back_up(home, home.database, NOW)
    assert [one.name for one in home.backups.iterdir()] == ["state.json"]


def test_when_one_is_due() -> None:
    rules = BackupRules(DAY, 3)
    assert due(NOW, rules, last=0.0, failed_at=0.0, erased_at=0.0)
    assert not due(NOW, rules, last=NOW - DAY + 1, failed_at=0.0, erased_at=0.0)
    assert due(NOW, rules, last=NOW - DAY, failed_at=0.0, erased_at=0.0)
    assert not due(NOW, rules, last=NOW - DAY, failed_at=NOW - AGAIN_S + 1, erased_at=0.0), "it failed a moment ago"
    assert due(NOW, rules, last=NOW - 60, failed_at=0.0, erased_at=NOW - 5), "somebody was erased since"
    assert due(NOW, rules, last=NOW + DAY, failed_at=0.0, erased_at=0.0), "the clock was set back"
    assert not due(NOW, BackupRules(0.0, 3), last=0.0, failed_at=0.0, erased_at=0.0)


def test_the_ingester_keeps_some_and_tells_of_failures(
    home: Home, writer: SqlWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    daily = BackingUp(home, home.database, writer, DAILY, clock)
    gauges = BackupGauges(home, clock)
    assert not gauges.wrong() and not list(gauges.collect())
    for _ in range(5):
        daily.step()
        daily.step()  # nothing is due yet
        clock.now += DAY
    assert [at for at, _ in copies(home)] == [int(NOW + day * DAY) for day in (2, 3, 4)]
    assert not gauges.wrong()
    monkeypatch.setattr(backups, "_ROOM", 2**60)
    for _ in range(3):
        daily.step()
    assert gauges.wrong() and "MiB are free" in read_state(home).problem
    shown = {one.name: one.samples[0].value for one in gauges.collect()}
    assert shown["understudy_backup_ok"] == 0.0 and shown["understudy_backup_time_seconds"] == NOW + 4 * DAY
    with writer.transaction() as connection:
        (told,) = connection.execute(sa.select(EVENTS)).mappings().all()
        actions = connection.exec_driver_sql("SELECT action, reason FROM journal WHERE subject = 'backup'").all()
    assert told["type"] == "understudy.backup.failed"
    assert [action for action, _ in actions] == ["backup failed"]
    monkeypatch.undo()
    clock.now += AGAIN_S
    daily.step()
    assert not gauges.wrong() and len(copies(home)) == 3


def test_an_erased_person_leaves_the_copies_too(home: Home, writer: SqlWriter) -> None:
    clock = Clock()
    daily = BackingUp(home, home.database, writer, DAILY, clock)
    with writer.transaction() as connection:
        record = msgspec.structs.replace(call("c1", body=text("my secret is plum", "noted")), end_user="ann")
        ingest(connection, [record], {})
    daily.step()
    (first,) = [path for _, path in copies(home)]
    assert b"plum" in first.read_bytes()
    clock.now += 600
    writer.execute(EraseUser(record.project, "ann", actor="me", reason="", at=clock.now))
    clock.now += 60
    daily.step()
    (left,) = [path for _, path in copies(home)]
    assert left != first and b"plum" not in left.read_bytes()
    daily.step()
    assert [path for _, path in copies(home)] == [left]


def test_a_copy_is_put_back_and_the_old_one_stays(home: Home, writer: SqlWriter) -> None:
    store(writer, "before")
    made = back_up(home, home.database, NOW)
    store(writer, "after")
    writer.close()
    aside = restore(home, home.backups / made.file, home.database, NOW)
    assert ids_in(home.database) == {"before"} and home.database.stat().st_mode & 0o777 == 0o600
    assert aside is not None and ids_in(aside) == {"before", "after"}
    reader = open_reader(home)
    assert reader.keys() == []
    reader.close()
    damaged = home.root / "damaged.db"
    damaged.write_bytes(home.database.read_bytes()[:5000])
    with pytest.raises(BackupFailed):
        restore(home, damaged, home.database, NOW)
    assert ids_in(home.database) == {"before"}


def test_the_commands(home: Home, writer: SqlWriter, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    store(writer, "one")
    writer.close()
    place = ["--home", str(home.root)]
    assert main(["backup", "--list", *place]) == 0 and "No copy" in capsys.readouterr().out
    assert main(["backup", *place]) == 0 and "checked" in capsys.readouterr().out
    assert main(["backup", "--to", str(tmp_path / "safe.db"), *place]) == 0
    assert ids_in(tmp_path / "safe.db") == {"one"}
    ((_, path),) = copies(home)
    capsys.readouterr()
    assert main(["backup", "--list", *place]) == 0 and str(path) in capsys.readouterr().out
    home.database.unlink()
    assert main(["restore", "nothing.db", *place]) == 1 and "no copy" in capsys.readouterr().err
    assert main(["restore", path.name, *place]) == 0 and "revoke and erase them again" in capsys.readouterr().out
    assert ids_in(home.database) == {"one"}


RUNNING = """
import threading
from pathlib import Path
from gateway.storage.home import Home
from gateway.storage.spooling import ingester
from gateway.storage.writing import backing_up
backing_up.LOOK_S = 0.05
ingester.main(["--home", sys.argv[1], "--backup-every-h", "24", "--backup-keep", "2"])
"""


def test_a_running_ingester_makes_one_and_nothing_is_put_back_under_it(
    home: Home, capsys: pytest.CaptureFixture[str]
) -> None:
    running = script(RUNNING, str(home.root))
    try:
        for _ in range(3000):
            if copies(home):
                break
            time.sleep(0.02)
        ((_, path),) = copies(home)
        check(path)
        assert main(["restore", path.name, "--home", str(home.root)]) == 1
        assert "stop it first" in capsys.readouterr().err
    finally:
        running.terminate()
        assert running.wait(60) == 0


def test_prune_takes_what_was_left_half_done(home: Home) -> None:
    home.backups.mkdir()
    (home.backups / "understudy-20260101T000000Z.db.part").touch()
    (home.backups / "mine.db").touch()
    assert prune(home, keep=3) == []
    assert [one.name for one in home.backups.iterdir()] == ["mine.db"]
