"""What guardrails found, over a real server and a real SQLite file: on the call, in metrics, as incidents; and never
in a lesson."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import sqlalchemy as sa
from gateway_server import ADMIN, KEY, Gateway, gateway, write_policies
from scripted import provider

from gateway.storage.engine import write_engine
from gateway.storage.incidents import RETENTION_S
from gateway.storage.spooling.ingester import Ingester
from gateway.storage.tables import CALLS, CAPTURES, TASK_VERSIONS
from gateway.storage.writing.erase import erase, erase_expired
from gateway.storage.writing.writer import SqlWriter

SAFETY = """\
guardrails:
  personal: {type: pii}
  words: {type: blocklist, phrases: [falcon]}
  watched: {type: blocklist, phrases: [heron], shadow: true}
"""


class Desk:
    def __init__(self, served: Gateway, http: httpx.AsyncClient) -> None:
        self.served, self.http = served, http

    async def ask(self, text: str) -> httpx.Response:
        body = {"model": "triage", "messages": [{"role": "user", "content": text}], "store": True}
        return await self.http.post(
            "/v1/chat/completions", json=body, headers={"authorization": f"Bearer {KEY}"}
        )

    def ingest(self) -> sa.Engine:
        engine = write_engine(self.served.home.database_url)
        writer = SqlWriter(engine)
        try:
            Ingester(self.served.home, writer, threading.Event()).drain()
        finally:
            writer.close()
        return write_engine(self.served.home.database_url)

    async def incidents(self, **query: Any) -> Any:
        return (await self.http.get("/admin/api/incidents", params=query)).json()


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    async with provider() as upstream:
        policies = write_policies(tmp_path / "policies", {"first": upstream.url})
        (policies / "safety.yaml").write_text(SAFETY)
        async with gateway(tmp_path, policies) as served, httpx.AsyncClient(base_url=served.url) as http:
            yield Desk(served, http)


async def login(desk: Desk) -> None:
    assert (await desk.http.post("/admin/login", json={"key": ADMIN})).status_code == 200


async def test_incidents_are_kept_shown_and_forgotten(desk: Desk) -> None:
    assert (await desk.http.get("/admin/api/incidents")).status_code == 401
    assert (await desk.ask("a heron, says jane@example.org")).status_code == 200
    refused = await desk.ask("falcon for jane@example.org")
    assert refused.json()["error"]["code"] == "guardrail_blocked"
    engine = desk.ingest()
    await login(desk)
    found = await desk.incidents()
    told = [(one["guardrail"], one["action"], one["shadow"], one["sample"]) for one in found["incidents"]]
    assert told == [
        ("words", "block", False, "falcon for [EMAIL_1]"),
        ("personal", "mask", False, "falcon for [EMAIL_1]"),
        ("watched", "block", True, "a heron, says [EMAIL_1]"),
        ("personal", "mask", False, "a heron, says [EMAIL_1]"),
    ]
    newest = found["incidents"][0]
    assert newest["direction"] == "input" and newest["model_asked"] == "triage" and newest["key_id"]
    assert newest["call_id"] == refused.headers["x-understudy-call-id"]
    project = newest["project"]
    assert len((await desk.incidents(project=project, limit=3))["incidents"]) == 3
    assert await desk.incidents(project="others") == {"incidents": [], "more": False}
    assert [one["shadow"] for one in (await desk.incidents(guardrail="watched"))["incidents"]] == [True]
    older = await desk.incidents(before=newest["id"], limit=1)
    assert older["more"] and older["incidents"][0]["guardrail"] == "personal"
    for wrong in ({"limit": 0}, {"limit": 1001}, {"before": "x"}):
        assert (await desk.http.get("/admin/api/incidents", params=wrong)).status_code == 400
    with engine.begin() as connection:
        erase(connection, [newest["call_id"]], newest["at"])
    assert (await desk.incidents(limit=1))["incidents"][0]["sample"] == ""
    with engine.begin() as connection:
        erase_expired(connection, newest["at"] + RETENTION_S)
    assert (await desk.incidents())["incidents"] == []
    engine.dispose()


async def test_metrics_count_by_rule_action_direction_and_shadow(desk: Desk) -> None:
    await desk.ask("a heron")
    await desk.ask("a falcon")
    shown = (await desk.http.get("/metrics", headers={"authorization": f"Bearer {KEY}"})).text
    line = 'understudy_guardrail_verdicts_total{action="block",direction="input",guardrail='
    assert f'{line}"words",shadow="no"}} 1.0' in shown and f'{line}"watched",shadow="yes"}} 1.0' in shown


async def test_what_was_blocked_teaches_nothing(desk: Desk) -> None:
    """Neither a refused request nor a refused answer is kept as text, whoever asks for it."""
    await desk.ask("a falcon, please")
    engine = desk.ingest()
    with engine.connect() as connection:
        calls = connection.execute(sa.select(CALLS.c.error_code, CALLS.c.verdicts)).all()
        assert [tuple(row) for row in calls] == [("guardrail_blocked", '["words:block"]')]
        assert connection.execute(sa.select(CAPTURES)).all() == []
        assert connection.execute(sa.select(TASK_VERSIONS)).all() == []
    engine.dispose()
