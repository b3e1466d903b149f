"""Understudy beside other gateways, in one run over one canned upstream: calls per second, latency percentiles, streams
per second, time to the first token, CPU per call and memory, with one core for the gateway and the other for the load
and the upstream. And what a call costs with 10,000 keys and 1,000 tasks instead of ten of each.

    python -m benchmarks.peers [--litellm PATH] [--portkey PATH] [--tensorzero PATH] [--seconds 5] [--json FILE]

Needs wrk. nginx is measured as the floor when it is installed. LiteLLM is measured when its ``litellm`` command is on
PATH or named, Portkey's gateway when its ``start-server.js`` is named, TensorZero's when a Python is named that has the
``tensorzero`` package. Every gateway runs one worker. Understudy has authentication, limits, capture, pricing and
metrics on, its ingester running; the others as their documents start them.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.overhead import EVENTS
from benchmarks.peers.load import figures, first_tokens, load, used
from benchmarks.peers.scale import FEW, MANY, scale
from benchmarks.peers.ways import Installed, ways

CONNECTIONS = (1, 16, 64, 256)
STREAMS = 8
_EVENTS = EVENTS + 3


def run(seconds: int, rounds: int, installed: Installed) -> dict[str, Any]:
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
                    mine.setdefault("streams", []).append(load(way, STREAMS, seconds, folder, stream=True))
            tokens = first_tokens(found)
    table = {name: {kind: figures(many) for kind, many in mine.items()} for name, mine in runs.items()}
    for name, told in table.items():
        at_start = idle[name]
        told["more"] = {"first_token_ms": tokens[name], **({"idle_rss_mb": at_start[1]} if at_start else {})}
    return {"seconds": seconds, "rounds": rounds, "at": time.strftime("%Y-%m-%d"), "ways": table}


def show(result: dict[str, Any]) -> None:
    table = result["ways"]
    print(
        f"calls per second by connections ({result['rounds']} rounds of {result['seconds']} s, medians), one core each"
    )
    print(
        f"{'':12}"
        + "".join(f"{count:>9}" for count in CONNECTIONS)
        + "   p50 c=1  p99 c=16  CPU/call idle RSS"
    )
    for name, runs in table.items():
        speeds = "".join(f"{runs[str(count)]['per_s']:>9.0f}" for count in CONNECTIONS)
        busy, rss = runs["16"], runs["more"].get("idle_rss_mb")
        spent = f"{busy['cpu_ms_per_call']:>7.3f}ms{rss:>6.0f}MB" if rss is not None else ""
        print(f"{name:12}{speeds}{runs['1']['p50_ms']:>8.3f}ms{busy['p99_ms']:>8.2f}ms {spent}")
    print(
        f"\nstreams of {_EVENTS} events at {STREAMS} connections, and the first token of one stream at a time"
    )
    print(f"{'':12}{'streams/s':>10}{'events/s':>10}{'CPU/event':>11}{'first token':>13}")
    for name, runs in table.items():
        one = runs["streams"]
        spent = one.get("cpu_ms_per_call")
        cpu = f"{spent * 1000 / _EVENTS:>9.2f}us" if spent is not None else f"{'':>11}"
        speeds = f"{one['per_s']:>10.1f}{one['per_s'] * _EVENTS:>10.0f}"
        print(f"{name:12}{speeds}{cpu}{runs['more']['first_token_ms']:>11.2f}ms")
    _ratios(table)


def _ratios(table: dict[str, Any]) -> None:
    print()
    ours, direct = table["understudy"], table["direct"]
    kinds = [*map(str, CONNECTIONS), "streams"]
    for name, runs in table.items():
        if name not in ("understudy", "direct"):
            pairs = [(ours[kind]["per_s"], runs[kind]["per_s"], kind) for kind in kinds]
            ratios = ", ".join(f"{one / other:.2f} at {kind}" for one, other, kind in pairs if other)
            print(f"understudy / {name}: {ratios}")
    added = ours["1"]["p50_ms"] - direct["1"]["p50_ms"]
    token = ours["more"]["first_token_ms"] - direct["more"]["first_token_ms"]
    print(
        f"added to a direct call: {added:.3f} ms at one connection (p50), {token:.2f} ms to the first token"
    )


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--litellm", default=shutil.which("litellm") or "")
    parser.add_argument("--portkey", default="", help="path of Portkey's build/start-server.js")
    parser.add_argument("--tensorzero", default="", help="path of a Python that has the tensorzero package")
    parser.add_argument("--no-scale", action="store_true", help="leave the many keys and tasks out")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    if shutil.which("wrk") is None:
        raise SystemExit("This benchmark needs wrk (on Debian and Ubuntu: apt-get install wrk).")
    result = run(
        options.seconds, options.rounds, Installed(options.litellm, options.portkey, options.tensorzero)
    )
    show(result)
    if not options.no_scale:
        result["scale"] = found = scale(options.seconds)
        few, many = found["few"]["cpu_ms_per_call"], found["many"]["cpu_ms_per_call"]
        print(
            f"{MANY[0]:,} keys and {MANY[1]:,} tasks against {FEW[0]} and {FEW[1]}: {many:.3f} and {few:.3f} ms of CPU "
            f"per call, ratio {found['ratio']['cpu']:.3f}"
        )
    if options.json:
        options.json.write_text(json.dumps(result, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
