"""Arms and the probability with which Thompson sampling plays each.

Thompson sampling (Thompson 1933; Chapelle and Li 2011) draws from every arm's posterior and plays the largest
draw, so arm i is played with the probability that it is the best one, P(X_i > max of the others). That integral
is computed here on a grid, and the arm is then drawn from these shares themselves: the propensity that is logged
is exactly the one that was drawn with, which is what makes replays unbiased.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

from msgspec import Struct

PRIOR = 1.0
_GRID = 192
_EDGE = 1e-12  # keeps the logarithms of both ends finite
_WIDTH = 6.0  # standard deviations of a posterior that the grid reaches over


class Arm(Struct, frozen=True):
    """Decayed sums of rewards in [0, 1] and of what was missing to 1, at unix seconds ``at``."""

    gained: float = 0.0
    missed: float = 0.0
    at: float = 0.0

    @property
    def plays(self) -> float:
        """The decayed number of plays it rests on."""
        return self.gained + self.missed

    @property
    def mean(self) -> float:
        """The posterior's mean; 0.5 before anything was seen."""
        return (self.gained + PRIOR) / (self.plays + 2 * PRIOR)


def decayed(arm: Arm, now: float, half_life_s: float) -> Arm:
    """The arm at ``now``: old plays fade, so that an arm that has not been played becomes uncertain again.
    A clock that went backwards changes nothing."""
    waited = now - arm.at
    if not waited > 0 or not half_life_s > 0:
        return arm
    keep = 0.5 ** (waited / half_life_s)
    return Arm(arm.gained * keep, arm.missed * keep, now)


def rewarded(arm: Arm, value: float, now: float, half_life_s: float) -> Arm:
    """The arm after one more play. A value that is no number changes nothing; others are held to [0, 1]."""
    if not math.isfinite(value):
        return arm
    value = min(1.0, max(0.0, value))
    arm = decayed(arm, now, half_life_s)
    return Arm(arm.gained + value, arm.missed + 1.0 - value, max(arm.at, now))


@lru_cache(maxsize=1024)
def shares(arms: tuple[Arm, ...], explore: float) -> tuple[float, ...]:
    """The probability of each arm; they add up to 1 and none is below ``explore`` / number of arms.

    The posteriors are Beta(gained + 1, missed + 1): both parameters are at least 1 whatever the sums are, so no
    state can divide by zero. A state that is no number counts as unplayed.
    """
    count = len(arms)
    if count < 2:
        return (1.0,) * count
    posteriors = [_posterior(arm) for arm in arms]
    low, high = _range(posteriors)
    step = (high - low) / _GRID
    points = [min(1 - _EDGE, max(_EDGE, low + (index + 0.5) * step)) for index in range(_GRID)]
    masses = [_masses(a, b, points) for a, b in posteriors]
    raw = _best(masses)
    total = sum(raw)
    if not (math.isfinite(total) and total > 0):
        return (1.0 / count,) * count
    floor = min(1.0, max(0.0, explore))
    return tuple((1 - floor) * value / total + floor / count for value in raw)


def drawn(probabilities: Sequence[float], draw: float) -> int:
    """The index that ``draw`` in [0, 1) falls on."""
    passed = 0.0
    for index, probability in enumerate(probabilities):
        passed += probability
        if draw < passed:
            return index
    return len(probabilities) - 1


def first_and_rest(probabilities: Sequence[float], draw: float) -> tuple[int, ...]:
    """All indices: the one that ``draw`` falls on, then the others, the likelier ones first."""
    first = drawn(probabilities, draw)
    rest = sorted((one for one in range(len(probabilities)) if one != first), key=lambda i: -probabilities[i])
    return first, *rest


def _posterior(arm: Arm) -> tuple[float, float]:
    if not (math.isfinite(arm.gained) and math.isfinite(arm.missed)):
        return PRIOR, PRIOR
    return PRIOR + max(0.0, arm.gained), PRIOR + max(0.0, arm.missed)


def _range(posteriors: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """The part of [0, 1] where the posteriors have their mass."""
    low, high = 1.0, 0.0
    for a, b in posteriors:
        mean = a / (a + b)
        reach = _WIDTH * math.sqrt(mean * (1 - mean) / (a + b + 1))
        low, high = min(low, mean - reach), max(high, mean + reach)
    return max(0.0, low), min(1.0, high)


def _masses(a: float, b: float, points: Sequence[float]) -> list[float]:
    """A Beta density on the grid, made to add up to 1; by logarithms, so that no large count overflows."""
    logs = [(a - 1) * math.log(x) + (b - 1) * math.log1p(-x) for x in points]
    top = max(logs)
    raw = [math.exp(one - top) for one in logs]
    total = sum(raw)  # at least 1: the largest term is exp(0)
    return [one / total for one in raw]


def _best(masses: Sequence[Sequence[float]]) -> list[float]:
    """P(arm is the largest) for each arm: its mass times the others' mass below, half of a shared cell."""
    below = [0.0] * len(masses)
    found = [0.0] * len(masses)
    for cell in zip(*masses, strict=True):
        reach = [under + mass / 2 for under, mass in zip(below, cell, strict=True)]
        for index, mass in enumerate(cell):
            others = 1.0
            for other, value in enumerate(reach):
                if other != index:
                    others *= value
            found[index] += mass * others
        below = [under + mass for under, mass in zip(below, cell, strict=True)]
    return found
