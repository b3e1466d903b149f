"""Race: equal shares for the candidates that may still be the best, next to nothing for those that cannot be.

Successive elimination (Even-Dar, Mannor and Mansour, JMLR 7, 2006) over confidence sequences: a candidate is out once
the upper bound of its reward lies below the lower bound of another's. It finds the best candidate in fewer calls than
equal shares for all; unlike Thompson sampling it does not starve the runner-up, without which nothing is proven.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Annotated

from msgspec import Meta

from optimizer.bandits.arms import Arm, first_and_rest
from optimizer.routing.plan import Candidate, Choice
from optimizer.routing.scene import EMPTY, Scene
from optimizer.routing.strategies.bandit import Bandit
from optimizer.stats.sequences import confidence_bounds

_UNPLAYED = Arm()


class Race(Bandit, frozen=True, tag="race", tag_field="type", forbid_unknown_fields=True):
    """``alpha``: the chance that the best candidate is ever put out, while nothing changes. ``explore`` of the calls is
    spread over all candidates alike, so that one that was put out can come back as old calls fade."""

    alpha: Annotated[float, Meta(gt=0, lt=1)] = 0.05
    half_life_s: Annotated[float, Meta(gt=0)] = 30 * 86_400.0

    def order(self, candidates: tuple[Candidate, ...], draw: float, scene: Scene = EMPTY) -> Choice:
        """``draw`` picks the first candidate by the shares that are its propensity; the others follow, the likelier
        ones first."""
        arms = tuple(scene.arms.get(one.name, _UNPLAYED) for one in candidates)
        probabilities = race_shares(arms, self.alpha, self.explore)
        places = first_and_rest(probabilities, draw)
        return Choice(order=tuple(candidates[i] for i in places), propensity=probabilities[places[0]])


@lru_cache(maxsize=1024)
def race_shares(arms: tuple[Arm, ...], alpha: float, explore: float) -> tuple[float, ...]:
    """The probability of each arm; they add up to 1 and none is below ``explore`` / number of arms."""
    running = still_running(arms, alpha)
    floor = min(1.0, max(0.0, explore))
    even = (1 - floor) / len(running) if running else 0.0
    return tuple(even * (index in running) + floor / len(arms) for index in range(len(arms)))


def still_running(arms: Sequence[Arm], alpha: float) -> frozenset[int]:
    """Who may still be the best: positions. At least one is."""
    bounds = [
        confidence_bounds(max(0.0, arm.gained), max(0.0, arm.missed), alpha / len(arms)) for arm in arms
    ]
    best = max((low for low, _ in bounds), default=0.0)
    return frozenset(index for index, (_, high) in enumerate(bounds) if high >= best)
