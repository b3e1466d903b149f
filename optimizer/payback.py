"""Whether a task's students have paid for themselves, or when they will. Money is US dollars.

Everything that learning cost is an investment: trainings, shadow answers, re-asks, self-checks. What a call saves is a
ratio of sums over stretches of time (hours, say), so its interval takes each stretch for one observation: calls of one
hour have more in common than calls of different ones (Cochran, Sampling Techniques, 1977, section 6.3).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Protocol

from msgspec import Struct

from optimizer.roi import Bucket
from optimizer.stats.intervals import clopper_pearson

_Z = 1.959964
_LEAST_STRETCHES = 5


class Dated(Bucket, Protocol):
    @property
    def start(self) -> int: ...


class Estimate(Struct, frozen=True):
    """A value with its 95 % interval."""

    value: float
    low: float
    high: float


class Payback(Struct, frozen=True):
    """``invested``: ``training`` and ``learning`` (re-asks, shadow answers, self-checks). ``brought``: what the
    students' answers saved before that. ``net`` = brought − invested. ``per_call``: what one call of the task saves
    since a student has served, re-asks charged, None while that cannot be said. ``calls_left``: calls until net is
    zero, 0 once it is; its ``high`` is infinite when it may never be. ``paid_at``: the stretch from which on net was
    never below zero. ``forecast``: what per_call was expected to be before the student served. Sums are None while a
    call's price is unknown."""

    calls: int
    student_calls: int
    training: float
    learning: float
    invested: float
    brought: float | None
    net: float | None
    per_call: Estimate | None
    calls_left: Estimate | None
    paid_at: int | None
    forecast: Estimate | None


def payback(buckets: Iterable[Dated], training: float, forecast: Estimate | None = None) -> Payback:
    """``buckets``: one task's ledger, any order; ``training``: what its trainings cost."""
    rows = sorted((row for row in buckets if row.party in ("teacher", "student")), key=lambda row: row.start)
    learning = sum(row.extra_cost_usd for row in rows)
    priced = not any(row.unpriced for row in rows)
    brought = sum(row.teacher_cost_usd - row.cost_usd for row in rows) if priced else None
    invested = training + learning
    net = None if brought is None else brought - invested
    per_call = _per_call(rows) if priced else None
    return Payback(
        calls=sum(row.calls for row in rows),
        student_calls=sum(row.calls for row in rows if row.party == "student"),
        training=training,
        learning=learning,
        invested=invested,
        brought=brought,
        net=net,
        per_call=per_call,
        calls_left=_left(net, per_call),
        paid_at=_paid_at(rows, training) if net is not None and net >= 0 else None,
        forecast=forecast,
    )


def expected_per_call(answered: int, of: int, teacher_per_call: float, reask_rate: float) -> Estimate | None:
    """What a call should save once a student serves that answered ``answered`` of ``of`` held-out calls: the teacher's
    price for those, less that of the re-asked ones. The student's own price is not known beforehand, and left out."""
    if of == 0:
        return None
    worth = teacher_per_call * (1 - reask_rate)
    low, high = clopper_pearson(answered, of, 0.95)
    return Estimate(worth * answered / of, worth * low, worth * high)


def _per_call(rows: Sequence[Dated]) -> Estimate | None:
    first = next((row.start for row in rows if row.party == "student" and row.calls), None)
    stretches: dict[int, tuple[float, int]] = {}
    for row in rows:
        if first is not None and row.start >= first:
            saved, calls = stretches.get(row.start, (0.0, 0))
            mine = row.teacher_cost_usd - row.cost_usd - row.extra_cost_usd
            stretches[row.start] = (saved + mine, calls + row.calls)
    total = sum(calls for _, calls in stretches.values())
    count = len(stretches)
    if count < _LEAST_STRETCHES or total == 0:
        return None
    value = sum(saved for saved, _ in stretches.values()) / total
    squares = sum((saved - value * calls) ** 2 for saved, calls in stretches.values())
    half = _Z * math.sqrt(squares / (count * (count - 1))) / (total / count)
    return Estimate(value, value - half, value + half)


def _left(net: float | None, per_call: Estimate | None) -> Estimate | None:
    if net is None:
        return None
    if net >= 0:
        return Estimate(0.0, 0.0, 0.0)
    if per_call is None:
        return None

    def calls(saved: float) -> float:
        return -net / saved if saved > 0 else math.inf

    return Estimate(calls(per_call.value), calls(per_call.high), calls(per_call.low))


def _paid_at(rows: Sequence[Dated], training: float) -> int | None:
    """All of ``training`` counts from the beginning, so nothing is called paid too early."""
    net, since = -training, None
    for row in rows:
        net += row.teacher_cost_usd - row.cost_usd - row.extra_cost_usd
        if net < 0:
            since = None
        elif since is None:
            since = row.start
    return since
