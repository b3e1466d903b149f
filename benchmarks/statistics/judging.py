"""How well a judge with few human labels tells what people prefer: coverage and width of prediction-powered intervals.

    python -m benchmarks.statistics.judging FILE --judge gpt35 --seed 1

FILE is JSONL (or .gz): each row has ``human``, a list of 1, 2 or 0 (first, second, neither is better), and the judge's
own verdict under the name that ``--judge`` gives. The truth is what most people said of all rows; labels are drawn
anew in each run. Also counts the answers (``response_1``, ``response_2``) that would be read as speaking to the judge.
"""

from __future__ import annotations

import argparse
import gzip
import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from optimizer.scorers.judge import contest
from optimizer.stats.intervals import wilson
from optimizer.stats.ppi import powered

_VALUES = {"1": 1.0, "2": 0.0, "0": 0.5}


def rows_of(path: Path) -> list[dict[str, Any]]:
    opened = gzip.open if path.suffix == ".gz" else open
    with opened(path, "rt", encoding="utf-8") as file:
        return [json.loads(line) for line in file if line.strip()]


def majority(votes: list[Any]) -> float:
    """1 the first, 0 the second, ½ neither or no majority."""
    (vote, count), *_ = Counter(str(one) for one in votes).most_common(1)
    return _VALUES.get(vote, 0.5) if 2 * count > len(votes) else 0.5


def coverage(people: Any, judge: Any, labels: int, runs: int, rng: np.random.Generator) -> dict[str, float]:
    """Shares of runs whose 95 % interval held the truth, and mean widths: with the judge, and from labels alone."""
    truth, held, alone, width, plain = float(people.mean()), 0, 0, 0.0, 0.0
    for _ in range(runs):
        order = rng.permutation(len(people))
        drawn, rest = order[:labels], order[labels:]
        pairs = [(float(people[at]), float(judge[at])) for at in drawn]
        found = powered([float(judge[at]) for at in rest], pairs, 0.05)
        only = powered([], pairs, 0.05)
        held += found.low <= truth <= found.high
        alone += only.low <= truth <= only.high
        width += (found.high - found.low) / runs
        plain += (only.high - only.low) / runs
    return {"held": held, "alone": alone, "width": width, "plain": plain}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("file", type=Path)
    parser.add_argument("--judge", default="gpt35")
    parser.add_argument("--runs", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    rows = [row for row in rows_of(options.file) if str(row.get(options.judge)) in _VALUES]
    people = np.array([majority(row["human"]) for row in rows])
    judge = np.array([_VALUES[str(row[options.judge])] for row in rows])
    same, n = int((people == judge).sum()), len(rows)
    low, high = wilson(same, n, 0.95)
    print(f"{n} rows; the judge says what most people say on {same / n:.1%} ({low:.1%} to {high:.1%})")
    print(f"preferred first: people {people.mean():.3f}, judge {judge.mean():.3f}\n")
    print(
        "| labels | truth inside, with the judge | from labels alone | mean width | alone |\n|---|---|---|---|---|"
    )
    rng = np.random.default_rng(options.seed)
    for labels in (60, 120, 240, 480):
        found = coverage(people, judge, labels, options.runs, rng)
        shares = [
            f"{found[name] / options.runs:.1%} ({wilson(found[name], options.runs, 0.95)[0]:.1%} to "
            f"{wilson(found[name], options.runs, 0.95)[1]:.1%})"
            for name in ("held", "alone")
        ]
        print(f"| {labels} | {shares[0]} | {shares[1]} | {found['width']:.3f} | {found['plain']:.3f} |")
    texts = [row for row in rows if all(isinstance(row.get(f"response_{at}"), str) for at in (1, 2))]
    suspects = sum(
        bool(
            contest(
                f"{row.get('instruction', '')}\n{row.get('input', '')}", row["response_1"], row["response_2"]
            ).suspect
        )
        for row in texts
    )
    print(f"\n{suspects} of {len(texts)} pairs have one answer that reads as if it spoke to the judge")


if __name__ == "__main__":
    main()
