"""What a task would save, before anything is trained for it. Pure but for the training of a throw-away student.

The share that a student could serve is probed: the cheap recipes learn from the group's most frequent exact shape (a
student serves no other) and answer each sampled call by a model that did not see it. The share is the largest, by
confidence, on which those answers agree with the teacher's at the target.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from gateway.protocol.called import ENDED
from gateway.storage.reading.discovery import UntaggedCall, UntaggedTotal
from optimizer.routing.eligibility import unanswerable
from optimizer.stats.intervals import wilson
from trainer.datasets.split import fold_of
from trainer.discovery.templates import Group, Shaped
from trainer.recipes import SAME, CannotLearn, Example, train_first

TARGET = 0.95
LEAST_CALLS = 60
"""Of one exact shape: fewer say nothing about a student."""
MOST_CALLS = 3000
_RESAMPLES = 400
_EACH = 0.975
"""Confidence of each of the two intervals that are multiplied; both hold with 95 % (Bonferroni)."""
_MONTH_S = 30 * 86_400.0
_LEAST_SPAN_S = 3600.0


class Interval(Struct, frozen=True):
    value: float
    low: float
    high: float


class Probe(Struct, frozen=True):
    """``served``: share of the *group's* calls a student could answer. None when it cannot be said, and ``why``."""

    n: int
    """Calls of the most frequent shape that were learnt from."""
    recipe: str
    served: Interval | None
    why: str
    repeats: float
    """Share of sampled calls whose input had been asked before."""
    entropy_bits: float
    """Of the answers: how many yes-or-no questions one is worth."""


class Forecast(Struct, frozen=True):
    """A month at the rate that was seen. ``saved_usd``: None while a price or the share is unknown."""

    calls: Interval
    cost_usd: float | None
    """Mean of one call."""
    saved_usd: Interval | None
    seen_s: float
    """How long a time it is projected from."""


def probe(group: Group, *, seed: int) -> Probe:
    counts = group.fingerprints()
    shape, most = counts.most_common(1)[0]
    same = [shaped for shaped in group.calls if shaped.fingerprint == shape and _usable(shaped.call)]
    sample = same[-MOST_CALLS:]
    repeats = 1 - len({shaped.call.group for shaped in group.calls}) / len(group.calls)
    entropy = _entropy([shaped.call.answer for shaped in group.calls])

    def unknown(why: str) -> Probe:
        return Probe(len(sample), "", None, why, repeats, entropy)

    if why := unanswerable(next(one for one in group.calls if one.fingerprint == shape).call.request):
        return unknown(f"such requests stay with the teacher: {why}")
    if len(sample) < LEAST_CALLS:
        few = f"{len(sample)} captured calls of one exact shape, {LEAST_CALLS} are needed"
        advice = "its system text varies from call to call: what varies belongs into the user's text"
        return unknown(f"{few}; {advice}" if len(counts) > 3 else few)
    try:
        recipe, agreed = _out_of_fold(sample, seed)
    except CannotLearn as problem:
        return unknown(f"no cheap student can do it ({problem})")
    served = _served(agreed, [shaped.call.group for shaped in sample], seed)
    low, high = wilson(most, len(group.calls), 1 - (1 - _EACH) / 2)
    share = most / len(group.calls)
    of_group = Interval(served.value * share, served.low * low, served.high * high)
    return Probe(len(sample), recipe, of_group, "", repeats, entropy)


def forecast(group: Group, found: Probe, totals: Sequence[UntaggedTotal], captured: int) -> Forecast:
    """``captured``: all captured calls of the group's project and model, of which the group is a share; the share is
    projected on ``totals``, the ledger's count, so that it does not matter what part of the traffic is captured."""
    total = next(one for one in totals if (one.project, one.model) == (group.project, group.model))
    span = max(total.last - total.first, _LEAST_SPAN_S)
    monthly = total.calls * _MONTH_S / span
    low, high = wilson(len(group.calls), captured, _EACH)
    calls = Interval(monthly * len(group.calls) / captured, monthly * low, monthly * high)
    costs = [shaped.call.cost_usd for shaped in group.calls]
    known = [cost for cost in costs if cost is not None]
    cost = sum(known) / len(known) if len(known) == len(costs) else None
    saved = None
    if cost is not None and found.served is not None:
        served = found.served
        value, low, high = (
            getattr(calls, end) * cost * getattr(served, end) for end in ("value", "low", "high")
        )
        saved = Interval(value, low, high)
    return Forecast(calls, cost, saved, span)


def _usable(call: UntaggedCall) -> bool:
    return call.finish_reason in ENDED and bool(call.answer.strip()) and bool(call.text.strip())


def _out_of_fold(sample: Sequence[Shaped], seed: int) -> tuple[str, list[tuple[float, bool]]]:
    """(recipe, (confidence, agreed) of each call by a model that did not see it). Raises CannotLearn."""
    calls = [shaped.call for shaped in sample]
    examples = [
        Example(
            call.text, call.answer, max(1, call.tokens), 1.0, fold_of(call.project, "discovery", call.group)
        )
        for call in calls
    ]
    recipe, trained = train_first("auto", examples, seed=seed, tick=lambda *_: None)
    return recipe, [
        (confidence, column == SAME if column < 0 else trained.answers[column] == call.answer)
        for call, (confidence, column) in zip(calls, trained.crossfit, strict=True)
    ]


def _served(agreed: Sequence[tuple[float, bool]], groups: Sequence[str], seed: int) -> Interval:
    """The largest share at the target, with a bootstrap interval over groups of near-identical inputs."""
    names = {name: place for place, name in enumerate(dict.fromkeys(groups))}
    member = np.array([names[name] for name in groups])
    confidence = np.array([one for one, _ in agreed])
    right = np.array([one for _, one in agreed], dtype=float)
    rng = np.random.default_rng(seed)
    drawn = []
    for _ in range(_RESAMPLES):
        weight = np.bincount(rng.integers(len(names), size=len(names)), minlength=len(names))[member]
        drawn.append(share_at(confidence, right, weight.astype(float)))
    tail = (1 - _EACH) / 2
    low, high = np.quantile(drawn, [tail, 1 - tail])
    value = share_at(confidence, right, np.ones(len(right)))
    return Interval(value, min(float(low), value), max(float(high), value))


def share_at(
    confidence: NDArray[np.float64], right: NDArray[np.float64], weight: NDArray[np.float64]
) -> float:
    """The largest share of the weight, most confident first, of which ``TARGET`` is right."""
    order = np.argsort(-confidence, kind="stable")
    answered = np.cumsum(weight[order])
    good = np.cumsum((weight * right)[order])
    enough = (answered > 0) & (good >= TARGET * answered)
    return float(answered[enough].max() / answered[-1]) if enough.any() else 0.0


def _entropy(answers: Sequence[str]) -> float:
    counts = Counter(answers).values()
    return -sum(count / len(answers) * math.log2(count / len(answers)) for count in counts) + 0.0
