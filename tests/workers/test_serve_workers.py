"""``understudy serve --workers 2``: real processes, a real Redis, connections that fall where the kernel puts them."""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
from gateway_server import KEY, write_policies
from redis_server import RedisServer
from scripted import Line, provider, sse
from worker_house import ROOT, House, until

from gateway.storage.home import Home

BODY: dict[str, Any] = {"model": "triage", "messages": [{"role": "user", "content": "hi"}]}
LIMIT = 40


async def burst(house: House, count: int) -> Counter[int]:
    """So many calls at once, each on a connection of its own."""

    async def one() -> int:
        async with house.client() as client:
            return (await client.post("/v1/chat/completions", json=BODY)).status_code

    return Counter(await asyncio.gather(*(one() for _ in range(count))))


def calls_by_worker(house: House, status: str = 'status="ok"') -> Counter[str]:
    text = httpx.get(f"{house.url}/metrics", headers={"authorization": f"Bearer {KEY}"}).text
    found: Counter[str] = Counter()
    for line in text.splitlines():
        if line.startswith("understudy_calls_total{") and status in line:
            found[line.split('worker="')[1][0]] += int(float(line.split()[-1]))
    return found


async def test_limits_are_exact_then_shared_out_and_streams_are_drained(
    tmp_path: Path, redis_server: RedisServer, houses: list[House]
) -> None:
    gate = asyncio.Event()

    async def behave(line: Line) -> None:
        if line.seen.body.get("stream"):
            await gate.wait()
            await line.stream(sse())
        else:
            await line.answer()

    async with provider() as upstream:
        upstream.behave = behave
        limited = f"limits: {{projects: {{default: {{requests_per_minute: {LIMIT}}}}}}}"
        policies = write_policies(tmp_path / "p", {"first": upstream.url}, gateway=limited)
        house = House(tmp_path, policies, redis_server.url)
        houses.append(house)
        parent = await house.start()
        assert await burst(house, 80) == {200: LIMIT, 429: 80 - LIMIT}
        assert calls_by_worker(house).total() == LIMIT

        assert await burst(house, 20) == {429: 20}  # now each worker has seen the full window,
        while set(calls_by_worker(house, "status=")) != {"1", "2"}:  # however the kernel shared connections out
            assert await burst(house, 20) == {429: 20}
        redis_server.stop()  # and what it saw counts against its share
        during = await burst(house, 20)
        assert set(during) <= {200, 429} and during[200] <= 2
        redis_server.start()

        (policies / "gateway.yaml").write_text((policies / "gateway.yaml").read_text().replace(limited, ""))
        parent.send_signal(signal.SIGHUP)
        asked = len(upstream.seen)

        async def stream() -> str:
            async with house.client() as client:
                answer = await client.post("/v1/chat/completions", json={**BODY, "stream": True})
                return answer.text if answer.status_code == 200 else ""

        while True:  # until both workers have read the new policies
            if set(await burst(house, 12)) == {200}:
                break
            await asyncio.sleep(0.1)
        asked = len(upstream.seen)
        streams = [asyncio.create_task(stream()) for _ in range(8)]
        await until(lambda: len(upstream.seen) == asked + 8, "the streams did not begin")
        parent.send_signal(signal.SIGTERM)
        await asyncio.sleep(0.5)
        assert parent.poll() is None
        gate.set()
        assert all(text.rstrip().endswith("data: [DONE]") for text in await asyncio.gather(*streams))
        assert await asyncio.to_thread(parent.wait, 30) == 0


async def test_a_killed_worker_loses_nothing_that_was_answered_and_comes_back(
    tmp_path: Path, redis_server: RedisServer, houses: list[House]
) -> None:
    async with provider() as upstream:
        policies = write_policies(tmp_path / "p", {"first": upstream.url})
        house = House(tmp_path, policies, redis_server.url)
        houses.append(house)
        parent = await house.start(ingester=True)
        receipts: set[str] = set()
        statuses: Counter[int] = Counter()
        over = False

        async def load() -> None:
            while not over:
                with suppress(httpx.TransportError):  # the connections of the killed one break
                    async with house.client() as client:
                        for _ in range(5):
                            answer = await client.post("/v1/chat/completions", json=BODY)
                            statuses[answer.status_code] += 1
                            receipts.add(answer.json()["id"])

        working = [asyncio.create_task(load()) for _ in range(6)]
        for _ in range(5):
            await asyncio.sleep(0.2)
            parent.send_signal(signal.SIGHUP)
        assert set(statuses) == {200}
        before = house.workers()
        os.kill(before[0], signal.SIGKILL)
        killed = time.monotonic()
        await until(lambda: len(set(house.workers()) - set(before)) == 1, "no worker took its place")
        assert time.monotonic() - killed < 10
        taken = len(receipts)
        await until(lambda: len(receipts) > taken + 50, "the other worker does not serve")
        await until(lambda: house.serving() == 2, "the new worker does not serve", parent)
        over = True
        await asyncio.gather(*working)
        assert set(statuses) == {200}
        assert await asyncio.to_thread(house.stop) == [0, 0]
    with closing(sqlite3.connect(f"file:{house.home.database}?mode=ro", uri=True)) as database:
        ids = [row[0] for row in database.execute("select id from calls")]
    assert len(ids) == len(set(ids)) and receipts <= set(ids), (
        f"{len(receipts - set(ids))} answered calls are lost"
    )


async def test_row_25_a_request_whose_worker_was_killed_comes_again(
    tmp_path: Path, redis_server: RedisServer, houses: list[House]
) -> None:
    hang = asyncio.Event()

    async def never(line: Line) -> None:
        await hang.wait()

    key = {"idempotency-key": "k"}
    async with provider() as upstream:
        upstream.script = [never]
        policies = write_policies(
            tmp_path / "p", {"first": upstream.url},
            gateway="timeouts: {connect: 30, first_byte: 60, chunk_gap: 60, total: 90}\nidempotency: {wait_s: 60}",
        )  # fmt: skip
        house = House(tmp_path, policies, redis_server.url)
        houses.append(house)
        await house.start()
        before = house.workers()
        async with house.client() as client:
            asking = asyncio.create_task(client.post("/v1/chat/completions", json=BODY, headers=key))
            await until(lambda: len(upstream.seen) == 1, "nobody was asked")
            for one in before:
                os.kill(one, signal.SIGKILL)
            with pytest.raises(httpx.TransportError):
                await asking
        await until(lambda: not set(house.workers()) & set(before) and house.serving() == 2, "no worker is back")
        answers = []
        for _ in range(6):  # the first waits until nobody holds the claim of the killed one any more
            async with house.client() as client:
                answers.append(await client.post("/v1/chat/completions", json=BODY, headers=key))
        assert {one.status_code for one in answers} == {200}, answers[0].text
        assert len({one.content for one in answers}) == 1
        assert len(upstream.seen) == 2
        hang.set()


def test_workers_that_cannot_start_are_given_up() -> None:
    failing = [sys.executable, "-c", "print('the reason', flush=True); raise SystemExit(1)"]
    parent = f"import sys; from gateway.processes.workers import Workers; sys.exit(Workers(2, {failing!r}, 1.0).run())"
    done = subprocess.run(
        [sys.executable, "-c", parent], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 1 and done.stdout.count("the reason") >= 6
    assert "ended with status 1; it starts again" in done.stderr


def test_a_malformed_spool_key_is_told_in_one_line(tmp_path: Path) -> None:
    policies = write_policies(tmp_path / "p", {"first": "http://127.0.0.1:9"})
    home = Home(tmp_path / "home").prepare()
    (home.secrets / "spool.key").write_text("not a key")
    command = [sys.executable, "-m", "gateway.server", "--policies", str(policies), "--home", str(home.root)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert "secrets/spool.key must be 32 bytes" in done.stderr.splitlines()[-1]
