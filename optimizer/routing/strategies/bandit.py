"""Bandit: Thompson sampling over what each candidate's answers were worth (``optimizer.bandits``)."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct, field

from optimizer.bandits.arms import Arm, first_and_rest, shares
from optimizer.bandits.reward import Reward
from optimizer.routing.plan import Candidate, Choice
from optimizer.routing.scene import EMPTY, Scene

_UNPLAYED = Arm()


class Bandit(Struct, frozen=True, tag="bandit", tag_field="type", forbid_unknown_fields=True):
    """``explore`` of the calls is spread over all candidates alike, so that none starves and no replay weighs a
    call more than candidates / ``explore`` times. What was seen counts half after ``half_life_s`` seconds."""

    reward: Reward = field(default_factory=Reward)
    half_life_s: Annotated[float, Meta(gt=0)] = 6 * 3600.0
    explore: Annotated[float, Meta(gt=0, le=1)] = 0.02

    def order(self, candidates: tuple[Candidate, ...], draw: float, scene: Scene = EMPTY) -> Choice:
        """``draw`` picks the first candidate by the very shares that are its propensity; the others follow, the
        likelier ones first."""
        arms = tuple(scene.arms.get(one.name, _UNPLAYED) for one in candidates)
        probabilities = shares(arms, self.explore)
        places = first_and_rest(probabilities, draw)
        return Choice(order=tuple(candidates[i] for i in places), propensity=probabilities[places[0]])
