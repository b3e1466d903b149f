"""A real gateway and ingester over scripted providers, for one measure."""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import aiohttp

from benchmarks.faultproxy import FaultProxy, faultproxy
from benchmarks.scripted import Provider, provider
from benchmarks.soak import Processes

KEY = "targets-9Qm2Vx7Lr4Tz8Wp1"
TURNS: list[dict[str, str]] = [{"role": "user", "content": "hi"}]
_LOOK_S = 0.02


@dataclass
class House:
    """``a`` stands behind a proxy that can be made to fail, ``b`` is asked after it by the model ``both``."""

    folder: Path
    processes: Processes
    session: aiohttp.ClientSession
    a: Provider
    b: Provider
    before_a: FaultProxy

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.processes.port}"

    async def ask(self, model: str, **more: Any) -> tuple[int, float, str]:
        """(status, seconds, id) of a whole chat call; status 0 when the connection broke."""
        began = time.perf_counter()
        try:
            async with self.session.post(
                f"{self.url}/v1/chat/completions", json={"model": model, "messages": TURNS, **more}
            ) as answer:
                await answer.read()
                return answer.status, time.perf_counter() - began, answer.headers.get("x-understudy-call-id", "")
        except (aiohttp.ClientError, OSError):
            return 0, time.perf_counter() - began, ""

    async def ready(self) -> float:
        """Seconds until it says that it can serve."""
        began = time.perf_counter()
        async with asyncio.timeout(300):
            while True:
                try:
                    async with self.session.get(f"{self.url}/readyz") as answer:
                        if answer.status == 200:
                            return time.perf_counter() - began
                except (aiohttp.ClientError, OSError):
                    pass
                await asyncio.sleep(_LOOK_S)

    def cpu_s(self) -> float:
        """CPU seconds of the gateway so far."""
        fields = (self.processes.gateway / "stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@asynccontextmanager
async def house(settings: str = "", **env: str) -> AsyncIterator[House]:
    """``settings``: more of the policies."""
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="understudy-targets-")))
        a, b = [await stack.enter_async_context(provider()) for _ in range(2)]
        before_a = await stack.enter_async_context(faultproxy(a.port))
        _write(folder / "policies", before_a.url, b.url, settings)
        processes = Processes(folder, folder / "policies", **env)
        stack.push_async_callback(asyncio.to_thread, processes.stop)  # a proxy before the database runs in this loop
        session = await stack.enter_async_context(aiohttp.ClientSession(
            headers={"authorization": f"Bearer {KEY}"}, connector=aiohttp.TCPConnector(limit=0),
            timeout=aiohttp.ClientTimeout(120), trust_env=False,
        ))  # fmt: skip
        made = House(folder, processes, session, a, b, before_a)
        await made.ready()
        yield made


def _write(folder: Path, a: str, b: str, settings: str) -> None:
    folder.mkdir()
    price = "{m: {input: 1.0, output: 10.0, as_of: '2026-01-01', source: targets}}"
    (folder / "all.yaml").write_text(
        "providers:\n"
        f'  a: {{type: openai, base_url: "{a}", api_key: sk-upstream-a}}\n'
        f'  b: {{type: openai, base_url: "{b}", api_key: sk-upstream-b}}\n'
        f"prices: {{a: {price}, b: {price}}}\n"
        f"keys: [{{name: targets, key: {KEY}, project: default}}]\n"
        "surface: {embeddings: a}\n"
        "tasks: [{name: both, candidates: [{provider: a, model: m}, {provider: b, model: m}]}]\n"
        f"{settings}"
    )


async def at_once(count: int, clients: int, work: Any) -> list[Any]:
    """``work(number)`` for each number, ``clients`` at a time. → its results in the order of the numbers."""
    numbers, found = iter(range(count)), dict[int, Any]()

    async def client() -> None:
        for number in numbers:
            found[number] = await work(number)

    await asyncio.gather(*(client() for _ in range(clients)))
    return [found[number] for number in range(count)]


def percentile(seconds: Sequence[float], share: float) -> float:
    """Milliseconds, the nearest rank."""
    ordered = sorted(seconds)
    return round(ordered[min(len(ordered) - 1, int(share * len(ordered)))] * 1000, 1) if ordered else 0.0


def heavy_body(messages: int) -> bytes:
    return json.dumps({"model": "b/m", "messages": TURNS * messages}).encode()
