"""Who may come in: sessions, host names, origins, tokens, the brake on guessing."""

from __future__ import annotations

import json

import pytest
from admin_desk import BASE, Desk
from admin_fakes import KEY, app_of
from litestar.testing import TestClient
from msgspec import structs

POLICY = (
    "default-src 'none'; object-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; font-src 'self'; "
    "connect-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'self'; require-trusted-types-for 'script'"
)


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


def test_behind_tls_a_browser_asks_over_tls_alone(desk: Desk) -> None:
    assert "strict-transport-security" not in desk.client.get("/admin").headers
    config = desk.control.config
    desk.control.config = structs.replace(config, server=structs.replace(config.server, behind_tls=True))
    for path in ("/admin", "/admin/api/overview", "/admin/assets/nothing"):
        assert desk.client.get(path).headers["strict-transport-security"] == "max-age=31536000"


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
