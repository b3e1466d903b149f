"""Random policies of every kind, explained and then asked: the same candidates, the same reasons, the same order of
fallbacks, and the probability that is written on the call is the one that was explained."""

from __future__ import annotations

import json
import random
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from gateway_server import ADMIN, KEY, gateway
from scripted import Line, Provider, provider
from test_explain_holds import ANSWER, EXTRAS, IMAGE, MESSAGE, OTHER

from gateway.storage.records import CallRecord
from optimizer.routing.rules import DAYS

NAMES = "abcd"
LEARNS = {"bandit", "race", "track", "least_latency"}
"""Strategies whose shares move with every answer, which may still be on its way into them."""
HEAD = """
providers:
  a: {{type: openai, base_url: "{a}", api_key: sk-a}}
  b: {{type: openai, profile: groq, base_url: "{b}", api_key: sk-b}}
  c: {{type: anthropic, base_url: "{c}", api_key: sk-c}}
  d: {{type: openai, profile: mistral, base_url: "{d}", api_key: "${{NOT_SET_ANYWHERE}}"}}
keys:
  - {{name: tests, key: {key}, project: default}}
  - {{name: other, key: {other}, project: elsewhere}}
models:
  a: {{m: {{context_window: 3000, max_output: 900, capabilities: [tools, json_object, json_schema, logprobs], quality: 0.9, region: us}}}}
  b: {{m: {{context_window: 9000, max_output: 900, capabilities: [tools, json_object], region: eu}}}}
  c: {{m: {{context_window: 20000, capabilities: [tools, vision, files, json_schema, reasoning], quality: 0.7, region: eu}}}}
prices:
  a: {{m: {{input: 1.0, output: 1.0, long_context: {{above: 1500, input: 2.0, output: 2.0}}}}}}
  b: {{m: {{input: 0.1, output: 4.0}}}}
timeouts: {{connect: 30, first_byte: 30, chunk_gap: 30, total: 60}}
retries: {{attempts: 3, base_s: 0.01, cap_s: 0.05}}
"""


def policy(name: str, rng: random.Random) -> dict[str, Any]:
    places = rng.sample(NAMES[:3], rng.randint(1, 3))
    places += ["d"] if rng.random() < 0.3 else []  # which has no key
    rng.shuffle(places)
    more = [{}, {}, {"region": rng.choice(["eu", "us"])}, {"quality": rng.random()}]
    made: dict[str, Any] = {"name": name, "candidates": [{"provider": one, "model": "m", **rng.choice(more)} for one in places]}
    kind = rng.choice(["ordered", "weighted", "weighted", "cascade", "least_cost", "least_latency", "bandit", "race", "track"])
    weights = {"weights": {f"{one}/m": rng.choice([1, 3, 0.5]) for one in places}} if kind == "weighted" else {}
    made["strategy"] = {"type": kind} | weights
    if rng.random() < 0.6 and kind in ("ordered", "cascade"):
        made["objective"] = rng.choice(["min_cost", "max_quality", "weighted"])
        made |= {"objective_weights": {"latency": 0, "cost": rng.random(), "quality": 2.0}} if made["objective"] == "weighted" else {}
    if rng.random() < 0.6 and kind == "weighted":
        made["sticky"] = rng.choice(["user", "conversation"])
    limits = {"max_cost_per_request_usd": rng.choice([0.0001, 0.001, 0.01]), "min_quality_score": rng.choice([0.3, 0.8]), "regions": ["eu"],
              "requires": [rng.choice(["tools", "logprobs", "vision"])], "fit": rng.random() < 0.7, "max_p95_latency_ms": 100_000}  # fmt: skip
    if rng.random() < 0.35:
        made["constraints"] = {one: limits[one] for one in rng.sample(sorted(limits), rng.randint(1, 2))}
    if rng.random() < 0.3:
        made["fallback_on"] = rng.sample(["failed", "unsupported", "throttled", "context_length", "refused"], 2)
    return made


def when(rng: random.Random) -> dict[str, Any]:
    days = {"days": rng.sample(DAYS, 3), "timezone": rng.choice(["UTC", "Asia/Tokyo"])}
    kinds: list[dict[str, Any]] = [
        {"metadata": {"tier": rng.choice(["gold", "*"])}}, {"header": {"X-Tier": rng.choice(["1", "*"])}}, {"key": ["other"]},
        {"project": ["elsewhere"]}, rng.choice([{"min_tokens": 400}, {"max_tokens": 100}]), days, {"start": "22:00", "end": "06:00"},
    ]  # fmt: skip
    one, two = rng.choice(kinds), rng.choice(kinds)
    return one | two if rng.random() < 0.5 else one


def rules(rng: random.Random, number: int) -> list[dict[str, Any]]:
    """No two of one task look at the same things, or the checks would call the second one dead."""
    found: dict[frozenset[str], dict[str, Any]] = {}
    for _ in range(rng.randint(0, 3)):
        one = when(rng)
        if not any(known <= one.keys() for known in found):
            found[frozenset(one)] = {"when": one, "policy": f"p{rng.randrange(number)}"}
    return list(found.values())


def written(urls: dict[str, str], rng: random.Random, number: int) -> str:
    policies = [policy(f"p{at}", rng) for at in range(number)]
    tasks = [
        {"name": f"t{at}", "policy": f"p{at}", "rules": rules(rng, number),
         **({"teacher": {"provider": "a", "model": "m"}} if rng.random() < 0.2 else {})}
        for at in range(number)
    ]  # fmt: skip
    parts = {"policies": policies, "tasks": tasks}  # JSON is YAML
    return HEAD.format(**urls, key=KEY, other=OTHER) + "\n".join(f"{name}: {json.dumps(one)}" for name, one in parts.items())


def drawn(rng: random.Random, tasks: int) -> tuple[dict[str, Any], dict[str, str], str]:
    content: Any = "x" * rng.choice([5, 200, 4_000, 14_000])
    if rng.random() < 0.15:
        content = [{"type": "text", "text": content}, IMAGE]
    body = {"model": f"t{rng.randrange(tasks)}", "messages": [{"role": "user", "content": content}], **rng.choice(EXTRAS)}
    body |= {"user": f"u{rng.randint(1, 5)}"} if rng.random() < 0.7 else {}
    body |= {"metadata": {"tier": rng.choice(["gold", "tin"])}} if rng.random() < 0.4 else {}
    return body, ({"x-tier": rng.choice("12")} if rng.random() < 0.3 else {}), rng.choice(["tests", "other"])


@pytest.fixture
async def upstreams() -> AsyncIterator[dict[str, Provider]]:
    """One of them fails now and then, so that plans are gone down and breakers open."""
    rng = random.Random(5)

    async def chat(line: Line) -> None:
        await line.answer(200, ANSWER)

    async def moody(line: Line) -> None:
        await (line.answer(500, {"error": {"message": "no"}}) if rng.random() < 0.4 else line.answer(200, ANSWER))

    async def claude(line: Line) -> None:
        await line.answer(200, MESSAGE)

    async with provider() as a, provider() as b, provider() as c, provider() as d:
        a.behave, b.behave, c.behave, d.behave = chat, moody, claude, chat
        yield {"a": a, "b": b, "c": c, "d": d}


@pytest.mark.parametrize("seed", range(2))
async def test_random_policies(tmp_path: Path, upstreams: dict[str, Provider], seed: int) -> None:
    await explained_and_asked(tmp_path, upstreams, seed, policies=60, requests=110)


async def explained_and_asked(
    tmp_path: Path, upstreams: dict[str, Provider], seed: int, *, policies: int, requests: int
) -> None:
    rng = random.Random(1000 + seed)
    folder = tmp_path / "policies"
    folder.mkdir()
    (folder / "gateway.yaml").write_text(written({name: one.url for name, one in upstreams.items()}, rng, policies))
    order: list[str] = []
    for name, one in upstreams.items():
        behave = one.behave

        async def seen(line: Line, name: str = name, behave: Any = behave) -> None:
            order.append(name)
            await behave(line)

        one.behave = seen
    answered = fell = refused = 0
    async with gateway(tmp_path, folder) as served, httpx.AsyncClient(base_url=served.url, timeout=60) as http:
        login = await http.post("/admin/login", json={"key": ADMIN})
        token = {"x-csrf-token": login.json()["csrf"]}
        for number in range(requests):
            body, headers, key = drawn(rng, policies)
            said = await http.post("/admin/explain", json={"body": body, "headers": headers, "key": key}, headers=token)
            order.clear()
            secret = OTHER if key == "other" else KEY
            told = await http.post("/v1/chat/completions", json=body, headers={"authorization": f"Bearer {secret}", **headers})
            shown, where = said.json(), (seed, number, body, headers, key, said.text, told.text, order)
            assert said.status_code == 200, where
            if shown["error"]:
                refused += 1
                assert shown["propensity"] < 1 or (reasons(told.json()["error"]["message"]) == reasons(shown["error"]) and not order), where
                continue
            record = [one for one in served.records() if isinstance(one, CallRecord)][-1]
            compare(shown, record, list(dict.fromkeys(order)), where)
            answered += told.status_code == 200
            fell += len(set(order)) > 1
    assert answered > requests // 3 and refused > 5, (answered, refused, fell)


def reasons(message: str) -> list[str]:
    """What is against each candidate, in whichever order they were drawn."""
    return sorted(message.replace("; ", ") ").split(") "))


def compare(shown: dict[str, Any], record: CallRecord, asked: list[str], where: Any) -> None:
    """``asked``: the providers in the order in which they were first asked."""
    kept = {one["candidate"] for one in shown["candidates"] if one["kept"]}
    plan = [one["candidate"] for one in shown["plan"]]
    usable = [one["candidate"] for one in shown["plan"] if not one["passed_over"]]
    assert set(plan) == kept and record.drawn in kept, where
    assert {f"{one}/m" for one in asked} <= kept, where
    assert (record.arm, record.task) == (shown["arm"], shown["task"]) and record.reason == shown["reason"], where
    if shown["strategy"] in LEARNS:
        return
    if record.drawn == plan[0]:  # another draw may have put another one first
        assert record.propensity == pytest.approx(shown["propensity"]), where
        hit = [f"{one}/m" for one in asked]
        assert hit == [one for one in usable if one in hit] and usable[0] == hit[0], where
    else:
        assert shown["propensity"] < 1, where
