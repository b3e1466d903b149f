"""In which order candidates are tried, by what is known about them. Ties keep the written order."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Literal

from optimizer.routing.facts import NOTHING_KNOWN, Facts, View
from optimizer.routing.plan import Candidate

Objective = Literal["min_cost", "max_quality", "min_latency", "weighted"]
Measure = Literal["cost", "latency", "quality"]
ENOUGH = 5
"""Calls after which a median latency is worth comparing."""


def ranked(
    candidates: Sequence[Candidate],
    objective: Objective,
    facts: View,
    weights: Mapping[Measure, float] | None = None,
) -> tuple[Candidate, ...]:
    """The candidates, best first.

    An unknown cost or quality ranks last: nothing speaks for it. An unknown latency ranks *first* under
    ``min_latency``, for a few calls are the only way to learn it. ``weighted`` adds up, per measure, how near a
    candidate comes to the best one (1 is the best, 0 is unknown), times the measure's weight.
    """
    known = {one: facts.get(one, NOTHING_KNOWN) for one in candidates}
    if objective == "min_cost":
        return tuple(sorted(candidates, key=lambda one: _or(known[one].cost_usd, math.inf)))
    if objective == "max_quality":
        return tuple(sorted(candidates, key=lambda one: -_or(known[one].quality, -1.0)))
    if objective == "min_latency":
        return tuple(sorted(candidates, key=lambda one: _or(latency(known[one]), -1.0)))
    scores = scored(known, weights or {})
    return tuple(sorted(candidates, key=lambda one: -scores[one]))


def latency(facts: Facts) -> float | None:
    """The median in milliseconds once it rests on enough calls."""
    return facts.p50_ms if facts.samples >= ENOUGH else None


def scored(known: Mapping[Candidate, Facts], weights: Mapping[Measure, float]) -> dict[Candidate, float]:
    """Each candidate's weighted score. Zero and unknown values divide nothing."""
    measures: tuple[tuple[Measure, dict[Candidate, float | None]], ...] = (
        ("cost", {one: facts.cost_usd for one, facts in known.items()}),
        ("latency", {one: latency(facts) for one, facts in known.items()}),
    )
    scores = dict.fromkeys(known, 0.0)
    for name, values in measures:
        least = min((value for value in values.values() if value is not None), default=0.0)
        for one, value in values.items():
            if value is not None:
                scores[one] += weights.get(name, 1.0) * (least / value if value > 0 else 1.0)
    most = max((facts.quality or 0.0 for facts in known.values()), default=0.0)
    for one, facts in known.items():
        if facts.quality and most > 0:
            scores[one] += weights.get("quality", 1.0) * facts.quality / most
    return scores


def _or(value: float | None, other: float) -> float:
    return other if value is None else value
