"""Runs seeds; see the package. Exit codes: 0 all invariants held, 1 one was broken."""

from __future__ import annotations

import argparse
import json
import multiprocessing
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor

import msgspec

from benchmarks.simulator.script import script_of
from benchmarks.simulator.world import run_seeds


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.simulator", description="Faults by seeds.")
    parser.add_argument("--seeds", type=int, default=50, help="how many (default 50)")
    parser.add_argument("--from", type=int, default=0, dest="first", help="the first one (default 0)")
    parser.add_argument("--jobs", type=int, default=2, help="processes (default 2)")
    parser.add_argument("--show", action="store_true", help="print the scripts")
    parser.add_argument("--json", action="store_true", help="print what was broken as one JSON object")
    options = parser.parse_args(arguments)
    seeds = range(options.first, options.first + options.seeds)
    if options.show:
        for seed in seeds:
            print(msgspec.json.format(msgspec.json.encode(script_of(seed)), indent=1).decode())
    began, broken = time.monotonic(), {}
    shares = [list(seeds)[start::options.jobs] for start in range(min(options.jobs, len(seeds)))]
    with ProcessPoolExecutor(len(shares) or 1, multiprocessing.get_context("spawn")) as pool:
        for found in pool.map(run_seeds, shares):
            broken.update({seed: what for seed, what in found.items() if what})
    if options.json:
        print(json.dumps(broken))
    else:
        for seed, what in sorted(broken.items()):
            print(f"seed {seed}:", *what, sep="\n  ")
        took = time.monotonic() - began
        print(f"{len(seeds)} seeds from {options.first}: {len(broken)} broke something; {took:.0f} s")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
