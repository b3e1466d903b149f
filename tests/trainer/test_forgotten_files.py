"""A person's lines in files and batches go, and students are marked through those they began with."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from lesson_home import FINGERPRINT, captured, policies, store_records

from gateway.policy.files import load
from gateway.protocol.fine_tuning import KIND
from gateway.storage.commands import AddStudent, ClaimRun, EnqueueRun, FinishRun
from gateway.storage.data_values import AddBatch, AddFile, Batch, ClaimBatch, ReportBatch, StoredFile
from gateway.storage.erasure_values import DatasetErasure, EraseUser, NoteErased, lessons_of
from gateway.storage.home import Home
from gateway.storage.reading.reader import open_reader
from gateway.storage.writing.writers import open_writer
from optimizer.rollout import Student
from trainer.artifacts import registry
from trainer.forgetting import Forgetting
from trainer.forgotten_files import FileForgetting

NOW = time.time()
INPUT = [
    {"custom_id": "1", "body": {"user": "anna", "messages": ["anna's"]}},
    {"custom_id": "2", "body": {"safety_identifier": "bob", "messages": ["bob's"]}},
    {"custom_id": "3", "body": {"safety_identifier": "anna", "messages": ["anna's too"]}},
]
OUTPUT = [{"custom_id": str(one), "response": f"to {one}"} for one in (1, 2, 3)]


class House(msgspec.Struct):
    home: Home
    reader: Any
    writer: Any

    def file(self, number: int, lines: list[Any] | bytes, purpose: str = "batch") -> StoredFile:
        data = lines if isinstance(lines, bytes) else b"".join(msgspec.json.encode(one) + b"\n" for one in lines)
        made = StoredFile(f"file-{number:032x}", "p", "k", "f", purpose, len(data), NOW, None)
        self.home.files.mkdir(exist_ok=True)
        (self.home.files / made.id).write_bytes(data)
        self.writer.execute(AddFile(made, 2**30))
        return made

    def text(self, file: StoredFile) -> str:
        return (self.home.files / file.id).read_text()

    def size(self, file: StoredFile) -> int:
        return int(self.reader.file("p", file.id).bytes)

    def run(self, ticks: int = 12) -> None:
        """A trainer that has just begun."""
        forgetting = FileForgetting(self.home, self.reader, self.writer)
        for tick in range(ticks):
            forgetting.tick(NOW + 10 * tick)


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    home = Home(tmp_path / "home").prepare()
    store_records(home, [msgspec.structs.replace(captured(1, "hm", "a", NOW), end_user="anna")])
    reader, writer = open_reader(home), open_writer(home)
    yield House(home, reader, writer)
    reader.close()
    writer.close()


def test_lines_and_answers_of_a_person_go_and_all_else_stays(house: House) -> None:
    asked, told = house.file(1, INPUT), house.file(2, OUTPUT, "batch_output")
    picture, rows = house.file(3, b"\x89PNG\nanna", "vision"), house.file(4, [{"user": "carla"}], "fine-tune")
    batch = Batch("batch_1", "p", "k", "/v1/chat/completions", "24h", asked.id, NOW, NOW + 9e4)
    house.writer.execute(AddBatch(batch, 9))
    house.writer.execute(EraseUser("p", "anna", "cli", "", time.time()))
    house.run()
    assert "anna" in house.text(asked), "a batch is at work on it"
    house.writer.execute(ClaimBatch("w", NOW, 5.0))
    done = ReportBatch("batch_1", "w", NOW, "completed", 3, 3, 0, output_file_id=told.id, release=True)
    house.writer.execute(done)
    for _ in range(6):  # killed after each step
        house.run(ticks=2)
    house.run()
    assert [msgspec.json.decode(line)["custom_id"] for line in house.text(asked).splitlines()] == ["2"]
    assert house.text(told) == '{"custom_id":"2","response":"to 2"}\n'
    assert house.size(asked) == len(house.text(asked)) and house.size(told) == len(house.text(told))
    assert house.text(rows) == '{"user":"carla"}\n'
    assert (house.home.files / picture.id).read_bytes() == b"\x89PNG\nanna"
    lines = [one for one in house.reader.journal(kind="admin") if one.action == "lines erased"]
    assert sorted((one.subject, one.detail["lines"]) for one in lines) == [(asked.id, 2), (told.id, 2)]
    assert list(house.home.files.glob("*.erasing")) == []
    later = house.file(5, INPUT)
    house.run()
    assert "anna" in house.text(later), "what they send later is a new beginning"


def test_rows_of_evals_go_once_their_run_has_ended(house: House) -> None:
    lines = house.home.evals_of("p") / "eval_1" / "evalrun_1" / "items.jsonl"
    lines.parent.mkdir(parents=True)
    lines.write_bytes(b'{"number":0,"user":"anna","shown":{}}\n{"number":1,"user":null,"shown":{}}\n')
    (lines.parent / "run.json").write_bytes(msgspec.json.encode({"created_at": NOW}))
    (lines.parent / "open").touch()
    house.writer.execute(EraseUser("p", "anna", "cli", "", time.time()))
    house.run()
    assert "anna" in lines.read_text()
    (lines.parent / "open").unlink()
    house.run()
    assert lines.read_text() == '{"number":1,"user":null,"shown":{}}\n'


def test_a_model_tuned_on_a_file_is_marked(house: House) -> None:
    rows = house.file(1, INPUT, "fine-tune")
    house.writer.execute(EnqueueRun(KIND, "p", "", "f", params={"training_file": rows.id}, at=NOW))
    run = house.writer.execute(ClaimRun("w", NOW, 5.0))
    house.writer.execute(FinishRun(run.id, "w", NOW, "succeeded", {"dataset": "d" * 64}, ""))
    house.writer.execute(EraseUser("p", "anna", "cli", "", time.time()))
    house.run()
    assert house.reader.dataset_erasures()["d" * 64].requested == 2


# ---------------------------------------------------------------- students that began with others' weights
def student(name: str, artifact: str) -> Student:
    return Student(name, "p", "triage", FINGERPRINT, 1, "sft", 1, 0.5, artifact=artifact)


class _Manifest(msgspec.Struct):
    dataset: str
    parent: str | None


def test_what_a_parent_learnt_is_in_its_children_and_no_successor_begins_with_it(house: House, tmp_path: Path) -> None:
    reader, writer = house.reader, house.writer
    chain = [("old", "a", "1", None), ("child", "b", "2", "a"), ("grandchild", "c", "3", "b"), ("stranger", "d", "4", None)]
    for name, artifact, dataset, parent in chain:
        made: Any = _Manifest(dataset * 64, parent * 64 if parent else None)
        lessons = registry.taught_by(made, reader.students(), reader)
        writer.execute(AddStudent(student(name, artifact * 64), dataset * 64, {"taught_by": lessons}, NOW))
    assert lessons_of(reader.student_detail("grandchild")) == ["3" * 64, "2" * 64, "1" * 64]
    assert {one.id for one in registry.clean(reader.students(), reader)} == {"old", "child", "grandchild", "stranger"}
    writer.execute(NoteErased(DatasetErasure("2" * 64, 3, 3, time.time()), {}))
    assert {one.id for one in registry.clean(reader.students(), reader)} == {"old", "stranger"}
    forgetting = Forgetting(house.home, reader, writer)
    config = load(policies(tmp_path / "policies", learn=", erased: retire"), {})
    for tick in range(6):
        forgetting.tick(config, time.time() + 40 * tick)
    stages = {one.id: one.stage.value for one in reader.students()}
    assert stages == {"old": "candidate", "child": "retired", "grandchild": "retired", "stranger": "candidate"}
