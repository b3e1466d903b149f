"""One key's limits on every route and in every API's own shape, and a budget's alerts, over a running gateway."""

from __future__ import annotations

import asyncio
import json
import threading
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from gateway_server import Gateway, gateway
from scripted import Line, Provider, sse
from webhook_receiver import Got, receiver

from gateway.storage.engine import write_engine
from gateway.storage.spooling.ingester import Ingester
from gateway.storage.writing.writer import SqlWriter

WIDE, NARROW, POOR = "a-key-with-wide-limits-01", "a-key-for-one-request-001", "a-key-with-a-budget-0001"
OTHER = "another-key-with-a-budget-"
SECRET = "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODk="
POLICIES = """
providers:
  first: {{type: openai, base_url: "{url}", api_key: sk-upstream-secret}}
prices:
  first: {{m: {{input: 2.5, output: 10.0}}}}
surface: {{embeddings: first, moderations: {{provider: first, model: mod}}, images: first, audio: first}}
keys:
  - {{name: wide, key: {wide}, requests_per_minute: 50, tokens_per_minute: 90000000}}
  - {{name: narrow, key: {narrow}, requests_per_minute: 1}}
  - {{name: poor, key: {poor}, budget_usd_month: 0.01}}
  - {{name: other-0, key: {other}0, budget_usd_month: 0.01}}
  - {{name: other-1, key: {other}1, budget_usd_month: 0.01}}
  - {{name: other-2, key: {other}2, budget_usd_month: 0.01}}
{alerts}
timeouts: {{connect: 30, first_byte: 30, chunk_gap: 30, total: 60}}
"""
TURN = [{"role": "user", "content": "hello"}]
ROUTES: dict[str, tuple[str, dict[str, Any]]] = {
    "chat": ("/v1/chat/completions", {"model": "first/m", "messages": TURN}),
    "chat, streamed": ("/v1/chat/completions", {"model": "first/m", "messages": TURN, "stream": True}),
    "responses": ("/v1/responses", {"model": "first/m", "input": "hello"}),
    "responses, streamed": ("/v1/responses", {"model": "first/m", "input": "hello", "stream": True}),
    "messages": ("/v1/messages", {"model": "first/m", "max_tokens": 9, "messages": TURN}),
    "messages, streamed": ("/v1/messages", {"model": "first/m", "max_tokens": 9, "messages": TURN, "stream": True}),
    "gemini": ("/v1beta/models/first/m:generateContent", {"contents": [{"parts": [{"text": "hello"}]}]}),
    "completions": ("/v1/completions", {"model": "first/m", "prompt": "hello"}),
    "embeddings": ("/v1/embeddings", {"model": "first/e", "input": "hello"}),
    "moderations": ("/v1/moderations", {"input": "hello"}),
    "images": ("/v1/images/generations", {"model": "first/i", "prompt": "a cat"}),
}


async def answer(line: Line) -> None:
    path, body = line.seen.path, line.seen.body
    if path.endswith("/embeddings"):
        vector = {"object": "embedding", "index": 0, "embedding": [0.25]}
        used = {"prompt_tokens": 1, "total_tokens": 1}
        await line.answer(200, {"object": "list", "data": [vector], "model": "e", "usage": used})
    elif path.endswith("/moderations"):
        await line.answer(200, {"id": "modr-1", "model": "mod", "results": []})
    elif path.endswith("/generations"):
        await line.answer(200, {"created": 1, "data": [{"b64_json": "aGk="}]})
    elif body.get("stream"):
        await line.stream(sse())
    else:
        await line.answer()


@asynccontextmanager
async def limited(tmp_path: Path, upstream: Provider, alerts: str = "", **env: str) -> AsyncIterator[Gateway]:
    upstream.behave = answer
    folder = tmp_path / "policies"
    folder.mkdir(exist_ok=True)
    text = POLICIES.format(url=upstream.url, wide=WIDE, narrow=NARROW, poor=POOR, other=OTHER, alerts=alerts)
    (folder / "gateway.yaml").write_text(text)
    async with gateway(tmp_path, folder, **env) as made:
        yield made


async def test_every_route_tells_and_keeps_the_limits(tmp_path: Path, upstream: Provider) -> None:
    async with limited(tmp_path, upstream) as served, httpx.AsyncClient(base_url=served.url, timeout=30) as http:

        async def ask(name: str, key: str) -> httpx.Response:
            path, body = ROUTES[name]
            return await http.post(path, json=body, headers={"authorization": f"Bearer {key}"})

        for number, name in enumerate(ROUTES, 1):
            told = await ask(name, WIDE)
            assert told.status_code == 200, (name, told.text)
            assert told.headers["x-ratelimit-limit-requests"] == "50", name
            assert told.headers["x-ratelimit-remaining-requests"] == str(50 - number), name
            assert told.headers["x-ratelimit-limit-tokens"] == "90000000", name
            assert told.headers["x-request-id"].startswith("req_"), name
        assert (await ask("chat", NARROW)).status_code == 200
        for name in ROUTES:
            refused = await ask(name, NARROW)
            assert refused.status_code == 429, name
            assert 0 < int(refused.headers["retry-after"]) <= 61 and int(refused.headers["retry-after-ms"]) > 0, name
            assert refused.headers["x-ratelimit-remaining-requests"] == "0", name
            error = refused.json()["error"]
            if name.startswith("messages"):
                assert (refused.json()["type"], error["type"]) == ("error", "rate_limit_error")
            elif name == "gemini":
                assert (error["code"], error["status"]) == (429, "RESOURCE_EXHAUSTED")
            else:
                assert (error["type"], error["code"], error["param"]) == ("requests", "rate_limit_exceeded", None), name


async def test_a_budget_does_not_hide_what_is_served(tmp_path: Path, upstream: Provider) -> None:
    """Guardrails that answer cost nothing; the surface's provider has a price nobody knows, and not no such model."""
    async with limited(tmp_path, upstream) as served, httpx.AsyncClient(base_url=served.url, timeout=30) as http:
        key = {"authorization": f"Bearer {POOR}"}
        told = await http.post("/v1/embeddings", json={"model": "e", "input": "hello"}, headers=key)
        assert (told.status_code, told.json()["error"]["code"]) == (400, "unknown_price")
        assert "'first/e'" in told.json()["error"]["message"]
    policies = tmp_path / "policies" / "gateway.yaml"
    local = policies.read_text().replace("moderations: {provider: first, model: mod}", "moderations: local")
    policies.write_text(f"{local}guardrails: {{threats: {{type: blocklist, phrases: [hurt you], category: violence}}}}\n")
    async with gateway(tmp_path, policies.parent) as served, httpx.AsyncClient(base_url=served.url, timeout=30) as http:
        told = await http.post("/v1/moderations", json={"input": "I will hurt you"}, headers=key)
        assert told.status_code == 200 and told.json()["results"][0]["categories"]["violence"] is True


def alerting(hook: str, *at: float) -> str:
    return f"limits: {{alerts: {{webhook: '{hook}', secret: '{SECRET}', at: {list(at)}}}}}"


async def told_by(got: Got, least: int) -> list[dict[str, Any]]:
    """What was told, once there is so much of it."""
    async with asyncio.timeout(30):
        while len(got) < least:
            await asyncio.sleep(0.02)
    return [json.loads(raw)["data"] for raw, _ in got]


@pytest.mark.parametrize("shared", [False, True])
async def test_no_share_is_told_again_after_a_restart(
    tmp_path: Path, upstream: Provider, shared: bool, request: pytest.FixtureRequest
) -> None:
    env = {"UNDERSTUDY_REDIS_TIMEOUT_MS": "5000"}  # a busy machine must not look like a Redis that is away
    if shared:
        env["UNDERSTUDY_REDIS_URL"] = request.getfixturevalue("redis_server").url
    body = {"model": "first/m", "messages": TURN, "max_tokens": 100}  # costs 0.0035 of 0.01
    async with receiver() as (hook, got):
        for run, least in enumerate((2, 3, 5)):
            async with (
                limited(tmp_path, upstream, alerting(hook, 0.3, 0.9), **env) as served,
                httpx.AsyncClient(base_url=served.url, timeout=30) as http,
            ):
                for key in (POOR, f"{OTHER}{run}"):  # what the other key spends is told after what was told again
                    answer = await http.post("/v1/chat/completions", json=body, headers={"authorization": f"Bearer {key}"})
                    assert answer.status_code == 200
                await told_by(got, least)
            ingest(served)
    told = await told_by(got, 5)
    counted = Counter((one["id"], one["share"]) for one in told)
    assert len(told) == 5 and max(counted.values()) == 1, counted


def ingest(served: Gateway) -> None:
    writer = SqlWriter(write_engine(served.home.database_url))
    try:
        Ingester(served.home, writer, threading.Event()).drain()
    finally:
        writer.close()


async def test_a_gateway_tells_each_share_of_a_budget_and_then_spends_no_more(tmp_path: Path, upstream: Provider) -> None:
    body = {"model": "first/m", "messages": TURN, "max_tokens": 100}
    async with (
        receiver() as (hook, got),
        limited(tmp_path, upstream, alerting(hook, 0.3, 0.6)) as served,
        httpx.AsyncClient(base_url=served.url, timeout=30) as http,
    ):
        key = {"authorization": f"Bearer {POOR}"}
        # Each costs 0.0035: 1,000 tokens in, 100 out.
        seen = [await http.post("/v1/chat/completions", json=body, headers=key) for _ in range(4)]
        assert [one["share"] for one in await told_by(got, 2)] == [0.3, 0.6]
    assert [one.status_code for one in seen] == [200, 200, 200, 429]
    assert seen[-1].json()["error"]["code"] == "insufficient_quota"
    client = openai.OpenAI(api_key="x")
    for raw, headers in got:
        client.webhooks.verify_signature(raw, headers, secret=SECRET)
    client.close()
