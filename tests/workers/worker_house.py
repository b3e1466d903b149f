"""``understudy serve --workers N`` as real processes, with an ingester beside them."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import httpx
from free_ports import free_port
from gateway_server import ADMIN, KEY
from migrated import migrated

from gateway.storage.home import Home

ROOT = Path(__file__).resolve().parents[2]


class House:
    """``port`` is 0 until ``start``."""

    def __init__(self, tmp: Path, policies: Path, redis_url: str) -> None:
        self.home, self.policies, self.log = Home(tmp / "home").prepare(), policies, tmp / "log"
        kept = {name: value for name, value in os.environ.items() if not name.startswith("UNDERSTUDY_")}
        self.env = {**kept, "UNDERSTUDY_ADMIN_KEY": ADMIN, "UNDERSTUDY_REDIS_URL": redis_url}
        self.env["UNDERSTUDY_REDIS_TIMEOUT_MS"] = "2000"  # a busy machine must not look like a Redis that is away
        self.processes: list[subprocess.Popen[bytes]] = []
        self.port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def client(self, **more: object) -> httpx.AsyncClient:
        """Every client, and every connection of it, may meet another worker."""
        return httpx.AsyncClient(
            base_url=self.url, headers={"authorization": f"Bearer {KEY}"}, timeout=120, **more  # type: ignore[arg-type]
        )  # fmt: skip

    async def start(self, workers: int = 2, *, ingester: bool = False) -> subprocess.Popen[bytes]:
        migrated(self.home)
        if ingester:
            self._run("-m", "gateway.storage.spooling.ingester", "--home", str(self.home.root))
        places = ("--policies", str(self.policies), "--home", str(self.home.root))
        self.port = free_port()
        parent = self._run(
            "-m", "gateway.cli", "serve", "--workers", str(workers), "--port", str(self.port), *places
        )
        await until(lambda: self.serving() == workers, "the workers are not ready", parent)
        return parent

    def workers(self) -> list[int]:
        """The process ids of the workers that live."""
        parent = self.processes[-1].pid
        return [int(one) for one in Path(f"/proc/{parent}/task/{parent}/children").read_text().split()]

    def serving(self) -> int:
        """How many workers answer, by what any of them says."""
        try:
            text = httpx.get(f"{self.url}/metrics", headers={"authorization": f"Bearer {KEY}"}).text
        except httpx.TransportError:
            return 0
        told = [line for line in text.splitlines() if line.startswith("understudy_workers ")]
        return int(float(told[0].split()[1])) if told else 0

    def stop(self) -> list[int]:
        """The exit statuses, the gateway's last."""
        for process in reversed(self.processes):
            process.send_signal(signal.SIGTERM)
            process.wait(120)
        return [process.returncode for process in self.processes]

    def end(self) -> None:
        for process in self.processes:
            if process.poll() is None:
                process.kill()
                process.wait(60)

    def _run(self, *command: str) -> subprocess.Popen[bytes]:
        with self.log.open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, *command], cwd=ROOT, env=self.env, stdout=log, stderr=log
            )
        self.processes.append(process)
        return process


async def until(
    true: Callable[[], bool], what: str, process: subprocess.Popen[bytes] | None = None, seconds: float = 120
) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end and (process is None or process.poll() is None), what
        await asyncio.sleep(0.05)
