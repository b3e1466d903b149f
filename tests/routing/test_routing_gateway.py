"""Routing end to end: a client, the gateway, two providers; and explain beside it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from gateway_server import ADMIN, KEY, Gateway, gateway, write_policies
from scripted import Provider, provider

from gateway.cli import main
from gateway.storage.records import CallRecord

EXTRA = """\
    policy: usual
    defaults: {temperature: 0.25, max_completion_tokens: 50}
    rules:
      - {when: {header: {x-tier: eu}}, policy: eu}
      - {when: {metadata: {tier: cheap}}, policy: cheap}
      - {when: {metadata: {tier: strict}}, policy: strict}
      - {when: {metadata: {tier: learn}}, policy: learn}
aliases: {fast: triage, other: b/m}
models:
  a: {m: {context_window: 2000, max_output: 500, capabilities: [tools], quality: 0.9, region: us}}
  b: {m: {context_window: 9000, max_output: 500, capabilities: [tools, vision], quality: 0.5, region: eu}}
prices:
  a: {m: {input: 1.0, output: 1.0}}
  b: {m: {input: 0.1, output: 0.1}}
policies:
  - name: usual
    objective: max_quality
    candidates: [{provider: b, model: m}, {provider: a, model: m}]
    constraints: {}
  - name: eu
    candidates: [{provider: a, model: m}, {provider: b, model: m}]
    constraints: {regions: [eu]}
  - name: cheap
    strategy: least_cost
    candidates: [{provider: a, model: m}, {provider: b, model: m}]
  - name: strict
    candidates: [{provider: a, model: m}, {provider: b, model: m}]
    constraints: {max_cost_per_request_usd: 0.000001}
  - name: learn
    strategy: {type: bandit, explore: 0.5}
    candidates: [{provider: a, model: m}, {provider: b, model: m}]
"""


class House:
    def __init__(self, served: Gateway, a: Provider, b: Provider, http: httpx.AsyncClient) -> None:
        self.served, self.a, self.b, self.http = served, a, b, http

    async def ask(self, headers: dict[str, str] | None = None, **body: Any) -> httpx.Response:
        full = {"model": "triage", "messages": [{"role": "user", "content": "hello"}], **body}
        return await self.http.post(
            "/v1/chat/completions", json=full, headers={"authorization": f"Bearer {KEY}", **(headers or {})}
        )

    def asked(self) -> str:
        """Who was asked, in order."""
        return "a" * len(self.a.seen) + "b" * len(self.b.seen)

    async def explain(self, **asked: Any) -> httpx.Response:
        if "x-csrf-token" not in self.http.headers:
            login = await self.http.post("/admin/login", json={"key": ADMIN})
            self.http.headers["x-csrf-token"] = login.json()["csrf"]
        body = {
            "model": "triage",
            "messages": [{"role": "user", "content": "hello"}],
            **asked.pop("body", {}),
        }
        return await self.http.post("/admin/explain", json={"body": body, **asked})


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    async with provider() as a, provider() as b:
        folder = write_policies(tmp_path / "policies", {"a": a.url, "b": b.url})
        routing, settings = folder / "routing.yaml", folder / "gateway.yaml"
        routing.write_text("tasks:\n  - name: triage\n    capture: {rate: 1.0}\n" + EXTRA)
        lines = settings.read_text().split("prices:\n")
        settings.write_text(lines[0] + lines[1].split("\n", 2)[2])
        async with gateway(tmp_path, folder) as served, httpx.AsyncClient(base_url=served.url) as http:
            yield House(served, a, b, http)


async def test_the_better_candidate_answers_and_defaults_fill_what_was_not_said(house: House) -> None:
    assert (await house.ask()).status_code == 200
    assert house.asked() == "a"
    sent = house.a.seen[0].body
    assert (sent["temperature"], sent["max_completion_tokens"], sent["model"]) == (0.25, 50, "m")
    await house.ask(temperature=0.75, max_tokens=7)
    sent = house.a.seen[1].body
    assert (sent["temperature"], sent["max_tokens"]) == (0.75, 7) and "max_completion_tokens" not in sent


async def test_rules_choose_the_policy(house: House) -> None:
    await house.ask(headers={"x-tier": "eu"})
    await house.ask(metadata={"tier": "cheap"})
    assert house.asked() == "bb"


async def test_who_cannot_is_not_asked(house: House) -> None:
    image = [{"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}]
    await house.ask(messages=[{"role": "user", "content": image}])
    await house.ask(messages=[{"role": "user", "content": "x" * 20_000}])
    assert house.asked() == "bb"


async def test_a_request_that_nobody_can_answer_is_told_why(house: House) -> None:
    long = await house.ask(messages=[{"role": "user", "content": "x" * 200_000}])
    assert long.status_code == 400
    assert long.json()["error"]["code"] == "context_length_exceeded"
    dear = await house.ask(metadata={"tier": "strict"})
    assert dear.status_code == 400 and dear.json()["error"]["code"] == "no_suitable_candidate"
    assert "a/m: cost: an estimated $" in dear.json()["error"]["message"]
    assert house.asked() == ""


async def test_aliases_lead_to_tasks_and_candidates(house: House) -> None:
    named = await house.ask(model="fast")
    assert named.json()["model"] == "fast" and house.asked() == "a"
    await house.ask(model="other")
    assert house.asked() == "ab"
    listed = await house.http.get("/v1/models", headers={"authorization": f"Bearer {KEY}"})
    assert {"fast", "other", "triage"} <= {one["id"] for one in listed.json()["data"]}


async def odds_of_b(house: House) -> float:
    found = (await house.explain(body={"metadata": {"tier": "learn"}})).json()
    return float(found["propensity"] if found["plan"][0]["candidate"] == "b/m" else 1 - found["propensity"])


async def test_the_bandit_learns_from_failures_and_logs_its_odds(house: House) -> None:
    async def broken(line: Any) -> None:
        await line.answer(400 if line.seen.body is None else 500, {"error": {"message": "no"}})

    house.a.behave = broken
    for _ in range(30):
        assert (await house.ask(metadata={"tier": "learn"})).status_code == 200
    async with asyncio.timeout(30):
        while await odds_of_b(house) <= 0.7:  # the bandit's view is renewed now and then
            await asyncio.sleep(0.02)
    records = [one for one in house.served.records() if isinstance(one, CallRecord)]
    assert len(records) == 30 and all(0.25 <= one.propensity <= 0.75 for one in records)


async def test_explain_needs_the_session_and_its_token(house: House) -> None:
    refused = await house.http.post("/admin/explain", json={"body": {}})
    assert refused.status_code == 401
    assert (await house.explain()).status_code == 200
    token = house.http.headers.pop("x-csrf-token")
    assert (await house.http.post("/admin/explain", json={"body": {}})).status_code == 403
    house.http.headers["x-csrf-token"] = token
    assert (await house.explain(body={"messages": []})).status_code == 400
    assert (await house.explain(key="nobody")).json()["error"]["param"] == "key"
    assert house.asked() == ""


async def test_explain_shows_what_the_code_that_routes_decides(house: House) -> None:
    await house.ask(headers={"x-tier": "eu"})
    found = (await house.explain(headers={"X-Tier": "eu"}, key="tests")).json()
    assert (found["task"], found["policy"], found["error"]) == ("triage", "eu", "")
    assert found["rules"] == [{"policy": "eu", "fits": True, "reason": ""}]
    assert found["defaults"] == {"temperature": 0.25, "max_completion_tokens": 50}
    assert [rung["candidate"] for rung in found["plan"]] == ["b/m"]
    first, second = found["candidates"]
    assert (first["candidate"], first["kept"]) == ("a/m", False)
    assert first["reason"] == "region: it is in us, and only eu is allowed"
    assert second["samples"] == 1 and second["p95_ms"] > 0 and second["estimated_cost_usd"] > 0
    nobody = (await house.explain(body={"metadata": {"tier": "strict"}})).json()
    assert nobody["plan"] == [] and nobody["error"].startswith("No candidate of this task")
    assert [rule["fits"] for rule in nobody["rules"]] == [False, False, True]
    direct = (await house.explain(body={"model": "other"})).json()
    assert (direct["task"], direct["plan"][0]["candidate"]) == ("", "b/m")
    assert house.asked() == "b"


async def test_the_command_says_the_same(
    house: House, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UNDERSTUDY_HOME", str(house.served.home.root))
    body = {"model": "fast", "messages": [{"role": "user", "content": "hello"}]}
    (tmp_path / "body.json").write_text(json.dumps(body))
    command = ["explain", "--policies", str(house.served.policies), "--body", str(tmp_path / "body.json")]
    assert await asyncio.to_thread(main, command) == 0
    told = capsys.readouterr().out
    assert "task triage, policy usual; strategy ordered, max_quality" in told
    assert "plan       a/m (plain) -> b/m (plain)" in told
    assert await asyncio.to_thread(main, [*command, "--header", "x-tier=eu", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["policy"] == "eu"
    assert await asyncio.to_thread(main, [*command, "--header", "nonsense"]) == 1
    assert await asyncio.to_thread(main, [*command, "--key", "nobody"]) == 1
    assert await asyncio.to_thread(main, [*command[:-1], str(tmp_path / "absent.json")]) == 1
    assert "absent.json cannot be read" in capsys.readouterr().err


async def test_explain_tells_whom_the_call_would_pass_over(house: House) -> None:
    async def broken(line: Any) -> None:
        await line.answer(500, {"error": {"message": "no"}})

    house.a.behave = broken
    for _ in range(12):
        assert (await house.ask()).status_code == 200
    asked = len(house.a.seen)
    first, second = (await house.explain()).json()["plan"]
    assert first["candidate"] == "a/m" and "rests" in first["passed_over"] and second["passed_over"] == ""
    await house.ask()
    assert len(house.a.seen) == asked
