"""One function for each target; each returns its figures by name. Times are milliseconds unless a name says more."""

from __future__ import annotations

import asyncio
import json
import re
import sqlite3
import sys
import time
from contextlib import closing
from typing import Any

from benchmarks.scripted import COMPLETION, Line, sse
from benchmarks.targets.house import KEY, TURNS, House, at_once, heavy_body, house, percentile

Figures = dict[str, Any]
_ROUTES: dict[str, tuple[str, dict[str, Any]]] = {
    "chat": ("/v1/chat/completions", {"model": "a/m", "messages": TURNS}),
    "chat, streamed": ("/v1/chat/completions", {"model": "a/m", "messages": TURNS, "stream": True}),
    "responses": ("/v1/responses", {"model": "a/m", "input": "hi"}),
    "messages, streamed": ("/v1/messages", {"model": "a/m", "max_tokens": 9, "messages": TURNS, "stream": True}),
    "embeddings": ("/v1/embeddings", {"model": "a/m", "input": "hi"}),
}


async def primary_dead(calls: int = 5000) -> Figures:
    """The first candidate refuses connections, the second is well."""
    async with house() as made:
        usual = await at_once(min(1000, calls), 8, lambda _: made.ask("b/m"))
        await made.before_a.refuse()
        for _ in range(20):  # until the breaker is open
            await made.ask("both")
        found = await at_once(calls, 8, lambda _: made.ask("both"))
        return {
            "n": calls, "answered": sum(status == 200 for status, _, _ in found) / calls,
            "p99": percentile([took for _, took, _ in found], 0.99),
            "p99 without the dead one": percentile([took for _, took, _ in usual], 0.99),
        }  # fmt: skip


async def full_outage(calls: int = 2000) -> Figures:
    """The only provider answers 500 to everything: how often it is asked per request."""

    async def fails(line: Line) -> None:
        await line.answer(500, {"error": {"message": "down"}})

    async with house() as made:
        made.a.behave = fails
        found = await at_once(calls, 8, lambda _: made.ask("a/m"))
        return {
            "n": calls, "asked per request": len(made.a.seen) / calls,
            "p99": percentile([took for _, took, _ in found], 0.99),
            "answers that were no error": sum(status == 200 for status, _, _ in found),
        }  # fmt: skip


async def hang_ups(each: int = 40) -> Figures:
    """A client leaves before the first byte, and in a stream after it: when the provider's connection is closed."""
    took: dict[str, list[float]] = {}

    async def says_nothing(line: Line) -> None:
        await line.hang()

    async def begins(line: Line) -> None:
        if not line.seen.body.get("stream"):
            await line.hang()
            return
        await line.start(200, {"content-type": "text/event-stream"})
        line.writer.write(sse(done=False))
        await line.writer.drain()
        await line.hang()

    async with house() as made:
        for behave in (says_nothing, begins):
            made.a.behave = behave
            for name, (path, body) in _ROUTES.items():
                for _ in range(each):
                    took.setdefault(name, []).append(await _left(made, path, body))
    every = [one for some in took.values() for one in some]
    figures: Figures = {f"p99 {name}": percentile(some, 0.99) for name, some in took.items()}
    return {"n": len(every), "p50": percentile(every, 0.5), "p99": percentile(every, 0.99), **figures}


async def _left(made: House, path: str, body: dict[str, Any]) -> float:
    before = len(made.a.seen)
    _, writer = await asyncio.open_connection("127.0.0.1", made.processes.port)
    writer.write(_request(path, body))
    while len(made.a.seen) == before:  # noqa: ASYNC110 - the provider tells nobody else
        await asyncio.sleep(0.002)
    seen = made.a.seen[before]
    await asyncio.sleep(0.05)  # what it has begun to say is on its way
    began = time.perf_counter()
    writer.close()
    await asyncio.wait_for(seen.peer_left.wait(), 60)
    return time.perf_counter() - began


def _request(path: str, body: dict[str, Any]) -> bytes:
    raw = json.dumps(body).encode()
    head = f"POST {path} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {KEY}\r\n"
    return f"{head}content-type: application/json\r\ncontent-length: {len(raw)}\r\n\r\n".encode() + raw


async def heavy_neighbour(rounds: int = 5, messages: int = 100_000) -> Figures:
    """A body of 100,000 messages beside small calls: how long the slowest of these takes."""
    async with house("server: {max_body_bytes: 67108864}\n") as made:
        alone = [(await made.ask("b/m"))[1] for _ in range(200)]
        body, beside, status = heavy_body(messages), list[float](), set[int]()

        async def send() -> None:
            headers = {"content-type": "application/json"}
            async with made.session.post(f"{made.url}/v1/chat/completions", data=body, headers=headers) as answer:
                status.add(answer.status)
                await answer.read()

        for _ in range(rounds):
            sending = asyncio.create_task(send())
            while not sending.done():
                beside.append((await made.ask("b/m"))[1])
            await sending
        return {
            "n": len(beside), "slowest": percentile(beside, 1.0), "slowest alone": percentile(alone, 1.0),
            "p50": percentile(beside, 0.5), "MiB of the body": round(len(body) / 2**20, 1),
            "answered with": sorted(status),
        }  # fmt: skip


async def overload(seconds: float = 15.0, takes: float = 0.2, places: int = 8) -> Figures:
    """Three times as many calls as the provider's lane can carry, at an even pace, against one time."""

    async def slow(line: Line) -> None:
        await asyncio.sleep(takes)
        await line.answer(200, COMPLETION)

    async def paced(made: House, rate: float) -> list[tuple[int, float, str]]:
        began, calls = time.perf_counter(), []
        for number in range(round(seconds * rate)):
            await asyncio.sleep(max(0.0, began + number / rate - time.perf_counter()))
            calls.append(asyncio.create_task(made.ask("a/m")))
        return list(await asyncio.gather(*calls))

    async with house(f"upstreams: {{a: {{max_concurrent: {places}, max_queue: {places}}}}}\n") as made:
        made.a.behave = slow
        capacity = places / takes
        once, thrice = await paced(made, capacity), await paced(made, 3 * capacity)
        good = [sum(status == 200 for status, _, _ in some) for some in (once, thrice)]
        shed = [took for status, took, _ in thrice if status in (429, 503)]
        return {
            "capacity a second": capacity, "good at 1x": good[0] / seconds, "good at 3x": good[1] / seconds,
            "share of the peak": round(good[1] / max(1, good[0]), 3), "shed": len(shed),
            "p50 of what was shed": percentile(shed, 0.5), "p99 of what was shed": percentile(shed, 0.99),
        }  # fmt: skip


async def cancels(count: int = 20_000, then: int = 100) -> Figures:
    """Calls that are given up at once while the lane is full; then plain ones."""

    async def slow(line: Line) -> None:
        await asyncio.sleep(0.05)
        await line.answer(200, COMPLETION)

    async with house("upstreams: {a: {max_concurrent: 8, max_queue: 64}}\n") as made:
        made.a.behave = slow
        sent = _request(*_ROUTES["chat"])

        async def leave(number: int) -> None:
            _, writer = await asyncio.open_connection("127.0.0.1", made.processes.port)
            writer.write(sent)
            await asyncio.sleep(0.005)
            writer.close()

        await at_once(count, 64, leave)
        await asyncio.sleep(1.0)
        found = [await made.ask("a/m") for _ in range(then)]
        return {"n": count, "answered afterwards": sum(status == 200 for status, _, _ in found), "of": then}


async def kills(count: int = 20) -> Figures:
    """The gateway is killed under load and started again: is each call that a client has heard in the ledger, once?"""
    async with house() as made:
        heard, starts = set[str](), list[float]()

        async def load(stop: asyncio.Event) -> None:
            while not stop.is_set():
                status, _, name = await made.ask("b/m")
                if status == 200:
                    heard.add(name)

        for number in range(count):
            stop = asyncio.Event()
            clients = [asyncio.create_task(load(stop)) for _ in range(8)]
            await asyncio.sleep(0.3 + 0.05 * (number % 7))
            made.processes.kill_gateway()
            stop.set()
            await asyncio.gather(*clients)
            made.processes.start_gateway()
            starts.append(await made.ready())
        until, stored = time.monotonic() + 60, list[str]()
        while time.monotonic() < until and not heard <= set(stored):
            await asyncio.sleep(0.5)
            with closing(sqlite3.connect(f"file:{made.folder}/home/understudy.db?mode=ro", uri=True)) as found:
                stored = [row[0] for row in found.execute("SELECT id FROM calls")]
        return {
            "kills": count, "heard": len(heard), "lost": len(heard - set(stored)),
            "twice": len(stored) - len(set(stored)), "p50 to ready": percentile(starts, 0.5),
        }  # fmt: skip


async def start(rounds: int = 5) -> Figures:
    """From its start to ``/readyz``."""
    async with house() as made:
        wall, cpu = list[float](), list[float]()
        for _ in range(rounds):
            made.processes.kill_gateway()
            began = time.perf_counter()
            made.processes.start_gateway()
            await made.ready()
            wall.append(time.perf_counter() - began)
            cpu.append(made.cpu_s())
        return {"n": rounds, "p50": percentile(wall, 0.5), "p50 of CPU": percentile(cpu, 0.5)}


async def revocation(rounds: int = 5) -> Figures:
    """From the end of ``understudy keys revoke`` to the first refusal."""
    async with house() as made:

        async def command(*words: str) -> str:
            home = ("--home", str(made.folder / "home"))
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "gateway.cli", "keys", *words, *home, stdout=asyncio.subprocess.PIPE
            )
            out, _ = await process.communicate()
            return out.decode()

        async def until(key: str, status: int) -> float:
            began, headers = time.perf_counter(), {"authorization": f"Bearer {key}"}
            async with asyncio.timeout(60):
                while True:
                    async with made.session.get(f"{made.url}/v1/models", headers=headers) as answer:
                        if answer.status == status:
                            return time.perf_counter() - began
                    await asyncio.sleep(0.01)

        took = list[float]()
        for number in range(rounds):
            limits = [word for name in ("tpm", "concurrency") for word in (f"--{name}", "unlimited")]
            said = await command("create", "--name", f"gone{number}", "--budget-usd-day", "1", *limits)
            found = re.search(r"sk-us-\w+", said)
            assert found is not None, said
            await until(found.group(), 200)
            await command("revoke", f"gone{number}")
            took.append(await until(found.group(), 401))
        return {"n": rounds, "p50": percentile(took, 0.5), "slowest": percentile(took, 1.0)}


async def database_away(url: str, calls: int = 5000, seconds: float = 60.0) -> Figures:
    """PostgreSQL at ``url`` is out of reach for so long: calls, memory, and what arrives afterwards."""
    from urllib.parse import urlsplit, urlunsplit

    from benchmarks.faultproxy import faultproxy

    parts = urlsplit(url)
    async with faultproxy(parts.port or 5432) as before:
        reached = parts._replace(netloc=f"{parts.username or 'postgres'}@127.0.0.1:{before.port}")
        async with house(UNDERSTUDY_DATABASE_URL=urlunsplit(reached)) as made:
            await at_once(500, 8, lambda _: made.ask("b/m"))
            await asyncio.sleep(2.0)
            rss = made.processes.rss_mib()
            await before.refuse()
            began, good, most = time.perf_counter(), 0, rss
            for number in range(calls):
                good += (await made.ask("b/m"))[0] == 200
                most = max(most, made.processes.rss_mib() if number % 50 == 0 else 0.0)
                await asyncio.sleep(max(0.0, began + number * seconds / calls - time.perf_counter()))
            async with made.session.get(f"{made.url}/readyz") as answer:
                status, said = answer.status, (await answer.json())["degraded"]
            await before.start()
            back = await _well_again(made)
            await asyncio.sleep(5.0)
            return {
                "n": calls, "answered": good / calls, "readyz meanwhile": f"{status} {said}",
                "MiB at the beginning": round(rss, 1),
                "MiB more at most": round(most - rss, 1),
                "MiB more at the end": round(made.processes.rss_mib() - rss, 1),
                "seconds to well again": round(back, 1),
            }  # fmt: skip


async def _well_again(made: House) -> float:
    began = time.perf_counter()
    async with asyncio.timeout(120):
        while True:
            async with made.session.get(f"{made.url}/readyz") as answer:
                if answer.status == 200 and not (await answer.json())["degraded"]:
                    return time.perf_counter() - began
            await asyncio.sleep(0.1)
