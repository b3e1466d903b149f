"""What finding the nearest of many vectors costs, exactly and in lists: the semantic cache's two ways.

    python -m benchmarks.vectors [--sizes 1000,10000,100000] [--seed 0] [--redis URL | --postgres URL]

Vectors of 384 values, fifty about each of many random middles, as questions are about subjects; a question asked
lies near one of them (cosine 0.93) or in its neighbourhood (0.45). CPU time of the one thread that calls, microseconds;
``same``: how often the lists name the neighbour that the product names. ``made``: seconds until all was there (the
lists are made in another thread). ``MB``: what the process grew by. ``--redis``: ``index: redis`` in that Redis (8 or
later), which is left empty: CPU time there and here, memory there. ``--postgres``: ``index: pgvector``, likewise.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import resource
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from statistics import quantiles
from typing import Any

import numpy as np

from gateway.caching.commons import Passed
from gateway.caching.entries import Entry
from gateway.caching.search import Search, Way, search_by
from gateway.caching.search.inverted import Inverted
from gateway.sharing.link import Link
from gateway.sharing.pgvector import PgVectors
from gateway.sharing.vectors import RedisVectors
from gateway.storage.spooling.format import SpoolCipher

SIZE = 384
_ASKED = 300
_NEAR = ((0.02, "0.93"), (0.1, "0.45"))


def vectors(count: int, rng: np.random.Generator) -> Any:
    """(count, SIZE), of length one."""
    middles = rng.normal(size=(max(10, count // 50), SIZE)).astype(np.float32)
    return _unit(middles[rng.integers(0, len(middles), count)] + np.float32(0.7) * _noise(count, rng))


def _noise(count: int, rng: np.random.Generator) -> Any:
    return rng.standard_normal(size=(count, SIZE), dtype=np.float32)


def _unit(made: Any) -> Any:
    return made / np.linalg.norm(made, axis=1, keepdims=True)


def timed(do: Callable[[Any], object], over: Sequence[Any]) -> tuple[float, float]:
    """(p50, p95) of the CPU time of each call, microseconds."""
    took = []
    for one in over:
        began = time.thread_time()
        do(one)
        took.append((time.thread_time() - began) * 1e6)
    cuts = quantiles(took, n=20)
    return cuts[9], cuts[18]


def filled(way: Any, known: Any) -> tuple[Search, float, float]:
    """The search over ``known``, the seconds until it was ready, and the megabytes it took."""
    before, began = _resident(), time.perf_counter()
    search = search_by(way, SIZE, len(known))
    for number, vector in enumerate(known):
        search.add(number, vector)
        while isinstance(search, Inverted) and search.busy:
            time.sleep(0.01)
    return search, time.perf_counter() - began, (_resident() - before) / 1024


def _resident() -> float:
    """Kilobytes of memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 1024


def measure(count: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    known = vectors(count, rng)
    asked = {
        label: _unit(known[rng.integers(0, count, _ASKED)] + np.float32(noise) * _noise(_ASKED, rng))
        for noise, label in _NEAR
    }
    found: dict[str, list[Any]] = {}
    for way in ("exact", "faiss"):
        search, made, grew = filled(way, known)
        p50, p95 = timed(search.nearest, [*asked["0.93"]])
        new = [*enumerate(known[:200], start=count)]
        more50, more95 = timed(lambda one: search.add(*one), new)  # noqa: B023 - called at once
        less50, _ = timed(search.remove, [number for number, _ in new])
        told = f"{count:>7} {way:>5}: look-up {p50:6.0f} (p95 {p95:6.0f}), add {more50:4.0f} (p95 {more95:4.0f}), "
        told += f"remove {less50:4.0f}, made in {made:.1f} s, {grew:.0f} MB"
        for label, those in asked.items():
            found.setdefault(label, []).append([(search.nearest(one) or (-1, 0.0))[0] for one in those])
            if way == "faiss":
                same = sum(one == other for one, other in zip(*found[label], strict=True))
                told += f", same at {label}: {same}/{_ASKED}"
        print(told, flush=True)


async def outside(url: str, count: int, seed: int) -> None:
    """The same questions, through what the gateway asks: Redis, or PostgreSQL on this machine."""
    rng = np.random.default_rng(seed)
    known = vectors(count, rng)
    async with (in_redis if url.startswith("redis") else in_postgres)(url) as (name, searched, settled, used):

        async def keep(number: int) -> None:
            answer = Entry(time.time(), 3600.0, "p", "t", "k", "", "", None, b"{}")
            key, vector, bound = str(number), known[number].tobytes(), 1 << 40
            searched.keep(Passed(key, "p", "t", "b", "", answer, "", vector, 3600.0, count, bound, name))
            await settled()

        told = [await _over(used, "keep", keep, range(count))]
        for noise, label in _NEAR:
            asked = _unit(known[rng.integers(0, count, _ASKED)] + np.float32(noise) * _noise(_ASKED, rng))
            found: list[int] = []

            async def look(vector: Any, found: list[int] = found) -> None:
                one = await searched.nearest("p", "t", "b", vector)
                found.append(int(one.key) if one is not None else -1)

            told.append(await _over(used, f"look-up at {label}", look, asked))
            same = sum(one == int((known @ vector).argmax()) for one, vector in zip(found, asked, strict=True))
            told.append(f"same {same}/{_ASKED}")
        _, held = await used()
        print(f"{count:>7} {name}: {', '.join(told)}, {held:.0f} MB there", flush=True)
        searched.clear()
        await settled()


_Used = Callable[[], Awaitable[tuple[float, float]]]
"""Seconds of CPU time used there so far, and megabytes held."""


@asynccontextmanager
async def in_redis(url: str) -> AsyncIterator[tuple[Way, Any, Callable[[], Awaitable[None]], _Used]]:
    link = Link(url, patience_s=30.0)
    await link.start()

    async def used() -> tuple[float, float]:
        told = await link.redis.info()
        return float(told["used_cpu_user"]) + float(told["used_cpu_sys"]), told["used_memory"] / 1024**2

    try:
        yield "redis", RedisVectors(link, SpoolCipher(bytes(32))), link._queue.join, used
    finally:
        await link.close()


@asynccontextmanager
async def in_postgres(url: str) -> AsyncIterator[tuple[Way, Any, Callable[[], Awaitable[None]], _Used]]:
    import psycopg

    searched = PgVectors(url, SpoolCipher(bytes(32)), 30.0)
    asking = await psycopg.AsyncConnection.connect(url, autocommit=True)
    while searched._ready() is None:  # noqa: ASYNC110 - nobody tells
        await asyncio.sleep(0.05)

    async def used() -> tuple[float, float]:
        pids = await (await asking.execute("SELECT pid FROM pg_stat_activity")).fetchall()
        size = "SELECT pg_total_relation_size('understudy_kept_questions')"
        ((held,),) = await (await asking.execute(size)).fetchall()
        return sum(_cpu_of(pid) for (pid,) in pids), held / 1024**2

    try:
        yield "pgvector", searched, searched.settled, used
    finally:
        await searched.close()
        await asking.close()


def _cpu_of(pid: int) -> float:
    """Seconds; 0 of one that is gone."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def _over(used: _Used, name: str, do: Callable[[Any], Awaitable[None]], over: Iterable[Any]) -> str:
    (before, _), began, asked = await used(), time.thread_time(), 0
    for one in over:
        await do(one)
        asked += 1
    here = (time.thread_time() - began) / asked * 1e6
    return f"{name} {((await used())[0] - before) / asked * 1e6:.0f} there and {here:.0f} here"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sizes", default="1000,10000,100000")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--redis", dest="outside")
    parser.add_argument("--postgres", dest="outside")
    given = parser.parse_args()
    for size in map(int, given.sizes.split(",")):
        if given.outside:
            asyncio.run(outside(given.outside, size, given.seed))
        else:
            measure(size, given.seed)


if __name__ == "__main__":
    main()
