"""The page in a real Chromium: figures, actions with a reason, hostile text, keyboard, dark, phone."""

from __future__ import annotations

import json
import re
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from admin_fakes import (
    KEY,
    NOW,
    FakeClock,
    FakeControl,
    State,
    app_of,
    configuration,
    disagreement,
    entry,
    plausible,
    student,
)
from chromium import in_chromium, launching, sync_api
from hostile_text import XSS
from msgspec.structs import replace

from gateway.access.second_factor import code_at, step_at
from gateway.config import Discover
from gateway.storage.home import Home
from gateway.storage.values import Incident, PromptTokens
from optimizer.rollout import Stage

pytestmark = in_chromium
expect = sync_api and sync_api.expect


@pytest.fixture(scope="module")
def browser() -> Iterator[sync_api.Browser]:
    with sync_api.sync_playwright() as playwright:
        opened = playwright.chromium.launch(**launching())
        yield opened
        opened.close()


@contextmanager
def served(control: FakeControl, clock: FakeClock, secret: bytes | None = None) -> Iterator[str]:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        config = uvicorn.Config(app_of(control, clock, secret=secret), log_level="error", lifespan="off")
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        while not server.started:
            time.sleep(0.01)
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:  # else a test that fails would keep its process
            server.should_exit = True
            thread.join()


class Visit:
    """A page that is open, with everything that must not have happened on it."""

    def __init__(self, page: sync_api.Page, control: FakeControl, clock: FakeClock, base: str) -> None:
        self.page, self.control, self.clock, self.base = page, control, clock, base
        self.faults: list[str] = []
        page.on("dialog", lambda dialog: (self.faults.append(f"dialog {dialog.message}"), dialog.dismiss()))
        page.on("pageerror", lambda problem: self.faults.append(f"error {problem}"))
        page.on("console", self._console)

    def _console(self, message: Any) -> None:
        if message.type == "error" and "Failed to load resource" not in message.text:
            self.faults.append(message.text)

    def poll(self) -> None:
        """Makes the page poll now, as it does when it becomes visible; nobody touched it."""
        self.page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")

    def open(self) -> None:
        self.page.goto(f"{self.base}/admin")
        expect(self.page.get_by_label("Admin key")).to_be_focused()

    def login(self) -> None:
        self.open()
        self.page.keyboard.type(KEY)
        self.page.keyboard.press("Enter")
        expect(self.page.locator("#figures .figure")).to_have_count(5)
        expect(self.page.locator("#journal-list")).not_to_be_empty()


@contextmanager
def visiting(
    browser: sync_api.Browser, state: State | None = None, config: Any = None, secret: bytes | None = None, **context: Any
) -> Iterator[Visit]:
    control, clock = FakeControl(state or plausible(), config or configuration()), FakeClock()
    with served(control, clock, secret) as base:
        opened = browser.new_context(
            **{"locale": "en-US", "viewport": {"width": 1280, "height": 900}, **context}
        )
        opened.set_default_timeout(60_000)
        try:
            visit = Visit(opened.new_page(), control, clock, base)
            yield visit
            assert visit.faults == []
        finally:
            opened.close()


def test_a_wrong_key_says_so_and_the_right_one_shows_the_figures(browser: sync_api.Browser) -> None:
    with visiting(browser) as visit:
        page = visit.page
        visit.open()
        page.keyboard.type("wrong")
        page.keyboard.press("Enter")
        expect(page.get_by_role("alert")).to_contain_text("not the admin key")
        visit.login()
        figures = page.locator("#figures")
        for text in ("$0.56", "$0.23", "29.2\u00a0%", "30.1\u00a0%", "97.2\u00a0%", "n\u00a0=\u00a0812"):
            expect(figures).to_contain_text(text)
        expect(page.get_by_text("Simulated teacher.")).to_be_visible()
        expect(page.get_by_text("chain verified")).to_be_visible()
        expect(page.get_by_role("progressbar")).to_have_count(1)
        expect(page.locator("[aria-current=step]").first).to_have_text("shadow")
        expect(page.locator("#chart svg")).to_have_attribute("aria-label", re.compile("saved in all"))
        page.get_by_text("The same as a table").click()
        expect(page.locator("#chart-rows tr").first).to_be_visible()


def test_no_word_of_the_chart_is_cut_at_its_edge(browser: sync_api.Browser) -> None:
    past = """() => {
        const edge = document.querySelector('#chart svg').getBoundingClientRect().right;
        return [...document.querySelectorAll('#chart .tick')].map((one) => one.getBoundingClientRect().right - edge);
    }"""
    with visiting(browser) as visit:
        visit.open()
        visit.login()
        for width in range(390, 1280, 45):
            visit.page.set_viewport_size({"width": width, "height": 900})
            for window in visit.page.locator("#range option").all():
                visit.page.locator("#range").select_option(window.get_attribute("value"))
                expect(visit.page.locator("#chart .tick").first).to_be_visible()
                found = visit.page.evaluate(past)
                assert len(found) > 3 and max(found) <= 0.5, (width, found)


def test_a_second_factor_asks_for_its_code(browser: sync_api.Browser) -> None:
    secret = b"12345678901234567890"
    with visiting(browser, secret=secret) as visit:
        page = visit.page
        visit.open()
        page.keyboard.type(KEY)
        code = page.get_by_label("Code from the authenticator app")
        expect(code).to_have_attribute("required", "")
        code.fill("000000")
        page.keyboard.press("Enter")
        expect(page.get_by_role("alert")).to_contain_text("The admin key or the code is not right.")
        expect(code).to_have_value("")
        code.fill(code_at(secret, step_at(visit.clock())))
        page.keyboard.press("Enter")
        expect(page.locator("#figures .figure")).to_have_count(5)


def test_pause_asks_why_and_shows_at_once(browser: sync_api.Browser) -> None:
    with visiting(browser) as visit:
        page = visit.page
        visit.login()
        page.get_by_role("button", name="Pause student v2").click()
        dialog = page.get_by_role("dialog")
        page.get_by_label("Reason, for the journal").fill("   ")
        dialog.get_by_role("button", name="Pause").click()
        expect(dialog.get_by_role("alert")).to_contain_text("Say why")
        page.get_by_label("Reason, for the journal").fill("odd answers since noon")
        dialog.get_by_role("button", name="Pause").click()
        expect(page.locator(".student.live").get_by_text("paused", exact=True)).to_be_visible()
        expect(page.get_by_role("button", name="Resume student v2")).to_be_visible()
        expect(page.locator("#journal-list")).to_contain_text("odd answers since noon")


def test_the_switch_by_keyboard_alone(browser: sync_api.Browser) -> None:
    with visiting(browser) as visit:
        page = visit.page
        visit.login()
        switch = page.get_by_role("switch")
        for _ in range(30):
            page.keyboard.press("Tab")
            if switch.evaluate("node => node === document.activeElement"):
                break
        expect(switch).to_be_focused()
        assert switch.evaluate("node => getComputedStyle(node).outlineStyle") == "solid"
        page.keyboard.press("Enter")
        expect(page.get_by_label("Reason, for the journal")).to_be_focused()
        page.keyboard.press("Escape")
        expect(switch).to_be_focused()
        page.keyboard.press("Space")
        page.keyboard.type("drill")
        page.keyboard.press("Tab")
        page.keyboard.press("Tab")
        page.keyboard.press("Enter")
        expect(switch).to_have_attribute("aria-checked", "false")
        expect(page.get_by_text("All students are off.")).to_be_visible()
        assert visit.control.state.students_off


def hostile(payload: str) -> State:
    state = plausible()
    state.students = [
        replace(one, id=f"{one.id}{payload}", recipe=payload) for one in (student("s", 1, Stage.LIVE, 4),)
    ]
    state.journal = [entry(1, payload, payload, payload, actor=payload, detail={payload: payload})]
    state.runs = [replace(run, step=payload, error=payload) for run in state.runs]
    state.events = [replace(event, message=payload) for event in state.events]
    row = {**disagreement(1, payload), "call_id": payload, "kind": payload}
    state.disagreements = [{**row, "teacher_text": payload, "student_text": payload}]
    state.incidents = [
        Incident(1, payload, NOW, payload, payload, payload, "chat", payload, "block", payload, True, payload)
    ]
    state.problem = payload
    state.standings = [(payload, payload), (payload, "plain-chat")]
    state.prompts = [PromptTokens(payload, payload, payload, 1, 10, 5, 0.5)]
    return state


def test_hostile_text_stays_text(browser: sync_api.Browser) -> None:
    state = hostile("\n".join(XSS))
    with visiting(browser, state) as visit:
        page = visit.page
        elsewhere: list[str] = []
        page.on("request", lambda request: elsewhere.append(request.url))
        visit.login()
        for summary in page.locator("#task-list summary").all():
            summary.click()
        expect(page.locator(".events li").first).to_contain_text("alert(1)")
        expect(page.locator(".call blockquote")).to_contain_text("<svg onload=alert(3)>")
        expect(page.locator("#journal-list")).to_contain_text("<details open ontoggle=alert(12)>")
        expect(page.locator("#incidents-list td.why")).to_contain_text("<details open ontoggle=alert(12)>")
        expect(page.locator("#incidents-list")).to_contain_text("would block")
        expect(page.locator("#banners")).to_contain_text("<script>alert(1)</script>")
        expect(page.locator("#caches-list")).to_contain_text("</style></script><script>alert(56)</script>")
        page.wait_for_timeout(300)
        made = "script, iframe, base, meta, style, math, img, video, audio, object, embed, link, marquee, template"
        assert page.locator(f"main :is({made})").count() == 0
        assert len(set(XSS)) == 60
        assert all(url.startswith(visit.base) for url in elsewhere)


def test_older_disagreements_and_back(browser: sync_api.Browser) -> None:
    with visiting(browser) as visit:
        page = visit.page
        visit.login()
        expect(page.locator(".call code").first).to_have_text("call_25")
        page.get_by_role("button", name="Older").click()
        expect(page.locator(".call code").first).to_have_text("call_19")
        page.get_by_role("button", name="Newest").click()
        expect(page.locator(".call code").first).to_have_text("call_25")


def test_phone_width_does_not_scroll_sideways_and_dark_is_dark(browser: sync_api.Browser) -> None:
    phone = {"viewport": {"width": 360, "height": 780}, "color_scheme": "dark"}
    with visiting(browser, **phone) as visit:
        page = visit.page
        visit.login()
        for summary in page.locator("summary").all():
            summary.click()
        assert page.evaluate("document.documentElement.scrollWidth") <= 360
        colour = "getComputedStyle(document.body).backgroundColor"
        assert page.evaluate(colour) == "rgb(20, 24, 26)"
        page.get_by_role("button", name="Light").click()
        assert page.evaluate(colour) == "rgb(246, 244, 238)"
        page.reload()
        expect(page.locator("#figures .figure")).to_have_count(5)  # the session survives a reload
        assert page.evaluate(colour) == "rgb(246, 244, 238)"


def test_an_empty_house_and_an_ended_session(browser: sync_api.Browser) -> None:
    with visiting(browser, State(), config=configuration(simulated=False)) as visit:
        page = visit.page
        visit.login()
        expect(page.get_by_text("No calls in this time.")).to_be_visible()
        expect(page.get_by_text("No student yet")).to_be_visible()
        expect(page.get_by_text("Nothing has been decided yet.")).to_be_visible()
        expect(page.get_by_text("Simulated teacher.")).to_have_count(0)
        visit.clock.now += 13 * 3600
        visit.poll()
        expect(page.get_by_role("alert").first).to_contain_text("session has ended")
        expect(page.get_by_label("Admin key")).to_be_focused()


def test_polling_alone_does_not_keep_the_session(browser: sync_api.Browser) -> None:
    with visiting(browser) as visit:
        page = visit.page
        visit.login()
        page.wait_for_load_state("networkidle")  # what the person asked for counts as use; it must be over by now
        for _ in range(2):  # the answers to these come while the session lives
            visit.clock.now += 440
            with page.expect_response("**/admin/api/tasks") as answer:
                visit.poll()
            assert answer.value.status == 200
        visit.clock.now += 440
        visit.poll()
        expect(page.get_by_role("alert").first).to_contain_text("session has ended")


def test_a_gateway_that_is_gone_is_said_and_forgiven(browser: sync_api.Browser) -> None:
    with visiting(browser) as visit:
        page = visit.page
        visit.login()
        page.route("**/admin/api/**", lambda route: route.abort())
        visit.poll()
        expect(page.get_by_role("alert").filter(has_text="Connection lost")).to_contain_text("the figures are those of", ignore_case=True)
        page.locator("#switch").click()
        page.locator("#ask-go").hover()
        red = page.locator("#ask-go").evaluate("(one) => getComputedStyle(one).borderColor === getComputedStyle(one).backgroundColor")
        assert red, "what is dangerous stays red under the pointer"
        page.locator("#ask-cancel").click()
        page.unroute("**/admin/api/**")
        visit.poll()
        expect(page.locator("#pulse")).to_contain_text("Live")
        expect(page.get_by_text("Connection lost")).to_be_hidden()


def test_figures_that_cannot_be_read_after_the_login_are_said(browser: sync_api.Browser) -> None:
    with visiting(browser) as visit:
        page = visit.page
        visit.open()
        refused = {"error": {"message": "The database cannot be read."}}
        page.route("**/admin/api/overview*", lambda route: route.fulfill(status=503, json=refused))
        page.keyboard.type(KEY)
        page.keyboard.press("Enter")
        expect(page.get_by_text("The database cannot be read. The page keeps asking.")).to_be_visible()
        page.unroute("**/admin/api/overview*")
        visit.poll()
        expect(page.locator("#figures .figure")).to_have_count(5)


def test_unknown_prices_are_said(browser: sync_api.Browser) -> None:
    state = plausible()
    state.ledger[3] = replace(state.ledger[3], unpriced=7)
    with visiting(browser, state) as visit:
        visit.login()
        expect(visit.page.get_by_text("Prices unknown for 7 calls.")).to_be_visible()
        expect(visit.page.locator("#figures .figure").nth(1)).to_contain_text("unknown")


def test_what_was_found_without_a_task_is_shown_with_its_yaml(
    browser: sync_api.Browser, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ahead = {"value": 1000.0, "low": 900.0, "high": 1100.0}
    half = {"value": 0.5, "low": 0.4, "high": 0.6}
    task = {
        "name": "sort-letters", "project": "p", "template": "Sort letters <script>alert(1)</script>", "yaml": "tasks:\n  - name: sort-letters",
        "probe": {"n": 80, "served": half, "why": ""}, "forecast": {"calls": ahead, "saved_usd": None},
    }  # fmt: skip
    home = Home(tmp_path)
    home.discovered.write_text(json.dumps({"at": 1.0, "captured": 80, "tasks": [task]}))
    monkeypatch.setattr(FakeControl, "home", home)
    with visiting(browser) as visit:
        visit.login()
        expect(visit.page.get_by_text("Found in calls without a task")).to_be_hidden()
    with visiting(browser, config=replace(configuration(), discover=Discover())) as visit:
        visit.login()
        card = visit.page.get_by_label("Found: sort-letters")
        expect(card).to_contain_text("1,000 (95 % interval 900 to 1,100)")
        expect(card).to_contain_text("unknown")
        card.get_by_text("Prompt, and YAML").click()
        expect(card.locator("pre")).to_contain_text("- name: sort-letters")


def test_drift_and_payback_stand_beside_the_student(
    browser: sync_api.Browser, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    game = {
        "student": "stu_live", "measure": "inputs", "rounds": 400, "told": 0.81, "low": 0.77, "high": 0.85,
        "evidence": 12000.0, "alarm_at": 10000.0, "alarmed_at": 1.0,
    }  # fmt: skip
    levels = {"support-triage": {"sim/teacher-large": {"latency": 812.0, "cost": 0.0011}}}
    home = Home(tmp_path)
    home.drift.write_text(json.dumps({"games": [game], "levels": levels}))
    monkeypatch.setattr(FakeControl, "home", home)
    with visiting(browser) as visit:
        visit.login()
        card = visit.page.get_by_role("article", name="Task support-triage")
        expect(card).to_contain_text("inputs told apart in 81.0")
        expect(card).to_contain_text("calls have changed")
        expect(card).to_contain_text("sim/teacher-large: 812 ms")
        expect(card).to_contain_text("invested")


def test_the_caches_show_what_they_saved_and_forget_with_a_reason(browser: sync_api.Browser) -> None:
    state = plausible()
    state.standings = [("shop", "plain-chat")]
    state.ledger.append(replace(state.ledger[0], task="plain-chat", party="cache", calls=40, cost_usd=0.0, teacher_cost_usd=1.25))
    state.prompts = [
        PromptTokens("plain-chat", "sim", "teacher-large", 12, 4000, 3000, 0.25),
        PromptTokens("", "x", "y", 1, 9, 3, None),
    ]
    with visiting(browser, state) as visit:
        visit.login()
        page = visit.page
        listed = page.locator("#caches-list")
        prompts = listed.get_by_role("row", name="sim/teacher-large")
        expect(prompts).to_contain_text("3,000 of 4,000 tokens (75.0")
        expect(prompts).to_contain_text("$0.25")
        expect(listed.get_by_role("row", name="x/y")).to_contain_text("price unknown")
        expect(listed).to_contain_text("2 answers kept here")
        row = listed.get_by_role("row", name="plain-chat").filter(has_text="closed at")
        expect(row).to_contain_text("40 of 40 (100.0")
        expect(row).to_contain_text("$1.25")
        expect(row).to_contain_text("closed at 2.0")
        row.get_by_role("button", name="Forget the kept answers of plain-chat").click()
        page.get_by_label("Reason, for the journal").fill("prices changed")
        page.locator("#ask-go").click()
        expect(page.locator("#toasts")).to_contain_text("Forgotten: 1 answer")
        expect(listed).to_contain_text("1 answer kept here")
        assert visit.control.state.audits[-1][1:] == ("cache purge", "task=plain-chat", "prices changed")


def test_a_long_text_shows_its_beginning_and_the_rest_to_who_asks(browser: sync_api.Browser) -> None:
    state = plausible()
    state.disagreements = [
        disagreement(1, "short"), disagreement(2, "\n".join(f"line {number}" for number in range(1, 30))),
    ]
    with visiting(browser, state) as visit:
        visit.login()
        long = visit.page.locator(".call blockquote").first
        height = long.bounding_box()["height"]  # type: ignore[index]
        more = visit.page.get_by_role("button", name="Show all")
        expect(more).to_have_count(1)
        more.focus()
        visit.page.keyboard.press("Enter")
        expect(visit.page.get_by_role("button", name="Show less")).to_have_attribute("aria-expanded", "true")
        assert long.bounding_box()["height"] > 3 * height  # type: ignore[index]


FAINT = """() => {
  const light = (rgb) => rgb.map((one) => one / 255).map((one) => (one <= 0.03928 ? one / 12.92 : ((one + 0.055) / 1.055) ** 2.4))
    .reduce((sum, one, at) => sum + one * [0.2126, 0.7152, 0.0722][at], 0);
  const parts = (colour) => colour.match(/[\\d.]+/g).map(Number);
  const behind = (node) => { for (; node; node = node.parentElement) {
    const colour = parts(getComputedStyle(node).backgroundColor);
    if (colour.length < 4 || colour[3] > 0) return colour.slice(0, 3);
  } };
  const faint = [];
  for (const node of document.querySelectorAll("body *")) {
    if (!node.checkVisibility() || ![...node.childNodes].some((one) => one.nodeType === 3 && one.textContent.trim())) continue;
    const [more, less] = [light(parts(getComputedStyle(node).color).slice(0, 3)), light(behind(node))].sort((a, b) => b - a);
    if ((more + 0.05) / (less + 0.05) < 4.5) faint.push(`${node.tagName} ${node.className}: ${node.textContent.slice(0, 40)}`);
  }
  return faint;
}"""
NAMELESS = """() => [...document.querySelectorAll("a, button, input, select, summary, textarea")]
  .filter((node) => node.checkVisibility() && !node.labels?.length && !node.ariaLabel && !node.textContent.trim())
  .map((node) => node.outerHTML)"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_stands_out_and_every_control_has_a_name(browser: sync_api.Browser, scheme: str) -> None:
    """WCAG 2.2: 4.5 to 1 for every text (1.4.3), and a name for whatever can be used (4.1.2)."""
    with visiting(browser, color_scheme=scheme) as visit:
        visit.open()
        assert visit.page.evaluate(FAINT) == [] and visit.page.evaluate(NAMELESS) == []
        visit.login()
        visit.page.evaluate("document.querySelectorAll('details').forEach((node) => { node.open = true; })")
        assert visit.page.evaluate(FAINT) == [] and visit.page.evaluate(NAMELESS) == []
