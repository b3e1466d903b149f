"""Erasing one person, in the database and for what arrives later; on both backends."""

from __future__ import annotations

import time

import sqlalchemy as sa
from storage_samples import Room, call, pair, text

from gateway.storage.erasure_values import ERASED, EraseUser
from gateway.storage.records import ClientStateRecord, FeedbackRecord, IncidentRecord
from gateway.storage.tables import CALLS, CAPTURES, CLIENT_STATE, FEEDBACK_LOG, INCIDENTS, PAIRS

NOW = time.time()


def dump(room: Room) -> str:
    """Everything the database says, as one text."""
    found = []
    with room.engine.connect() as connection:
        for table in (CALLS, CAPTURES, PAIRS, FEEDBACK_LOG, INCIDENTS, CLIENT_STATE):
            found += [str(dict(row)) for row in connection.execute(sa.select(table)).mappings()]
    return "\n".join(found)


def incident(call_id: str, sample: str) -> IncidentRecord:
    return IncidentRecord(call_id, NOW, "p", "k", "triage", "chat", "pii", "flag", "input", False, sample)


def state(state_id: str, end_user: str, at: float = NOW) -> ClientStateRecord:
    return ClientStateRecord(state_id, "p", "response", at, at + 1e6, b"sealed " + state_id.encode(), end_user)


def of_anna(call_id: str, at: float = NOW, **more: object):
    body = text("anna lost her badge", "the badge of anna")
    return call(call_id, at=at, body=body, end_user="anna", session="chat-of-anna", metadata={"name": "anna b"}, **more)  # type: ignore[arg-type]


def erase(room: Room, user: str = "anna", project: str = "p", at: float | None = None):
    return room.writer.execute(EraseUser(project, user, "admin", "she asked", at or time.time()))


def test_nothing_of_a_person_stays_and_everything_of_others_does(room: Room) -> None:
    room.add(
        of_anna("a1"), of_anna("a2", project="elsewhere"),
        call("b1", at=NOW, body=text("bob waits", "hello bob"), end_user="bob"),
        pair("a1", session="chat-of-anna", teacher_text="badge anna", student_text="anna"),
        FeedbackRecord("a1", "", "p", "k", NOW, 0.5, {"correction": "anna means a card"}),
        incident("a1", "anna said a word"), state("r1", "anna"), state("r2", "bob"),
    )  # fmt: skip
    before = room.reader.generation()
    done = erase(room)
    assert (done.calls, done.texts) == (1, 1)
    assert room.reader.generation() > before
    left = "\n".join(line for line in dump(room).splitlines() if "elsewhere" not in line)
    assert "anna" not in left
    assert "hello bob" in left
    with room.engine.connect() as connection:
        assert connection.execute(sa.select(CALLS.c.end_user).where(CALLS.c.id == "a1")).scalar() == ERASED
        session = connection.execute(sa.select(PAIRS.c.session)).scalar()
        tomb = connection.execute(sa.select(CAPTURES.c.tombstone).where(CAPTURES.c.call_id == "a1")).scalar()
    assert len(session) == 32, "a cluster of the evidence stays one"
    assert len(tomb) == 64
    assert room.reader.completion("p", "a1") is None
    assert room.reader.completion("elsewhere", "a2") is not None
    assert room.reader.client_state("p", "r1", now=NOW) == b""
    assert room.reader.client_state("p", "r2", now=NOW)
    assert room.reader.erased_calls(since=NOW) == [("a1", True)]
    line = room.reader.journal(kind="admin")[0]
    assert (line.action, line.reason, line.detail["texts"]) == ("person erased", "she asked", 1)
    assert "anna" not in str(line)
    assert room.reader.verify_journal() is None
    again = erase(room)
    assert (again.calls, again.texts) == (0, 0)


def test_what_was_under_way_arrives_without_its_text_and_what_comes_later_stays(room: Room) -> None:
    erase(room, at=NOW)
    room.add(
        of_anna("late", at=NOW - 3600), pair("late", created_at=NOW, teacher_text="anna"),
        incident("late", "anna again"), state("r3", "anna", NOW - 60),
        FeedbackRecord("late", "", "p", "k", NOW, None, {"comment": "anna was happy"}),
    )  # fmt: skip
    assert "anna" not in dump(room)
    assert not any(version.trainable_calls for version in room.reader.task_versions())
    room.add(of_anna("after", at=NOW + 60), state("r4", "anna", NOW + 60))
    assert room.reader.completion("p", "after") is not None
    assert room.reader.client_state("p", "r4", now=NOW)


def test_age_is_told_from_a_wish(room: Room) -> None:
    old = time.time() - 40 * 86_400
    room.add(of_anna("old", at=old))
    from gateway.storage.writing.erase import erase_expired

    with room.writer.transaction() as connection:
        assert erase_expired(connection, time.time()) == 1
    assert room.reader.erased_calls(since=NOW - 10) == [("old", False)]
