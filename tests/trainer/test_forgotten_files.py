"""A person's lines in files and batches go, and students are marked through those they began with."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
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
from gateway.storage.vector_stores import Chunks, VectorFile, VectorStore, VectorStores
from gateway.storage.writing.writers import open_writer
from optimizer.rollout import Student
from trainer.artifacts import registry
from trainer.forgetting import Forgetting
from trainer.forgotten_files import FileForgetting

ROOT = Path(__file__).resolve().parents[2]
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

    def close(self) -> None:
        self.reader.close()
        self.writer.close()

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
    made = House(home, reader, writer)
    yield made
    made.close()


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


# ---------------------------------------------------------------- death in between
SEARCHED = VectorStore("vs_" + "0" * 32, "p", NOW, NOW)


class Killed(BaseException):
    """Nothing in the product catches this."""


class Fate:
    """Death at the ``at``-th thing that is made durable, renamed, removed or written to the database."""

    def __init__(self, house: House, at: int, patch: pytest.MonkeyPatch) -> None:
        self._at, self._real = at, house.writer
        for place, name in ((os, "fsync"), (Path, "rename"), (Path, "unlink")):
            patch.setattr(place, name, self._before(getattr(place, name)))

    def _before(self, real: Any) -> Any:
        def doomed(*given: Any, **more: Any) -> Any:
            self._step()
            return real(*given, **more)

        return doomed

    def execute(self, command: Any) -> Any:
        self._step()
        done = self._real.execute(command)
        self._step()
        return done

    def _step(self) -> None:
        self._at -= 1
        if self._at == 0:
            raise Killed


def searchable(house: House) -> tuple[StoredFile, VectorStores]:
    """A file with lines of two people, which a model was tuned on, taken into a vector store; one of them is erased."""
    rows, stores = house.file(1, INPUT, "fine-tune"), VectorStores(house.home)
    stores.put(SEARCHED)
    waits = VectorFile(rows.id, "k", NOW)
    stores.attach(SEARCHED, [waits])
    stores.finish(SEARCHED, msgspec.structs.replace(waits, status="completed"), Chunks("f", [house.text(rows)]))
    house.writer.execute(EnqueueRun(KIND, "p", "", "f", params={"training_file": rows.id}, at=NOW))
    run = house.writer.execute(ClaimRun("w", NOW, 5.0))
    house.writer.execute(FinishRun(run.id, "w", NOW, "succeeded", {"dataset": "d" * 64}, ""))
    house.writer.execute(EraseUser("p", "anna", "cli", "", time.time()))
    return rows, stores


def is_forgotten(house: House, rows: StoredFile, stores: VectorStores) -> None:
    """Whatever was made of the file, too, and everything once."""
    assert "anna" not in house.text(rows) and house.size(rows) == len(house.text(rows))
    with pytest.raises(KeyError):
        stores.chunks("p", SEARCHED.id, rows.id)
    assert [(store.id, file) for store, file in stores.waiting()] == [(SEARCHED.id, rows.id)]
    assert house.reader.dataset_erasures()["d" * 64].requested == 2
    told = [one.detail["lines"] for one in house.reader.journal(kind="admin") if one.action == "lines erased"]
    assert told == [2]
    assert {path.suffix for path in house.home.files.glob("file-*")} == {""}


def test_wherever_the_trainer_dies_nothing_of_erased_lines_is_searched_later(tmp_path: Path) -> None:
    begun = Home(tmp_path / "home").prepare()
    store_records(begun, [])
    house = House(begun, open_reader(begun), open_writer(begun))
    rows, _ = searchable(house)
    house.close()
    at, died = 0, True
    while died:
        at += 1
        home = Home(tmp_path / f"home-{at}")
        shutil.copytree(begun.root, home.root)
        house, stores = House(home, open_reader(home), open_writer(home)), VectorStores(home)
        with pytest.MonkeyPatch.context() as patch:
            forgetting = FileForgetting(home, house.reader, Fate(house, at, patch))  # type: ignore[arg-type]
            try:
                for tick in range(6):
                    forgetting.tick(NOW + 10 * tick)
                died = False
            except Killed:
                pass
        house.run(ticks=6)
        is_forgotten(house, rows, stores)
        house.close()
    assert at > 12, "death was tried at every step"


def test_what_fails_in_between_is_carried_on_by_the_same_process(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    rows, stores = searchable(house)
    forgetting, again, times = FileForgetting(house.home, house.reader, house.writer), VectorStores.again, []

    def fails_once(self: VectorStores, project: str, file_id: str) -> None:
        times.append(file_id)
        if len(times) == 1:
            raise OSError("the disk is full")
        again(self, project, file_id)

    monkeypatch.setattr(VectorStores, "again", fails_once)
    for tick in range(12):
        try:
            forgetting.tick(NOW + 10 * tick)
        except OSError:
            assert tick < 11
    is_forgotten(house, rows, stores)


def test_a_trainer_killed_between_a_file_and_its_chunks(house: House) -> None:
    rows, stores = searchable(house)
    script = (
        "import os, signal, sys, pathlib\n"
        "from gateway.storage.home import Home\n"
        "from gateway.storage.reading.reader import open_reader\n"
        "from gateway.storage.vector_stores import VectorStores\n"
        "from gateway.storage.writing.writers import open_writer\n"
        "from trainer.forgotten_files import FileForgetting\n"
        "VectorStores.again = lambda *_: os.kill(os.getpid(), signal.SIGKILL)\n"
        "home = Home(pathlib.Path(sys.argv[1]))\n"
        "forgetting = FileForgetting(home, open_reader(home), open_writer(home))\n"
        "for tick in range(12): forgetting.tick(float(sys.argv[2]) + 10 * tick)\n"
    )
    house.writer.close()
    command = [sys.executable, "-c", script, str(house.home.root), str(NOW)]
    died = subprocess.run(command, cwd=ROOT, timeout=120, check=False)
    assert died.returncode == -signal.SIGKILL
    assert "anna" not in house.text(rows) and "anna" in stores.chunks("p", SEARCHED.id, rows.id).texts[0]
    house.writer = open_writer(house.home)
    house.run()
    is_forgotten(house, rows, stores)


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
