"""Rows of a measured table: what, how much, over how many runs, within which interval, and what was promised."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from optimizer.stats.intervals import clopper_pearson

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Row = tuple[str, str, int, str, str]


def table(title: str, rows: Iterator[Row]) -> None:
    print(f"### {title}\n\n| what | measured | runs | 95 % interval | promised |\n|---|---|---|---|---|")
    for row in rows:
        print("| " + " | ".join(f"{cell:,}" if isinstance(cell, int) else cell for cell in row) + " |")
    print()


def share(what: str, hits: Bools, promised: str) -> Row:
    if not hits.size:
        return what, "none", 0, "", promised
    low, high = clopper_pearson(int(hits.sum()), hits.size, 0.95)
    return what, f"{hits.mean():.2%}", hits.size, f"{low:.2%} to {high:.2%}", promised


def median(what: str, values: Floats, promised: str) -> Row:
    low, high = np.quantile(values, [0.05, 0.95])
    return (
        what,
        f"median {np.median(values):,.0f}",
        values.size,
        f"90 % of runs: {low:,.0f} to {high:,.0f}",
        promised,
    )


def mean(what: str, values: Floats, promised: str, form: str = ",.0f") -> Row:
    half = 1.96 * values.std(ddof=1) / math.sqrt(values.size)
    low, high = max(0.0, values.mean() - half), values.mean() + half
    return what, f"mean {values.mean():{form}}", values.size, f"{low:{form}} to {high:{form}}", promised
