"""Weighted: the first candidate is drawn by weight, the rest follow as fallbacks in written order."""

from __future__ import annotations

from msgspec import Struct

from optimizer.routing.plan import Candidate, Choice
from optimizer.routing.scene import EMPTY, Scene
from optimizer.routing.sticky import rendezvous


class Weighted(Struct, frozen=True, tag="weighted", tag_field="type", forbid_unknown_fields=True):
    """``weights`` by candidate name ``provider/model``; a candidate without one has weight 1."""

    weights: dict[str, float] = {}

    def order(self, candidates: tuple[Candidate, ...], draw: float, scene: Scene = EMPTY) -> Choice:
        """``draw`` in [0, 1) picks the first candidate, or the caller's own when the scene is sticky; its share
        of the weight is the propensity (over all callers, when sticky)."""
        weights = [max(self.weights.get(candidate.name, 1.0), 0.0) for candidate in candidates]
        total = sum(weights)
        if total <= 0:
            return Choice(order=candidates, propensity=1.0)
        index = rendezvous(scene.sticky, candidates, weights) if scene.sticky else _at(weights, draw * total)
        first = candidates[index]
        rest = tuple(other for other in candidates if other is not first)
        return Choice(order=(first, *rest), propensity=weights[index] / total)


def _at(weights: list[float], mark: float) -> int:
    passed = 0.0
    for index, weight in enumerate(weights):
        passed += weight
        if mark < passed:
            return index
    return next(index for index, weight in enumerate(weights) if weight > 0)
