"""How much of the traffic a student in canary answers: little at first, more as the evidence for it grows."""

from __future__ import annotations

from math import log

from msgspec import Struct

from optimizer.stats.eprocess import EProcess, start, update
from optimizer.stats.multiplicity import spend


class Growth(Struct, frozen=True):
    """The agreement gate's own game, played on the pairs that serving brought in. ``needed``: the e-value that
    promotes."""

    evidence: EProcess
    needed: float


def begin(target: float, margin: float, alpha: float, round: int) -> Growth:
    """Before the first pair of a student of the task's ``round``-th training."""
    return Growth(start(target - margin), 1 / spend(alpha, round))


def observe(growth: Growth, agree: bool) -> Growth:
    return Growth(update(growth.evidence, float(agree)), growth.needed)


def share(growth: Growth, first: float, most: float) -> float:
    """The share of the eligible calls, between ``first`` and ``most``: it grows evenly, in proportion, with the
    logarithm of the wealth, and falls again when the wealth does. Depends on the past alone, so the evidence that it
    brings in keeps its error rate (the propensity of each call is on its record)."""
    if most <= first:
        return first
    progress = min(1.0, max(0.0, growth.evidence.log_wealth / log(growth.needed)))
    return float(min(most, first * (most / first) ** progress))
