"""The watch over what agreement does not show, on a real database: changed inputs, slower answers, teachers that go."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec
import pytest
from lesson_home import FINGERPRINT, captured, policies, store_records

from gateway.config import Config
from gateway.policy import files as policy_files
from gateway.storage.commands import AddStudent, EnqueueRun, MoveStudent
from gateway.storage.home import Home
from gateway.storage.protocols import Reader, Writer
from gateway.storage.reading.reader import open_reader
from gateway.storage.records import CallRecord
from gateway.storage.values import TaskVersion
from gateway.storage.writing.writers import open_writer
from optimizer.rollout import Stage, Student
from trainer.planner import due
from trainer.watch.drift import DriftWatch, Seen
from trainer.watch.retiring import DAY_S, RetiringWatch, retiring

MADE_AT = 10_000.0
OLD = (
    "the parcel is late",
    "my invoice is wrong",
    "I want my money back",
    "the courier lost it",
    "where is my order",
)
NEW = (
    "reset my password",
    "the app crashes at start",
    "my account is locked",
    "two factor codes fail",
    "log me in",
)


@dataclass
class House:
    home: Home
    folder: Path
    reader: Reader
    writer: Writer
    now: float = MADE_AT + 100_000.0

    def config(self, learn: str = "", more: str = "") -> Config:
        folder = policies(self.folder, learn=learn)
        (folder / "more.yaml").write_text(more)
        return policy_files.load(folder, {})

    def measuring(self, measures: str) -> Config:
        """With a watch over nothing but these."""
        text = (policies(self.folder) / "all.yaml").read_text()
        only = f"200}}\n    watch: {{drift: {{measures: [{measures}]}}}}\n"
        (self.folder / "all.yaml").write_text(text.replace("200}\n", only, 1))
        return policy_files.load(self.folder, {})

    def watch(self) -> DriftWatch:
        return DriftWatch(self.reader, self.writer, self.home.drift, lambda: self.now)

    def look(self, watch: DriftWatch, config: Config) -> Seen:
        self.now += 60.0
        watch.tick(config)
        return msgspec.json.decode(self.home.drift.read_bytes(), type=Seen)

    def notes(self) -> list[tuple[str, str]]:
        return [(line.subject, line.action) for line in self.reader.journal(kind="watch")]


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    home = Home((tmp_path / "home").resolve()).prepare()
    store_records(home, calls(0, 600, OLD, at=1.0))
    reader, writer = open_reader(home), open_writer(home)
    made = Student(
        id="triage-ffff-v1", project="p", task="triage", fingerprint=FINGERPRINT, version=1, recipe="classifier",
        round=1, threshold=0.9, artifact="a" * 64,
    )  # fmt: skip
    added = writer.execute(AddStudent(made, dataset="d" * 64, metrics={}, at=MADE_AT))
    for stage in (Stage.SHADOW, Stage.CANARY, Stage.LIVE):
        added = writer.execute(MoveStudent(
            student=made.id, to=stage, paused=False, expected_epoch=added.epoch, actor="trainer", reason="",
            at=MADE_AT, certificate="c" * 64, detail={},
        ))  # fmt: skip
    yield House(home, tmp_path / "policies", reader, writer)
    reader.close()
    writer.close()


def calls(first: int, count: int, said: tuple[str, ...], *, at: float, **changes: object) -> list[CallRecord]:
    made = [
        captured(number, f"{said[number % len(said)]} at desk {number % 7}", "queue", at=at + number)
        for number in range(first, first + count)
    ]
    return [msgspec.structs.replace(one, **changes) for one in made]


def found(seen: Seen, measure: str) -> float:
    """How often recent values were told from the earlier ones."""
    told = next(one.told for one in seen.games if one.measure == measure)
    assert told is not None
    return told


def test_the_same_kind_of_calls_alarms_nobody(house: House) -> None:
    store_records(house.home, calls(1_000, 1_000, OLD, at=MADE_AT))
    seen = house.look(house.watch(), house.config())
    assert found(seen, "inputs") < 0.6
    assert all(one.alarmed_at is None for one in seen.games)
    assert house.notes() == []


def test_changed_inputs_are_told_once_also_after_a_restart(house: House) -> None:
    store_records(house.home, calls(1_000, 600, NEW, at=MADE_AT))
    config = house.config()
    seen = house.look(house.watch(), config)
    assert found(seen, "inputs") > 0.8
    assert house.notes() == [("triage-ffff-v1", "inputs")]
    assert house.reader.retrain_requests() == []  # alert is all the policies ask for
    again = house.look(house.watch(), config)
    assert [one.alarmed_at is not None for one in again.games] == [
        one.alarmed_at is not None for one in seen.games
    ]
    assert found(again, "inputs") == found(seen, "inputs")  # the same game
    assert len(house.notes()) == 1


def test_a_log_that_arrives_an_hour_late_is_read_all_the_same(house: House) -> None:
    """What counts is when calls happened: late ones are neither missed nor read twice."""
    watch, config = house.watch(), house.config()
    store_records(house.home, calls(1_000, 50, OLD, at=MADE_AT))
    for _ in range(3):
        house.look(watch, config)
    house.now += 3600.0
    house.look(watch, config)
    store_records(house.home, calls(1_050, 600, NEW, at=MADE_AT))
    late = house.look(watch, config)
    prompt = house.look(house.watch(), config)  # begins anew, with all of them there
    assert found(late, "inputs") == found(prompt, "inputs") > 0.8
    assert house.look(watch, config).games == late.games
    assert house.notes() == [("triage-ffff-v1", "inputs")]


def test_a_call_that_comes_late_is_seen_when_it_comes(house: House) -> None:
    """Its clock stands before calls that were read already: it is neither missed nor read twice."""
    watch, config = house.watch(), house.measuring("inputs")
    store_records(house.home, calls(1_000, 250, OLD, at=MADE_AT + 50_000.0))
    (prompt,) = house.look(watch, config).games
    store_records(house.home, calls(3_000, 100, NEW, at=MADE_AT))
    seen = house.look(watch, config).games
    assert [one.rounds for one in seen] == [prompt.rounds + 100]
    assert house.look(watch, config).games == seen
    again = house.look(house.watch(), config).games  # a restart plays them in the order in which they came
    assert [(one.rounds, one.told) for one in again] == [(one.rounds, one.told) for one in seen]


def test_a_change_asks_for_a_successor_where_the_policies_say_so(house: House) -> None:
    store_records(house.home, calls(1_000, 600, NEW, at=MADE_AT))
    text = policies(house.folder)
    written = (
        text / "all.yaml"
    ).read_text() + "    watch: {drift: {on_alarm: retrain, measures: [inputs]}}\n"
    (text / "all.yaml").write_text(written.replace("prices:\n  teacher: {big: {input: 1, output: 1}}\n", ""))
    house.look(house.watch(), policy_files.load(text, {}))
    assert house.reader.retrain_requests() == [("p", "triage", FINGERPRINT)]


def test_answers_that_change_are_seen_apart_from_inputs(house: House) -> None:
    moved = [
        msgspec.structs.replace(
            one, text=msgspec.structs.replace(one.text, answer=one.text.answer.replace(b"queue", b"other"))
        )
        for one in calls(1_000, 600, OLD, at=MADE_AT)
        if one.text is not None
    ]
    store_records(house.home, moved)
    seen = house.look(house.watch(), house.config())
    assert found(seen, "outputs") == 1.0
    assert house.notes() == [("triage-ffff-v1", "outputs")]
    assert found(seen, "inputs") < 0.6


def test_a_slower_and_dearer_teacher_is_told(house: House) -> None:
    watch, config = house.watch(), house.config()
    house.look(watch, config)
    store_records(house.home, calls(2_000, 400, OLD, at=MADE_AT, latency_ms=500.0, cost_usd=0.1))
    house.look(watch, config)
    store_records(house.home, calls(3_000, 400, OLD, at=MADE_AT, latency_ms=2_500.0, cost_usd=0.4))
    seen = house.look(watch, config)
    assert ("teacher/big", "latency") in house.notes()
    assert ("teacher/big", "cost") in house.notes()
    assert seen.levels["triage"]["teacher/big"]["latency"] > 1_000.0


def test_a_rise_in_several_steps_is_one_alarm_until_it_is_over(house: House) -> None:
    """A machine that becomes slower and slower says so once, again when it is far worse, and anew after a recovery."""
    watch, config = house.watch(), house.measuring("latency")
    house.look(watch, config)
    number = 2_000

    def take(*levels: float) -> int:
        nonlocal number
        for level in levels:
            store_records(house.home, calls(number, 300, OLD, at=MADE_AT, model="large", latency_ms=level))
            number += 300
        house.look(watch, config)
        return sum(measure == "latency" for _, measure in house.notes())

    assert take(500.0, 500.0) == 0
    assert take(700.0, 900.0, 1_100.0, 1_300.0, 1_500.0) == 1  # five steps, seen at one look
    assert take(1_700.0) == take(1_400.0) == take(1_800.0) == 1  # up and down within the episode
    assert take(6_000.0) == 2  # far worse than what was told
    assert take(500.0, 500.0) == 2  # over
    assert take(1_500.0, 1_500.0) == 3


RETIRING = "models: {teacher: {big: {shutdown_date: 2026-03-01}}}\n"
GONE = 1_772_323_200.0  # 2026-03-01T00:00:00Z


def test_a_retiring_teacher_is_told_once(house: House) -> None:
    config = house.config(more=RETIRING)
    assert list(retiring(config, GONE - 61 * DAY_S)) == []
    house.now = GONE - 30 * DAY_S
    for _ in range(2):
        RetiringWatch(house.reader, house.writer, lambda: house.now).tick(config)
    assert house.notes() == [("teacher/big", "shutdown")]


def test_a_retiring_teacher_has_training_begin_early() -> None:
    version = TaskVersion("p", "triage", FINGERPRINT, 1, 0.0, 300)
    raw = {"name": "triage", "teacher": {"provider": "t", "model": "m", "may_train_on_outputs": True},
           "learn": {"min_calls": 1000}}  # fmt: skip
    config = msgspec.convert({"tasks": [raw]}, Config)
    assert due(config, [version], [], [], [], 1.0) == []
    hurried = due(config, [version], [], [], [], 1.0, hurried={"triage"})
    assert [type(one) for one in hurried] == [EnqueueRun]
