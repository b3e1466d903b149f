"""Shares that prove the best arm in the fewest plays, as far as the means seen so far tell which is best.

For each pair of the best arm and another the evidence grows with both arms' plays; the shares that let the smallest of
these grow fastest are the solution of one equation in one unknown. Arms are taken for Gaussian with equal variances,
which for rewards in [0, 1] is the careful side.

Source: Garivier & Kaufmann, Optimal best arm identification with fixed confidence, COLT 2016 (Track-and-Stop; theorem
5 and section 2.2). Here each play is drawn from the shares instead of being the one that lags behind most, so that the
probability it was drawn with is known.
"""

from __future__ import annotations

from collections.abc import Sequence

_LEAST_GAP = 0.01
_STEPS = 60


def best_proof_shares(means: Sequence[float]) -> tuple[float, ...]:
    """The share of each arm; they add up to 1. Gaps below 0.01 count as 0.01, or two equal arms would take all."""
    if len(means) < 2:
        return (1.0,) * len(means)
    best = max(range(len(means)), key=lambda index: means[index])
    gaps = [max(_LEAST_GAP, means[best] - mean) ** 2 for mean in means]
    others = [index for index in range(len(means)) if index != best]
    low, high = 0.0, min(gaps[index] for index in others)
    for _ in range(_STEPS):
        middle = (low + high) / 2
        if sum(_ratio(gaps[index], middle) ** 2 for index in others) < 1:
            low = middle
        else:
            high = middle
    ratios = [1.0 if index == best else _ratio(gaps[index], low) for index in range(len(means))]
    total = sum(ratios)
    return tuple(ratio / total for ratio in ratios)


def _ratio(gap: float, evidence: float) -> float:
    """How often an arm is played for each play of the best, so that telling them apart gains ``evidence``."""
    return evidence / (gap - evidence)
