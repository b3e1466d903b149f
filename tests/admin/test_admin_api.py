"""What the admin API answers, what it refuses, and that every action reaches Control."""

from __future__ import annotations

from typing import Any

import pytest
from admin_desk import Desk
from admin_fakes import STATIC, ledger
from admin_state import entry
from msgspec.structs import replace
from sqlalchemy.exc import OperationalError

from gateway.api.admin.views import bucket_width, cache_now, cost_now, totals
from optimizer.rollout import Stage


# ---------------------------------------------------------------- bad input
@pytest.mark.parametrize(
    ("body", "says"),
    [
        ({"reason": "x", "role": "root"}, "role"),
        ({}, "reason"),
        ({"reason": 5}, "reason"),
        ({"reason": "  "}, "why"),
        ({"reason": "x" * 501}, "reason"),
    ],
)
def test_a_wrong_body_names_its_fault(inside: Desk, body: Any, says: str) -> None:
    answer = inside.post("students/stu_live/pause", body)
    assert answer.status_code == 400
    assert says in answer.json()["error"]["message"]
    assert not inside.control.state.wishes


def test_malformed_and_oversized_bodies(inside: Desk) -> None:
    headers = {"content-type": "application/json", "x-csrf-token": inside.csrf}
    for content, status in (
        (b"{", 400),
        (b"[]", 400),
        (b'{"reason":"a","reason":"b"}', 400),
        (b"x" * 20_000, 413),
    ):
        answer = inside.client.post("/admin/api/students/stu_live/pause", content=content, headers=headers)
        assert answer.status_code == status


@pytest.mark.parametrize(
    "query",
    [
        "overview?hours=0",
        "overview?hours=nan",
        "overview?hours=1e9",
        "journal?limit=0",
        "tasks/support-triage/disagreements?limit=101",
        "journal?limit=x",
        "savings?days=0",
        "savings?days=nan",
        "savings?days=1e9",
    ],
)
def test_wrong_queries(inside: Desk, query: str) -> None:
    assert inside.get(query).status_code == 400


def test_unknown_things_are_not_found(inside: Desk) -> None:
    assert inside.get("runs/none").status_code == 404
    assert inside.get("tasks/none/disagreements").status_code == 404
    assert inside.post("students/none/pause", {"reason": "x"}).status_code == 404
    assert inside.post("students/stu_live/explode", {"reason": "x"}).status_code == 404
    for name in ("..%2f..%2fpyproject.toml", "index.html", "app.py"):
        assert inside.client.get(f"/admin/assets/{name}").status_code == 404


def test_a_lost_database_is_not_our_fault_and_says_nothing_inside(inside: Desk) -> None:
    inside.control.state.broken = OperationalError("SELECT secret", {}, Exception("/home/x/understudy.db"))
    answer = inside.get("overview")
    assert answer.status_code == 503
    assert "secret" not in answer.text
    assert ".db" not in answer.text


# ---------------------------------------------------------------- figures
def test_overview_adds_up(inside: Desk) -> None:
    found = inside.get("overview").json()
    sums = found["totals"]
    assert sums["calls"] == sum(row.calls for row in ledger())
    balance = sums["teacher_cost_usd"] - sums["cost_usd"] - sums["extra_cost_usd"]
    assert sums["saved_usd"] == pytest.approx(balance)
    assert sums["saved_share"] == pytest.approx(balance / sums["teacher_cost_usd"])
    assert sums["student_share"] == pytest.approx(sums["student_calls"] / sums["calls"])
    assert sum(bar["saved_usd"] for bar in found["series"]) == pytest.approx(sums["saved_usd"])
    steps = {
        later["start"] - bar["start"]
        for bar, later in zip(found["series"], found["series"][1:], strict=False)
    }
    assert steps == {found["bucket_s"]}
    assert len(found["series"]) <= 98
    assert found["simulated"] is True
    assert found["agreement"]["n"] == 812


def test_an_unknown_price_is_no_saving() -> None:
    rows = [replace(ledger()[0], cost_usd=0.0, unpriced=3), replace(ledger()[0], party="plain", unpriced=0)]
    assert (totals(rows).saved_usd, totals(rows).saved_share, totals(rows).unpriced) == (None, None, 3)
    assert cost_now(rows).per_call_usd is None
    assert totals([]).saved_share is None


def test_calls_of_no_task_cost_but_cannot_lose() -> None:
    plain = replace(ledger()[0], party="plain", cost_usd=5.0, teacher_cost_usd=0.0)
    found = totals([plain])
    assert (found.cost_usd, found.saved_usd) == (5.0, 0.0)


@pytest.mark.parametrize("span", [1, 60, 180, 3600, 86400, 7 * 86400, 90 * 86400])
def test_bars_are_few(span: float) -> None:
    assert span / bucket_width(span) <= 96


def test_tasks_show_the_evidence_of_the_stage(inside: Desk) -> None:
    task, plain = inside.get("tasks").json()["tasks"]
    following, live, old = task["students"]
    assert (following["stage"], live["stage"], old["stage"]) == ("shadow", "live", "retired")
    assert (live["evidence"]["n"], live["evidence"]["agreed"], live["evidence"]["compared"]) == (
        812,
        789,
        1100,
    )
    assert live["evidence"]["low"] < live["evidence"]["agreement"] < live["evidence"]["high"]
    assert live["evidence"]["gates"]["agreement"]["numbers"] == {"e_value": 41.7}
    assert live["watch"]["reasks"] == 212
    assert live["certificate"] == {"digest": "9" * 64, "path": "certificates/stu_live-live-99999999.json"}
    assert task["ceiling"]["n"] == 300
    assert (task["target"], task["floor"]) == (0.95, pytest.approx(0.93))
    assert task["runs"][0] == {**task["runs"][0], "id": "run_2", "state": "running", "progress": 0.62}
    assert plain["students"] == []
    assert plain["target"] is None


def test_evidence_grows_with_new_pairs_only(inside: Desk) -> None:
    inside.get("tasks")
    state = inside.control.state
    state.pairs.append(replace(state.pairs[0], seq=9999, agree=False))
    live = inside.get("tasks").json()["tasks"][0]["students"][1]
    assert (live["evidence"]["n"], live["evidence"]["agreed"]) == (813, 789)


def test_good_evidence_under_manual_approval_asks_for_a_person(inside: Desk) -> None:
    state = inside.control.state
    state.pairs = [replace(one, agree=True) if one.student == "stu_next" else one for one in state.pairs]
    assert inside.get("tasks").json()["tasks"][0]["students"][0]["waiting_approval"] is True
    inside.post("students/stu_next/promote", {"reason": "looks good"})
    again = inside.get("tasks").json()["tasks"][0]["students"][0]
    assert (again["waiting_approval"], again["wish"]) == (False, "promote")


def test_disagreements_page_through_everything_once(inside: Desk) -> None:
    seen: list[int] = []
    before = ""
    while True:
        page = inside.get(f"tasks/support-triage/disagreements?limit=10{before}").json()
        seen += [row["seq"] for row in page["items"]]
        if page["next_before"] is None:
            break
        before = f"&before={page['next_before']}"
    assert seen == list(range(25, 0, -1))


def test_the_journal_says_when_its_chain_is_broken(inside: Desk) -> None:
    assert inside.get("journal").json()["broken_at"] is None
    inside.control.state.broken_at = 3
    assert inside.get("journal").json()["broken_at"] is None  # checked a moment ago
    inside.clock.now += 11
    found = inside.get("journal?limit=2").json()
    assert found["broken_at"] == 3
    assert [one["epoch"] for one in found["entries"]] == [6, 5]


def test_the_journal_says_when_sealed_verdicts_were_changed(inside: Desk) -> None:
    inside.control.state.journal.append(entry(7, "guardrails", "verdicts sealed", "", kind="verdicts"))
    found = inside.get("journal?limit=1").json()
    assert (found["unsealed_at"], found["entries"][0]["epoch"]) == (None, 6)
    inside.control.state.unsealed_at = 7
    inside.clock.now += 61
    found = inside.get("journal?limit=1&seals=1").json()
    assert (found["unsealed_at"], found["entries"][0]["epoch"]) == (7, 7)


def test_a_run_comes_with_its_events(inside: Desk) -> None:
    found = inside.get("runs/run_2").json()
    assert [event["message"] for event in found["events"]] == ["claimed", "1,204 calls curated"]


# ---------------------------------------------------------------- acting
def test_pause_acts_at_once_and_shows_before_the_database_does(inside: Desk) -> None:
    answer = inside.post("students/stu_live/pause", {"reason": "odd answers"})
    assert (answer.status_code, answer.json()["status"]) == (200, "done")
    live = inside.get("tasks").json()["tasks"][0]["students"][1]
    assert (live["stage"], live["paused"]) == ("live", True)
    assert inside.control.state.students[1].paused is False  # the stored row has not moved yet
    assert inside.control.state.journal[-1].reason == "odd answers"


def test_roll_back_retires_at_once(inside: Desk) -> None:
    assert inside.post("students/stu_live/rollback", {"reason": "wrong"}).status_code == 200
    live = inside.get("tasks").json()["tasks"][0]["students"][1]
    assert live["stage"] == "retired"


def test_a_newer_database_wins_over_this_process(inside: Desk) -> None:
    inside.post("students/stu_live/rollback", {"reason": "wrong"})
    state = inside.control.state
    state.students[1] = replace(state.students[1], stage=Stage.LIVE, epoch=9)
    snapshot = inside.control.runtime().snapshot
    newer = snapshot.generation + 1
    inside.control.reader.generation = lambda: newer
    assert inside.get("tasks").json()["tasks"][0]["students"][1]["stage"] == "live"


@pytest.mark.parametrize("action", ["promote", "resume", "retrain"])
def test_only_the_trainer_gives_traffic(inside: Desk, action: str) -> None:
    answer = inside.post(f"students/stu_next/{action}", {"reason": "please"})
    assert (answer.status_code, answer.json()["status"]) == (202, "asked")
    assert [(wish.student, wish.action, wish.reason) for wish in inside.control.state.wishes] == [
        ("stu_next", action, "please")
    ]


def test_the_switch_turns_both_ways(inside: Desk) -> None:
    for off in (True, False):
        assert inside.post("switch", {"students_off": off, "reason": "drill"}).status_code == 200
        assert inside.get("overview").json()["students_off"] is off


def test_the_page_names_only_files_that_are_served(desk: Desk) -> None:
    page = desk.client.get("/admin").text
    for path in STATIC.iterdir():
        if path.suffix in {".js", ".css", ".svg"}:
            assert desk.client.get(f"/admin/assets/{path.name}").content == path.read_bytes()
        text = path.read_text()
        for sink in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", " style="):
            assert sink not in text
    assert "http://" not in page
    assert "https://" not in page


def test_what_a_cache_spared_is_shown_at_the_teachers_price() -> None:
    asked = replace(ledger()[0], calls=30)
    spared = replace(asked, party="cache", calls=10, cost_usd=0.0, teacher_cost_usd=0.5, unpriced=0)
    shown = cache_now([asked, spared])
    assert (shown.hits, shown.calls, shown.saved_usd) == (10, 40, 0.5)
    assert cache_now([asked, replace(spared, unpriced=1)]).saved_usd is None
    assert cache_now([asked]).hits == 0


def test_savings_say_what_students_cost_and_brought(inside: Desk) -> None:
    answer = inside.get("savings?days=7").json()
    (task,) = answer["tasks"]
    assert (answer["days"], task["task"]) == (7.0, "support-triage")
    found = task["payback"]
    assert found["net"] == pytest.approx(found["brought"] - found["invested"])
    assert found["student_calls"] > 0


def test_nothing_watched_yet_is_an_empty_answer(inside: Desk) -> None:
    assert inside.get("watched").json() == {"games": [], "levels": {}}
