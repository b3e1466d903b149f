"""Row 45 over several workers: a key that is revoked is refused by each of them, with Redis and without it."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from gateway_server import write_policies
from redis_server import RedisServer
from scripted import provider
from worker_house import ROOT, House, until

BODY = {"model": "triage", "messages": [{"role": "user", "content": "hi"}]}
CONNECTIONS = 20
"""The kernel shares them out among the workers: that all of them meet the same one does not happen."""


@pytest.fixture
def houses() -> Iterator[list[House]]:
    made: list[House] = []
    yield made
    for one in made:
        one.end()


async def command(house: House, *words: str) -> str:
    def run() -> str:
        environment = {**house.env, "UNDERSTUDY_HOME": str(house.home.root)}
        done = subprocess.run(
            [sys.executable, "-m", "gateway.cli", "keys", *words],
            cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120, check=True,
        )  # fmt: skip
        return done.stdout.splitlines()[0]

    return await asyncio.to_thread(run)


async def statuses(house: House, key: str) -> Counter[int]:
    """Of one call each on connections of their own."""

    async def one() -> int:
        async with httpx.AsyncClient(base_url=house.url, timeout=120) as client:
            headers = {"authorization": f"Bearer {key}"}
            return (await client.post("/v1/chat/completions", json=BODY, headers=headers)).status_code

    return Counter(await asyncio.gather(*(one() for _ in range(CONNECTIONS))))


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
        await house.start(2, ingester=True)
        first, second, third = [await command(house, "create", name, "--unlimited") for name in ("a", "b", "c")]
        for key in (first, second, third):
            await becomes(house, key, 200)

        await command(house, "revoke", "a")
        await becomes(house, first, 401)
        assert set(await statuses(house, second)) == {200}, "the others are not touched"

        redis_server.stop()
        await command(house, "revoke", "b")
        await becomes(house, second, 401)
        await becomes(house, third, 200)

        workers = house.workers()
        for worker in workers:  # those that come after them know it, too
            os.kill(worker, signal.SIGKILL)
        await until(lambda: len(set(house.workers()) - set(workers)) == 2, "they never came back")
        await until(lambda: answers(house), "they do not answer")
        await becomes(house, third, 200)
        for key in (first, second):
            assert await statuses(house, key) == {401: CONNECTIONS}


def answers(house: House) -> bool:
    try:
        return httpx.get(f"{house.url}/readyz").status_code == 200
    except httpx.TransportError:
        return False
