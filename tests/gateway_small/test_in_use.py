"""What calls hold is shown while they hold it and is 0 afterwards, whatever their end was."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import httpx
from gateway_server import ADMIN, KEY, gateway, write_policies
from scripted import COMPLETION, Line, provider


async def in_use(client: httpx.AsyncClient) -> dict[str, float]:
    text = (await client.get("/metrics", headers={"authorization": f"Bearer {ADMIN}"})).text
    return {what: float(count) for what, count in re.findall(r'understudy_in_use\{what="(\w+)"\} (\S+)', text)}


async def test_what_is_taken_is_shown_and_given_back(tmp_path: Path) -> None:
    go = asyncio.Event()

    async def slowly(line: Line) -> None:
        await go.wait()
        await line.answer(body=COMPLETION)

    async with provider() as first:
        first.behave = slowly
        policies = write_policies(tmp_path / "policies", {"first": first.url}, gateway="limits: {projects: {default: {concurrency: 9}}}")
        async with gateway(tmp_path, policies) as served, httpx.AsyncClient(
            base_url=served.url, headers={"authorization": f"Bearer {KEY}"}, timeout=30
        ) as client:  # fmt: skip
            body = {"model": "triage", "messages": [{"role": "user", "content": "hi"}]}
            call = asyncio.create_task(client.post("/v1/chat/completions", json=body, headers={"idempotency-key": "a"}))
            while not first.seen:
                await asyncio.sleep(0.01)
            held = await in_use(client)
            one = ("requests", "calls", "reservations", "provider_places", "provider_connections", "repeats")
            assert {what for what, count in held.items() if count == 1} == set(one)
            go.set()
            assert (await call).status_code == 200
            held = await in_use(client)
    assert set(held) >= {*one, "provider_queue", "provider_keys", "answers"}
    assert not any(held.values())
