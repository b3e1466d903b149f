"""Ordered: the candidates in the order they are written; the first that can answer does."""

from __future__ import annotations

from msgspec import Struct

from optimizer.routing.plan import Candidate, Choice
from optimizer.routing.scene import EMPTY, Scene


class Ordered(Struct, frozen=True, tag="ordered", tag_field="type", forbid_unknown_fields=True):
    def order(self, candidates: tuple[Candidate, ...], draw: float, scene: Scene = EMPTY) -> Choice:
        """``draw`` in [0, 1) is ignored: the order is certain, so its propensity is 1."""
        return Choice(order=candidates, propensity=1.0)
