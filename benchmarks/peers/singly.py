"""What an event costs in a stream whose events come one by one, as a model says them, while others are said too.

Streams whose events arrive together (as from a provider on the same machine that has all of them ready) are passed on
together, at a fraction of this.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import aiohttp

from benchmarks.overhead import BODY, EVENTS, ready
from benchmarks.peers.load import figures, used
from benchmarks.peers.streams import KINDS, policies
from benchmarks.peers.ways import LOAD_CPU, Installed, Way, canned, ourselves, ways
from benchmarks.ports import free_ports

STREAMS, GAP_S = 50, 0.02
"""At once, each with fifty events a second."""


def singly(rounds: int, installed: Installed) -> dict[str, Any]:
    """By way, and for ours by what is done to a stream: events a second, seconds from a request to the end of its
    stream (median), and microseconds of CPU per event that carries text, so the call itself is in it."""
    found: dict[str, list[dict[str, float]]] = {}
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        (folder / "peers").mkdir()
        every = [*stack.enter_context(ways(folder / "peers", installed, GAP_S)), *stack.enter_context(_kinds(folder))]
        with _pinned():
            for turn in range(rounds + 1):
                for way in every:
                    one = asyncio.run(_said(way))
                    if turn:  # the first warms up
                        found.setdefault(way.name, []).append(one)
    return {name: figures(runs) for name, runs in found.items()}


@contextmanager
def _kinds(folder: Path) -> Iterator[list[Way]]:
    """Our gateway once more, with streams that are more than passed on."""
    base = free_ports(8)
    policies(folder, base + 1, base)
    with canned(base, GAP_S), ourselves(folder, base + 1) as way:
        found = [way._replace(name=kind, model=kind) for kind in KINDS[1:]]
        for one in found:
            asyncio.run(ready(one.url, one.headers, {**BODY, "model": one.model, "stream": True}))
        yield found


@contextmanager
def _pinned() -> Iterator[None]:
    """The load beside the providers, away from the gateways."""
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {LOAD_CPU % (os.cpu_count() or 1)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


async def _said(way: Way) -> dict[str, float]:
    body = {**BODY, "model": way.model, "stream": True}
    took: list[float] = []

    async def one(session: aiohttp.ClientSession) -> None:
        began, last = time.perf_counter(), b""
        async with session.post(way.url, json=body) as answer:
            async for piece in answer.content.iter_any():
                last = (last + piece)[-64:]
        if answer.status != 200 or b"[DONE]" not in last:
            raise SystemExit(f"{way.name} answered {answer.status} and ended with {last!r}")
        took.append(time.perf_counter() - began)

    before, began = used(way), time.perf_counter()
    connector = aiohttp.TCPConnector(limit=STREAMS)
    timeout = aiohttp.ClientTimeout(total=120)
    async with aiohttp.ClientSession(connector=connector, headers=way.headers, timeout=timeout) as session:
        await asyncio.gather(*(one(session) for _ in range(STREAMS)))
    told = {
        "events_per_s": STREAMS * EVENTS / (time.perf_counter() - began),
        "took_s": sorted(took)[len(took) // 2],
    }
    if before is not None and (after := used(way)) is not None:
        told["cpu_us_per_event"] = (after[0] - before[0]) / (STREAMS * EVENTS) * 1e6
    return told
