"""The admin API over HTTP: who may come in, what it answers, and that every action reaches Control."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from admin_fakes import KEY, STATIC, FakeClock, FakeControl, app_of, configuration, ledger, plausible
from litestar.testing import TestClient
from msgspec.structs import replace
from sqlalchemy.exc import OperationalError

from gateway.api.admin_views import bucket_width, cost_now, totals
from optimizer.rollout import Stage

BASE = "http://127.0.0.1"
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; font-src 'self'; "
    "connect-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'self'; require-trusted-types-for 'script'"
)


class Desk:
    """A client, its control and its clock."""

    def __init__(self, client: TestClient[Any], control: FakeControl, clock: FakeClock) -> None:
        self.client, self.control, self.clock = client, control, clock
        self.csrf = ""

    def login(self, key: str = KEY) -> Any:
        answer = self.client.post("/admin/login", json={"key": key})
        if answer.status_code == 200:
            self.csrf = answer.json()["csrf"]
        return answer

    def get(self, path: str, **headers: str) -> Any:
        return self.client.get(f"/admin/api/{path}", headers=headers)

    def post(self, path: str, body: Any, **headers: str) -> Any:
        return self.client.post(
            f"/admin/api/{path}", json=body, headers={"x-csrf-token": self.csrf, **headers}
        )


@pytest.fixture
def desk() -> Iterator[Desk]:
    control, clock = FakeControl(plausible(), configuration()), FakeClock()
    with TestClient(app_of(control, clock), base_url=BASE) as client:
        yield Desk(client, control, clock)


@pytest.fixture
def inside(desk: Desk) -> Desk:
    assert desk.login().status_code == 200
    return desk


# ---------------------------------------------------------------- who may come in
READS = ("session", "overview", "tasks", "tasks/support-triage/disagreements", "journal", "runs/run_2")
ACTS = ("students/stu_live/pause", "switch")


@pytest.mark.parametrize("path", READS)
def test_reading_needs_a_session(desk: Desk, path: str) -> None:
    answer = desk.get(path)
    assert (answer.status_code, answer.json()["error"]["code"]) == (401, "no_session")


@pytest.mark.parametrize("path", ACTS)
def test_acting_needs_a_session(desk: Desk, path: str) -> None:
    assert desk.post(path, {"reason": "x", "students_off": True}).status_code == 401
    assert not desk.control.state.students_off


def test_every_answer_carries_the_headers(desk: Desk) -> None:
    for path in ("/admin", "/admin/assets/app.js", "/admin/api/overview", "/admin/assets/nothing"):
        headers = desk.client.get(path).headers
        assert headers["content-security-policy"] == POLICY
        assert headers["cache-control"] == "no-store"
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"
        assert (
            headers["cross-origin-opener-policy"] == headers["cross-origin-resource-policy"] == "same-origin"
        )


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost:8080", 200),
        ("[::1]:1", 200),
        ("GATE.example", 200),
        ("evil.example", 403),
        ("", 403),
        ("127.0.0.1.evil.example", 403),
        ("gate.example.", 403),
    ],
)
def test_only_known_host_names(desk: Desk, host: str, status: int) -> None:
    answer = desk.client.get("/admin", headers={"host": host})
    assert answer.status_code == status
    assert answer.headers["content-security-policy"] == POLICY


def test_the_cookie_is_bound_to_the_browser(desk: Desk) -> None:
    cookie = desk.login().headers["set-cookie"].lower()
    assert cookie.startswith("understudy_session=")
    for part in ("httponly", "samesite=strict", "path=/"):
        assert part in cookie
    assert "secure" not in cookie  # plain http on loopback
    with TestClient(app_of(desk.control, desk.clock, secure=True), base_url="https://127.0.0.1") as client:
        cookie = client.post("/admin/login", json={"key": KEY}).headers["set-cookie"]
        assert cookie.startswith("__Host-understudy_session=")
        assert "secure" in cookie.lower()
        assert "domain" not in cookie.lower()
        assert client.get("/admin/api/session").status_code == 200


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"origin": BASE}, 200),
        ({"sec-fetch-site": "same-origin"}, 200),
        ({"origin": "https://evil.example"}, 403),
        ({"origin": "null"}, 403),
        ({"origin": "http://127.0.0.1:81"}, 403),
        ({"sec-fetch-site": "cross-site"}, 403),
        ({"sec-fetch-site": "same-site"}, 403),
        ({"x-csrf-token": "wrong"}, 403),
        ({"x-csrf-token": ""}, 403),
    ],
)
def test_acting_needs_the_token_and_the_same_origin(
    inside: Desk, headers: dict[str, str], status: int
) -> None:
    answer = inside.post("switch", {"students_off": True, "reason": "test"}, **headers)
    assert answer.status_code == status
    assert inside.control.state.students_off is (status == 200)


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", ""])
def test_a_form_cannot_post(inside: Desk, kind: str) -> None:
    body = json.dumps({"students_off": True, "reason": "x"})
    headers = {"content-type": kind, "x-csrf-token": inside.csrf}
    assert inside.client.post("/admin/api/switch", content=body, headers=headers).status_code == 415
    assert (
        inside.client.post("/admin/login", content=json.dumps({"key": KEY}), headers=headers).status_code
        == 415
    )


def test_another_site_cannot_log_anybody_in(desk: Desk) -> None:
    answer = desk.client.post("/admin/login", json={"key": KEY}, headers={"origin": "https://evil.example"})
    assert answer.status_code == 403


def test_guessing_is_braked_and_recovers(desk: Desk) -> None:
    for _ in range(5):
        assert desk.login("wrong").status_code == 401
    refused = desk.login()  # even the right key waits now
    assert refused.status_code == 429
    assert 0 < int(refused.headers["retry-after"]) <= 60
    desk.clock.now += 61
    assert desk.login().status_code == 200
    actions = [line[1] for line in desk.control.state.audits]
    assert actions == ["login failed"] * 5 + ["login"]
    assert all(KEY not in part for line in desk.control.state.audits for part in line)


def test_right_logins_are_not_counted(desk: Desk) -> None:
    assert [desk.login().status_code for _ in range(8)] == [200] * 8


def test_polling_does_not_keep_a_session_alive_and_a_person_does(inside: Desk) -> None:
    for _ in range(10):
        inside.clock.now += 80
        assert inside.get("session", **{"x-understudy-background": "1"}).status_code == 200
    assert inside.get("session", **{"x-understudy-background": "1"}).json()["idle_s"] == pytest.approx(100)
    inside.clock.now += 90
    assert inside.get("overview").status_code == 200  # a person
    inside.clock.now += 899
    assert inside.get("tasks", **{"x-understudy-background": "1"}).status_code == 200
    inside.clock.now += 2
    assert inside.get("tasks").status_code == 401


def test_twelve_hours_end_the_busiest_session(inside: Desk) -> None:
    for _ in range(71):
        inside.clock.now += 600
        assert inside.get("session").status_code == 200
    inside.clock.now += 601
    assert inside.get("session").status_code == 401


def test_logout_ends_the_session_on_the_server(inside: Desk) -> None:
    cookie = inside.client.cookies["understudy_session"]
    assert inside.client.post("/admin/logout", headers={"x-csrf-token": inside.csrf}).status_code == 200
    inside.client.cookies.set("understudy_session", cookie)
    assert inside.get("session").status_code == 401


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
