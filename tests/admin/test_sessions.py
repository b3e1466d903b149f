"""Who is logged in can be seen and ended, one by one or all at once: by the API and on the page."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
from admin_desk import Desk
from admin_fakes import KEY, NOW
from chromium import in_chromium, sync_api
from hostile_text import XSS
from test_admin_page import browser, expect, visiting

from gateway.api.admin.sessions import Sessions
from gateway.sharing.bus import Alone

__all__ = ["browser"]
FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"
SAFARI = "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.4 Safari/605.1.15"


@contextmanager
def somebody_else(desk: Desk) -> Iterator[Any]:
    """The same client without its cookie, which it has again afterwards."""
    mine = dict(desk.client.cookies)
    desk.client.cookies.clear()
    yield desk.client
    desk.client.cookies.clear()
    desk.client.cookies.update(mine)


def another(desk: Desk, browser: str = FIREFOX) -> str:
    """Somebody else logs in; what their cookie holds."""
    with somebody_else(desk) as other:
        assert other.post("/admin/login", json={"key": KEY}, headers={"user-agent": browser}).status_code == 200
        return str(other.cookies["understudy_session"])


def shown(desk: Desk) -> list[dict[str, Any]]:
    return list(desk.get("sessions").json()["sessions"])


def opens(desk: Desk, cookie: str) -> bool:
    with somebody_else(desk) as other:
        other.cookies.set("understudy_session", cookie)
        return bool(other.get("/admin/api/session").status_code == 200)


def test_who_is_logged_in_is_seen(inside: Desk) -> None:
    inside.clock.now += 60
    cookie = another(inside)
    mine, theirs = sorted(shown(inside), key=lambda one: one["since"])
    assert (mine["this"], theirs["this"]) == (True, False)
    assert (theirs["since"], theirs["seen"], theirs["browser"]) == (NOW + 60, NOW + 60, FIREFOX)
    assert theirs["address"] == theirs["seen_from"] == "testclient"
    assert theirs["ends"] == NOW + 60 + 900
    assert cookie not in str([mine, theirs]) and inside.csrf not in str([mine, theirs]), "what is shown opens nothing"
    inside.clock.now += 901
    assert inside.login().status_code == 200
    assert [one["this"] for one in shown(inside)] == [True], "who left by themselves are not shown"


def test_one_is_ended_and_the_others_stay(inside: Desk) -> None:
    first, second = another(inside), another(inside, SAFARI)
    wanted = next(one["id"] for one in shown(inside) if one["browser"] == FIREFOX)
    done = inside.post("sessions/end", {"reason": "a laptop was lost", "ids": [wanted]})
    assert done.json()["message"] == "Ended: 1 session."
    assert (opens(inside, first), opens(inside, second)) == (False, True)
    assert inside.control.state.audits[-1] == ("admin", "session ended", "testclient", "a laptop was lost")
    again = inside.post("sessions/end", {"reason": "again", "ids": [wanted]})
    assert again.status_code == 404 and len(shown(inside)) == 2


def test_all_others_are_ended_at_once(inside: Desk) -> None:
    cookies = [another(inside) for _ in range(3)]
    assert inside.post("sessions/end", {"reason": "x"}).json()["message"] == "Ended: 3 sessions."
    assert not any(opens(inside, one) for one in cookies) and inside.get("session").status_code == 200


def test_ending_needs_a_session_its_token_and_a_reason(desk: Desk) -> None:
    assert desk.get("sessions").status_code == desk.post("sessions/end", {"reason": "x"}).status_code == 401
    desk.login()
    assert desk.post("sessions/end", {"reason": " "}).status_code == 400
    assert desk.post("sessions/end", {"reason": "x", "ids": "all"}).status_code == 400
    desk.csrf = "wrong"
    assert desk.post("sessions/end", {"reason": "x"}).status_code == 403


async def test_where_somebody_was_last_is_told_to_the_others() -> None:
    """A cookie that goes on from another address is what a thief's looks like."""
    told: list[tuple[Any, ...]] = []

    class Ear:
        def tell(self, topic: str, *values: Any) -> None:
            told.append((topic, *values))

        mention = hear = tell

        async def ask(self, *_: Any) -> list[Any]:
            return []

        def greet(self, introduce: Any) -> None:
            """Nobody comes."""

    sessions = Sessions(lambda: NOW, Ear())
    token, _ = await sessions.open("10.0.0.1", "a\x00b" + "c" * 500)
    told.clear()
    sessions.find(token, extend=True, address="10.0.0.1")
    assert not told
    sessions.find(token, extend=True, address="10.0.0.2")
    assert told[0][0] == "session" and told[0][-2:] == ("10.0.0.2", "a b" + "c" * 197)
    other = Sessions(lambda: NOW, Ear())
    other._told(*told[0][1:])
    other._told(b"old worker", "csrf", NOW, NOW)
    assert [(one.address, one.seen_from) for one in other.alive()] == [("10.0.0.1", "10.0.0.2"), ("", "")]


@in_chromium
def test_the_page_shows_them_and_ends_them(browser: sync_api.Browser) -> None:
    with visiting(browser) as visit:
        page = visit.page
        for named in (FIREFOX, SAFARI, "\n".join(XSS)[:150].replace("\n", " ")):
            httpx.post(f"{visit.base}/admin/login", json={"key": KEY}, headers={"user-agent": named})
        visit.login()
        rows = page.locator("#sessions-list tbody tr")
        expect(rows).to_have_count(4)
        for text in ("Firefox 140 on Linux", "Safari 18 on macOS", "alert(1)", "just now", "127.0.0.1"):
            expect(page.locator("#sessions-list")).to_contain_text(text)
        expect(page.locator("#sessions-list").get_by_text("this one")).to_have_count(1)
        rows.filter(has_text="Firefox").get_by_role("button").click()
        page.get_by_label("Reason, for the journal").fill("a laptop was lost")
        page.get_by_role("dialog").get_by_role("button", name="End", exact=True).click()
        expect(rows).to_have_count(3)
        expect(page.get_by_text("Ended: 1 session.")).to_be_visible()
        page.get_by_role("button", name="End all others…").click()
        page.get_by_label("Reason, for the journal").fill("and the rest")
        page.get_by_role("dialog").get_by_role("button", name="End", exact=True).click()
        expect(rows).to_have_count(1)
        expect(page.get_by_role("button", name="End all others…")).to_be_hidden()


@in_chromium
def test_who_is_ended_is_asked_to_log_in(browser: sync_api.Browser) -> None:
    with visiting(browser) as visit:
        visit.login()
        with httpx.Client(base_url=visit.base) as other:
            csrf = other.post("/admin/login", json={"key": KEY}).json()["csrf"]
            other.post("/admin/api/sessions/end", json={"reason": "x"}, headers={"x-csrf-token": csrf})
        visit.poll()
        expect(visit.page.get_by_role("alert")).to_contain_text("The session has ended.")


def test_one_that_was_ended_is_not_brought_back_by_who_introduces_it_late() -> None:
    heard: dict[str, Any] = {}

    class Bus(Alone):
        def hear(self, topic: str, handler: Any) -> None:
            heard[topic] = handler

    sessions = Sessions(lambda: 1000.0, Bus())
    heard["session over"](b"ended elsewhere")
    heard["session"](b"ended elsewhere", "csrf", 990.0, 995.0)  # told by a third worker, before it had heard of the end
    heard["session"](b"another", "csrf", 990.0, 995.0, "id")
    assert [one.id for one in sessions.alive()] == ["id"]
