"""Least latency: the candidate with the lowest observed median first, with a small share of calls for the others,
or nobody would notice that one of them has become faster."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

from optimizer.routing.facts import NOTHING_KNOWN
from optimizer.routing.objective import latency
from optimizer.routing.plan import Candidate, Choice
from optimizer.routing.scene import EMPTY, Scene


class LeastLatency(Struct, frozen=True, tag="least_latency", tag_field="type", forbid_unknown_fields=True):
    """``explore``: the share of calls whose first candidate is drawn among all of them alike."""

    explore: Annotated[float, Meta(ge=0, le=1)] = 0.05

    def order(self, candidates: tuple[Candidate, ...], draw: float, scene: Scene = EMPTY) -> Choice:
        """The observed ones by median, then the unobserved ones as written. ``draw`` decides who is first."""
        ordered = tuple(sorted(candidates, key=lambda one: _median(one, scene)))
        count = len(ordered)
        if count < 2:
            return Choice(order=ordered, propensity=1.0)
        each = self.explore / count
        index = min(count - 1, int(draw / each)) if draw < self.explore else 0
        first = ordered[index]
        rest = tuple(one for one in ordered if one is not first)
        return Choice(order=(first, *rest), propensity=each + (1 - self.explore if index == 0 else 0.0))


def _median(candidate: Candidate, scene: Scene) -> float:
    found = latency(scene.facts.get(candidate, NOTHING_KNOWN))
    return float("inf") if found is None else found
