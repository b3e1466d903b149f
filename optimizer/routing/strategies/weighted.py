"""Weighted: the first candidate is drawn by weight, the rest follow as fallbacks in written order."""

from __future__ import annotations

from msgspec import Struct

from optimizer.routing.plan import Candidate, Choice


class Weighted(Struct, frozen=True, tag="weighted", tag_field="type", forbid_unknown_fields=True):
    """``weights`` by candidate name ``provider/model``; a candidate without one has weight 1."""

    weights: dict[str, float] = {}

    def order(self, candidates: tuple[Candidate, ...], draw: float) -> Choice:
        """``draw`` in [0, 1) picks the first candidate; its share of the weight is the propensity."""
        weights = [max(self.weights.get(candidate.name, 1.0), 0.0) for candidate in candidates]
        total = sum(weights)
        if total <= 0:
            return Choice(order=candidates, propensity=1.0)
        mark, passed = draw * total, 0.0
        for candidate, weight in zip(candidates, weights, strict=True):
            passed += weight
            if mark < passed:
                rest = tuple(other for other in candidates if other is not candidate)
                return Choice(order=(candidate, *rest), propensity=weight / total)
        return Choice(order=candidates, propensity=weights[0] / total)
