from __future__ import annotations

import pytest
from msgspec import Struct

from optimizer.roi import summarise


class Bucket(Struct, frozen=True):
    party: str
    calls: int
    cost_usd: float
    teacher_cost_usd: float
    unpriced: int = 0
    extra_cost_usd: float = 0.0


def test_savings_are_what_the_teacher_would_have_cost_less_everything_spent() -> None:
    found = summarise(
        [
            Bucket("teacher", 40, 4.0, 4.0, extra_cost_usd=0.5),
            Bucket("student", 60, 0.1, 6.0, extra_cost_usd=0.4),
            Bucket("plain", 1000, 50.0, 0.0),
        ]
    )
    assert (found.calls, found.student_calls, found.student_share) == (100, 60, 0.6)
    assert found.spent == pytest.approx(4.1)
    assert found.teacher_would_have_cost == pytest.approx(10.0)
    assert found.extra == pytest.approx(0.9)
    assert found.saved == pytest.approx(5.0)
    assert found.saved_share == pytest.approx(0.5)
    assert found.teacher_cost_per_call == pytest.approx(0.10)
    assert found.cost_per_call == pytest.approx(0.05)


def test_an_unknown_price_is_never_a_saving() -> None:
    found = summarise([Bucket("teacher", 10, 1.0, 1.0), Bucket("student", 5, 0.0, 0.5, unpriced=1)])
    assert found.unpriced == 1
    assert found.saved is None
    assert found.spent is None
    assert found.cost_per_call is None
    assert found.student_share == pytest.approx(1 / 3)


def test_learning_can_cost_more_than_it_brings() -> None:
    found = summarise([Bucket("teacher", 10, 1.0, 1.0, extra_cost_usd=0.25)])
    assert found.saved == pytest.approx(-0.25)


def test_no_calls_no_claims() -> None:
    found = summarise([])
    assert (found.calls, found.saved_share, found.cost_per_call) == (0, None, None)
