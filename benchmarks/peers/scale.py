"""Whether a call costs more when there are many keys and tasks: two gateways of the same build, in turns."""

from __future__ import annotations

import asyncio
import tempfile
from contextlib import ExitStack
from pathlib import Path

from benchmarks.overhead import BODY, ready
from benchmarks.peers.load import figures, load
from benchmarks.peers.ways import Way, canned, ourselves
from benchmarks.ports import free_ports

FEW, MANY = (10, 10), (10_000, 1_000)
"""(keys, tasks)"""


def _policies(folder: Path, port: int, upstream: int, keys: int, tasks: int) -> list[tuple[str, str]]:
    """Policies with so many keys and tasks; some (key, model) pairs that cover all of them evenly."""
    rules = folder / "policies"
    rules.mkdir(parents=True)
    names = [f"benchmark-key-number-{number:06}" for number in range(keys)]
    listed = "".join(
        f'  - {{name: k{at}, key: "{key}", project: p{at % 100}}}\n' for at, key in enumerate(names)
    )
    price = '{input: 1.0, output: 2.0, as_of: "2026-01-01", source: "invented for this benchmark"}'
    (rules / "gateway.yaml").write_text(f"""
server: {{host: 127.0.0.1, port: {port}}}
providers: {{canned: {{type: openai, base_url: "http://127.0.0.1:{upstream}/v1", api_key: none-needed-here}}}}
prices: {{canned: {{m: {price}}}}}
keys:
{listed}""")
    task = "candidates: [{provider: canned, model: m}], capture: {rate: 1.0, mask: true, retention_days: 1}"
    (rules / "routing.yaml").write_text(
        "tasks:\n" + "".join(f"  - {{name: t{n}, {task}}}\n" for n in range(tasks))
    )
    return [(names[at * keys // 2000 % keys], f"t{at * 7 % tasks}") for at in range(2000)]


def scale(seconds: int, rounds: int = 4) -> dict[str, dict[str, float]]:
    """Figures at 16 connections with few and with many keys and tasks, and the ratio of CPU per call."""
    base = free_ports(8)
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        stack.enter_context(canned(base))
        ready_ways: list[tuple[Way, list[tuple[str, str]], Path]] = []
        for at, (label, size) in enumerate((("few", FEW), ("many", MANY))):
            folder = Path(name) / label
            callers = _policies(folder, base + 1 + at, base, *size)
            way = stack.enter_context(ourselves(folder, base + 1 + at, label))
            key, model = callers[0]
            asyncio.run(ready(way.url, {"authorization": f"Bearer {key}"}, {**BODY, "model": model}))
            ready_ways.append((way, callers, folder))
        found: dict[str, list[dict[str, float]]] = {"few": [], "many": []}
        for turn in range(rounds + 1):
            for way, callers, folder in ready_ways:
                one = load(way, 16, seconds, folder, callers=callers)
                if turn:  # the first warms up
                    found[way.name].append(one)
    told = {label: figures(runs) for label, runs in found.items()}
    told["ratio"] = {"cpu": told["many"]["cpu_ms_per_call"] / told["few"]["cpu_ms_per_call"]}
    return told
