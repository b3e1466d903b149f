"""Measures the error rates that the optimizer promises, by simulation on its own functions.

    python -m benchmarks.statistics            # everything, about two minutes
    python -m benchmarks.statistics --quick    # a tenth of the runs
    python -m benchmarks.statistics --scores ROWS.jsonl.gz    # instead: comparisons of candidates with measured scores

Every row is a share (or a mean) with the number of runs, a 95 % interval, and what was promised. The seed makes it
repeatable.
"""

from __future__ import annotations

import argparse
import gzip
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from benchmarks.statistics import comparisons, drifts, guarantees, promotions, reuse
from benchmarks.statistics.guarantees import ALPHA, DELTA, NULL, TARGET
from benchmarks.statistics.rows import Floats, Row, table


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--quick", action="store_true", help="a tenth of the runs")
    parser.add_argument("--only", default="", metavar="WORD", help="sections whose title begins so")
    parser.add_argument(
        "--scores", type=Path, metavar="FILE",
        help='JSONL (.gz) with the "scores" in [0, 1] of the same candidates on one question a row',
    )  # fmt: skip
    options = parser.parse_args()
    scale = 10 if options.quick else 1
    began = time.monotonic()
    command = f"python -m benchmarks.statistics --seed {options.seed}{' --quick' if options.quick else ''}"
    command += f" --only {options.only}" if options.only else ""
    sections: list[tuple[str, Callable[[np.random.Generator, int], Iterator[Row]]]] = [
        (
            f"Promotion: e-process against agreement ≤ {NULL:.0%}, alpha {ALPHA:.0%}, looked at after each pair",
            guarantees.gate,
        ),
        ("Sessions: the same, 8 dependent calls in each session", guarantees.sessions),
        (
            f"Cascade threshold: target {TARGET:.0%}, delta {DELTA:.0%}, 1,000 calibration calls",
            guarantees.cascade,
        ),
        (f"Watch: agreement ≥ {NULL:.0%}, average run length 10,000 re-asked calls", guarantees.watch),
        (f"Drift: told apart by more than {drifts.MARGIN:.0%}, average run length 10,000 rounds", drifts.apart),
        ("Drift: latency and cost, delta 0.2 % a look", drifts.rises),
        ("Intervals of 95 % for sessions", guarantees.intervals),
        (
            f"Comparisons: confidence sequences at {1 - comparisons.ALPHA:.0%}, looked at after each call",
            comparisons.coverage,
        ),
        (
            "Comparisons: four candidates that succeed at 70, 80, 80 and 90 %, until one is proven best",
            comparisons.direction,
        ),
        ("Replay: 95 % intervals for a policy that was not in force", comparisons.replays),
        ("Multiplicity: 8 rounds of 3 candidates, looked at after each pair", guarantees.multiplicity),
        ("Picked: the best of 3 candidates by calibration goes on, in each of 8 rounds", guarantees.picked),
        ("Rounds: 20 of them, half of the students bad, errors bounded either way", promotions.discovery),
        ("Slices: 6 of 800 pairs each, looked at after each pair", promotions.slices),
        ("Rare events: at most 0.5 % of answers, looked at after each answer", promotions.rare),
        (
            f"Reuse of answers: delta {reuse.DELTA:.0%}, alpha {reuse.ALPHA:.0%}, looked at after each label",
            reuse.bound,
        ),
        (f"Reuse of answers: hits, {reuse.REASK:.0%} of them asked all the same", reuse.hits),
        ("Reuse of answers: a task goes bad once it serves", reuse.closing),
        ("Quality: at least 95 % of the teacher's, margin 2 points, looked at after each pair", promotions.quality),
    ]
    if options.scores is not None:
        command += f" --scores {options.scores.name}"
        names, scores = scores_of(options.scores)
        told = f"Comparisons: {len(names)} candidates on {len(scores):,} real questions, until one is proven best"
        sections = [(told, comparisons.measured(scores))]
    print(f"Command: {command}\n")
    for number, (title, section) in enumerate(sections):
        if not title.startswith(options.only):
            continue
        table(title, section(np.random.default_rng([options.seed, number]), scale))
    print(f"{time.monotonic() - began:.0f} s")


def scores_of(file: Path) -> tuple[list[str], Floats]:
    """Names of the candidates, and (questions, candidates) of their scores. Raises SystemExit for other rows."""
    data = file.read_bytes()
    text = gzip.decompress(data) if file.suffix == ".gz" else data
    rows = [json.loads(line)["scores"] for line in text.splitlines() if line.strip()]
    names = sorted(rows[0]) if rows else []
    if len(names) < 2 or any(sorted(row) != names for row in rows):
        raise SystemExit(f"{file}: every row needs the scores of the same two candidates or more.")
    return names, np.array([[float(row[name]) for name in names] for row in rows])


if __name__ == "__main__":
    main()
