"""The caches in a whole gateway: what clients see, what the ledger keeps, and what the admin is shown."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from gateway_server import ADMIN, KEY, Gateway, gateway, write_policies
from scripted import Provider, provider

from gateway.storage.engine import write_engine
from gateway.storage.ingester import Ingester
from gateway.storage.sql_writer import SqlWriter

FAQ = """\
  - name: faq
    candidates: [{provider: first, model: m}]
    teacher: {provider: first, model: m}
    capture: {rate: 1.0}
    semantic_cache: {delta: 0.1}
"""


class House:
    def __init__(self, served: Gateway, http: httpx.AsyncClient, upstream: Provider) -> None:
        self.served, self.http, self.upstream = served, http, upstream

    async def chat(self, text: str, **more: Any) -> httpx.Response:
        body = {"model": "faq", "messages": [{"role": "user", "content": text}], **more}
        return await self.http.post("/v1/chat/completions", json=body)


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    async with provider() as upstream:
        policies = write_policies(tmp_path / "policies", {"first": upstream.url}, FAQ)
        key = {"authorization": f"Bearer {KEY}"}
        async with (
            gateway(tmp_path, policies) as served,
            httpx.AsyncClient(base_url=served.url, headers=key) as http,
        ):
            yield House(served, http, upstream)


async def test_every_dialect_streamed_or_whole_is_served_from_one_answer(house: House) -> None:
    turns = [{"role": "user", "content": "when do you open?"}]
    assert (await house.chat("when do you open?")).headers["x-understudy-cache"] == "miss"
    hit = await house.chat("when do you open?")
    assert hit.headers["x-understudy-cache"] == "hit"
    assert int(hit.headers["age"]) >= 0
    streamed = await house.chat("when do you open?", stream=True)
    assert streamed.headers["x-understudy-cache"] == "hit"
    assert streamed.text.rstrip().endswith("data: [DONE]")
    assert len(house.upstream.seen) == 1
    for path, body in (
        ("/v1/responses", {"model": "faq", "input": "when do you open?"}),
        ("/v1/messages", {"model": "faq", "messages": turns, "max_tokens": 50}),
    ):
        answers = [await house.http.post(path, json=body) for _ in range(2)]
        assert [one.status_code for one in answers] == [200, 200]
        assert answers[1].headers["x-understudy-cache"] == "hit"


async def test_a_hit_belongs_to_its_task_is_not_learnt_from_and_saves_what_its_teacher_costs(
    house: House,
) -> None:
    for _ in range(3):
        await house.chat("when do you open?")
    records: list[Any] = house.served.records()
    assert [(one.task, one.cache) for one in records] == [("faq", ""), ("faq", "hit"), ("faq", "hit")]
    assert [one.text is not None for one in records] == [True, False, False]
    asked = records[0].cost_usd
    assert asked > 0
    assert [(one.cost_usd, one.teacher_cost_usd) for one in records[1:]] == [(0.0, asked)] * 2


async def test_the_admin_sees_hits_savings_and_standings(house: House) -> None:
    for text in ("when do you open?", "when do you open?", "when do you open please?"):
        await house.chat(text)
    writer = SqlWriter(write_engine(house.served.home.database_url))
    try:
        Ingester(house.served.home, writer, threading.Event()).drain()
    finally:
        writer.close()
    del house.http.headers["authorization"]
    assert (await house.http.get("/admin/api/caches")).status_code == 401
    assert (await house.http.post("/admin/login", json={"key": ADMIN})).status_code == 200
    tasks = (await house.http.get("/admin/api/tasks")).json()["tasks"]
    shown = next(one["cache"] for one in tasks if one["name"] == "faq")
    assert (shown["hits"], shown["calls"]) == (1, 3)
    assert shown["saved_usd"] > 0
    caches = (await house.http.get("/admin/api/caches")).json()
    assert caches["exact"]["entries"] == caches["semantic"]["entries"] == 2
    (standing,) = caches["tasks"]
    assert (standing["task"], standing["open"], standing["seen"], standing["delta"]) == ("faq", False, 1, 0.1)
