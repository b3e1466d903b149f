"""Track: shares that prove the best candidate in the fewest calls (Track-and-Stop), and the winner once it is proven.

Where ``race`` splits evenly among those that may still be the best, this one spends the calls where they tell most:
on the best so far and its closest rivals.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from optimizer.bandits.arms import Arm, first_and_rest
from optimizer.bandits.tracking import best_proof_shares
from optimizer.routing.plan import Candidate, Choice
from optimizer.routing.scene import EMPTY, Scene
from optimizer.routing.strategies.race import Race, still_running

_UNPLAYED = Arm()
_FIRST_PLAYS = 10.0


class Track(Race, frozen=True, tag="track", tag_field="type", forbid_unknown_fields=True):
    """``alpha``, ``explore`` and ``half_life_s`` as for ``race``."""

    def order(self, candidates: tuple[Candidate, ...], draw: float, scene: Scene = EMPTY) -> Choice:
        """``draw`` picks the first candidate by the shares that are its propensity; the others follow, the likelier
        ones first."""
        arms = tuple(scene.arms.get(one.name, _UNPLAYED) for one in candidates)
        probabilities = track_shares(arms, self.alpha, self.explore)
        places = first_and_rest(probabilities, draw)
        return Choice(order=tuple(candidates[i] for i in places), propensity=probabilities[places[0]])


@lru_cache(maxsize=1024)
def track_shares(arms: tuple[Arm, ...], alpha: float, explore: float) -> tuple[float, ...]:
    """The probability of each arm; they add up to 1 and none is below ``explore`` / number of arms."""
    floor = min(1.0, max(0.0, explore))
    return tuple((1 - floor) * share + floor / len(arms) for share in _wanted(arms, alpha))


def _wanted(arms: Sequence[Arm], alpha: float) -> tuple[float, ...]:
    if min(arm.plays for arm in arms) < _FIRST_PLAYS:
        return (1 / len(arms),) * len(arms)
    running = still_running(arms, alpha)
    if len(running) == 1:
        return tuple(float(index in running) for index in range(len(arms)))
    return best_proof_shares([arm.mean for arm in arms])
