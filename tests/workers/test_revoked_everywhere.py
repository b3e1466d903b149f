"""Row 45 over several workers: a key that is revoked is refused by each of them, with Redis and without it."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections import Counter
from contextlib import closing
from pathlib import Path

import httpx
from gateway_server import write_policies
from migrated import migrated
from redis_server import RedisServer
from scripted import provider
from worker_house import ROOT, House

from gateway.access.keys import digest_of, new_key
from gateway.storage.commands import CreateKey
from gateway.storage.values import Key
from gateway.storage.writing.writers import open_writer

BODY = {"model": "triage", "messages": [{"role": "user", "content": "hi"}]}
CONNECTIONS = 20
"""The kernel shares them out among the workers: that all of them meet the same one does not happen."""


def made(house: House, name: str) -> str:
    key = new_key("inference")
    row = Key(f"key_{name}", name, "default", digest_of(key.text), key.hint, ("inference",), (), None, 1.0, None, None)
    with closing(open_writer(house.home)) as writer:
        writer.execute(CreateKey(row, "admin"))
    return key.text


async def revoked(house: House, name: str) -> None:
    """By a process of its own."""
    command = [sys.executable, "-m", "gateway.cli", "keys", "revoke", name, "--home", str(house.home.root)]
    await asyncio.to_thread(
        subprocess.run, command, cwd=ROOT, env=house.env, capture_output=True, timeout=120, check=True
    )


async def statuses(house: House, key: str) -> Counter[int]:
    """Of one call each on connections of their own."""

    async with house.client(limits=httpx.Limits(max_keepalive_connections=0)) as client:
        headers = {"authorization": f"Bearer {key}"}
        calls = [client.post("/v1/chat/completions", json=BODY, headers=headers) for _ in range(CONNECTIONS)]
        return Counter(answer.status_code for answer in await asyncio.gather(*calls))


async def becomes(house: House, key: str, status: int) -> None:
    """Within the half minute that is promised without Redis; once all say so nobody says otherwise."""
    async with asyncio.timeout(30):
        while set(await statuses(house, key)) != {status}:
            await asyncio.sleep(0.05)
    assert await statuses(house, key) == {status: CONNECTIONS}


async def test_row_45_a_key_revoked_anywhere_is_refused_by_every_worker(
    tmp_path: Path, redis_server: RedisServer, houses: list[House]
) -> None:
    async with provider() as upstream:
        policies = write_policies(tmp_path / "p", {"first": upstream.url})
        house = House(tmp_path, policies, redis_server.url)
        houses.append(house)
        migrated(house.home)
        first, second, third = [made(house, name) for name in "abc"]
        await house.start(2)
        for key in (first, second, third):
            await becomes(house, key, 200)

        await revoked(house, "a")
        await becomes(house, first, 401)
        assert set(await statuses(house, second)) == {200}, "the others are not touched"

        redis_server.stop()
        await revoked(house, "b")
        await becomes(house, second, 401)
        await becomes(house, third, 200)
