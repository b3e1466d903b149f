"""Keeps a gateway process busy for as long as wanted, with streams, clients that leave and providers that fail, and
looks at what grows.

    python -m benchmarks.soak --minutes 60 [--rate 50] [--seed 0] [--json]

The gateway and its ingester are the real processes. Before the load and after it, with all clients gone and the
providers' connections closed, the gateway must have as many file descriptors and as many tasks as before, and hold
nothing (``understudy_in_use``). Its memory is looked at every second: the median of the last fifth may be at most 5 %
above that of the second fifth (the first one is warming up). What is kept of ended calls grows up to its bounds in any
gateway, which takes hours at the usual ones; ``--keep-kib`` makes those of the caches so small that they are full soon,
and ``kept`` in the summary is how much there was in the end. No client may meet what the simulator's judge forbids,
and one whose providers are well in the script gets its answer. Exit codes: 0 all of that held, 1 something did not.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

import httpx

from benchmarks.faultproxy import FaultProxy, faultproxy
from benchmarks.scripted import Provider, provider
from benchmarks.simulator.clients import Got, ask
from benchmarks.simulator.policies import write_policies
from benchmarks.simulator.providers import Actor
from benchmarks.simulator.script import PROVIDERS, WELL, Step, script_of, step_of
from benchmarks.simulator.verdict import told_wrong

ADMIN = "ak-us-soak-0Jw9rXq7LmP2vTz8wQ4n"
_GROWTH, _SLACK_MIB = 1.05, 2.0
_REST_S = 90.0
_KEEP_KIB = 512
_ROUGH = 0.15
"""How often a provider fails at a try."""
_WARM = 10_000_000
"""The number of the first request of the warming up."""
_EXCUSED = (429, 503)
"""Budgets, places and breakers refuse well requests, too: the project ``poor`` is poor, and faults open breakers."""


@dataclass
class Seen:
    """What a soak saw."""

    asked: int = 0
    statuses: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    rss_mib: list[float] = field(default_factory=list)
    before: dict[str, float] = field(default_factory=dict)
    after: dict[str, float] = field(default_factory=dict)
    kept: dict[str, float] = field(default_factory=dict)

    def judged(self) -> list[str]:
        found = list(self.wrong)
        found += [
            f"{what}: {count:g} at rest afterwards, {self.before[what]:g} before"
            for what, count in self.after.items()
            if count > self.before[what]
        ]
        fifth = max(1, len(self.rss_mib) // 5)
        early, late = median(self.rss_mib[fifth : 2 * fifth] or [0.0]), median(self.rss_mib[-fifth:] or [0.0])
        if late > early * _GROWTH + _SLACK_MIB:
            found.append(f"resident memory grew from {early:.1f} to {late:.1f} MiB")
        return found

    def summary(self) -> dict[str, object]:
        fifth = max(1, len(self.rss_mib) // 5)
        return {
            "asked": self.asked, "statuses": dict(self.statuses), "wrong": self.judged()[:20],
            "rss_mib": {"second fifth": round(median(self.rss_mib[fifth : 2 * fifth] or [0.0]), 1),
                        "last fifth": round(median(self.rss_mib[-fifth:] or [0.0]), 1)},
            "before": self.before, "after": self.after, "kept_bytes": self.kept,
        }  # fmt: skip


class Processes:
    """The gateway and its ingester, over a home of their own."""

    def __init__(self, folder: Path, policies: Path, **more: str) -> None:
        """``more``: of the environment."""
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self._env = {
            "UNDERSTUDY_ADMIN_KEY": ADMIN, "PATH": "/usr/bin:/bin", "UNDERSTUDY_HOME": str(folder / "home"), **more
        }  # fmt: skip
        self._gateway = ["gateway.server", "--policies", str(policies), "--port", str(self.port)]
        self._log = (folder / "log").open("ab")
        self._all = [self._started(["gateway.storage.spooling.ingester"])]
        self.start_gateway()

    def _started(self, words: list[str]) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, "-m", *words], env=self._env, stdout=self._log, stderr=self._log
        )

    def start_gateway(self) -> None:
        self._all.append(self._started(self._gateway))
        self.gateway = Path(f"/proc/{self._all[-1].pid}")

    def kill_gateway(self) -> None:
        """Without a word of warning."""
        process = self._all.pop()
        process.kill()
        process.wait()

    def rss_mib(self) -> float:
        found = re.search(r"VmRSS:\s+(\d+)", (self.gateway / "status").read_text())
        return int(found.group(1)) / 1024 if found else 0.0

    def files(self) -> int:
        return sum(1 for _ in (self.gateway / "fd").iterdir())

    def stop(self) -> None:
        for process in reversed(self._all):
            process.terminate()
        for process in reversed(self._all):
            process.wait(60)
        self._log.close()


async def soak(seconds: float, rate: float, seed: int, keep_kib: int = _KEEP_KIB) -> Seen:
    """Asks ``rate`` times a second for so long. ``keep_kib``: the bound of each cache."""
    seen = Seen()
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="understudy-soak-")))
        proxies: list[FaultProxy] = []
        for name in PROVIDERS:
            made = await stack.enter_async_context(provider())
            made.behave = _actor(made, seed, name)
            proxies.append(await stack.enter_async_context(faultproxy(made.port)))
        quiet = script_of(seed)
        urls = {name: one.url for name, one in zip(PROVIDERS, proxies, strict=True)}
        policies = write_policies(folder / "policies", quiet, urls, keep_kib * 1024)
        processes = Processes(folder, policies)
        stack.callback(processes.stop)
        client = await stack.enter_async_context(httpx.AsyncClient(
            base_url=f"http://127.0.0.1:{processes.port}", headers={"authorization": f"Bearer {ADMIN}"}, timeout=30
        ))  # fmt: skip
        await _ready(client)
        await _load(processes, seen, min(5.0, seconds), rate, seed, first=_WARM)  # what is made once is made now
        seen.before = await _at_rest(client, processes, proxies)
        seen.asked, seen.statuses, seen.rss_mib, seen.wrong = 0, Counter(), [], []
        await _load(processes, seen, seconds, rate, seed)
        seen.after = await _at_rest(client, processes, proxies, seen.before)
        told = re.findall(r'understudy_kept_bytes\{what="(\w+)"\} (\S+)', (await client.get("/metrics")).text)
        seen.kept = {what: float(size) for what, size in told}
    return seen


def _actor(made: Provider, seed: int, name: str) -> Actor:
    def plan(number: int) -> tuple[str, ...]:
        return step_of(seed, number, _ROUGH).answers[name] if number >= 0 else ()

    return Actor(plan, lambda _: made.seen.clear())  # nobody asks what it saw an hour ago


async def _load(
    processes: Processes, seen: Seen, seconds: float, rate: float, seed: int, first: int = 0
) -> None:  # fmt: skip
    began, calls, looked = time.monotonic(), set[asyncio.Task[None]](), 0.0
    number = 0
    while (now := time.monotonic()) - began < seconds:
        if now - looked >= 1.0:
            looked = now
            seen.rss_mib.append(processes.rss_mib())
        step = step_of(seed, first + number, _ROUGH)
        call = asyncio.create_task(_one(processes.port, step, seen))
        calls.add(call)
        call.add_done_callback(calls.discard)
        number += 1
        await asyncio.sleep(max(0.0, began + number / rate - time.monotonic()))
    await asyncio.gather(*calls)


async def _one(port: int, step: Step, seen: Seen) -> None:
    got = await ask(port, step)
    seen.asked += 1
    seen.statuses["left" if got.left else str(got.status)] += 1
    if len(seen.wrong) < 1000:
        seen.wrong += [f"request {step.number} ({step.route}): {what}" for what in told_wrong(got)]
    if _unexplained(got):
        seen.wrong.append(f"request {step.number} ({step.route}) of well providers got {got.status}: {got.text[:200]}")


def _unexplained(got: Got) -> bool:
    well = all(one in WELL for tries in got.step.answers.values() for one in tries)
    return well and not got.left and got.complete and got.status != 200 and got.status not in _EXCUSED


async def _ready(client: httpx.AsyncClient) -> None:
    async with asyncio.timeout(300):
        while True:
            try:
                if (await client.get("/readyz")).status_code == 200:
                    return
            except httpx.TransportError:
                pass
            await asyncio.sleep(0.1)


async def _at_rest(
    client: httpx.AsyncClient, processes: Processes, proxies: Sequence[FaultProxy],
    wanted: dict[str, float] | None = None,
) -> dict[str, float]:  # fmt: skip
    """What the gateway holds with nobody there: once it is no more than ``wanted``, or when patience ends."""
    until, found = time.monotonic() + _REST_S, dict[str, float]()
    while time.monotonic() < until:
        for proxy in proxies:  # its idle connections to providers go
            await proxy.refuse()
            await proxy.start()
        await asyncio.sleep(0.3)
        text = (await client.get("/metrics")).text
        held = {what: float(count) for what, count in re.findall(r'understudy_in_use\{what="(\w+)"\} (\S+)', text)}
        tasks = re.search(r"^understudy_tasks (\S+)", text, re.MULTILINE)
        found = {**held, "files": float(processes.files()), "tasks": float(tasks.group(1)) if tasks else -1.0}
        calm = not any(held.values()) if wanted is None else all(found[what] <= wanted[what] for what in wanted)
        if calm:
            break
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak", description="A gateway kept busy.")
    parser.add_argument("--minutes", type=float, default=60.0, help="how long (default 60)")
    parser.add_argument("--rate", type=float, default=50.0, help="requests a second (default 50)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep-kib", type=int, default=_KEEP_KIB, help=f"each cache's (default {_KEEP_KIB})")
    parser.add_argument("--json", action="store_true", help="print what was seen as JSON")
    options = parser.parse_args(arguments)
    seen = asyncio.run(soak(options.minutes * 60, options.rate, options.seed, options.keep_kib))
    print(json.dumps(seen.summary(), indent=None if options.json else 1))
    return 1 if seen.judged() else 0


if __name__ == "__main__":
    sys.exit(main())
