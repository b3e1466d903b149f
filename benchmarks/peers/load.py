"""Load on one way, and what its process used for it."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import statistics
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import aiohttp

from benchmarks.overhead import BODY
from benchmarks.peers.ways import LOAD_CPU, Way

_UNCOUNTED = 3
"""The first tokens of a run are those of fresh connections."""
_PERCENTILE = """done = function(summary, latency, requests)
  io.write(string.format("p95_us %d\\n", latency:percentile(95)))
end
"""
"""wrk prints no 95th percentile of its own."""
_UNITS = {"us": 0.001, "ms": 1.0, "s": 1000.0, "m": 60_000.0}


def load(
    way: Way,
    connections: int,
    seconds: int,
    folder: Path,
    *,
    stream: bool = False,
    callers: Sequence[tuple[str, str]] = (),
) -> dict[str, float]:
    """One closed-loop run of wrk: answers per second, milliseconds, and what the gateway used. ``callers`` are (key,
    model) pairs to draw from; without them every request is the same."""
    script = folder / "post.lua"
    script.write_text(_script(way, stream, callers))
    before = used(way)
    command = [
        "wrk",
        "-t1",
        f"-c{connections}",
        f"-d{seconds}s",
        "--latency",
        "--timeout",
        "60s",
        "-s",
        str(script),
        way.url,
    ]
    taskset = shutil.which("taskset")
    pinned = [taskset, "-c", str(LOAD_CPU), *command] if taskset else command
    text = subprocess.run(pinned, capture_output=True, text=True, check=True).stdout
    total = int(_found(r"(\d+) requests in", text))
    refused = re.search(r"Non-2xx or 3xx responses: (\d+)", text)
    found = {
        "per_s": float(_found(r"Requests/sec:\s+([\d.]+)", text)),
        "p50_ms": _milliseconds(_found(r"(?m)^\s+50%\s+(\S+)", text)),
        "p95_ms": float(_found(r"p95_us (\d+)", text)) / 1000,
        "p99_ms": _milliseconds(_found(r"(?m)^\s+99%\s+(\S+)", text)),
        "failed": float(refused.group(1)) if refused else 0.0,
    }
    if before is not None and (after := used(way)) is not None:
        found["cpu_ms_per_call"] = (after[0] - before[0]) / max(1, total) * 1000
        found["rss_mb"] = after[1]
    return found


def _script(way: Way, stream: bool, callers: Sequence[tuple[str, str]]) -> str:
    body = {**BODY, "model": way.model, **({"stream": True} if stream else {})}
    fixed = "".join(f'wrk.headers["{name}"] = "{value}"\n' for name, value in way.headers.items())
    start = f"{_PERCENTILE}wrk.method = 'POST'\nwrk.headers['content-type'] = 'application/json'\n{fixed}"
    text = json.dumps(body).replace("\\", "\\\\").replace("'", "\\'")
    if not callers:
        return f"{start}wrk.body = '{text}'\n"
    pairs = ",".join(f"{{'{key}','{model}'}}" for key, model in callers)
    before, _, after = text.partition(f'"{way.model}"')
    return f"""{start}
local callers = {{{pairs}}}
request = function()
  local one = callers[math.random(#callers)]
  wrk.headers['authorization'] = 'Bearer ' .. one[1]
  return wrk.format(nil, nil, nil, '{before}"' .. one[2] .. '"{after}')
end
"""


async def first_token(way: Way, calls: int, seconds: float = 4.0) -> list[float]:
    """Milliseconds from sending a request to the first byte of its stream's body, one call after the other; fewer
    than ``calls`` when ``seconds`` have passed before."""
    body = json.dumps({**BODY, "model": way.model, "stream": True}).encode()
    headers = {**way.headers, "content-type": "application/json"}
    found: list[float] = []
    async with aiohttp.ClientSession(headers=headers) as session:
        until = time.perf_counter() + seconds
        for number in range(calls + _UNCOUNTED):
            began = time.perf_counter()
            if began > until and found:
                break
            async with session.post(way.url, data=body) as answer:
                await answer.content.readany()
                took = time.perf_counter() - began
                await answer.read()
            if number >= _UNCOUNTED:
                found.append(took * 1000)
    return found


def first_tokens(ways: Sequence[Way], rounds: int = 3, calls: int = 100) -> dict[str, float]:
    """The median time to the first token by way; the ways take turns, so that a drifting machine is fair."""
    found: dict[str, list[float]] = {way.name: [] for way in ways}
    for _ in range(rounds):
        for way in ways:
            found[way.name] += asyncio.run(first_token(way, calls))
    return {name: statistics.median(times) for name, times in found.items()}


def _found(pattern: str, text: str) -> str:
    match = re.search(pattern, text)
    if match is None:
        raise SystemExit(f"wrk said something unexpected:\n{text}")
    return match.group(1)


def _milliseconds(text: str) -> float:
    number = re.match(r"([\d.]+)(us|ms|s|m)$", text)
    assert number is not None, text
    return float(number.group(1)) * _UNITS[number.group(2)]


def used(way: Way) -> tuple[float, float] | None:
    """(CPU seconds, resident megabytes) of the gateway and its children."""
    if way.process is None:
        return None
    seconds, pages = 0.0, 0
    for pid in _family(way.process.pid):
        for thread in Path(f"/proc/{pid}/task").iterdir():
            seconds += int((thread / "schedstat").read_text().split()[0]) / 1e9
        pages += int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return seconds, pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def _family(pid: int) -> list[int]:
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *(one for child_pid in children for one in _family(int(child_pid)))]


def figures(runs: Sequence[dict[str, float]]) -> dict[str, Any]:
    """The median of each figure over several runs."""
    return {name: statistics.median(one[name] for one in runs) for name in runs[0]}
