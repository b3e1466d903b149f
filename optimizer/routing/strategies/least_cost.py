"""Least cost: the candidate with the lowest estimated cost of this very call first; unknown prices last."""

from __future__ import annotations

from msgspec import Struct

from optimizer.routing.objective import ranked
from optimizer.routing.plan import Candidate, Choice
from optimizer.routing.scene import EMPTY, Scene


class LeastCost(Struct, frozen=True, tag="least_cost", tag_field="type", forbid_unknown_fields=True):
    def order(self, candidates: tuple[Candidate, ...], draw: float, scene: Scene = EMPTY) -> Choice:
        return Choice(order=ranked(candidates, "min_cost", scene.facts), propensity=1.0)
