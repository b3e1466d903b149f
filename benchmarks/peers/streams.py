"""What an event costs in a stream that is more than passed on: translated from Anthropic's dialect, or guarded."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path

from benchmarks.overhead import BODY, EVENTS, KEY, ready
from benchmarks.peers.load import figures, load
from benchmarks.peers.ways import canned, ourselves
from benchmarks.ports import free_ports

KINDS = ("same", "translated", "guarded")
"""Passed on as it comes; from Anthropic's API to OpenAI's; under a guard for personal data and a list of phrases."""
STREAMS = 8


def policies(folder: Path, port: int, upstream: int) -> None:
    rules = folder / "policies"
    rules.mkdir(parents=True)
    price = '{input: 1.0, output: 2.0, as_of: "2026-01-01", source: "invented for this benchmark"}'
    base = f"http://127.0.0.1:{upstream}/v1"
    capture = "capture: {rate: 1.0, mask: true, retention_days: 1}"
    (rules / "gateway.yaml").write_text(f"""
server: {{host: 127.0.0.1, port: {port}}}
providers:
  canned: {{type: openai, base_url: "{base}", api_key: none-needed-here}}
  other: {{type: anthropic, base_url: "{base}", api_key: none-needed-here}}
prices: {{canned: {{m: {price}}}, other: {{m: {price}}}}}
keys: [{{name: bench, key: "{KEY}", project: default}}]
guardrails:
  personal: {{type: pii, tasks: [guarded]}}
  phrases: {{type: blocklist, phrases: [project falcon, do not tell], action: rewrite, tasks: [guarded]}}
""")
    (rules / "routing.yaml").write_text(f"""
tasks:
  - {{name: same, candidates: [{{provider: canned, model: m}}], {capture}}}
  - {{name: translated, candidates: [{{provider: other, model: m}}], {capture}}}
  - {{name: guarded, candidates: [{{provider: canned, model: m}}], guardrails: [personal, phrases], {capture}}}
""")


def streams(seconds: int, rounds: int = 3) -> dict[str, dict[str, float]]:
    """Figures at eight connections by kind, with ``cpu_us_per_event``: all of the gateway's CPU time over the events
    that carry text, so the call itself is in it."""
    base = free_ports(8)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        policies(folder, base + 1, base)
        with canned(base), ourselves(folder, base + 1) as way:
            found: dict[str, list[dict[str, float]]] = {kind: [] for kind in KINDS}
            for kind in KINDS:
                asyncio.run(ready(way.url, way.headers, {**BODY, "model": kind, "stream": True}))
            for turn in range(rounds + 1):
                for kind in KINDS:
                    one = load(way._replace(model=kind), STREAMS, seconds, folder, stream=True)
                    if turn:  # the first warms up
                        found[kind].append(one)
    told = {kind: dict(figures(runs)) for kind, runs in found.items()}
    for one in told.values():
        one["cpu_us_per_event"] = one["cpu_ms_per_call"] * 1000 / EVENTS
    return told
