"""Students climb by certificates only: over the real database, with evidence made by hand."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec
import pytest
from lesson_home import in_shadow, pair, policies, store_records, with_calls

from gateway.policy import files as policy_files
from gateway.storage.commands import MoveStudent
from gateway.storage.data_values import ClaimEvent
from gateway.storage.home import Home
from gateway.storage.protocols import Reader, Writer
from gateway.storage.reading.reader import open_reader
from gateway.storage.records import DemotionRecord, WishRecord
from gateway.storage.signing import verify
from gateway.storage.writing.writers import open_writer
from optimizer.certificate import digest, read_envelope, recompute, to_json
from optimizer.rollout import Stage, Student
from trainer.certify import Issuer
from trainer.promoter import Promoter


@dataclass
class House:
    home: Home
    folder: Path
    reader: Reader
    writer: Writer
    promoter: Promoter

    @property
    def student(self) -> Student:
        return self.reader.students()[0]

    def tick(self, approval: str) -> None:
        self.promoter.tick(policy_files.load(policies(self.folder, approval=approval), {}))

    def wish(self, action: str, student: str = "") -> None:
        record = WishRecord(
            student=student or self.student.id, action=action, actor="ann", reason="ok", at=time.time()
        )  # type: ignore[arg-type]
        store_records(self.home, [record])


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    home = with_calls(tmp_path / "home", [("hello", "a")], at=1.0)
    reader, writer = open_reader(home), open_writer(home)
    in_shadow(writer)
    promoter = Promoter(reader, writer, Issuer.of(home), home.root / "standings.json", time.time)
    yield House(home, tmp_path / "policies", reader, writer, promoter)
    reader.close()
    writer.close()


def evidence(house: House, kind: str, count: int, agreement: float = 1.0, epoch: int | None = None) -> None:
    student = house.student
    records = [pair(student, n, kind, agree=n % 100 < agreement * 100, epoch=epoch) for n in range(count)]
    store_records(house.home, records)


def test_a_good_student_goes_to_live_with_one_certificate_a_step(house) -> None:
    house.tick("automatic")
    assert house.student.stage == Stage.SHADOW
    evidence(house, "shadow", 500)
    house.tick("automatic")
    assert house.student.stage == Stage.CANARY
    evidence(house, "canary", 250)
    evidence(house, "reask", 1)
    house.tick("automatic")
    if house.student.stage != Stage.LIVE:
        evidence(house, "reask", 250)
    house.tick("automatic")
    assert house.student.stage == Stage.LIVE
    envelopes = [read_envelope(path.read_bytes()) for path in house.home.certificates.glob("*.json")]
    by_stage = {envelope.certificate.to_stage: envelope for envelope in envelopes}
    assert set(by_stage) == {Stage.CANARY, Stage.LIVE}
    for envelope in envelopes:
        assert recompute(envelope.certificate) == []
        assert verify(envelope.public_key, envelope.signature, to_json(envelope.certificate))
        assert b"pair-" not in to_json(envelope.certificate)
    assert house.student.certificate == digest(by_stage[Stage.LIVE].certificate)
    assert by_stage[Stage.LIVE].certificate.prev == digest(by_stage[Stage.CANARY].certificate)


def test_a_promotion_waits_for_a_person_and_for_the_gates(house) -> None:
    house.wish("promote")
    house.tick("manual")
    assert house.student.stage == Stage.SHADOW  # wished, not proven
    assert len(house.reader.open_wishes()) == 1
    evidence(house, "shadow", 500)
    house.tick("manual")
    assert house.student.stage == Stage.CANARY  # proven and wished
    assert house.reader.open_wishes() == []
    evidence(house, "canary", 500)
    house.tick("manual")
    house.tick("manual")
    assert house.student.stage == Stage.CANARY  # proven, not wished
    (standing,) = msgspec.json.decode((house.home.root / "standings.json").read_bytes())
    assert standing["waits_for_approval"] is True
    assert standing["decision"]["type"] == "promote"
    house.wish("promote")
    house.tick("manual")
    assert house.student.stage == Stage.LIVE


def test_a_bad_student_never_serves(house) -> None:
    evidence(house, "shadow", 800, agreement=0.80)
    house.tick("automatic")
    assert house.student.stage in (Stage.SHADOW, Stage.RETIRED)
    assert list(house.home.certificates.glob("*")) == []


def test_evidence_of_another_stage_or_epoch_does_not_count(house) -> None:
    evidence(house, "canary", 500)
    evidence(house, "shadow", 500, epoch=house.student.epoch - 1)
    house.tick("automatic")
    assert house.student.stage == Stage.SHADOW


def test_a_demotion_in_between_wins(house) -> None:
    evidence(house, "shadow", 500)
    stale = house.student

    class Racing:
        """The demotion lands between the decision and the move."""

        def execute(self, command):
            if isinstance(command, MoveStudent):
                record = DemotionRecord(
                    student=stale.id, epoch=stale.epoch, at=2.0, to="paused", actor="watch", reason="", numbers={},
                    retrain=False,
                )  # fmt: skip
                store_records(house.home, [record])
            return house.writer.execute(command)

        def close(self) -> None:
            pass

    house.promoter = Promoter(
        house.reader, Racing(), Issuer.of(house.home), house.home.root / "s.json", time.time
    )
    house.tick("automatic")
    assert house.student.stage == Stage.SHADOW
    assert house.student.paused
    house.tick("automatic")
    assert house.student.paused
    house.wish("resume")
    house.tick("automatic")
    house.promoter = Promoter(
        house.reader, house.writer, Issuer.of(house.home), house.home.root / "s.json", time.time
    )
    house.tick("automatic")
    assert not house.student.paused


def test_every_wish_gets_an_outcome(house) -> None:
    house.wish("resume")
    house.wish("retrain")
    house.wish("promote", student="nobody-ffff-v1")
    house.tick("manual")
    assert house.reader.open_wishes() == []
    (run,) = house.reader.runs()
    assert run.state == "queued"
    assert "not_before_calls" not in run.params
    assert house.reader.retrain_requests() == []


def events(house: House) -> list[tuple[str, str]]:
    """Everything that webhooks are to be told, taken off the queue."""
    found = []
    while (event := house.writer.execute(ClaimEvent(at=time.time(), lease_s=60.0))) is not None:
        found.append((event.type, event.subject))
    return found


def test_webhooks_hear_of_waiting_promotion_and_retirement_once_each(house) -> None:
    evidence(house, "shadow", 500)
    house.tick("manual")
    house.tick("manual")
    assert events(house) == [("understudy.student.waiting", house.student.id)]
    house.wish("promote")
    house.tick("manual")
    assert events(house) == [("understudy.student.promoted", house.student.id)]
    student = house.student
    taken = DemotionRecord(
        student=student.id, epoch=student.epoch, at=time.time(), to="retired", actor="watch", reason="fell",
        numbers={}, retrain=False,
    )  # fmt: skip
    store_records(house.home, [taken])
    assert events(house) == [("understudy.student.taken_back", student.id)]
