"""Understudy beside other gateways, in one run over one canned upstream: calls per second, latency percentiles, streams
per second, time to the first token, CPU per call and event, and memory, with one core for the gateway and the other for
the load and the upstream. Then what a call costs with 10,000 keys and 1,000 tasks instead of ten of each, what an event
costs in a stream that is translated or guarded, and in one whose events come one by one, and how long the gateway takes
to start. Each bar is printed with whether it was reached.

    python -m benchmarks.peers [--litellm PATH] [--portkey PATH] [--tensorzero PATH] [--seconds 5] [--json FILE]

Needs wrk. nginx is measured as the floor when it is installed. LiteLLM is measured when its ``litellm`` command is on
PATH or named, Portkey's gateway when its ``start-server.js`` is named, TensorZero's when a Python is named that has the
``tensorzero`` package. Every gateway runs one worker. Understudy has authentication, limits, capture, pricing and
metrics on, its ingester running; the others as their documents start them. A part that fails is named at the end, and
what was measured before it is told and written all the same.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.machine import turn_ns
from benchmarks.peers import singly, streams
from benchmarks.peers.load import figures, first_tokens, load, used
from benchmarks.peers.scale import FEW, MANY, scale
from benchmarks.peers.start import start
from benchmarks.peers.table import CONNECTIONS, STREAMS, bars, show
from benchmarks.peers.ways import Installed, ways


def compare(seconds: int, rounds: int, installed: Installed) -> dict[str, Any]:
    """Every way's figures by connections, with ``streams`` and ``more``."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with ways(folder, installed) as found:
            idle = {way.name: used(way) for way in found}
            for way in found:
                load(way, 16, 2, folder)  # warm
            runs: dict[str, dict[str, list[dict[str, float]]]] = {way.name: {} for way in found}
            for _ in range(rounds):
                for way in found:
                    mine = runs[way.name]
                    for count in CONNECTIONS:
                        mine.setdefault(str(count), []).append(load(way, count, seconds, folder))
                    one = load(way, streams.STREAMS, seconds, folder, stream=True)
                    mine.setdefault(STREAMS, []).append(one)
            tokens = first_tokens(found)
    table = {name: {kind: figures(many) for kind, many in mine.items()} for name, mine in runs.items()}
    for name, told in table.items():
        at_start = idle[name]
        told["more"] = {"first_token_ms": tokens[name], **({"idle_rss_mb": at_start[1]} if at_start else {})}
    return table


def many(seconds: int) -> dict[str, Any]:
    sizes = f"{MANY[0]:,} keys and {MANY[1]:,} tasks against {FEW[0]} and {FEW[1]}"
    return {"sizes": sizes, **scale(seconds)}


def run(seconds: int, rounds: int, installed: Installed, skip: set[str], file: Path | None) -> dict[str, Any]:
    """All parts but those in ``skip``; ``file`` has what is known after each of them."""
    result: dict[str, Any] = {
        "seconds": seconds, "rounds": rounds, "at": time.strftime("%Y-%m-%d"), "problems": [],
        "turn_ns": [turn_ns()],
    }  # fmt: skip
    parts: dict[str, Callable[[], dict[str, Any]]] = {
        "ways": lambda: compare(seconds, rounds, installed),
        "streams": lambda: streams.streams(seconds),
        "singly": lambda: singly.singly(rounds, installed),
        "scale": lambda: many(seconds),
        "start": start,
    }
    for name, part in parts.items():
        if name in skip:
            continue
        try:
            result[name] = part()
        except (Exception, SystemExit) as problem:
            result["problems"].append(f"{name}: {type(problem).__name__}: {problem}")
        result["turn_ns"].append(turn_ns())
        result["bars"] = [one._asdict() | {"reached": one.reached} for one in bars(result)]
        if file is not None:
            file.write_text(json.dumps(result, indent=2))
    return result


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--litellm", default=shutil.which("litellm") or "")
    parser.add_argument("--portkey", default="", help="path of Portkey's build/start-server.js")
    parser.add_argument("--tensorzero", default="", help="path of a Python that has the tensorzero package")
    parser.add_argument(
        "--skip", action="append", default=[], choices=["ways", "streams", "singly", "scale", "start"], help="a part"
    )
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    if shutil.which("wrk") is None:
        raise SystemExit("This benchmark needs wrk (on Debian and Ubuntu: apt-get install wrk).")
    installed = Installed(options.litellm, options.portkey, options.tensorzero)
    result = run(options.seconds, options.rounds, installed, set(options.skip), options.json)
    show(result)
    return 1 if result["problems"] else 0


if __name__ == "__main__":
    sys.exit(main())
