"""What explain says is what routing does: random requests, explained and then asked, over every strategy and kind of rule."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from gateway_server import ADMIN, KEY, gateway
from scripted import COMPLETION, Line, Provider, provider

OTHER = "a-key-of-somebody-else-01"
STRATEGIES = {
    "ordered": "", "cheap": "strategy: least_cost, ", "fast": "strategy: least_latency, ",
    "shares": "strategy: {type: weighted}, sticky: user, ", "best": "objective: max_quality, ",
    "thrifty": "objective: min_cost, ", "quick": "objective: min_latency, ",
    "here": "constraints: {regions: [eu]}, ", "frugal": "constraints: {max_cost_per_request_usd: 0.0008}, ",
    "good": "constraints: {min_quality_score: 0.6}, ",
}  # fmt: skip
ORDERS = ("abc", "bca", "cab", "cba", "ab", "c")
POLICIES = """
providers:
  a: {{type: openai, base_url: "{a}", api_key: sk-a}}
  b: {{type: openai, profile: groq, base_url: "{b}", api_key: sk-b}}
  c: {{type: anthropic, base_url: "{c}", api_key: sk-c}}
keys:
  - {{name: tests, key: {key}, project: default}}
  - {{name: other, key: {other}, project: default, models: [t0, t1, t2, t3, nick, "a/m"]}}
models:
  a: {{m: {{context_window: 3000, max_output: 900, capabilities: [tools, json_object, json_schema, logprobs], quality: 0.9, region: us}}}}
  b: {{m: {{context_window: 9000, max_output: 900, capabilities: [tools, json_object], quality: 0.5, region: eu}}}}
  c: {{m: {{context_window: 20000, max_output: 9000, capabilities: [tools, vision, files, json_schema, reasoning], quality: 0.7, region: eu}}}}
prices:
  a: {{m: {{input: 1.0, output: 1.0}}}}
  b: {{m: {{input: 0.1, output: 4.0}}}}
  c: {{m: {{input: 0.5, output: 2.0}}}}
aliases: {{nick: t1, direct: b/m}}
timeouts: {{connect: 30, first_byte: 30, chunk_gap: 30, total: 60}}
retries: {{attempts: 3, base_s: 0.01, cap_s: 0.05}}
policies:
{policies}
tasks:
{tasks}
"""
MESSAGE = {
    "id": "m", "type": "message", "role": "assistant", "model": "m", "content": [{"type": "text", "text": "{}"}],
    "stop_reason": "end_turn", "stop_sequence": None, "usage": {"input_tokens": 9, "output_tokens": 3},
}  # fmt: skip
ANSWER = {**COMPLETION, "choices": [{**COMPLETION["choices"][0], "message": {"role": "assistant", "content": "{}"}}]}
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}
IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
SCHEMA = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "object"}}}
EXTRAS: tuple[dict[str, Any], ...] = (
    {}, {}, {}, {"tools": [TOOL]}, {"response_format": {"type": "json_object"}}, {"response_format": SCHEMA}, {"logprobs": True},
    {"max_tokens": 500}, {"max_tokens": 5000}, {"stop": ["a", "b", "c", "d", "e"]}, {"reasoning_effort": "low"}, {"seed": 7},
    {"logit_bias": {"1": 5}}, {"n": 2}, {"temperature": 1.7}, {"frequency_penalty": 0.5},
)  # fmt: skip


def written(urls: dict[str, str], rng: random.Random) -> str:
    """Every strategy over a random order; four tasks whose rules lead from one to the next."""
    def policy(name: str, said: str) -> str:
        places = ", ".join(f"{{provider: {one}, model: m}}" for one in rng.choice(ORDERS[:4]))
        return f"  - {{name: {name}, {said}candidates: [{places}]}}"

    def task(at: int) -> str:
        names = rng.sample(sorted(STRATEGIES), 6)
        kinds = ["{metadata: {tier: gold}}", "{header: {x-tier: '*'}}", "{key: [other]}", "{min_tokens: 400}", "{project: [nobody]}"]
        rules = "\n".join(f"      - {{when: {kind}, policy: {name}}}" for kind, name in zip(rng.sample(kinds, 5), names, strict=False))
        return f"  - name: t{at}\n    policy: {names[5]}\n    rules:\n{rules}"

    return POLICIES.format(
        **urls, key=KEY, other=OTHER, tasks="\n".join(task(at) for at in range(4)),
        policies="\n".join(policy(*one) for one in STRATEGIES.items()),
    )  # fmt: skip


def drawn(rng: random.Random) -> tuple[dict[str, Any], dict[str, str], str]:
    """(body, headers, key's name) of a request."""
    content: Any = "x" * rng.choice([5, 200, 4000, 14_000])
    if rng.random() < 0.15:
        content = [{"type": "text", "text": content}, IMAGE]
    body = {"model": rng.choice(["t0", "t1", "t2", "t3", "nick", "direct", "a/m", "c/m"]), "user": f"u{rng.randint(1, 9)}",
            "messages": [{"role": "user", "content": content}], **rng.choice(EXTRAS), **rng.choice(EXTRAS)}  # fmt: skip
    if rng.random() < 0.3:
        body["metadata"] = {"tier": rng.choice(["gold", "tin"])}
    headers = {"x-tier": "1"} if rng.random() < 0.25 else {}
    return body, headers, rng.choice(["tests", "tests", "other"])


@pytest.fixture
async def upstreams() -> AsyncIterator[dict[str, Provider]]:
    async def chat(line: Line) -> None:
        await line.answer(200, ANSWER)

    async def claude(line: Line) -> None:
        await line.answer(200, MESSAGE)

    async with provider() as a, provider() as b, provider() as c:
        a.behave = b.behave = chat
        c.behave = claude
        yield {"a": a, "b": b, "c": c}


@pytest.mark.parametrize("seed", range(2))
async def test_who_is_asked_first_is_whom_explain_names(tmp_path: Path, upstreams: dict[str, Provider], seed: int) -> None:
    rng = random.Random(seed)
    folder = tmp_path / "policies"
    folder.mkdir()
    (folder / "gateway.yaml").write_text(written({name: one.url for name, one in upstreams.items()}, rng))
    asked = refused = skipped = 0
    async with gateway(tmp_path, folder) as served, httpx.AsyncClient(base_url=served.url, timeout=60) as http:
        login = await http.post("/admin/login", json={"key": ADMIN})
        token = {"x-csrf-token": login.json()["csrf"]}
        for number in range(60):
            body, headers, key = drawn(rng)
            said = await http.post("/admin/explain", json={"body": body, "headers": headers, "key": key}, headers=token)
            for one in upstreams.values():
                one.seen.clear()
            secret = OTHER if key == "other" else KEY
            told = await http.post("/v1/chat/completions", json=body, headers={"authorization": f"Bearer {secret}", **headers})
            first = next((name for name, one in upstreams.items() if one.seen), "")
            shown = said.json()
            where = (seed, number, body, headers, key, shown, told.text)
            if said.status_code != 200:
                assert (said.status_code, shown["error"]["code"]) == (told.status_code, told.json()["error"]["code"]), where
                refused += 1
            elif shown["error"]:
                assert not first and told.json()["error"]["message"] == shown["error"], where
                refused += 1
            else:
                likely = [one["candidate"] for one in shown["plan"] if not one["passed_over"]]
                by_latency = shown["policy"] in {"fast", "quick"}  # learnt from every answer, with a share for the others
                assert f"{first}/m" in (likely if by_latency else likely[:1]), where
                skipped += bool(shown["plan"][0]["passed_over"])
                assert told.status_code == 200, where
                asked += 1
    assert asked > 20 and refused > 3 and skipped > 2
