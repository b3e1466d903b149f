"""One body over both databases: what is appended and commanded is what is read."""

from __future__ import annotations

import threading

import msgspec
import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from storage_samples import Room, call, pair, student, text

from gateway.storage.commands import (
    AddDataset,
    AddStudent,
    CancelRun,
    ClaimRun,
    CreateKey,
    EnqueueRun,
    FinishRun,
    HandleWish,
    MoveStudent,
    PauseRun,
    PrioritiseRun,
    Refused,
    ReportRun,
    ResumeRun,
    RevokeKey,
)
from gateway.storage.engine import write_engine
from gateway.storage.migrations import migrate
from gateway.storage.records import (
    AuditRecord,
    DeletionRecord,
    DemotionRecord,
    MetadataRecord,
    SwitchRecord,
    WishRecord,
)
from gateway.storage.tables import CALLS, FEEDBACK_LOG, JOURNAL, METADATA
from gateway.storage.values import Dataset, Key
from gateway.storage.writing.writer import SqlWriter
from optimizer.rollout import Stage, Student

F = "f" * 16


def key(name: str, **changes: object) -> Key:
    made = Key(
        id=f"key_{name}", name=name, project="p", digest=f"digest-{name}", hint=f"us-…{name}", scopes=("inference",),
        models=(), requests_per_minute=60, created_at=1.0, expires_at=None, revoked_at=None,
    )  # fmt: skip
    return msgspec.structs.replace(made, **changes)


def move(
    to: Stage, epoch: int, *, certificate: str | None = "cert", paused: bool = False, who: str = "stu"
) -> MoveStudent:
    return MoveStudent(
        student=who, to=to, paused=paused, expected_epoch=epoch, actor="trainer", reason="gates passed", at=5.0,
        certificate=certificate, detail={"wealth": 25.5},
    )  # fmt: skip


def climb(room: Room, student_id: str = "stu", top: Stage = Stage.LIVE) -> Student:
    made = room.writer.execute(AddStudent(student(student_id), "data", {"agreement": 0.97}, 2.0))
    for stage in (Stage.SHADOW, Stage.CANARY, Stage.LIVE):
        made = room.writer.execute(move(stage, made.epoch, who=student_id))
        if stage is top:
            break
    return made


def test_migrating_twice_changes_nothing_and_matches_the_tables(room: Room) -> None:
    room.add(call("c1"))
    migrate(room.home.database_url)
    with room.engine.begin() as connection:
        assert compare_metadata(MigrationContext.configure(connection), METADATA) == []
        assert connection.execute(sa.select(sa.func.count()).select_from(CALLS)).scalar() == 1


def test_a_captured_call_is_read_back_masked(room: Room) -> None:
    asked = "Mail anna@example.org or bob@example.org"
    room.add(call("c1", body=text(asked, "bob@example.org it is"), metadata={"a": "1"}))
    found = room.reader.completion("p", "c1")
    assert found is not None
    assert found.metadata == {"a": "1"}
    assert b"example.org" not in msgspec.json.encode(found)
    (lesson,) = room.reader.training_calls("p", "triage", F, limit=10)
    assert lesson.text == "Mail [EMAIL_1] or [EMAIL_2]"
    assert lesson.answer == "[EMAIL_2] it is"
    assert lesson.finish_reason == "stop"
    assert room.reader.completion("other", "c1") is None


def test_listing_pages_and_filters(room: Room) -> None:
    room.add(
        *(
            call(f"c{n}", at=100.0 + n // 2, body=text(f"q{n}", "a"), metadata={"n": str(n % 2)})
            for n in range(7)
        )
    )

    def page(**options: object) -> list[str]:
        base: dict[str, object] = {
            "model": None,
            "metadata": {},
            "after": None,
            "limit": 3,
            "descending": False,
        }
        return [found.id for found in room.reader.completions("p", **(base | options))]  # type: ignore[arg-type]

    assert page() == ["c0", "c1", "c2"]
    assert page(after="c2") == ["c3", "c4", "c5"]
    assert page(after="c3", descending=True) == ["c2", "c1", "c0"]
    assert page(metadata={"n": "1"}) == ["c1", "c3", "c5"]
    assert page(metadata={"n": "1' OR 1=1 --"}) == []
    assert page(model="other") == []
    assert page(after="unknown") == []


def test_hostile_values_do_not_stop_the_ledger(room: Room) -> None:
    room.add(
        call("c1", end_user="a\0b", prompt_tokens=2**63, cost_usd=float("nan"), body=text("x\0y", "z\0")),
        call("c2", metadata={"k\0": "v\0"}, body=text("x", "y")),
        MetadataRecord("c2", "p", "k", 5.0, {"feedback.score": "1\0"}),
    )
    assert {found.call_id for found in room.reader.training_calls("p", "triage", F, limit=9)} == {"c1", "c2"}


def test_calls_that_come_again_count_once(room: Room) -> None:
    room.add(call("c1", at=1.0, body=text("q", "a")), call("c2", at=1.0))
    room.add(call("c3", at=1.0), call("c2", at=1.0), call("c1", at=1.0, body=text("q", "a")))
    assert [bucket.calls for bucket in room.reader.ledger(since=0, bucket_s=60)] == [3]
    assert room.reader.task_versions()[0].trainable_calls == 1
    assert room.reader.journal() == []


def test_a_record_that_the_database_refuses_stops_no_other(room: Room) -> None:
    room.add(call("c1", body=text("q", "a")), call("c2", http_status=2**40), call("c3", body=text("q", "a")))
    lessons = room.reader.training_calls("p", "triage", F, limit=9)
    assert {lesson.call_id for lesson in lessons} == {"c1", "c3"}
    if room.engine.dialect.name == "postgresql":  # SQLite takes any 64-bit number anywhere
        assert [entry.action for entry in room.reader.journal()] == ["record refused"]


def test_only_what_the_teacher_answered_well_is_a_lesson(room: Room) -> None:
    body = text("q", "a")
    room.add(
        call("good", body=body), call("student", body=body, student="stu"), call("bad", body=body, status="error"),
        call("plain"), call("kept", body=msgspec.structs.replace(body, trainable=False)),
    )  # fmt: skip
    assert [lesson.call_id for lesson in room.reader.training_calls("p", "triage", F, limit=9)] == ["good"]
    (version,) = room.reader.task_versions()
    assert (version.version, version.trainable_calls) == (1, 1)


def test_metadata_is_replaced_feedback_kept_and_deletion_erases(room: Room) -> None:
    room.add(
        MetadataRecord("c1", "p", "k", 4.0, {"feedback.score": "0"}),  # overtook its call
        call("c1", body=text("secret words", "a"), metadata={"old": "1"}),
    )
    room.add(
        MetadataRecord("c1", "p", "k", 5.0, {"feedback.score": "1"}),
        MetadataRecord("c1", "intruder", "k", 6.0, {"feedback.score": "9"}),
        pair("c1"),
    )
    found = room.reader.completion("p", "c1")
    assert found is not None
    assert found.metadata == {"feedback.score": "1"}
    with room.engine.begin() as connection:
        said = connection.execute(sa.select(FEEDBACK_LOG.c.value).order_by(FEEDBACK_LOG.c.id)).scalars().all()
    assert said[-1] == "1"
    assert "9" not in said
    room.add(DeletionRecord("c1", "intruder", "k", 6.5))
    assert room.reader.completion("p", "c1") is not None
    room.add(DeletionRecord("c1", "p", "k", 7.0))
    assert room.reader.completion("p", "c1") is None
    place = room.reader.completion_place("p", "c1")  # who deletes while listing goes on behind it
    assert place is not None
    assert place[1] == "c1"
    assert room.reader.completion_place("intruder", "c1") is None
    assert room.reader.training_calls("p", "triage", F, limit=9) == []
    assert room.reader.task_versions()[0].trainable_calls == 0
    assert room.reader.pairs()[0].teacher_text == ""


def test_expired_text_is_erased(room: Room) -> None:
    room.add(call("old", at=1000.0, body=text("q", "a", days=1)), pair("old"))
    room.ingester._keep_retention()
    assert room.reader.completion("p", "old") is None
    assert room.reader.pairs()[0].student_text == ""


def test_the_ledger_adds_up(room: Room) -> None:
    room.add(call("c1", at=61.0), call("c2", at=119.0, cost_usd=None), call("c3", at=121.0, status="error"))
    room.add(
        call("c1", at=61.0), call("c4", at=62.0, student="stu", cost_usd=0.0), pair("c4", created_at=63.0)
    )
    by_minute = room.reader.ledger(since=0, bucket_s=60)
    assert [(one.start, one.party, one.calls) for one in by_minute] == [
        (60, "student", 1), (60, "teacher", 2), (120, "teacher", 1)
    ]  # fmt: skip
    teacher = room.reader.ledger(since=0, bucket_s=3600)[1]
    assert (teacher.calls, teacher.errors, teacher.unpriced, teacher.cost_usd) == (3, 1, 1, 0.5)
    assert teacher.extra_cost_usd == 0.5
    assert room.reader.ledger(since=121, bucket_s=60) == by_minute[2:]


def test_keys_live_and_die(room: Room) -> None:
    before = room.reader.generation()
    room.writer.execute(CreateKey(key("dev"), "admin"))
    with pytest.raises(Refused, match="already has a key"):
        room.writer.execute(CreateKey(key("dev", id="other", digest="x"), "admin"))
    room.writer.execute(CreateKey(key("dev", id="k2", digest="y", project="q"), "admin"))
    with pytest.raises(Refused, match="2 keys match"):
        room.writer.execute(RevokeKey("dev", "admin", 9.0))
    with pytest.raises(Refused, match="No key"):
        room.writer.execute(RevokeKey("nobody", "admin", 9.0))
    assert room.writer.execute(RevokeKey("k2", "admin", 9.0)).revoked_at == 9.0
    assert room.reader.generation() == before + 3
    assert [one.revoked_at for one in room.reader.snapshot().keys] == [None, 9.0]
    assert [entry.action for entry in room.reader.journal(kind="key")] == ["revoked", "created", "created"]


def test_a_student_climbs_only_with_certificates_and_fresh_decisions(room: Room) -> None:
    made = room.writer.execute(AddStudent(student(), "data", {"agreement": 0.97}, 2.0))
    assert room.writer.execute(AddStudent(student(), "data", {}, 2.0)) == made
    with pytest.raises(Refused, match="cannot go from"):
        room.writer.execute(move(Stage.LIVE, made.epoch))
    shadow = room.writer.execute(move(Stage.SHADOW, made.epoch, certificate=None))
    with pytest.raises(Refused, match="certificate"):
        room.writer.execute(move(Stage.CANARY, shadow.epoch, certificate=None))
    with pytest.raises(Refused, match="decide again"):
        room.writer.execute(move(Stage.CANARY, made.epoch))
    canary = room.writer.execute(move(Stage.CANARY, shadow.epoch))
    assert canary.certificate == "cert"
    assert room.reader.students() == [canary]
    assert room.reader.student_detail("stu")["metrics"] == {"agreement": 0.97}
    assert room.reader.student_detail("nobody") == {}


def test_going_live_retires_the_one_before(room: Room) -> None:
    climb(room, "one")
    second = climb(room, "two")
    stages = {one.id: one.stage for one in room.reader.students()}
    assert stages == {"one": Stage.RETIRED, "two": Stage.LIVE}
    assert room.reader.snapshot().students == (second,)
    assert room.reader.verify_journal() is None


def test_a_demotion_beats_a_stale_promotion_and_never_unretires(room: Room) -> None:
    canary = climb(room, top=Stage.CANARY)
    numbers = {"agreement": 0.8}
    room.add(DemotionRecord("stu", canary.epoch, 9.0, "paused", "gateway", "drift", numbers, True))
    paused = room.reader.students()[0]
    assert (paused.stage, paused.paused) == (Stage.CANARY, True)
    with pytest.raises(Refused, match="decide again"):
        room.writer.execute(move(Stage.LIVE, canary.epoch))
    resumed = room.writer.execute(move(Stage.CANARY, paused.epoch, certificate=None))
    assert not resumed.paused
    room.add(DemotionRecord("stu", resumed.epoch, 10.0, "retired", "gateway", "drift", {}, False))
    room.add(DemotionRecord("stu", resumed.epoch, 11.0, "paused", "gateway", "late", {}, False))
    retired = room.reader.students()[0]
    assert (retired.stage, retired.paused) == (Stage.RETIRED, False)
    with pytest.raises(Refused, match="cannot go from"):
        room.writer.execute(move(Stage.SHADOW, retired.epoch))
    assert room.reader.retrain_requests() == [("p", "triage", F)]
    room.writer.execute(EnqueueRun("train", "p", "triage", F, {}, 12.0))
    assert room.reader.retrain_requests() == []


def test_wishes_switches_and_audit_lines(room: Room) -> None:
    climb(room)
    room.add(
        WishRecord("stu", "retrain", "ann", "stale", 20.0), SwitchRecord(True, "ann", "incident", 21.0),
        AuditRecord("ann", "login", "admin page", "", 22.0),
    )  # fmt: skip
    (wish,) = room.reader.open_wishes()
    assert (wish.action, wish.actor) == ("retrain", "ann")
    assert room.reader.retrain_requests() == [("p", "triage", F)]
    assert room.reader.snapshot().students_off
    room.writer.execute(HandleWish(wish.id, "queued", 23.0))
    assert room.reader.open_wishes() == []
    assert room.reader.journal(kind="admin", limit=1)[0].action == "login"


def test_runs_are_claimed_reclaimed_and_given_up(room: Room) -> None:
    run = room.writer.execute(EnqueueRun("train", "p", "triage", F, {"seed": 1}, 1.0))
    assert room.writer.execute(EnqueueRun("train", "p", "triage", F, {}, 2.0)).id == run.id
    first = room.writer.execute(ClaimRun("a", 10.0, 30.0))
    assert (first.state, first.attempt, first.params) == ("running", 1, {"seed": 1})
    assert room.writer.execute(ClaimRun("b", 20.0, 30.0)) is None
    room.writer.execute(ReportRun(run.id, "a", 25.0, 0.5, "fit", message="half", data={"n": 1}))
    assert room.writer.execute(ClaimRun("b", 50.0, 30.0)) is None
    assert room.writer.execute(ClaimRun("b", 56.0, 30.0)).attempt == 2
    with pytest.raises(Refused, match="not this worker's"):
        room.writer.execute(ReportRun(run.id, "a", 57.0, 0.6, "fit"))
    room.writer.execute(ClaimRun("c", 100.0, 30.0))
    assert room.writer.execute(ClaimRun("d", 200.0, 30.0)) is None
    given_up = room.reader.run(run.id)
    assert given_up is not None
    assert given_up.state == "failed"
    assert [event.level for event in room.reader.run_events(run.id)] == ["info", "warn", "warn", "error"]


def test_runs_finish_once_and_are_cancelled(room: Room) -> None:
    run = room.writer.execute(EnqueueRun("train", "p", "triage", F, {}, 1.0))
    room.writer.execute(ClaimRun("a", 2.0, 30.0))
    done = room.writer.execute(FinishRun(run.id, "a", 3.0, "succeeded", {"student": "stu"}))
    assert room.writer.execute(FinishRun(run.id, "a", 4.0, "succeeded", {})) == done
    again = room.writer.execute(EnqueueRun("train", "p", "triage", F, {}, 5.0))
    assert room.writer.execute(CancelRun(again.id, "ann", 6.0)).state == "cancelled"
    third = room.writer.execute(EnqueueRun("train", "p", "triage", F, {}, 7.0))
    room.writer.execute(ClaimRun("a", 8.0, 30.0))
    assert room.writer.execute(CancelRun(third.id, "ann", 9.0)).state == "running"
    assert room.writer.execute(ReportRun(third.id, "a", 10.0, 0.1, "fit")).cancel_requested
    assert [one.id for one in room.reader.runs()] == [third.id, again.id, run.id]


def test_datasets_get_versions(room: Room) -> None:
    def dataset(digest: str) -> Dataset:
        return Dataset(digest, "p", "triage", F, 0, 1.0, {"rows": 10})

    assert room.writer.execute(AddDataset(dataset("a"))).version == 1
    assert room.writer.execute(AddDataset(dataset("b"))).version == 2
    assert room.writer.execute(AddDataset(dataset("a"))).version == 1
    assert [one.digest for one in room.reader.datasets(task="triage")] == ["a", "b"]


def test_evidence_and_disagreements(room: Room) -> None:
    room.add(call("c1", body=text("where is my money", "billing")), pair("c1", agree=False), pair("c2"))
    room.add(pair("c3", kind="reask", epoch=4, agree=False))
    assert [one.call_id for one in room.reader.pairs(student="stu")] == ["c1", "c2", "c3"]
    assert [one.call_id for one in room.reader.pairs(kinds=("reask",), epoch=4)] == ["c3"]
    rows = room.reader.disagreements(task="triage", limit=5, before_seq=None)
    assert [(row["call_id"], row["input"]) for row in rows] == [("c3", ""), ("c1", "where is my money")]
    assert room.reader.disagreements(task="triage", limit=5, before_seq=rows[0]["seq"]) == rows[1:]


def test_tampering_with_the_journal_is_found(room: Room) -> None:
    climb(room)
    assert room.reader.verify_journal() is None
    with room.engine.begin() as connection:
        connection.execute(sa.update(JOURNAL).where(JOURNAL.c.epoch == 3).values(reason="nothing to see"))
    assert room.reader.verify_journal() == 3


def test_cutting_the_end_off_the_journal_is_found(room: Room) -> None:
    climb(room)
    with room.engine.begin() as connection:
        connection.execute(sa.delete(JOURNAL).where(JOURNAL.c.epoch == 4))
    assert room.reader.verify_journal() == 4


def test_two_writers_keep_one_chain(room: Room) -> None:
    if room.engine.dialect.name == "sqlite":
        others = [room.writer, room.writer]
    else:
        others = [SqlWriter(write_engine(room.home.database_url)) for _ in range(2)]

    def create(which: int) -> None:
        for n in range(10):
            others[which].execute(CreateKey(key(f"{which}-{n}"), "admin"))

    threads = [threading.Thread(target=create, args=(which,)) for which in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(room.reader.keys()) == 20
    assert room.reader.verify_journal() is None
    for other in others:
        other.close()


def test_of_the_runs_that_wait_the_most_urgent_goes_first_and_a_paused_one_keeps_its_place(room: Room) -> None:
    first, second, third = (
        room.writer.execute(EnqueueRun("train", "p", f"task-{number}", F, {}, float(number))) for number in range(3)
    )
    room.writer.execute(PrioritiseRun(third.id, 5, "admin", "a customer waits", 4.0))
    room.writer.execute(PauseRun(first.id, "admin", 4.0))
    again = room.writer.execute(EnqueueRun("train", "p", "task-0", F, {}, 5.0))
    assert (again.id, again.state) == (first.id, "paused"), "nothing else begins for a task whose run rests"
    claimed = [room.writer.execute(ClaimRun("w", 6.0, 30.0)) for _ in range(3)]
    assert [run and run.id for run in claimed] == [third.id, second.id, None]
    room.writer.execute(ResumeRun(first.id, "admin", 7.0))
    assert room.writer.execute(ClaimRun("w", 8.0, 30.0)).id == first.id
    room.writer.execute(CancelRun(second.id, "admin", 9.0))
    room.writer.execute(FinishRun(third.id, "w", 9.0, "succeeded", {}))
    with pytest.raises(Refused, match="succeeded already"):
        room.writer.execute(PrioritiseRun(third.id, 1, "admin", "", 9.0))
