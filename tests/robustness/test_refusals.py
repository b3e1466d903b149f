"""Who was not let in is told to the operator: in the log, in the journal and in the metrics, however many there are."""

from __future__ import annotations

import asyncio
import logging
import re
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
from gateway_server import ADMIN, KEY, Gateway, gateway, write_policies
from scripted import Provider
from test_every_door import OPEN, SETTINGS, install, keys, knock, table

from gateway.access.keys import new_key
from gateway.access.refusals import JOURNAL_S, OTHERS, WINDOW_S, Refusals
from gateway.errors import Refused
from gateway.resilience.connections import Bounds, PatientProtocol
from gateway.storage.commands import RevokeKey
from gateway.storage.engine import write_engine
from gateway.storage.home import Home
from gateway.storage.records import AuditRecord
from gateway.storage.writing.writer import SqlWriter
from gateway.telemetry.logs import JsonLines, Redactor
from gateway.upstreams.addresses import SystemNames

CHAT = {"model": "triage", "messages": [{"role": "user", "content": "hi"}]}
MADE = keys()
NOBODYS = new_key("inference").text
CUT = NOBODYS[:-1]


class Books:
    """A clock that is set by hand, and what was written into the journal."""

    def __init__(self) -> None:
        self.now = 0.0
        self.lines: list[tuple[str, ...]] = []
        self.refusals = Refusals(lambda: self.now, lambda *line: self.lines.append(line))


def told(caplog: pytest.LogCaptureFixture) -> list[dict[str, object]]:
    """The events in the log, as a line of JSON shows them."""
    lines = [one for one in caplog.records if one.name == "understudy.refusals"]
    return [msgspec.json.decode(JsonLines(Redactor()).format(one))["event"] for one in lines]


def test_a_flood_makes_no_more_lines_than_a_trickle(caplog: pytest.LogCaptureFixture) -> None:
    books = Books()
    for number in range(20_000):
        books.refusals.note(Refused("key_unknown", "sk-us-****abcd"), f"2001:db8::{number % 5000:x}")
    assert books.refusals.counts == {"key_unknown": 20_000}
    first = told(caplog)
    assert len(first) <= 65 and sum(1 for one in first if one["address"] == OTHERS) == 1
    assert books.lines == [("gateway", "refused", "2001:db8::0", "key_unknown: sk-us-****abcd")]
    caplog.clear()
    books.now = WINDOW_S
    books.refusals.tell(books.now)
    counted = told(caplog)
    assert len(counted) <= 65
    assert len(first) + sum(int(str(one["again"])) for one in counted) == 20_000, "every one of them was told of"
    books.now = JOURNAL_S
    books.refusals.tell(books.now)
    assert books.lines[1:] == [("gateway", "refused", "any address", "key_unknown: 19999 more within an hour")]


def test_who_goes_on_is_counted_and_who_stops_is_forgotten(caplog: pytest.LogCaptureFixture) -> None:
    books = Books()
    for _ in range(3):
        books.refusals.note(Refused("scope", "data, sk-us-****abcd key_1"), "10.0.0.1")
        books.refusals.note(Refused("scope", "data, sk-us-****abcd key_1"), "10.0.0.1")
        books.now += WINDOW_S
        books.refusals.tell(books.now)
    assert [one["again"] for one in told(caplog)] == [0, 1, 2, 2]
    books.now += WINDOW_S
    books.refusals.tell(books.now)
    books.refusals.note(Refused("scope"), "10.0.0.1")
    assert [one["again"] for one in told(caplog)] == [0, 1, 2, 2, 0], "after a quiet window it is a first one again"


async def test_what_is_not_told_yet_is_told_at_the_end(caplog: pytest.LogCaptureFixture) -> None:
    books = Books()
    watch = asyncio.create_task(books.refusals.run())
    await asyncio.sleep(0)
    for _ in range(4):
        books.refusals.note(Refused("csrf"), "10.0.0.1")
    watch.cancel()
    await asyncio.gather(watch, return_exceptions=True)
    assert [one["again"] for one in told(caplog)] == [0, 3]
    assert [line[3] for line in books.lines] == ["csrf", "csrf: 3 more within an hour"]


@pytest.fixture
async def served(tmp_path: Path, first: Provider) -> AsyncIterator[Gateway]:
    home = Home(tmp_path / "home").prepare()
    await asyncio.to_thread(install, home, MADE)
    policies = write_policies(tmp_path / "policies", {"first": first.url}, gateway=SETTINGS)
    async with gateway(tmp_path, policies) as made:
        yield made


@pytest.fixture
async def client(served: Gateway) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=served.url, timeout=60) as made:
        yield made


def bearer(text: str) -> dict[str, str]:
    return {"authorization": f"Bearer {text}"}


async def counted(client: httpx.AsyncClient) -> dict[str, float]:
    page = (await client.get("/metrics", headers=bearer(KEY))).text
    found = re.findall(r'^understudy_refusals_total\{reason="(\w+)"\} (\S+)$', page, re.MULTILINE)
    return {reason: float(number) for reason, number in found}


async def test_each_reason_has_its_word_and_no_key_is_written(
    served: Gateway, client: httpx.AsyncClient, caplog: pytest.LogCaptureFixture
) -> None:
    await client.post("/v1/chat/completions", json=CHAT)
    await client.get("/v1/files", headers=bearer(NOBODYS))
    await client.post("/v1/messages", json={**CHAT, "max_tokens": 9}, headers={"x-api-key": CUT})
    await client.post("/v1/chat/completions", json=CHAT, headers=bearer(ADMIN))
    await client.post("/v1/chat/completions", json=CHAT, headers=bearer(MADE["data"][0]))
    await client.get("/v1/files", headers=bearer(MADE["inference"][0]))
    await client.post("/admin/login", json={"key": "not-the-key-at-all-0123"})
    await client.get("/metrics", headers=bearer("not-the-key-at-all-0123"))
    await client.get("/admin", headers={"host": "evil.example"})
    await client.post("/admin/login", json={"key": ADMIN}, headers={"origin": "https://evil.example"})
    assert (await client.post("/admin/login", json={"key": ADMIN})).status_code == 200
    await client.post("/admin/api/switch", json={"students_off": True, "reason": "x"})
    assert await counted(client) == {
        "key_missing": 1, "key_unknown": 1, "key_malformed": 1, "key_kind": 1, "scope": 2, "admin_login": 1,
        "admin_key": 1, "host": 1, "cross_site": 1, "csrf": 1,
    }  # fmt: skip
    events = told(caplog)
    assert {one["address"] for one in events} == {"127.0.0.1"}
    by_reason = {one["reason"]: one["what"] for one in events}
    assert by_reason["key_unknown"] == f"sk-us-****{NOBODYS[-4:]}"
    assert by_reason["scope"] == f"inference, sk-us-****{MADE['data'][0][-4:]} key_data"
    journal = [one for one in served.records() if isinstance(one, AuditRecord) and one.action == "refused"]
    assert {one.reason.partition(":")[0] for one in journal} == by_reason.keys() - {"key_missing", "admin_login"}
    written = caplog.text + repr(journal) + repr(events)
    for text in (NOBODYS, CUT, ADMIN, MADE["data"][0], MADE["inference"][0], "not-the-key-at-all"):
        assert text not in written


async def test_a_key_that_ended_is_named(
    served: Gateway, client: httpx.AsyncClient, caplog: pytest.LogCaptureFixture
) -> None:
    def revoke() -> None:
        writer = SqlWriter(write_engine(served.home.database_url))
        try:
            writer.execute(RevokeKey("key_inference", "tests", 1.0))
        finally:
            writer.close()

    await asyncio.to_thread(revoke)
    text = MADE["inference"][0]
    async with asyncio.timeout(30):
        while (await client.post("/v1/chat/completions", json=CHAT, headers=bearer(text))).status_code != 401:
            await asyncio.sleep(0.02)
    assert told(caplog)[-1] | {"at": 0} == {
        "kind": "refused", "reason": "key_revoked", "address": "127.0.0.1",
        "what": f"sk-us-****{text[-4:]} key_inference", "again": 0, "at": 0,
    }  # fmt: skip


async def test_every_door_counts_a_wrong_key_once(
    served: Gateway, client: httpx.AsyncClient, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.ERROR)
    wrong = []
    for method, path in table(served):
        if path.startswith("/v1") and (method, path) not in OPEN:
            before = (await counted(client)).get("key_unknown", 0)
            await knock(client, method, path, bearer(NOBODYS))
            if (await counted(client)).get("key_unknown", 0) != before + 1:
                wrong.append((method, path))
    assert not wrong


async def test_an_address_with_too_many_connections_is_told_of(caplog: pytest.LogCaptureFixture) -> None:
    books = Books()

    class Transport:
        def get_extra_info(self, _: str) -> tuple[str, int]:
            return "203.0.113.9", 4711

        def write(self, data: bytes) -> None:
            assert data.startswith(b"HTTP/1.1 503")

        def close(self) -> None:
            """Nothing is open."""

    class Full(PatientProtocol):
        bounds = Bounds(total=0)

        def __init__(self) -> None:
            self.app = type("App", (), {"refusals": books.refusals})()

    Full().connection_made(Transport())  # type: ignore[arg-type]
    assert [(one["reason"], one["address"]) for one in told(caplog)] == [("connections", "203.0.113.9")]
    assert not books.lines


async def test_a_provider_whose_name_leads_inside_is_told_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def inside(self: SystemNames, host: str, port: int = 0, family: Any = socket.AF_INET) -> list[dict[str, Any]]:
        found = {"hostname": host, "host": "169.254.169.254", "port": port, "family": socket.AF_INET, "proto": 0}
        return [{**found, "flags": socket.AI_NUMERICHOST}]

    monkeypatch.setattr(SystemNames, "resolve", inside)
    policies = write_policies(tmp_path / "policies", {"first": "http://api.test:8000"})
    async with gateway(tmp_path, policies) as served, httpx.AsyncClient(base_url=served.url, timeout=60) as client:
        answer = await client.post("/v1/chat/completions", json=CHAT, headers=bearer(KEY))
        assert answer.status_code == 502
        assert await counted(client) == {"provider_address": 1}
    assert [(one["reason"], one["what"]) for one in told(caplog)] == [("provider_address", "first")]
