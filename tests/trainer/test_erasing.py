"""Rows of datasets that must go, and what becomes of the students that learnt from them."""

from __future__ import annotations

import time
from pathlib import Path

import msgspec
import pytest
from lesson_home import FINGERPRINT, captured, policies, store_records

from gateway.policy.files import load
from gateway.storage.commands import AddDataset, AddStudent
from gateway.storage.erasure_values import EraseUser
from gateway.storage.home import Home
from gateway.storage.reading.reader import open_reader
from gateway.storage.values import Dataset
from gateway.storage.writing.writers import open_writer
from optimizer.rollout import Stage, Student
from trainer.datasets.erasing import bury
from trainer.datasets.versions import assemble, read, write
from trainer.forgetting import Forgetting

NOW = time.time()
USERS = ("anna", "bob", "carla")


def told(number: int, user: str):
    body = captured(number, f"{user} asks about {number * 'x'}!", f"to {user}", NOW)
    return msgspec.structs.replace(body, end_user=user)


@pytest.fixture
def house(tmp_path: Path):
    """A home with a dataset of ninety calls by three people, and a student that learnt from it."""
    home = Home(tmp_path / "home").prepare()
    store_records(home, [told(number, USERS[number % 3]) for number in range(1, 91)])
    reader, writer = open_reader(home), open_writer(home)
    calls = reader.training_calls("p", "triage", FINGERPRINT, limit=1000)
    version = assemble(calls, project="p", task="triage", fingerprint=FINGERPRINT, run="r1", masked=False)
    write(version, home.datasets)
    writer.execute(
        AddDataset(Dataset(version.digest, "p", "triage", FINGERPRINT, 0, NOW, version.card))
    )
    student = Student("triage-ffff-v1", "p", "triage", FINGERPRINT, 1, "classifier", 1, 0.5)
    writer.execute(AddStudent(student, version.digest, {}, NOW))
    (home.artifacts / student.id).mkdir()
    yield home, reader, writer, version
    reader.close()
    writer.close()


def step(home: Home, reader, writer, folder: Path, rule: str = "retrain") -> Forgetting:
    made = Forgetting(home, reader, writer)
    config = load(policies(folder, learn=f", erased: {rule}"), {})
    for tick in range(12):
        made.tick(config, time.time() + 10 * tick)
    return made


def test_rows_become_tombstones_and_the_version_keeps_its_name(house) -> None:
    home, _, _, version = house
    folder = home.datasets / version.digest
    victim = version.part("train")[0]
    assert bury(folder, {"0" * 64: "request"}) is None
    first = bury(folder, {victim.call: "request"})
    assert first is not None
    assert (first.rows, first.requested, first.changed) == (1, 1, True)
    again = bury(folder, {victim.call: "retention"})
    assert again is not None
    assert (again.rows, again.requested, again.changed) == (1, 1, False), "why it went stays as it was"
    left = read(version.digest, home.datasets)
    tomb = next(row for row in left.rows if row.call == victim.call)
    assert (tomb.text, tomb.answer, tomb.erased, len(tomb.was)) == ("", "", "request", 64)
    assert len(left.part("train")) == len(version.part("train")) - 1
    for name in ("rows.jsonl", "card.json", "card.md"):
        assert victim.text not in (folder / name).read_text()
    assert "1 rows were erased" in (folder / "card.md").read_text()
    rows = folder / "rows.jsonl"
    rows.write_bytes(rows.read_bytes().replace(tomb.was.encode(), b"0" * 64))
    with pytest.raises(Exception, match="not the ones"):
        read(version.digest, home.datasets)


@pytest.mark.parametrize("rule", ["retrain", "retire", "keep"])
def test_a_wish_reaches_the_dataset_and_marks_the_student(house, tmp_path, rule) -> None:
    home, reader, writer, version = house
    writer.execute(EraseUser("p", "anna", "cli", "", time.time()))
    step(home, reader, writer, tmp_path / "policies", rule)
    data = (home.datasets / version.digest / "rows.jsonl").read_text()
    assert "anna" not in data
    assert "bob" in data
    mine = [row for row in version.rows if "anna" in row.text]
    erasure = reader.dataset_erasures()[version.digest]
    assert (erasure.rows, erasure.requested) == (len(mine), len(mine))
    assert not any("anna" in answer for answer in reader.datasets()[0].card["answers"])
    (line,) = (one for one in reader.journal(kind="rollout") if one.action == "rows erased")
    assert line.detail["students"] == ["triage-ffff-v1"]
    (student,), runs = reader.students(), reader.runs()
    assert (student.stage is Stage.RETIRED) == (rule == "retire")
    assert (home.artifacts / student.id).exists() == (rule != "retire")
    assert [run.state for run in runs] == (["queued"] if rule == "retrain" else [])
    if runs:
        assert "somebody asked" in runs[0].params["reason"]
        assert runs[0].params["not_before_calls"] == 600
    step(home, reader, writer, tmp_path / "policies", rule)
    assert len(reader.runs()) == len(runs), "once is enough"


def test_age_empties_rows_and_marks_nobody(house, tmp_path) -> None:
    home, reader, writer, version = house
    from gateway.storage.engine import write_engine
    from gateway.storage.writing.erase import erase_expired
    from gateway.storage.writing.writer import SqlWriter

    old = SqlWriter(write_engine(home.database_url))
    with old.transaction() as connection:
        connection.exec_driver_sql(f"UPDATE captures SET expires_at = {time.time() - 1}")
        erase_expired(connection, time.time(), limit=500)
    old.close()
    step(home, reader, writer, tmp_path / "policies", "retire")
    assert read(version.digest, home.datasets).part("train") == []
    erasure = reader.dataset_erasures()[version.digest]
    assert (erasure.rows, erasure.requested) == (len(version.rows), 0)
    assert reader.students()[0].stage is Stage.CANDIDATE


def test_a_dataset_written_after_the_erasure_from_calls_read_before_it_is_emptied_too(house, tmp_path) -> None:
    home, reader, writer, _version = house
    calls = reader.training_calls("p", "triage", FINGERPRINT, limit=1000)
    writer.execute(EraseUser("p", "anna", "cli", "", time.time()))
    forgetting = step(home, reader, writer, tmp_path / "policies", "keep")
    late = assemble(calls[3:], project="p", task="triage", fingerprint=FINGERPRINT, run="r2", masked=False)
    write(late, home.datasets)
    config = load(policies(tmp_path / "policies"), {})
    for tick in range(20, 30):
        forgetting.tick(config, time.time() + 10 * tick)
    assert "anna" not in (home.datasets / late.digest / "rows.jsonl").read_text()
