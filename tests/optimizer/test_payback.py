"""When students have paid for themselves: sums that add up, and intervals that say what is not known."""

from __future__ import annotations

import math
import random

import pytest
from msgspec import Struct

from optimizer.payback import Payback, expected_per_call, payback


class Row(Struct, frozen=True):
    start: int
    party: str
    calls: int
    cost_usd: float
    teacher_cost_usd: float
    unpriced: int = 0
    extra_cost_usd: float = 0.0


def history(stretches: int, *, served: float = 0.8, reasked: float = 0.1, seed: int = 1) -> list[Row]:
    """A calm start, then a student that serves; a teacher's call costs one cent."""
    rng = random.Random(seed)
    rows = [Row(at * 10, "teacher", 50, 0.5, 0.5, extra_cost_usd=0.02) for at in range(5)]
    for at in range(5, 5 + stretches):
        calls = rng.randint(20, 60)
        student = sum(rng.random() < served for _ in range(calls))
        rows.append(
            Row(at * 10, "student", student, 0.0, student / 100, extra_cost_usd=student * reasked / 100)
        )
        rows.append(
            Row(at * 10, "teacher", calls - student, (calls - student) / 100, (calls - student) / 100)
        )
    return rows


def test_everything_adds_up() -> None:
    found = payback(history(40), training=0.5)
    assert found.invested == pytest.approx(found.training + found.learning)
    assert found.brought is not None and found.net == pytest.approx(found.brought - found.invested)
    assert found.per_call is not None
    assert found.per_call.low < 0.8 * 0.9 / 100 < found.per_call.high
    assert found.calls_left is not None and found.calls_left.value == 0.0
    assert found.paid_at is not None and found.paid_at >= 50


def test_what_is_not_paid_yet_says_how_many_calls_are_left() -> None:
    found = payback(history(10), training=100.0)
    assert found.paid_at is None and found.calls_left is not None
    left = found.calls_left
    assert left.low < left.value < left.high < math.inf
    assert found.net is not None and found.per_call is not None
    assert left.value == pytest.approx(-found.net / found.per_call.value)


def test_a_student_that_saves_nothing_may_never_pay() -> None:
    found = payback(history(20, reasked=1.0), training=1.0)
    assert found.calls_left is not None and math.isinf(found.calls_left.high)


def test_too_little_and_unpriced_calls_say_nothing() -> None:
    few: Payback = payback(history(2), training=1.0)
    assert few.per_call is None and few.calls_left is None
    unknown = payback([*history(20), Row(999, "student", 1, 0.0, 0.0, unpriced=1)], training=1.0)
    assert (unknown.brought, unknown.net, unknown.per_call, unknown.paid_at) == (None, None, None, None)


def test_the_interval_holds_the_truth_as_often_as_it_says() -> None:
    inside = 0
    for seed in range(300):
        per_call = payback(history(30, seed=seed), training=0.0).per_call
        assert per_call is not None
        inside += per_call.low <= 0.8 * 0.9 / 100 <= per_call.high
    assert inside >= 270


def test_what_is_expected_comes_from_the_held_out_calls() -> None:
    found = expected_per_call(80, 100, 0.01, 0.03)
    assert found is not None
    assert found.value == pytest.approx(0.8 * 0.01 * 0.97)
    assert found.low < found.value < found.high
    assert expected_per_call(0, 0, 0.01, 0.03) is None
