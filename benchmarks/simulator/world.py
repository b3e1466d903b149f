"""One run: the gateway in this process's loop, its ingester in a thread, providers, clients and weather around it."""

from __future__ import annotations

import asyncio
import gc
import logging
import re
import shutil
import signal
import tempfile
import threading
import time
import traceback
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import uvicorn

from benchmarks.faultproxy import FaultProxy, faultproxy
from benchmarks.scripted import provider
from benchmarks.simulator.clients import Got, ask
from benchmarks.simulator.policies import write_policies
from benchmarks.simulator.providers import Actor
from benchmarks.simulator.script import PROVIDERS, Script, Step, script_of
from benchmarks.simulator.verdict import Aftermath, judge
from benchmarks.simulator.weather import Clock, Disk, RedisServer, Weather, machine
from gateway.access.keys import digest_of, new_key
from gateway.bootstrap import build
from gateway.resilience.connections import protocol, websocket_protocol
from gateway.server import DrainingServer, bounds_of
from gateway.storage.commands import CreateKey, RevokeKey
from gateway.storage.engine import write_engine
from gateway.storage.home import Home
from gateway.storage.migrations import migrate
from gateway.storage.spooling.ingester import Ingester
from gateway.storage.values import Key
from gateway.storage.writing.writer import SqlWriter

ADMIN = "ak-us-simulator-0Jw9rXq7LmP2"
QUIET_S = 60.0
"""So long after the last answer everything must have been given back and written down."""


@dataclass
class Houses:
    """What runs of one process share: an empty database to copy, and Redis."""

    folder: Path
    redis: RedisServer
    runs: int = 0

    def home(self) -> Home:
        self.runs += 1
        root = self.folder / f"run{self.runs}"
        shutil.copytree(self.folder / "empty", root)
        return Home(root).prepare()


@contextmanager
def houses() -> Iterator[Houses]:
    with tempfile.TemporaryDirectory(prefix="understudy-simulator-") as name, ExitStack() as stack:
        folder = Path(name)
        empty = Home(folder / "empty").prepare()
        migrate(f"sqlite:///{empty.database}")
        redis = RedisServer(folder)
        stack.callback(redis.stop)
        yield Houses(folder, redis)


class Complaints(logging.Handler):
    """Of all that the gateway logs, which complains of every fault as it should, what nobody foresaw: exceptions with
    their tracebacks. Nothing is printed."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self._found: list[str] = []
        logging.getLogger().handlers = [self]

    def emit(self, record: logging.LogRecord) -> None:
        if record.exc_info is not None and record.exc_info[1] is not None:
            trace = "".join(traceback.format_exception(record.exc_info[1]))
            self._found.append(f"{record.getMessage()}: {trace[-1500:]}")

    def taken(self) -> list[str]:
        found, self._found = self._found, []
        return found


def run_seeds(seeds: Sequence[int]) -> dict[int, list[str]]:
    """What each seed broke."""
    complaints = Complaints()

    async def all_of_them() -> dict[int, list[str]]:
        with houses() as shared:
            return {seed: [*await run(script_of(seed), shared), *complaints.taken()] for seed in seeds}

    return asyncio.run(all_of_them())


async def run(script: Script, shared: Houses) -> list[str]:
    """Runs ``script``; what it broke, in words: nothing, when all is well."""
    tasks, files = asyncio.all_tasks(), _files()
    home = shared.home()
    left = Aftermath(script, home, [], {})
    with machine() as (disk, clock):
        if shared.redis.port:
            shared.redis.say("FLUSHALL")
        async with AsyncExitStack() as stack:
            await _live(left, shared, stack, disk, clock)
    await _over(lambda: not asyncio.all_tasks() - tasks and _files() <= files)
    left.tasks = [repr(task) for task in asyncio.all_tasks() - tasks]
    left.files = _files() - files
    findings = judge(left)
    shutil.rmtree(home.root, ignore_errors=True)
    return findings


async def _live(left: Aftermath, shared: Houses, stack: AsyncExitStack, disk: Disk, clock: Clock) -> None:
    script, home = left.script, left.home
    proxies: dict[str, FaultProxy] = {}
    for name in PROVIDERS:
        made = await stack.enter_async_context(provider())
        left.heard[name] = []
        made.behave = Actor(script.plan(name), left.heard[name].append)
        proxies[name] = await stack.enter_async_context(faultproxy(made.port))
    env = {"UNDERSTUDY_ADMIN_KEY": ADMIN}
    before_redis = None
    if script.redis and shared.redis.port:
        before_redis = await stack.enter_async_context(faultproxy(shared.redis.port))
        env["UNDERSTUDY_REDIS_URL"] = f"redis://127.0.0.1:{before_redis.port}/0"
    policies = write_policies(home.root / "policies", script, {name: one.url for name, one in proxies.items()})
    ingester = Ingesting(home)
    stack.callback(ingester.stop)
    lent = ingester.lend_key()
    server = await stack.enter_async_context(_gateway(home, policies, env))
    port = server.servers[0].sockets[0].getsockname()[1]
    weather = Weather(
        disk=disk, clock=clock, before_a=proxies["a"], before_redis=before_redis, redis=shared.redis,
        database=home.database, resting=ingester.resting, policies=policies, revoke=ingester.revoke, port=port,
    )  # fmt: skip
    async with asyncio.TaskGroup() as group:
        calls = [group.create_task(_at(port, step)) for step in script.steps]
        for event in script.events:
            group.create_task(weather.happens(event))
        if script.stops_early:
            group.create_task(_stop_early(server))
    left.got = [call.result() for call in calls]
    if not script.stops_early:
        left.in_use = await _settled(port)
        if ingester.revoked and not await _refused(port, lent):
            left.wrong.append("a revoked key was still accepted after the quiet time")


def _files() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


async def _over(done: Callable[[], bool]) -> None:
    """Waits until sockets that were closed are gone, too, which takes the loop a few rounds."""
    until = time.monotonic() + QUIET_S
    while not done() and time.monotonic() < until:  # noqa: ASYNC110 - nobody tells of it
        await asyncio.sleep(0.01)


async def _at(port: int, step: Step) -> Got:
    await asyncio.sleep(step.at)
    return await ask(port, step)


async def _stop_early(server: DrainingServer) -> None:
    await asyncio.sleep(0.4)
    server.handle_exit(signal.SIGTERM, None)


@asynccontextmanager
async def _gateway(home: Home, policies: Path, env: dict[str, str]) -> AsyncIterator[DrainingServer]:
    app, settings = build(home, policies, env)
    config = uvicorn.Config(
        app, host="127.0.0.1", port=0, http=protocol(bounds_of(settings.server, 4096)), ws=websocket_protocol,  # type: ignore[arg-type]
        log_config=None, access_log=False, server_header=False, proxy_headers=False, timeout_graceful_shutdown=5,
    )  # fmt: skip
    server = DrainingServer(config, app.state.drain, settings.server.shutdown_s)
    serving = asyncio.create_task(server._serve())
    while not server.started:
        await asyncio.sleep(0.005)
        if serving.done():
            serving.result()
    try:
        yield server
    finally:
        server.should_exit = True
        await serving
        # asyncio drops a connection that it accepted while its listener was being closed, in a cycle that keeps it
        # open. A gateway's process ends here and closes it; uvloop, on which one runs, accepts at once.
        gc.collect()


async def _settled(port: int) -> dict[str, float]:
    """What is still in use once everything that was held should have been given back."""
    until, found = time.monotonic() + QUIET_S, {"unknown": 1.0}
    headers = {"authorization": f"Bearer {ADMIN}"}
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", headers=headers, timeout=QUIET_S) as client:
        while any(found.values()) and time.monotonic() < until:
            await asyncio.sleep(0.02)
            text = (await client.get("/metrics")).text
            pairs = re.findall(r'understudy_in_use\{what="(\w+)"\} (\S+)', text)
            found = {what: float(count) for what, count in pairs} or {"unknown": 1.0}
    return found


async def _refused(port: int, key: str) -> bool:
    until = time.monotonic() + QUIET_S
    headers = {"authorization": f"Bearer {key}"}
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", headers=headers, timeout=QUIET_S) as client:
        while time.monotonic() < until:
            if (await client.get("/v1/models")).status_code == 401:
                return True
            await asyncio.sleep(0.05)
    return False


class Ingesting:
    """The ingester, in a thread, over the run's own spool and database; ``resting`` holds it up."""

    def __init__(self, home: Home) -> None:
        self.resting, self.revoked = threading.Event(), False
        self._stop = threading.Event()
        self._writer = SqlWriter(write_engine(f"sqlite:///{home.database}"))
        self._ingester = Ingester(home, self._writer, self._stop)
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._stop.wait(0.03):
            while not self.resting.is_set() and not self._stop.is_set() and self._ingester.step():
                continue
        self._stop.clear()  # the last of it must not be given up for the asking
        self._ingester.drain(QUIET_S)

    def lend_key(self) -> str:
        made = new_key("inference")
        self._writer.execute(CreateKey(
            Key(id="key_lent", name="lent", project="red", digest=digest_of(made.text), hint=made.hint,
                scopes=("inference",), models=(), requests_per_minute=None, created_at=time.time(), expires_at=None,
                revoked_at=None),
            "the simulator",
        ))  # fmt: skip
        return made.text

    def revoke(self) -> None:
        self._writer.execute(RevokeKey("key_lent", "the simulator", time.time()))
        self.revoked = True

    def stop(self) -> None:
        """Moves what is left in the spool, and closes the database."""
        self.resting.clear()
        self._stop.set()
        self._thread.join(QUIET_S)
        self._writer.close()
