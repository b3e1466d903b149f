"""What happens to the machine in a run: the disk, the clock, the database, Redis, the policies, and rude neighbours."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import shutil
import socket
import sqlite3
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.faultproxy import FaultProxy
from benchmarks.simulator.script import Event


class Disk:
    """The spool's file calls, which a run may make fail: ``full``, ``failing`` (fsync says EIO) or ``slow``."""

    def __init__(self) -> None:
        self.full = self.failing = self.slow = False
        self._pwrite, self._fsync = os.pwrite, os.fsync

    def pwrite(self, descriptor: int, data: bytes, offset: int) -> int:
        if self.full and os.fstat(descriptor).st_size < offset + len(data):  # blocks that are there may be written
            raise OSError(errno.ENOSPC, "No space left on device")
        return self._pwrite(descriptor, data, offset)

    def fsync(self, descriptor: int) -> None:
        if self.slow:
            time.sleep(0.1)
        if self.failing:
            raise OSError(errno.EIO, "Input/output error")
        self._fsync(descriptor)


class Clock:
    """The wall clock, which a run may set; the monotonic one nobody can. It starts at noon, so that no budget's day
    ends in the middle of a run, whenever it is run."""

    NOON = 1_773_144_000.0

    def __init__(self) -> None:
        self._began = time.monotonic()
        self.jump = 0.0

    def now(self) -> float:
        return self.NOON + time.monotonic() - self._began + self.jump


@contextlib.contextmanager
def machine() -> Iterator[tuple[Disk, Clock]]:
    """This process's file calls and clock, replaced for as long as the context lasts."""
    disk, clock = Disk(), Clock()
    instead: list[tuple[Any, str, Any]] = [
        (os, "pwrite", disk.pwrite), (os, "fsync", disk.fsync), (time, "time", clock.now)
    ]  # fmt: skip
    kept = [getattr(module, name) for module, name, _ in instead]
    for module, name, ours in instead:
        setattr(module, name, ours)
    try:
        yield disk, clock
    finally:
        for (module, name, _), real in zip(instead, kept, strict=True):
            setattr(module, name, real)


class RedisServer:
    """A real redis-server on a free port of loopback, for all runs of this process. ``url`` is "" without one."""

    def __init__(self, folder: Path) -> None:
        self.port = 0
        self.process: subprocess.Popen[bytes] | None = None
        binary = shutil.which("redis-server")
        if binary is None:
            return
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        options = ["--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--dir", str(folder)]
        self.process = subprocess.Popen(
            [binary, *options], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        while not self._listens():
            time.sleep(0.01)

    def _listens(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def say(self, *words: str) -> None:
        """One command, its answer thrown away."""
        with socket.create_connection(("127.0.0.1", self.port)) as line:
            parts = "".join(f"${len(word)}\r\n{word}\r\n" for word in words)
            line.sendall(f"*{len(words)}\r\n{parts}".encode())
            line.recv(65536)

    def stop(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait(10)


class Weather:
    """Acts on what belongs to one run; see ``benchmarks.simulator.script.WEATHER``."""

    def __init__(
        self, *, disk: Disk, clock: Clock, before_a: FaultProxy, before_redis: FaultProxy | None, redis: RedisServer,
        database: Path, resting: threading.Event, policies: Path, revoke: Any, port: int,
    ) -> None:  # fmt: skip
        self._disk, self._clock, self._a, self._proxy, self._redis = disk, clock, before_a, before_redis, redis
        self._database, self._resting, self._policies = database, resting, policies
        self._revoke, self._port = revoke, port

    async def happens(self, event: Event) -> None:
        await asyncio.sleep(event.at)
        kind, _, rest = event.what.partition(" ")
        if kind == "redis":
            await self._redis_does(rest, event.lasts)
        elif event.what.startswith("the disk"):
            await self._flag(self._disk, event.what.rpartition(" ")[2], event.lasts)
        elif event.what.startswith("the clock"):
            self._clock.jump += 3600.0 if event.what.endswith("on") else -3600.0
        elif event.what == "provider a refuses":
            await self._a.refuse()
            await asyncio.sleep(event.lasts)
            await self._a.start()
        elif event.what == "the database is locked":
            await asyncio.to_thread(self._lock, event.lasts)
        elif event.what == "the ingester rests":
            self._resting.set()
            await asyncio.sleep(event.lasts)
            self._resting.clear()
        elif event.what.startswith("policies"):
            self._edit(good=event.what.endswith("change"))
        elif event.what == "a key is revoked":
            await asyncio.to_thread(self._revoke)
        else:
            await self._rude(event)

    async def _flag(self, disk: Disk, name: str, lasts: float) -> None:
        flag = {"full": "full", "slow": "slow", "fails": "failing"}[name]
        setattr(disk, flag, True)
        await asyncio.sleep(lasts)
        setattr(disk, flag, False)

    async def _redis_does(self, what: str, lasts: float) -> None:
        proxy = self._proxy
        if proxy is None:
            return
        if what == "forgets":
            await asyncio.to_thread(self._redis.say, "FLUSHALL")
        elif what == "holds nonsense":
            for name in ("day::project:poor", "concurrency::project:red"):
                await asyncio.to_thread(self._redis.say, "SET", f"understudy:{{l}}:{name}", "a purple \x01 elephant")
        elif what == "refuses":
            await proxy.refuse()
            await asyncio.sleep(lasts)
            await proxy.start()
        else:
            proxy.hang = what == "hangs"
            proxy.reset_after = None if proxy.hang else 40
            for task in list(proxy.tasks):
                task.cancel()
            await asyncio.sleep(lasts)
            proxy.hang, proxy.reset_after = False, None

    def _lock(self, lasts: float) -> None:
        other = sqlite3.connect(self._database, timeout=5, isolation_level=None)
        with contextlib.closing(other), contextlib.suppress(sqlite3.OperationalError):
            other.execute("BEGIN EXCLUSIVE")
            time.sleep(lasts)
            other.execute("ROLLBACK")

    def _edit(self, *, good: bool) -> None:
        file = self._policies / "routing.yaml"
        text = file.read_text()
        draft = file.with_suffix(".draft")
        draft.write_text(text + ("# changed\n" if good else "nonsense: [\n"))
        draft.replace(file)

    # ---------------------------------------------------------------- neighbours
    async def _rude(self, event: Event) -> None:
        if event.what == "a heavy body":
            turn = b'{"role":"user","content":"x"},'
            body = b'{"model":"work","messages":[' + turn * 60_000 + b'{"role":"user","content":"x"}]}'
            head = b"POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: %d\r\n\r\n" % len(body)
            await self._throw(head + body, event.lasts)
        elif event.what == "half-open sockets":
            await asyncio.gather(*[self._throw(b"POST /v1/chat/com", event.lasts) for _ in range(30)])
        elif event.what == "junk on the wire":
            await asyncio.gather(*[self._throw(os.urandom(400), event.lasts) for _ in range(5)])
        elif event.what == "an endless header":
            await self._throw(b"GET /healthz HTTP/1.1\r\nx: " + b"y" * 100_000, event.lasts)
        else:
            head = b"POST /v1/responses HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: 9000\r\n\r\n{"
            await self._throw(head, event.lasts)

    async def _throw(self, raw: bytes, lasts: float) -> None:
        with contextlib.suppress(OSError):
            reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
            try:
                writer.write(raw)
                async with asyncio.timeout(lasts):
                    await reader.read()
            except TimeoutError:
                pass
            finally:
                writer.transport.abort()
