"""The caches in a whole gateway: what clients see, what the ledger keeps, and what the admin is shown."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from gateway_server import ADMIN, KEY, Gateway, gateway, write_policies
from redis_server import RedisServer
from scripted import COMPLETION, Line, Provider, provider

from gateway.cli import main
from gateway.storage.engine import write_engine
from gateway.storage.records import AuditRecord
from gateway.storage.spooling.ingester import Ingester
from gateway.storage.writing.writer import SqlWriter

FAQ = """\
  - name: faq
    candidates: [{provider: first, model: m}]
    teacher: {provider: first, model: m}
    capture: {rate: 1.0}
    semantic_cache: {delta: 0.1}
"""


EMBEDS = """\
  - name: vectors
    candidates: [{provider: first, model: m}]
    cache: true
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
        policies = write_policies(tmp_path / "policies", {"first": upstream.url}, FAQ + EMBEDS)
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
        ("/v1/completions", {"model": "faq", "prompt": "when do you open?"}),
        ("/v1beta/models/faq:generateContent", {"contents": [{"role": "user", "parts": [{"text": "hi"}]}]}),
    ):
        for stream in (False, True):
            asked, sent = path, body
            if "generateContent" in path:
                asked = path.replace(":generate", ":streamGenerate") if stream else path
            else:
                sent = {**body, "stream": stream}
            answers = [await house.http.post(asked, json=sent) for _ in range(2)]
            assert [one.status_code for one in answers] == [200, 200], (path, answers[0].text)
            assert answers[1].headers["x-understudy-cache"] == "hit"
            assert "hel" in answers[1].text
            assert answers[0].headers["x-understudy-cache"] == "hit" or not stream


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


async def cached_prompt(line: Line) -> None:
    """A provider that had three quarters of the prompt in its own cache."""
    usage = {"prompt_tokens": 1000, "completion_tokens": 10, "total_tokens": 1010,
             "prompt_tokens_details": {"cached_tokens": 750}}  # fmt: skip
    await line.answer(body={**COMPLETION, "usage": usage})


async def test_what_providers_prompt_caches_spare_is_counted_and_shown(house: House) -> None:
    house.upstream.behave = cached_prompt
    for text in ("when do you open?", "where are you?", "where are you?"):
        await house.chat(text, temperature=0.5)
    records: list[Any] = house.served.records()
    paid = [one.cost_usd for one in records if not one.cache]
    assert paid == pytest.approx([(250 * 2.5 + 750 * 1.25 + 10 * 10.0) / 1e6] * 2)
    writer = SqlWriter(write_engine(house.served.home.database_url))
    try:
        Ingester(house.served.home, writer, threading.Event()).drain()
    finally:
        writer.close()
    await admin(house)
    (shown,) = (await house.http.get("/admin/api/caches")).json()["prompts"]
    spared = 2 * 750 * (2.5 - 1.25) / 1e6
    assert (shown["task"], shown["provider"], shown["calls"]) == ("faq", "first", 2)  # the hit read no prompt
    assert (shown["cached_tokens"], shown["prompt_tokens"]) == (1500, 2000)
    assert shown["saved_usd"] == pytest.approx(spared)
    told = (await house.http.get("/metrics")).text
    (line,) = [one for one in told.splitlines() if one.startswith("understudy_prompt_cache_saved_usd_total{")]
    assert 'task="faq"' in line and float(line.split()[-1]) == pytest.approx(spared)


async def vectors(line: Line) -> None:
    data = [{"object": "embedding", "index": 0, "embedding": [0.5, float(len(line.seen.body["input"]))]}]
    usage = {"prompt_tokens": 8, "total_tokens": 8}
    await line.answer(body={"object": "list", "data": data, "model": "upstream-name", "usage": usage})


async def test_embeddings_are_kept_by_text_form_and_project(house: House) -> None:
    house.upstream.behave = vectors

    async def ask(body: dict[str, Any], path: str = "/v1/embeddings", **headers: str) -> Any:
        answer = await house.http.post(path, json=body, headers=headers)
        assert answer.status_code == 200, answer.text
        return answer.headers.get("x-understudy-cache"), answer.json()

    body = {"model": "vectors", "input": "one text"}
    first, again = await ask(body), await ask(body)
    assert (first[0], again[0]) == ("miss", "hit")
    assert first[1] == again[1]
    coded = await ask({**body, "encoding_format": "base64"})
    assert coded[0] == "miss" and isinstance(coded[1]["data"][0]["embedding"], str)
    assert (await ask({**body, "dimensions": 2}))[0] == "miss"
    google = {"content": {"parts": [{"text": "one text"}]}}
    for how in ("miss", "hit"):
        found, told = await ask(google, "/v1beta/models/vectors:embedContent")
        assert found == how and "values" in told["embedding"]
    listed = {"model": "vectors", "input": ["one text"]}  # the body that Google's question becomes
    assert "data" in (await ask(listed))[1] and "data" in (await ask(listed))[1]
    assert (await ask(body, **{"cache-control": "no-store"}))[0] is None
    records: list[Any] = house.served.records()
    kept = [one for one in records if one.cache]
    assert {(one.endpoint, one.task, one.cost_usd, one.prompt_tokens) for one in kept} == {
        ("embeddings", "vectors", 0.0, 8)
    }
    assert all(one.teacher_cost_usd > 0 for one in kept)  # no teacher: what was paid when it was asked


async def admin(house: House) -> dict[str, str]:
    """Logs in; the headers of what changes something."""
    del house.http.headers["authorization"]
    told = await house.http.post("/admin/login", json={"key": ADMIN})
    house.http.headers["authorization"] = f"Bearer {KEY}"
    return {"x-csrf-token": told.json()["csrf"]}


async def test_an_admin_forgets_by_task_key_entry_and_age(house: House) -> None:
    headers = await admin(house)

    async def purge(**body: Any) -> httpx.Response:
        return await house.http.post("/admin/api/caches/purge", json={"reason": "a test", **body}, headers=headers)

    kept = (await house.chat("when do you open?")).headers["x-understudy-cache-key"]
    await house.chat("where are you?")
    assert (await purge(older_than_s=3600)).json()["exact"] == 0
    assert (await purge(entry=kept)).json() == {
        "exact": 1, "semantic": 1, "message": "Forgotten: 1 answer, 1 of the semantic cache.",
    }  # fmt: skip
    assert (await house.chat("when do you open?")).headers["x-understudy-cache"] == "miss"
    assert (await house.chat("where are you?")).headers["x-understudy-cache"] == "hit"
    assert (await purge(task="faq", key="tests", project="other")).json()["exact"] == 0
    assert (await purge(task="faq", key="tests", project="default")).json()["exact"] == 2
    await house.chat("when do you open?")
    assert (await purge(everything=True)).json()["semantic"] == 1
    for wrong, param in (
        ({}, "everything"), ({"everything": True, "task": "faq"}, "everything"), ({"task": "gone"}, "task"),
        ({"key": "nobody"}, "key"), ({"entry": "../x"}, "entry"), ({"older_than_s": -1}, "older_than_s"),
    ):  # fmt: skip
        answer = await purge(**wrong)
        assert answer.status_code == 400 and answer.json()["error"]["param"] == param, answer.text
    assert (await house.http.post("/admin/api/caches/purge", json={"task": "faq", "reason": "x"})).status_code == 403
    audits = [one for one in house.served.records() if isinstance(one, AuditRecord) and one.action == "cache purge"]
    assert [one.subject for one in audits][:2] == ["older_than_s=3600.0", f"entry={kept}"]
    assert audits[0].reason == "a test"


async def test_the_command_line_forgets_and_shows(
    house: House, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UNDERSTUDY_ADMIN_KEY", ADMIN)
    await house.chat("when do you open?")

    async def run(*words: str) -> tuple[int, str]:
        status = await asyncio.to_thread(main, ["cache", *words, "--url", house.served.url])
        told = capsys.readouterr()
        return status, told.out + told.err

    assert "exact     1 answer," in (await run("show"))[1]
    assert await run("purge", "--task", "faq", "--reason", "x") == (
        0, "Forgotten: 1 answer, 1 of the semantic cache.\n",
    )  # fmt: skip
    status, told = await run("purge", "--task", "gone", "--reason", "x")
    assert status == 1 and "no task 'gone'" in told
    monkeypatch.setenv("UNDERSTUDY_ADMIN_KEY", "wrong")
    status, told = await run("show")
    assert status == 1 and "not the admin key" in told


async def test_a_stale_answer_is_refreshed_in_the_whole_gateway(tmp_path: Path) -> None:
    async with provider() as upstream:
        settings = "cache: {enabled: true, ttl_s: 0.2, stale_s: 60}"
        policies = write_policies(tmp_path / "policies", {"first": upstream.url}, gateway=settings)
        key = {"authorization": f"Bearer {KEY}"}
        async with (
            gateway(tmp_path, policies) as served,
            httpx.AsyncClient(base_url=served.url, headers=key) as http,
        ):
            house = House(served, http, upstream)
            assert (await house.chat("hi", model="triage", temperature=0)).headers["x-understudy-cache"] == "miss"
            await asyncio.sleep(0.25)
            stale = await house.chat("hi", model="triage", temperature=0, stream=True)
            assert stale.headers["x-understudy-cache"] == "stale"
            records: list[Any] = []
            for _ in range(5000):
                records = served.records()
                if len(records) >= 3:
                    break
                await asyncio.sleep(0.02)
            assert sorted(one.cache for one in records) == ["", "", "stale"]
            asked = [one for one in records if not one.cache]
            assert asked[1].cost_usd > 0 and asked[1].key_id == asked[0].key_id
            assert not upstream.seen[1].body.get("stream")


async def test_workers_forget_together(tmp_path: Path, redis_server: RedisServer) -> None:
    env = {"UNDERSTUDY_REDIS_URL": redis_server.url, "UNDERSTUDY_REDIS_TIMEOUT_MS": "2000"}
    env |= {"UNDERSTUDY_WORKERS": "2", "UNDERSTUDY_WORKERS_OF": "us"}
    key = {"authorization": f"Bearer {KEY}"}
    async with provider() as upstream:
        policies = write_policies(tmp_path / "policies", {"first": upstream.url}, FAQ)
        async with (
            gateway(tmp_path, policies, **env, UNDERSTUDY_WORKER="1") as one,
            gateway(tmp_path, policies, **env, UNDERSTUDY_WORKER="2") as two,
            httpx.AsyncClient(base_url=one.url, headers=key) as here,
            httpx.AsyncClient(base_url=two.url, headers=key) as there,
        ):
            first, second = House(one, here, upstream), House(two, there, upstream)
            await first.chat("when do you open?")
            await second.chat("where are you?")
            assert (await second.chat("when do you open?")).headers["x-understudy-cache"] == "hit"
            answer = await here.post(
                "/admin/api/caches/purge", json={"task": "faq", "reason": "x"}, headers=await admin(first)
            )
            assert (answer.json()["exact"], answer.json()["semantic"]) == (2, 2)
            assert (await second.chat("when do you open?")).headers["x-understudy-cache"] == "miss"
