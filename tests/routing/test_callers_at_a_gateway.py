"""Sticky callers and rules of every kind, as a running gateway applies them to what clients send."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from gateway_server import KEY, gateway, write_policies
from scripted import provider

OTHER = "a-key-of-the-lab-000001"


def routing(now: float) -> str:
    """A rule of each kind leads to ``b``; the span of one is now, that of another is over."""

    def clock(at: float) -> str:
        return datetime.fromtimestamp(at, UTC).strftime("%H:%M")

    hour = 3600
    current = f"{{start: '{clock(now - 2 * hour)}', end: '{clock(now + 2 * hour)}'}}"
    over = f"{{start: '{clock(now - 6 * hour)}', end: '{clock(now - 3 * hour)}'}}"
    tasks = {
        "by-key": "{key: [other]}", "by-project": "{project: [lab]}", "by-tokens": "{min_tokens: 500}",
        "by-time": current, "too-late": over, "by-header": "{header: {x-team: ml}}", "by-metadata": "{metadata: {tier: gold}}",
    }  # fmt: skip
    found = "tasks:\n"
    for name, when in tasks.items():
        found += f"  - name: {name}\n    candidates: [{{provider: a, model: m}}]\n    rules: [{{when: {when}, policy: to-b}}]\n"
    for name in ("user", "conversation"):
        found += f"  - {{name: per-{name}, policy: per-{name}}}\n"
    found += "policies:\n  - {name: to-b, candidates: [{provider: b, model: m}]}\n"
    both = "candidates: [{provider: a, model: m}, {provider: b, model: m}]"
    for name in ("user", "conversation"):
        found += f"  - {{name: per-{name}, strategy: weighted, sticky: {name}, {both}}}\n"
    return found


class House:
    def __init__(self, http: httpx.AsyncClient) -> None:
        self.http = http

    async def answered_by(self, model: str, *turns: str, key: str = KEY, **more: Any) -> str:
        """Which provider answered; turns are the user's and the assistant's, one after the other."""
        messages = [{"role": ("user", "assistant")[at % 2], "content": text} for at, text in enumerate(turns or ("hello",))]
        headers = {"authorization": f"Bearer {key}", **more.pop("headers", {})}
        body = {"model": model, "messages": messages, **more}
        answer = await self.http.post("/v1/chat/completions", json=body, headers=headers)
        assert answer.status_code == 200, answer.text
        return answer.headers["x-understudy-candidate"].partition("/")[0]


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    async with provider() as a, provider() as b:
        folder = write_policies(tmp_path / "policies", {"a": a.url, "b": b.url})
        (folder / "routing.yaml").write_text(routing(time.time()))
        settings = folder / "gateway.yaml"
        keys = f"keys: [{{name: tests, key: {KEY}, project: default}}"
        settings.write_text(settings.read_text().replace(keys, f"{keys}, {{name: other, key: {OTHER}, project: lab}}"))
        async with gateway(tmp_path, folder) as served, httpx.AsyncClient(base_url=served.url, timeout=30) as http:
            yield House(http)


async def test_a_user_stays_at_one_candidate_over_conversations_keys_apart(house: House) -> None:
    found: dict[str, set[str]] = {}
    for name in [f"user-{number}" for number in range(12)]:
        for words in ("hello", "something else", "and more"):
            found.setdefault(name, set()).add(await house.answered_by("per-user", words, user=name))
    assert all(len(one) == 1 for one in found.values())
    assert set.union(*found.values()) == {"a", "b"}  # 1 in 2,048 that twelve users meet at one; the hash is fixed
    # Whoever says nothing of its user is drawn for each call.
    assert {await house.answered_by("per-user", "hello") for _ in range(30)} == {"a", "b"}


async def test_a_conversation_stays_at_one_candidate_as_it_grows(house: House) -> None:
    first: dict[str, str] = {}
    for topic in [f"topic {number}" for number in range(12)]:
        first[topic] = await house.answered_by("per-conversation", topic, user="one")
        assert await house.answered_by("per-conversation", topic, "yes?", "more", user="one") == first[topic]
        assert await house.answered_by("per-conversation", topic, "yes?", "more", "so?", "end", user="two") == first[topic]
    assert set(first.values()) == {"a", "b"}


async def test_every_kind_of_rule_looks_at_what_was_sent(house: House) -> None:
    long = "word " * 600
    for model, fits, others in [
        ("by-key", {"key": OTHER}, {}),
        ("by-project", {"key": OTHER}, {}),
        ("by-header", {"headers": {"X-Team": "ml"}}, {"headers": {"X-Team": "ops"}}),
        ("by-metadata", {"metadata": {"tier": "gold"}}, {"metadata": {"tier": "tin"}}),
    ]:
        assert await house.answered_by(model, **fits) == "b", model
        assert await house.answered_by(model, **others) == "a", model
    assert (await house.answered_by("by-tokens", long), await house.answered_by("by-tokens")) == ("b", "a")
    assert (await house.answered_by("by-time"), await house.answered_by("too-late")) == ("b", "a")
