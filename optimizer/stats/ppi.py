"""Prediction-powered inference: a few human labels beside many verdicts of a judge.

The judge's mean over all calls is corrected by how far it was off where people labelled too. The interval is about
the *human* mean whatever the judge is worth: a useless judge only makes it wide. Supposes that the labelled calls were
drawn at random from all of them. A weight says how well the judge predicts people (PPI++), so that it never does harm.

Sources: Angelopoulos, Bates, Fannjiang, Jordan & Zrnic, *Prediction-powered inference*, Science 382, 2023;
Angelopoulos, Duchi & Zrnic, *PPI++: efficient prediction-powered inference*, 2023.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import sqrt
from statistics import NormalDist, fmean

from msgspec import Struct

_SURPRISE = 0.5


class Estimate(Struct, frozen=True):
    """A human mean in [0, 1] with its two-sided interval. ``weight``: how much the judge was trusted, 0 not at all."""

    mean: float
    low: float
    high: float
    weight: float
    labels: int
    verdicts: int


def powered(verdicts: Sequence[float], labelled: Sequence[tuple[float, float]], alpha: float) -> Estimate:
    """``labelled``: (person's, judge's) of the calls that people labelled. ``verdicts``: the judge's of all others. The
    interval covers with probability 1 − ``alpha``, asymptotically. Raises ValueError for fewer than two labels."""
    n, total = len(labelled), len(verdicts)
    if n < 2:
        raise ValueError(f"{n} labels are too few")
    people = [person for person, _ in labelled]
    judge = [said for _, said in labelled]
    weight = _weight(people, judge, verdicts)
    rest = [person - weight * said for person, said in labelled]
    mean = fmean(rest) + (weight * fmean(verdicts) if weight else 0.0)
    spread = _wary(rest) / n + (weight**2 * _variance(verdicts) / total if weight else 0.0)
    half = NormalDist().inv_cdf(1 - alpha / 2) * sqrt(spread)
    return Estimate(mean, max(0.0, mean - half), min(1.0, mean + half), weight, n, n + total)


def _weight(people: Sequence[float], judge: Sequence[float], verdicts: Sequence[float]) -> float:
    """The weight with the smallest variance, kept within [0, 1]."""
    spread = _variance([*judge, *verdicts])
    if spread == 0 or not verdicts:
        return 0.0
    at, said = fmean(people), fmean(judge)
    together = sum((p - at) * (j - said) for p, j in zip(people, judge, strict=True)) / (len(people) - 1)
    return min(1.0, max(0.0, together / ((1 + len(people) / len(verdicts)) * spread)))


def _wary(values: Sequence[float]) -> float:
    """The variance with one surprise of a half imagined on either side, since a few values, most of them equal, say
    too little about their spread (as Agresti & Coull, 1998, do for shares)."""
    return (_variance(values) * (len(values) - 1) + 2 * _SURPRISE**2) / (len(values) - 1)


def _variance(values: Sequence[float]) -> float:
    mean = fmean(values)
    return sum((one - mean) ** 2 for one in values) / max(1, len(values) - 1)
