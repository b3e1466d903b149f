"""What clients say of their calls as evidence: from the feedback to the verdict, over the real database."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
import sqlalchemy as sa
from lesson_home import FINGERPRINT, captured, in_shadow, pair, policies, store_records, with_calls

from gateway.policy import files as policy_files
from gateway.storage.engine import write_engine
from gateway.storage.home import Home
from gateway.storage.protocols import Reader, Writer
from gateway.storage.reading.reader import open_reader
from gateway.storage.records import FeedbackRecord, MetadataRecord, SpoolRecord
from gateway.storage.tables import CAPTURES
from gateway.storage.writing.erase import erase_expired
from gateway.storage.writing.writer import SqlWriter
from gateway.storage.writing.writers import open_writer
from optimizer.certificate import read_envelope, recompute
from optimizer.gates.truth import HOURS, STUDENT, TEACHER
from optimizer.rollout import Stage, Student
from trainer.certify import Issuer
from trainer.promoter import Promoter

TRUTH = "promotion: {shadow: {gates: [{type: truth, within_hours: 2}]}}\n"


class House(msgspec.Struct):
    home: Home
    folder: Path
    reader: Reader
    writer: Writer
    now: float = 1000.0

    @property
    def student(self) -> Student:
        return self.reader.students()[0]

    def tick(self) -> None:
        """A trainer that has just begun: it knows what the database knows."""
        promoter = Promoter(
            self.reader, self.writer, Issuer.of(self.home), self.home.root / "standings.json", lambda: self.now
        )
        folder = policies(self.folder)
        (folder / "promotion.yaml").write_text(TRUTH)
        promoter.tick(policy_files.load(folder, {}))

    def scores(self) -> dict[str, dict[str, float]]:
        return {one.call_id: one.scores for one in self.reader.pairs(student=self.student.id)}


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    home = with_calls(tmp_path / "home", [("hello", "a")], at=1.0)
    reader, writer = open_reader(home), open_writer(home)
    in_shadow(writer)
    yield House(home, tmp_path / "policies", reader, writer)
    reader.close()
    writer.close()


def correction(call: int, text: str, *, actor: str = "k", at: float = 100.0, session: str = "") -> FeedbackRecord:
    name = "" if session else f"chatcmpl-{call}"
    return FeedbackRecord(name, session, "p", actor, at, 0.0, {"correction": text})


def asked(house: House, number: int, *, agree: bool, user: str = "") -> list[SpoolRecord]:
    """A call that the teacher answered ``a``, and the student's copy of it: ``a``, or ``b`` where it does not agree."""
    call = msgspec.structs.replace(captured(number, f"text {number}", "a", 50.0), session="s" if number == 9 else "")
    shadow = pair(house.student, number, "shadow", agree=agree)
    return [call, msgspec.structs.replace(shadow, call_id=call.id, created_at=50.0, principal=f"k/{user}")]


def test_both_answers_are_held_against_the_first_word_of_the_key_that_asked(house: House) -> None:
    calls = {number: asked(house, number, agree=number % 2 == 1) for number in (1, 2, 3, 4, 5, 9)}
    late_pair = calls[3].pop()
    store_records(house.home, [one for call in calls.values() for one in call])
    store_records(house.home, [
        correction(1, "A."), correction(1, "b"),
        correction(2, "B", at=50.0 + 1800),
        correction(3, "z"),
        correction(4, "b", actor="another key of the project"),
        MetadataRecord("chatcmpl-5", "p", "k", 60.0, {"feedback.correction": "b"}),
        correction(9, "b", session="s"),
    ])  # fmt: skip
    store_records(house.home, [late_pair])
    found = {call: [scores.get(name) for name in (STUDENT, TEACHER)] for call, scores in house.scores().items()}
    assert found == {
        "chatcmpl-1": [1.0, 1.0], "chatcmpl-2": [1.0, 0.0], "chatcmpl-3": [0.0, 0.0], "chatcmpl-4": [None, None],
        "chatcmpl-5": [0.0, 0.0], "chatcmpl-9": [None, None],
    }  # fmt: skip
    assert house.scores()["chatcmpl-2"][HOURS] == pytest.approx(0.5)


def test_a_student_that_clients_prove_right_is_promoted_once_their_time_is_over(house: House) -> None:
    """One call in ten is answered otherwise than by the teacher, and its client says that the student is right."""
    records: list[SpoolRecord] = []
    for number in range(1, 601):
        records += asked(house, number, agree=number % 10 != 0, user=f"u{number % 40}")
        records += [correction(number, "b")] if number % 10 == 0 else []
    store_records(house.home, records)
    house.now = 50.0 + 7200
    house.tick()
    assert house.student.stage is Stage.SHADOW
    assert b'"pairs": 0' in (house.home.root / "standings.json").read_bytes()
    house.now += 61
    house.tick()
    assert house.student.stage is Stage.CANARY
    (path,) = house.home.certificates.glob("*.json")
    certificate = read_envelope(path.read_bytes()).certificate
    assert recompute(certificate) == []
    (truth,) = certificate.results
    assert truth.numbers["corrected"] == truth.numbers["student_right"] > 50
    _retention_runs_out(house)
    left = house.reader.pairs(student=house.student.id)
    assert left and not any(one.teacher_text or one.student_text for one in left)
    assert not house.reader.training_calls("p", "triage", FINGERPRINT, limit=1000)
    command = [sys.executable, "-m", "gateway.cli", "--home", str(house.home.root), "verify", str(path)]
    told = subprocess.run(command, capture_output=True, text=True, check=False)
    assert told.returncode == 0, told.stdout + told.stderr


def _retention_runs_out(house: House) -> None:
    writer = SqlWriter(write_engine(house.home.database_url))
    with writer.transaction() as connection:
        connection.execute(sa.update(CAPTURES).values(expires_at=1.0))
        while erase_expired(connection, 2.0):
            pass
    writer.close()


def test_thumbs_up_move_no_gate(house: House) -> None:
    """A student that is wrong on every tenth call, and a thousand bots who like each of its answers."""
    records: list[SpoolRecord] = []
    for number in range(1, 601):
        records += asked(house, number, agree=number % 10 != 0, user=f"bot{number}")
        liked = FeedbackRecord(f"chatcmpl-{number}", "", "p", "k", 60.0, 1.0, {"comment": "great"})
        records += [liked, msgspec.structs.replace(liked, at=61.0)]
    store_records(house.home, records)
    assert not any(set(scores) & {STUDENT, TEACHER} for scores in house.scores().values())
    house.now = time.time()
    house.tick()
    assert house.student.stage is not Stage.CANARY
    assert list(house.home.certificates.glob("*")) == []


def test_few_callers_lift_no_student(house: House) -> None:
    records: list[SpoolRecord] = []
    for number in range(1, 601):
        records += asked(house, number, agree=number % 10 != 0)
        records += [correction(number, "b")] if number % 10 == 0 else []
    store_records(house.home, records)
    house.now = time.time()
    house.tick()
    assert house.student.stage is not Stage.CANARY
    assert list(house.home.certificates.glob("*")) == []
