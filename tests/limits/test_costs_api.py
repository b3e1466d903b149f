"""GET /admin/api/costs over a real server and a real SQLite file: calls are made, ingested and summed."""

from __future__ import annotations

import csv
import io
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from gateway_server import ADMIN, KEY, Gateway, gateway, write_policies
from scripted import provider

from gateway.access.keys import new_key
from gateway.api.admin import costs
from gateway.api.admin.costs import moment, read, table
from gateway.errors import BadRequest
from gateway.storage.commands import CreateKey, RevokeKey
from gateway.storage.engine import write_engine
from gateway.storage.spooling.ingester import Ingester
from gateway.storage.values import CostLine, Key
from gateway.storage.writing.writer import SqlWriter

NOW = 1_795_000_000.0  # 2026-11-18


class Desk:
    def __init__(self, served: Gateway, http: httpx.AsyncClient) -> None:
        self.served, self.http = served, http

    async def ask(self, **metadata: str) -> None:
        body = {
            "model": "triage",
            "messages": [{"role": "user", "content": "hello"}],
            "metadata": metadata,
            "user": "anna",
        }
        answer = await self.http.post(
            "/v1/chat/completions", json=body, headers={"authorization": f"Bearer {KEY}"}
        )
        assert answer.status_code == 200

    def ingest(self) -> None:
        writer = SqlWriter(write_engine(self.served.home.database_url))
        try:
            Ingester(self.served.home, writer, threading.Event()).drain()
        finally:
            writer.close()

    async def costs(self, **query: Any) -> httpx.Response:
        return await self.http.get("/admin/api/costs", params=query)


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    async with provider() as upstream:
        policies = write_policies(tmp_path / "policies", {"first": upstream.url})
        async with gateway(tmp_path, policies) as served, httpx.AsyncClient(base_url=served.url) as http:
            yield Desk(served, http)


async def test_costs_by_every_group(desk: Desk) -> None:
    assert (await desk.costs()).status_code == 401
    assert (await desk.http.post("/admin/login", json={"key": ADMIN})).status_code == 200
    await desk.ask(team="=1+1")
    await desk.ask(team="=1+1")
    await desk.ask()
    assert (await desk.costs()).json()["lines"] == []
    desk.ingest()
    found: dict[str, list[tuple[str, int]]] = {}
    total = 0.0
    for group in ("key", "task", "end_user", "metadata.team", "metadata.nothing"):
        answer = await desk.costs(group_by=group)
        assert answer.status_code == 200 and not answer.json()["truncated"]
        lines = answer.json()["lines"]
        found[group] = [(line["name"], line["calls"]) for line in lines]
        total = sum(line["cost_usd"] for line in lines)
        assert total > 0 and {line["project"] for line in lines} == {"default"}
    assert found["key"] == [("yaml:tests", 3)] and found["task"] == [("triage", 3)]
    assert [calls for _, calls in found["end_user"]] == [3]
    assert found["metadata.team"] == [("=1+1", 2), ("", 1)] and found["metadata.nothing"] == [("", 3)]

    sheet = await desk.costs(group_by="metadata.team", format="csv")
    assert sheet.headers["content-type"] == "text/csv; charset=utf-8"
    assert sheet.headers["x-understudy-truncated"] == "false"
    rows = list(csv.DictReader(io.StringIO(sheet.text)))
    assert [(row["name"], row["calls"]) for row in rows] == [("'=1+1", "2"), ("", "1")]
    assert sum(float(row["cost_usd"]) for row in rows) == pytest.approx(total)
    past = await desk.costs(since="2020-01-01", until="2020-02-01T00:00:00Z")
    assert past.json()["lines"] == [] and past.json()["since"] == 1577836800.0


async def test_a_key_is_told_by_its_name_too(desk: Desk) -> None:
    made = new_key("inference")
    key = Key(
        id="key_1", name="app", project="shop", digest=made.digest, hint=made.hint, scopes=("inference",), models=(),
        requests_per_minute=None, created_at=1.0, expires_at=None, revoked_at=None,
    )  # fmt: skip
    writer = SqlWriter(write_engine(desk.served.home.database_url))
    try:
        writer.execute(CreateKey(key, "tests"))
        await desk.ask()
        body = {"model": "triage", "messages": [{"role": "user", "content": "hello"}]}
        headers = {"authorization": f"Bearer {made.text}"}
        assert (await desk.http.post("/v1/chat/completions", json=body, headers=headers)).status_code == 200
        writer.execute(RevokeKey("key_1", "tests", 2.0))
    finally:
        writer.close()
    desk.ingest()
    await desk.http.post("/admin/login", json={"key": ADMIN})
    lines = (await desk.costs(group_by="key")).json()["lines"]
    told = {(line["project"], line["name"], line["key_name"]) for line in lines}
    assert told == {("default", "yaml:tests", "tests"), ("shop", "key_1", "app")}
    rows = list(csv.DictReader(io.StringIO((await desk.costs(group_by="key", format="csv")).text)))
    assert {(row["name"], row["key_name"]) for row in rows} == {("yaml:tests", "tests"), ("key_1", "app")}
    assert list(rows[0])[-1] == "key_name", "those who read columns by their place find what they found before"
    assert {line["key_name"] for line in (await desk.costs(group_by="task")).json()["lines"]} == {""}


async def test_an_answer_is_bounded_and_a_mistake_is_named(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    await desk.http.post("/admin/login", json={"key": ADMIN})
    await desk.ask(team="a")
    await desk.ask(team="b")
    desk.ingest()
    monkeypatch.setattr(costs, "MOST", 1)
    bounded = (await desk.costs(group_by="metadata.team")).json()
    assert len(bounded["lines"]) == 1 and bounded["truncated"]
    assert (await desk.costs(group_by="metadata.team", format="csv")).headers[
        "x-understudy-truncated"
    ] == "true"
    refused = await desk.costs(group_by="colour")
    assert refused.status_code == 400 and refused.json()["error"]["param"] == "group_by"
    assert "key, task, end_user or metadata.NAME" in refused.json()["error"]["message"]


@pytest.mark.parametrize(
    ("query", "param"),
    [
        ({"group_by": "metadata."}, "group_by"),
        ({"group_by": "metadata." + "x" * 65}, "group_by"),
        ({"group_by": ""}, "group_by"),
        ({"format": "xml"}, "format"),
        ({"since": "yesterday"}, "since"),
        ({"since": "nan"}, "since"),
        ({"until": "-1"}, "until"),
        ({"until": "inf"}, "until"),
        ({"since": "5", "until": "5"}, "since"),
    ],
)
def test_bad_queries(query: dict[str, str], param: str) -> None:
    with pytest.raises(BadRequest) as told:
        read(query, now=NOW)
    assert told.value.param == param


def test_times() -> None:
    assert (
        read({}, now=NOW).since == moment("2026-11-01", "since", default=0) < read({}, now=NOW).until == NOW
    )
    assert moment("2026-11-01T01:00:00+01:00", "since", default=0) == moment("2026-11-01", "since", default=0)
    for text in ("2026-11-01T01:00:00 01:00", "2026-11-01T05:30:00.0 0530", "2026-11-01 02:00 02"):  # a "+" in a query
        assert moment(text, "since", default=0) == moment("2026-11-01", "since", default=0)
    assert moment("2026-11-01 01:00", "since", default=0) == moment("2026-11-01T01:00:00Z", "since", default=0)


@pytest.mark.parametrize("name", ["=1", "+1", "-1", "@SUM(A1)", "\tx", "\rx"])
def test_no_cell_is_a_formula(name: str) -> None:
    line = CostLine(name, name, 1, 0, 2, 0, 3, 0.5, 0.5, 0)
    header, row = csv.reader(io.StringIO(table([line]), newline=""))
    assert header == list(CostLine.__struct_fields__)
    assert row == [f"'{name}", f"'{name}", "1", "0", "2", "0", "3", "0.5", "0.5", "0", "0.0", ""]


async def test_money_leaves_without_the_noise_of_binary_sums(desk: Desk) -> None:
    """0.1 + 0.2 is told as 0.3: in a table, in JSON, on the page's figures."""
    from sqlalchemy import update

    from gateway.storage.tables import CALLS

    assert (await desk.http.post("/admin/login", json={"key": ADMIN})).status_code == 200
    await desk.ask()
    await desk.ask()
    desk.ingest()
    engine = write_engine(desk.served.home.database_url)
    with engine.begin() as connection:
        ids = [row.id for row in connection.execute(CALLS.select())]
        for call_id, price in zip(ids, (0.1, 0.2), strict=True):
            connection.execute(update(CALLS).where(CALLS.c.id == call_id).values(cost_usd=price, teacher_cost_usd=price))
    engine.dispose()
    assert b'"cost_usd":0.3,"teacher_cost_usd":0.3,' in (await desk.costs()).content
    table = list(csv.DictReader(io.StringIO((await desk.costs(format="csv")).text)))
    assert (table[0]["cost_usd"], table[0]["teacher_cost_usd"]) == ("0.3", "0.3")
