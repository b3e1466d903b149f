"""What guardrails said is part of the journal: sealed in bulk, and found when somebody changes it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import sqlalchemy as sa
from storage_samples import Room, call

from gateway.cli import main
from gateway.storage import seals
from gateway.storage.home import Home
from gateway.storage.incidents import RETENTION_S
from gateway.storage.records import IncidentRecord
from gateway.storage.tables import CALLS, INCIDENTS
from gateway.storage.writing.erase import erase, erase_expired

AT = 1000.0


@pytest.fixture
def room(any_home: Home) -> Iterator[Room]:
    made = Room(any_home)
    yield made
    made.close()


def said(call_id: str, action: str = "block", *, at: float = AT, late: bool = False) -> IncidentRecord:
    return IncidentRecord(
        call_id, at, "p", "k", "triage", "chat", "words", action, "input", False, "a sample of call", late
    )


def add(room: Room, *call_ids: str) -> None:
    """Calls with a verdict each."""
    for call_id in call_ids:
        room.add(call(call_id, at=AT, verdicts=["words:block"]), said(call_id))


def change(room: Room, query: sa.Update | sa.Delete) -> None:
    with room.engine.begin() as connection:
        assert connection.execute(query).rowcount == 1


def broken(room: Room, **more: Any) -> int | None:
    return room.reader.verify_verdicts(now=AT + 60, **more)


def test_one_line_seals_all_that_came(room: Room) -> None:
    assert room.ingester.seal() == 0 and room.reader.journal() == []
    add(room, "c1", "c2")
    room.add(said("c2", "flag", late=True))
    assert room.ingester.seal() == 3
    assert room.ingester.seal() == 0
    (line,) = room.reader.journal()
    assert (line.kind, line.action, line.detail["count"]) == ("verdicts", "verdicts sealed", 3)
    assert line.detail["said"] == {"words:block": 2, "words:flag": 1}
    assert "sample" not in str(line.detail)
    assert room.reader.journal(seals=False) == []
    shown = room.reader.incidents(project=None, guardrail=None, before=None, limit=9)
    assert {one.sealed for one in shown} == {line.epoch}
    assert room.reader.verify_journal() is None and broken(room) is None


def test_an_ingester_that_stops_seals_what_it_took_in(room: Room) -> None:
    room.spool.append(call("c1", at=AT, verdicts=["words:block"]))
    room.spool.append(said("c1"))
    room.stop.set()
    room.ingester.run()
    assert [line.detail["count"] for line in room.reader.journal()] == [1]


def test_no_line_grows_without_bound(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(seals, "AT_ONCE", 2)
    add(room, "c1", "c2", "c3")
    assert [room.ingester.seal() for _ in range(3)] == [2, 1, 0]
    assert [line.detail["count"] for line in room.reader.journal()] == [1, 2]
    assert broken(room) is None


def test_what_somebody_changes_is_found(room: Room) -> None:
    add(room, "c1", "c2")
    room.ingester.seal()
    add(room, "c3")
    room.ingester.seal()
    of_c2, of_c3 = INCIDENTS.c.call_id == "c2", INCIDENTS.c.call_id == "c3"
    change(room, sa.update(INCIDENTS).where(of_c3).values(action="flag"))
    assert (broken(room), broken(room, newest=1)) == (2, 2)
    change(room, sa.update(INCIDENTS).where(of_c3).values(action="block"))
    assert broken(room) is None
    change(room, sa.update(CALLS).where(CALLS.c.id == "c2").values(verdicts="[]"))
    assert (broken(room), broken(room, newest=1)) == (1, None)
    change(room, sa.update(CALLS).where(CALLS.c.id == "c2").values(verdicts='["words:block"]'))
    change(room, sa.delete(INCIDENTS).where(of_c2))
    assert broken(room) == 1


def test_what_somebody_adds_is_found(room: Room) -> None:
    add(room, "c1", "c2")
    room.ingester.seal()
    add(room, "c3")
    of_c3 = INCIDENTS.c.call_id == "c3"
    for claimed in (1, 99):
        change(room, sa.update(INCIDENTS).where(of_c3).values(sealed=claimed))
        assert broken(room) == claimed


def test_erasing_and_forgetting_break_no_seal(room: Room) -> None:
    add(room, "c1", "c2")
    room.ingester.seal()
    with room.engine.begin() as connection:
        erase(connection, ["c1"], AT + 1)
    assert broken(room) is None
    later = AT + RETENTION_S + 1
    with room.engine.begin() as connection:
        erase_expired(connection, later)
    assert room.reader.verify_verdicts(now=later) is None
    assert room.reader.verify_journal() is None


def test_the_command_says_whether_the_record_holds(home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    room = Room(home)
    command = ["--home", str(home.root), "verify", "--journal"]
    try:
        room.add(call("c1", verdicts=["words:block"]), said("c1", at=4e9))
        room.ingester.seal()
        assert main(command) == 0
        assert "Journal of 1 line; 1 of them for the verdicts of guardrails" in capsys.readouterr().out
        change(room, sa.update(INCIDENTS).values(guardrail="others"))
        assert main(command) == 1
        assert "the verdicts that line 1 seals" in capsys.readouterr().out
    finally:
        room.close()
    assert main(["--home", str(home.root), "verify"]) == 1
    assert "--journal" in capsys.readouterr().err
