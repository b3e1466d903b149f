"""Replay: what another policy would have brought, estimated from calls whose choice was random and logged.

Three estimators over the same calls. IPS weighs each outcome by π(a|x) / p(a|x) (Horvitz and Thompson, 1952); it is
unbiased but wide. SNIPS divides by the sum of the weights instead of n (Swaminathan and Joachims, 2015). DR adds the
weighted residual to a model's forecast (Dudík, Langford and Li, 2011): unbiased as IPS because the propensities
are known, and narrow when the model is good. The model here is each candidate's mean in the other half of the calls
(cross-fitting), so that no call forecasts itself. The interval is DR's, by the central limit theorem.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from statistics import NormalDist

from msgspec import Struct

from optimizer.routing.plan import Candidate, Choice

_DRAWS = 512
_LEAST_EFFECTIVE = 30.0
"""Below so many calls' worth of evidence the normal interval promises too much."""


class Logged(Struct, frozen=True):
    """One call. ``drawn`` is the candidate that was put first with probability ``propensity``; ``target`` are the
    other policy's probabilities for this very call; ``value`` is what came of it (dollars, milliseconds, 0 or 1)."""

    drawn: str
    propensity: float
    target: Mapping[str, float]
    value: float


class Replayed(Struct, frozen=True):
    """``observed`` is the plain mean of what happened. ``effective``: how many calls the weighted ones are worth,
    (Σw)² / Σw². ``reason`` is "" when the interval [``low``, ``high``] may be relied on."""

    n: int
    observed: float
    ips: float
    snips: float
    dr: float
    low: float
    high: float
    effective: float
    reason: str


def shares(order: Callable[[float], Choice]) -> dict[str, float]:
    """The probabilities with which ``order`` (draw in [0, 1) to choice) puts each candidate first. The strategies
    state them; the grid only finds who can be first, so a share below 1 / 512 may be missed and the rest fill up.
    """
    found: dict[str, float] = {}
    for step in range(_DRAWS):
        choice = order((step + 0.5) / _DRAWS)
        found[choice.order[0].name] = choice.propensity
    total = sum(found.values())
    return {name: share / total for name, share in found.items()}


def certain(candidate: Candidate) -> dict[str, float]:
    """A policy that always takes the same."""
    return {candidate.name: 1.0}


def replay(calls: Sequence[Logged], *, confidence: float = 0.95) -> Replayed:
    """The mean value per call under the target. Raises ValueError for no calls or a propensity outside (0, 1]."""
    n = len(calls)
    if n == 0:
        raise ValueError("there are no calls to replay")
    if any(not 0.0 < call.propensity <= 1.0 for call in calls):
        raise ValueError("a propensity is not in (0, 1]")
    weights = [call.target.get(call.drawn, 0.0) / call.propensity for call in calls]
    total = sum(weights)
    squares = sum(weight * weight for weight in weights)
    effective = total * total / squares if squares > 0 else 0.0
    ips = sum(weight * call.value for weight, call in zip(weights, calls, strict=True)) / n
    terms = _doubly_robust(calls, weights)
    dr = sum(terms) / n
    spread = math.sqrt(sum((term - dr) ** 2 for term in terms) / max(1, n - 1) / n)
    reach = NormalDist().inv_cdf(0.5 + confidence / 2) * spread
    return Replayed(
        n=n,
        observed=sum(call.value for call in calls) / n,
        ips=ips,
        snips=ips * n / total if total > 0 else math.nan,
        dr=dr,
        low=dr - reach,
        high=dr + reach,
        effective=effective,
        reason=_unreliable(calls, effective),
    )


def _unreliable(calls: Sequence[Logged], effective: float) -> str:
    """Why the estimate is not to be relied on, or ""."""
    seen = {call.drawn for call in calls}
    wanted: dict[str, float] = {}
    for call in calls:
        for name, share in call.target.items():
            if name not in seen:
                wanted[name] = wanted.get(name, 0.0) + share / len(calls)
    if wanted:
        name, share = max(wanted.items(), key=lambda item: item[1])
        return f"{name} would get {share:.1%} of the calls and was never drawn: nothing is known about it"
    if effective < _LEAST_EFFECTIVE:
        return f"the calls that fit are worth {effective:.0f}; {_LEAST_EFFECTIVE:.0f} are needed"
    return ""


def _doubly_robust(calls: Sequence[Logged], weights: Sequence[float]) -> list[float]:
    """Σ_a π(a|x) m(a) + w · (value − m(drawn)) for each call, with m from the half the call is not in."""
    models = [_means(calls[half::2]) for half in (0, 1)]
    terms = []
    for index, (call, weight) in enumerate(zip(calls, weights, strict=True)):
        forecast, overall = models[1 - index % 2]
        expected = sum(share * forecast.get(name, overall) for name, share in call.target.items())
        terms.append(expected + weight * (call.value - forecast.get(call.drawn, overall)))
    return terms


def _means(calls: Sequence[Logged]) -> tuple[dict[str, float], float]:
    sums: dict[str, tuple[float, int]] = {}
    for call in calls:
        value, count = sums.get(call.drawn, (0.0, 0))
        sums[call.drawn] = (value + call.value, count + 1)
    overall = sum(call.value for call in calls) / len(calls) if calls else 0.0
    return {name: value / count for name, (value, count) in sums.items()}, overall
