"""Rows 18, 23 and 24 of docs/security.md in a real Chromium against a running gateway: what clients send is shown as
text, and no page of another site, even on the same machine, acts, reads or frames."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from chromium import async_api, in_chromium, launching
from gateway_server import ADMIN, KEY, Gateway, gateway, write_policies
from hostile_text import XSS
from scripted import COMPLETION, Line, provider

from gateway.storage.engine import write_engine
from gateway.storage.spooling.ingester import Ingester
from gateway.storage.writing.writer import SqlWriter

pytestmark = in_chromium
SETTINGS = "cache: {enabled: true}"
GUARDS = """\
guardrails:
  words: {type: blocklist, phrases: [alert], shadow: true}
"""


@pytest.fixture
async def browser() -> AsyncIterator[async_api.Browser]:
    flags = launching("--host-resolver-rules=MAP rebound.example 127.0.0.1")
    async with async_api.async_playwright() as playwright:
        opened = await playwright.chromium.launch(**flags)
        yield opened
        await opened.close()


class Visit:
    """A page on which nothing may run that is not its own, and that reaches nobody else."""

    def __init__(self, page: async_api.Page, url: str) -> None:
        self.page, self.url = page, url
        self.faults: list[str] = []
        self.elsewhere: list[str] = []
        page.set_default_timeout(30_000)
        page.on("dialog", lambda dialog: self.faults.append(f"dialog {dialog.message}"))
        page.on("pageerror", lambda problem: self.faults.append(f"error {problem}"))
        page.on("console", self._said)
        page.on("request", lambda request: self._asked(request.url))

    def _said(self, message: Any) -> None:
        if message.type == "error" and "Failed to load resource" not in message.text:
            self.faults.append(message.text)

    def _asked(self, url: str) -> None:
        if not url.startswith(self.url):
            self.elsewhere.append(url)

    async def login(self) -> None:
        await self.page.goto(f"{self.url}/admin")
        await self.page.get_by_label("Admin key").fill(ADMIN)
        await self.page.keyboard.press("Enter")
        await async_api.expect(self.page.locator("#figures .figure")).to_have_count(5, timeout=30_000)


def ingested(served: Gateway) -> None:
    writer = SqlWriter(write_engine(served.home.database_url))
    try:
        Ingester(served.home, writer, threading.Event()).drain()
    finally:
        writer.close()


async def echo(line: Line) -> None:
    said = line.seen.body["messages"][-1]["content"]
    choice = {"index": 0, "message": {"role": "assistant", "content": said, "refusal": None}, "finish_reason": "stop"}
    await line.answer(body={**COMPLETION, "choices": [{**choice, "logprobs": None}]})


async def test_row_23_what_clients_send_is_shown_as_text(tmp_path: Path, browser: async_api.Browser) -> None:
    """Sixty payloads as prompt and answer, end user, metadata, model, header and reason, through a whole gateway."""
    async with provider() as upstream:
        upstream.behave = echo
        policies = write_policies(tmp_path / "policies", {"first": upstream.url}, gateway=SETTINGS)
        (policies / "safety.yaml").write_text(GUARDS)
        key = {"authorization": f"Bearer {KEY}"}
        async with (
            gateway(tmp_path, policies) as served,
            httpx.AsyncClient(base_url=served.url, headers=key, timeout=60) as http,
        ):
            for text in XSS:
                body = {
                    "model": "triage", "messages": [{"role": "user", "content": text}], "user": text[:64],
                    "metadata": {text[:60]: text}, "temperature": 0,
                }  # fmt: skip
                answer = await http.post("/v1/chat/completions", json=body)
                assert answer.status_code == 200, answer.text
                unknown = await http.post("/v1/chat/completions", json={**body, "model": text})
                assert unknown.status_code in (400, 404)
            login = await http.post("/admin/login", json={"key": ADMIN})
            done = await http.post(
                "/admin/api/caches/purge", json={"task": "triage", "reason": "".join(XSS)[:500]},
                headers={"x-csrf-token": login.json()["csrf"]},
            )  # fmt: skip
            assert done.status_code == 200
            await asyncio.to_thread(ingested, served)
            visit = Visit(await browser.new_page(), served.url)
            await visit.login()
            page = visit.page
            await async_api.expect(page.locator("#incidents-list")).to_contain_text("alert(", timeout=30_000)
            await async_api.expect(page.locator("#journal-list")).to_contain_text("<script>alert(1)</script>", timeout=30_000)
            for summary in await page.locator("main summary").all():
                if await summary.is_visible():
                    await summary.click()
            for path in ("costs?group_by=end_user", "costs?group_by=metadata.%3Csvg%20onload=alert(3)%3E", "incidents", "journal", "overview", "tasks", "caches"):
                told = await page.goto(f"{served.url}/admin/api/{path}")
                assert told is not None and told.status == 200, path
                assert told.headers["content-type"].startswith("application/json"), path
                assert told.headers["x-content-type-options"] == "nosniff"
            await page.wait_for_timeout(200)
            made = "iframe, base, math, img, video, audio, object, embed, marquee, template"
            assert await page.locator(f"body :is({made})").count() == 0
            assert visit.faults == [] and visit.elsewhere == []


SITE = b"<!doctype html><title>another site</title><body></body>"


@asynccontextmanager
async def another_site() -> AsyncIterator[int]:
    """An empty page of somebody else's; → its port."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        head = f"HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: {len(SITE)}\r\nconnection: close\r\n\r\n"
        writer.write(head.encode() + SITE)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


FETCHES = """async (target) => {
  const act = JSON.stringify({students_off: true, reason: "another site"});
  const tries = {
    read: [`${target}/admin/api/overview`, {credentials: "include"}],
    readAnyway: [`${target}/admin/api/overview`, {credentials: "include", mode: "no-cors"}],
    session: [`${target}/admin/api/session`, {credentials: "include"}],
    plain: [`${target}/admin/api/switch`, {method: "POST", body: act, credentials: "include", mode: "no-cors"}],
    json: [`${target}/admin/api/switch`, {method: "POST", body: act, credentials: "include",
            headers: {"content-type": "application/json", "x-csrf-token": "guess"}}],
    login: [`${target}/admin/login`, {method: "POST", body: "{}", credentials: "include",
             headers: {"content-type": "application/json"}}],
    metrics: [`${target}/metrics`, {credentials: "include"}],
  };
  const found = {};
  for (const [name, [url, options]] of Object.entries(tries)) {
    try { found[name] = (await (await fetch(url, options)).text()).slice(0, 80); } catch { found[name] = null; }
  }
  return found;
}"""

FORMS = [
    ("text/plain", "/admin/api/switch"),
    ("application/x-www-form-urlencoded", "/admin/api/switch"),
    ("multipart/form-data", "/admin/api/caches/purge"),
    ("text/plain", "/admin/login"),
    ("text/plain", "/admin/logout"),
]
FORM = """(how) => {
  const form = document.createElement("form");
  [form.method, form.enctype, form.action] = ["POST", how.kind, how.action];
  const field = document.createElement("input");
  field.name = '{"students_off":true,"reason":"a form","x":"';
  field.value = '"}';
  form.append(field);
  document.body.append(form);
  form.submit();
}"""


async def test_row_24_no_other_site_acts_reads_or_frames(tmp_path: Path, browser: async_api.Browser) -> None:
    """From another host, and from another port of the same one, where cookies know no difference."""
    async with provider() as upstream, another_site() as port:
        policies = write_policies(tmp_path / "policies", {"first": upstream.url})
        async with gateway(tmp_path, policies) as served:
            context = await browser.new_context()
            visit = Visit(await context.new_page(), served.url)
            await visit.login()
            for site in (f"http://localhost:{port}", f"http://127.0.0.1:{port}"):
                evil = await context.new_page()
                evil.set_default_timeout(30_000)
                await evil.goto(site)
                found = await evil.evaluate(FETCHES, served.url)
                assert not any(found.values()), (site, found)
                for kind, path in FORMS:
                    await evil.goto(site)
                    async with evil.expect_navigation():
                        await evil.evaluate(FORM, {"kind": kind, "action": f"{served.url}{path}"})
                    told = await evil.evaluate("document.body.innerText")
                    assert "error" in told, (site, kind, path, told)
                await evil.goto(site)
                await framed(evil, served.url)
                await opened(evil, served.url)
                await evil.close()
            page = visit.page
            overview = await page.evaluate("fetch('/admin/api/overview').then((one) => one.json())")
            assert overview["students_off"] is False, "and the session lives: nobody was logged out"
            acted = [one.action for one in served.records() if getattr(one, "action", "")]
            assert acted == ["login", "refused"], "nothing was done, and the operator hears of the first of them"
            rebound = await context.new_page()
            answer = await rebound.goto(f"http://rebound.example:{served.url.rpartition(':')[2]}/admin")
            assert answer is not None and answer.status == 403
            assert visit.faults == []
            await context.close()


async def framed(evil: async_api.Page, url: str) -> None:
    """Click-jacking: the frame stays empty."""
    refused = asyncio.get_running_loop().create_future()

    def said(message: Any) -> None:
        if "frame-ancestors" in message.text and not refused.done():
            refused.set_result(message.text)

    evil.on("console", said)
    await evil.evaluate(
        "(url) => { const one = document.createElement('iframe'); one.src = `${url}/admin`; document.body.append(one); }", url
    )
    await asyncio.wait_for(refused, 30)
    assert all(not frame.url.startswith(url) for frame in evil.frames)


async def opened(evil: async_api.Page, url: str) -> None:
    """A window that was opened from elsewhere is out of the opener's hands."""
    async with evil.context.expect_page() as coming:
        await evil.evaluate("(url) => { window.other = window.open(`${url}/admin`); }", url)
    other = await coming.value
    await other.wait_for_load_state()
    assert await evil.evaluate("window.other.closed"), "cut off by the page's opener policy"
    assert await other.evaluate("window.opener === null")
    await other.close()
