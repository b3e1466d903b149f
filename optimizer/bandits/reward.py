"""What an answer was worth: success first, then how fast and how cheap it was."""

from __future__ import annotations

import math
from typing import Annotated

from msgspec import Meta, Struct

Weight = Annotated[float, Meta(ge=0, le=1000)]


class Reward(Struct, frozen=True, forbid_unknown_fields=True):
    """Weights of the parts. ``latency_ms`` and ``cost_usd`` are the values that are worth one half."""

    success: Weight = 1.0
    latency: Weight = 0.5
    cost: Weight = 0.5
    latency_ms: Annotated[float, Meta(gt=0)] = 1000.0
    cost_usd: Annotated[float, Meta(gt=0)] = 0.001


class Outcome(Struct, frozen=True):
    """How a play ended. ``cost_usd`` None: the price is unknown."""

    success: bool
    latency_ms: float = 0.0
    cost_usd: float | None = None


def reward(outcome: Outcome, terms: Reward) -> float:
    """In [0, 1]. A failure earns nothing, however fast; an unknown cost earns nothing for its part. All weights
    zero: success alone."""
    if not outcome.success:
        return 0.0
    parts = [
        (terms.success, 1.0),
        (terms.latency, _half_at(outcome.latency_ms, terms.latency_ms)),
        (terms.cost, 0.0 if outcome.cost_usd is None else _half_at(outcome.cost_usd, terms.cost_usd)),
    ]
    total = sum(weight for weight, _ in parts)
    return sum(weight * value for weight, value in parts) / total if total > 0 else 1.0


def _half_at(value: float, scale: float) -> float:
    """1 at zero, 1/2 at ``scale``, towards 0 beyond."""
    return scale / (scale + max(0.0, value)) if math.isfinite(value) else 0.0
