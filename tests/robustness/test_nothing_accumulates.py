"""What a gateway keeps of calls that have ended is bounded: as many calls again leave no more behind.

Counted are what Python's allocator has given out and what each table holds; not the process's memory, which depends on
the machine. Everything a stranger or a client can make up is new in each call: keys, models, users, texts, headers.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import re
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from gateway_server import ADMIN, KEY, Gateway, gateway, write_policies
from scripted import Line, provider, usual

from gateway.client_data.client_state import ClientStates
from gateway.storage.recent import RecentCalls

FEW, WARM, ROUNDS, KINDS = 20, 60, 200, 10
"""Calls and documents kept; rounds of requests, each of which has one of every kind."""
STRANGERS, LRU = 250, 130
"""Requests of each kind that is refused; libraries remember the last 128 addresses, whatever comes."""
BOUNDS = "cache: {enabled: true, max_bytes: 16384}\nidempotency: {max_bytes: 16384}\n"
ROUGH = "  - {name: rough, candidates: [{provider: second, model: m}]}\n"
CHAT = "/v1/chat/completions"


@pytest.fixture
async def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Gateway]:
    monkeypatch.setattr(RecentCalls.__init__, "__defaults__", (FEW, 2**20, lambda: None))
    monkeypatch.setitem(ClientStates.__init__.__kwdefaults__, "max_count", FEW)
    logging.disable()  # pytest keeps whatever is logged
    async with provider() as well, provider() as ill:

        async def fails(line: Line) -> None:
            ill.seen.clear()
            await line.answer(500, {})

        async def answers(line: Line) -> None:
            well.seen.clear()
            await (line.hang() if "leaves" in str(line.seen.body) else usual(line))

        ill.behave, well.behave = fails, answers
        urls = {"first": well.url, "second": ill.url}
        policies = write_policies(tmp_path / "policies", urls, extra=ROUGH, gateway=BOUNDS)
        (policies / "routing.yaml").write_text(
            (policies / "routing.yaml").read_text().replace(", {provider: second, model: m}]", "]", 1)
        )
        async with gateway(tmp_path, policies) as made:
            yield made
    logging.disable(logging.NOTSET)


def chat(number: int, model: str = "triage", text: str = "hello", **more: object) -> dict[str, object]:
    messages = [{"role": "user", "content": f"{text} {number}"}]
    return {"model": model, "user": f"user {number}", "messages": messages, **more}


async def a_round(client: httpx.AsyncClient, number: int) -> None:
    """One request of every kind, each unlike all before."""
    mine = {"idempotency-key": f"key {number}", "x-understudy-session": f"session {number}"}
    for path, body, headers, statuses in (
        (CHAT, chat(number, text="once"), mine, {200}),
        (CHAT, chat(number, metadata={f"name {number}": f"value {number}"}), {"user-agent": f"agent/{number}"}, {200}),
        (CHAT, chat(number, stream=True, temperature=0), {}, {200}),
        (CHAT, chat(number, model=f"model-{number}"), {}, {404}),
        (CHAT, chat(number), {"authorization": f"Bearer sk-us-made-up-{number}"}, {401}),
        (CHAT, chat(number, model="rough"), {}, {502, 503}),
        (CHAT, chat(number, temperature=f"warm {number}"), {}, {400}),
        (f"/v1/nothing/{number}", {}, {}, {404}),
        ("/v1/responses", {"model": "triage", "input": f"hello {number}", "user": f"user {number}"}, {}, {200}),
    ):
        answer = await client.post(path, json=body, headers=headers)
        assert answer.status_code in statuses, (path, answer.status_code, answer.text)
    with pytest.raises(httpx.ReadTimeout):
        await client.post(CHAT, json=chat(number, text="leaves"), timeout=httpx.Timeout(30, read=0.02))


async def at_rest(client: httpx.AsyncClient) -> tuple[int, dict[str, float]]:
    """(blocks that Python has given out, entries by what is kept) once nothing is under way."""
    while True:
        text = (await client.get("/metrics", headers={"authorization": f"Bearer {ADMIN}"})).text
        if not any(float(count) for count in re.findall(r"understudy_in_use\{.*\} (\S+)", text)):
            break
        await asyncio.sleep(0.02)
    gc.collect()
    found = re.findall(r'understudy_kept\{what="(\w+)"\} (\S+)', text)
    return sys.getallocatedblocks(), {what: float(count) for what, count in found}


async def test_as_many_calls_again_leave_no_more_behind(served: Gateway) -> None:
    """Less than a block for each request: whatever is kept of one is several. There are so many that the pools which are
    filled now and then (random bytes, windows of latencies) count for little."""
    bearer = {"authorization": f"Bearer {KEY}"}
    async with httpx.AsyncClient(base_url=served.url, headers=bearer, timeout=30) as client:
        for number in range(LRU):
            await client.get(f"/v1/something/{number}")
        for number in range(WARM):
            await a_round(client, number)
        blocks, kept = await at_rest(client)
        assert kept["calls"] == kept["documents"] == FEW and min(kept[one] for one in ("answers", "repeats")) > 5
        for number in range(ROUNDS):
            await a_round(client, WARM + number)
        more, still = await at_rest(client)
        assert kept == still
        assert more - blocks < KINDS * ROUNDS, f"{more - blocks} blocks more after {KINDS * ROUNDS} requests"


async def test_nothing_is_kept_of_what_strangers_make_up(served: Gateway) -> None:
    async def stranger(client: httpx.AsyncClient, kind: str, number: int) -> int:
        if kind == "path":
            return (await client.get(f"/v1/something/{number}")).status_code
        headers = {"authorization": f"Bearer sk-us-made-up-{number}" if kind == "key" else f"Bearer {KEY}"}
        body = chat(number, model=f"model-{number}") if kind == "model" else chat(number, temperature=f"warm {number}")
        return (await client.post(CHAT, json=body, headers=headers)).status_code

    async with httpx.AsyncClient(base_url=served.url, timeout=30) as client:
        for kind, status in (("path", 404), ("key", 401), ("model", 404), ("field", 400)):
            for number in range(LRU):
                assert await stranger(client, kind, number) == status
            blocks, _ = await at_rest(client)
            for number in range(LRU, LRU + STRANGERS):
                await stranger(client, kind, number)
            more, _ = await at_rest(client)
            assert more - blocks < STRANGERS, f"{more - blocks} blocks more after {STRANGERS} made-up {kind}s"
