"""kill -9 of any process at any moment: what was answered is neither lost nor doubled, and work carries on."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import aiohttp
import pytest
from free_ports import free_port

from benchmarks.simulation.prompt import TASK, messages
from benchmarks.simulation.tickets import ticket

ROOT = Path(__file__).resolve().parents[2]
VICTIMS = ("gateway.server", "gateway.storage.spooling.ingester", "trainer.worker", "trainer.engines.classifier")
TIMES, ANSWERED = 14, 15  # kills, and how many calls are answered between two of them
ADMIN = "ak-us-tests-0Jw9rXq7LmP2vTz8"


def pids(module: str, home: Path) -> list[int]:
    """The processes running ``-m module`` on this home."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            words = (entry / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if words[1:3] == [b"-m", module.encode()] and str(home).encode() in words:
            found.append(int(entry.name))
    return found


class House:
    """``understudy up`` on the demo's policies with a simulated teacher, and a client that keeps receipts."""

    def __init__(self, tmp: Path) -> None:
        self.home, self.port, teacher = tmp / "home", free_port(), free_port()
        self.env = {
            **os.environ,
            "UNDERSTUDY_SIMULATED_TEACHER_URL": f"http://127.0.0.1:{teacher}/v1",
            "UNDERSTUDY_ADMIN_KEY": ADMIN,
        }
        self.receipts: set[str] = set()
        self.failures = 0
        teaching = ["-m", "benchmarks.simulation.teacher", "--port", str(teacher), "--compression", "100"]
        self.teacher = subprocess.Popen([sys.executable, *teaching], cwd=ROOT, stdout=subprocess.DEVNULL)
        self.up: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        command = [
            "-m",
            "gateway.cli",
            "up",
            "--policies",
            str(ROOT / "policies/demo"),
            "--home",
            str(self.home),
        ]
        out = (self.home.parent / "up.log").open("ab")
        self.up = subprocess.Popen(
            [sys.executable, *command, "--port", str(self.port)],
            cwd=ROOT,
            env=self.env,
            stdout=out,
            stderr=out,
        )
        out.close()
        asyncio.run(self.ready())

    def stop(self) -> int:
        assert self.up is not None
        self.up.send_signal(signal.SIGTERM)
        return self.up.wait(40)

    def key(self) -> str:
        command = ["keys", "create", "--name", "e2e", "--project", "default", "--rpm", "unlimited"]
        done = subprocess.run(
            [sys.executable, "-m", "gateway.cli", *command, "--expires", "never", "--home", str(self.home)],
            cwd=ROOT, env=self.env, capture_output=True, text=True, check=True,
        )  # fmt: skip
        return next(word for word in done.stdout.split() if word.startswith("sk-us-"))

    async def ready(self) -> None:
        until = time.monotonic() + 60
        async with aiohttp.ClientSession() as session:
            while time.monotonic() < until:
                try:
                    async with session.get(f"http://127.0.0.1:{self.port}/readyz") as answer:
                        if answer.status == 200:
                            return
                except aiohttp.ClientError:
                    pass
                await asyncio.sleep(0.1)
        pytest.fail("the gateway did not become ready")

    def served(self, key: str) -> None:
        """Some more calls are answered."""
        wanted, until = len(self.receipts) + ANSWERED, time.monotonic() + 120
        asyncio.run(self.traffic(key, lambda: len(self.receipts) >= wanted or time.monotonic() > until))
        assert len(self.receipts) >= wanted, f"{self.failures} failures"

    async def traffic(self, key: str, enough: Callable[[], bool]) -> None:
        async def one(session: aiohttp.ClientSession, number: int) -> None:
            while not enough():
                number += 8
                body = {"model": TASK, "messages": messages(ticket(5, number).text)}
                try:
                    async with session.post(
                        f"http://127.0.0.1:{self.port}/v1/chat/completions", json=body
                    ) as answer:
                        if answer.status == 200:
                            self.receipts.add((await answer.json())["id"])
                        else:
                            self.failures += 1
                except (aiohttp.ClientError, OSError):
                    self.failures += 1
                    await asyncio.sleep(0.05)

        async with aiohttp.ClientSession(headers={"authorization": f"Bearer {key}"}) as session:
            await asyncio.gather(*(one(session, worker) for worker in range(8)))

    def stored(self) -> tuple[list[str], int]:
        """The ids of the ledger's lines, and the number of calls in the roll-up beside it."""
        with closing(sqlite3.connect(f"file:{self.home / 'understudy.db'}?mode=ro", uri=True)) as database:
            ids = [row[0] for row in database.execute("select id from calls")]
            (rolled,) = database.execute("select sum(calls) from ledger_buckets").fetchone()
        return ids, rolled


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    made = House(tmp_path)
    try:
        yield made
    finally:
        for process in (made.up, made.teacher):
            if process is not None and process.poll() is None:
                process.send_signal(signal.SIGTERM)
                process.wait(40)


async def _murders(house: House, times: int, seed: int) -> None:
    """Kills one after the other, each when callers have been answered since the last."""
    rng, until = random.Random(seed), time.monotonic() + 300
    for killed in range(times):
        answered = len(house.receipts)
        await asyncio.sleep(rng.uniform(0.6, 1.4))
        while len(house.receipts) < answered + ANSWERED and time.monotonic() < until:
            await asyncio.sleep(0.05)
        for pid in pids(VICTIMS[killed % len(VICTIMS)], house.home):
            os.kill(pid, signal.SIGKILL)


def test_nothing_answered_is_lost_or_doubled(house: House) -> None:
    house.start()
    key = house.key()

    async def under_fire() -> None:
        enough = asyncio.Event()
        traffic = asyncio.create_task(house.traffic(key, enough.is_set))
        await _murders(house, TIMES, seed=1)
        enough.set()
        await traffic

    asyncio.run(under_fire())
    assert len(house.receipts) >= TIMES * ANSWERED, f"{house.failures} failures"
    assert house.stop() == 0

    house.start()  # the next start carries on with the same key, and takes up whatever still lay in the spool
    house.served(key)
    assert house.stop() == 0
    ids, rolled = house.stored()
    assert len(ids) == len(set(ids))
    assert house.receipts <= set(ids), f"{len(house.receipts - set(ids))} answered calls are lost"
    assert rolled == len(ids)


def test_the_house_dies_with_its_supervisor_and_wakes_up_again(house: House) -> None:
    house.start()
    key = house.key()
    house.served(key)
    assert house.up is not None
    house.up.kill()
    house.up.wait(60)
    until = time.monotonic() + 90
    while any(pids(module, house.home) for module in VICTIMS) and time.monotonic() < until:
        time.sleep(0.05)
    assert not any(pids(module, house.home) for module in VICTIMS)
    house.start()
    house.served(key)
    assert house.stop() == 0
    ids, rolled = house.stored()
    assert house.receipts <= set(ids)
    assert rolled == len(ids) == len(set(ids))
