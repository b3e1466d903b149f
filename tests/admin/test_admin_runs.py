"""Runs behind the admin's session: the queue, what a person may do, and the page that shows it as it happens."""

from __future__ import annotations

import re
from typing import Any

from admin_desk import Desk
from admin_fakes import NOW, plausible
from chromium import in_chromium
from msgspec.structs import replace
from test_admin_page import browser, expect, visiting

from gateway.storage.values import RunEvent

__all__ = ["browser"]


def test_runs_are_listed_paused_resumed_put_first_and_cancelled(desk: Desk) -> None:
    desk.login()
    assert [run["id"] for run in desk.get("runs").json()["runs"]] == ["run_2", "run_1"]
    assert [run["id"] for run in desk.get("runs?open=1").json()["runs"]] == ["run_2"]
    for action, state in (("pause", "paused"), ("resume", "queued")):
        answer = desk.post(f"runs/run_2/{action}", {"reason": "the machine is needed"})
        assert (answer.status_code, answer.json()["status"]) == (200, "done")
        assert desk.get("runs/run_2").json()["run"]["state"] == state
    assert desk.post("runs/run_2/priority", {"priority": 7, "reason": "urgent"}).status_code == 200
    assert desk.get("runs?open=1").json()["runs"][0]["priority"] == 7
    assert desk.post("runs/run_2/cancel", {"reason": "no use"}).status_code == 200
    assert desk.get("runs?open=1").json()["runs"] == []


def test_a_student_says_that_rows_it_learnt_from_were_erased(desk: Desk) -> None:
    desk.login()
    desk.control.state.erased_rows = 3
    task = desk.get("tasks").json()["tasks"][0]
    assert {student["erased_rows"] for student in task["students"]} == {3}


def test_what_cannot_be_done_says_so(desk: Desk) -> None:
    desk.login()
    assert desk.post("runs/run_2/pause", {"reason": " "}).status_code == 400
    assert desk.post("runs/run_2/explode", {"reason": "x"}).status_code == 404
    assert desk.post("runs/nobody/pause", {"reason": "x"}).status_code == 404
    assert desk.post("runs/run_2/priority", {"priority": 1000, "reason": "x"}).status_code == 400
    desk.csrf = "wrong"
    assert desk.post("runs/run_2/cancel", {"reason": "x"}).status_code == 403


@in_chromium
def test_the_page_shows_progress_a_curve_and_the_queue(browser: Any) -> None:
    state = plausible()
    losses = [RunEvent("run_2", 3 + step, NOW - 30 + step, "info", f"Step {step}/40: training loss={2 / step:.3f}",
                       {"step": step, "steps": 40, "train_loss": 2 / step}) for step in (1, 10, 20)]  # fmt: skip
    state.events += losses
    state.erased_rows = 3
    state.candidates = [
        {"name": "classifier", "n": 400, "answered": 300, "agreed": 299, "certified": True, "picked": True},
        {"name": "extractor", "n": 400, "answered": 0, "agreed": 0, "certified": False, "picked": False},
    ]
    with visiting(browser, state) as visit:
        page = visit.page
        visit.login()
        expect(page.locator(".student.live")).to_contain_text("trained on erased data (3 rows)")
        round = page.locator(".student.live .facts").get_by_text("classifier (picked): would answer 75")
        expect(round).to_contain_text("of 400 calibration calls · extractor: no threshold")
        run = page.locator(".run.running")
        run.get_by_text("Events").click()
        expect(run.locator(".curve svg")).to_have_attribute("aria-label", re.compile("loss from 2 at step 1 to 0.1"))
        expect(run.locator(".events")).to_contain_text("1,204 calls curated")
        visit.control.state.runs[0] = replace(state.runs[0], progress=0.77, step="step 31 of 40, loss 0.065")
        expect(run).to_contain_text("step 31 of 40")
        expect(run.get_by_role("progressbar")).to_have_js_property("value", 0.77)
        run.get_by_role("button", name="Pause").click()
        page.get_by_label("Reason, for the journal").fill("the machine is needed")
        page.get_by_role("dialog").get_by_role("button", name="Pause").click()
        expect(page.locator(".run.paused")).to_contain_text("paused")
        expect(page.get_by_role("button", name="Resume", exact=True)).to_be_visible()
