"""Money as it is told: rounded where it stands under a name for money, and nothing else touched."""

from __future__ import annotations

import math

from msgspec import Struct

from gateway.money.shown import dollars, shown
from optimizer.payback import Estimate, Payback

NOISE = 0.1 + 0.2


class Line(Struct, frozen=True):
    cost_usd: float | None
    at: float
    within: list[Line] = []
    name: str = "x"


def test_sums_lose_their_noise_and_small_sums_nothing() -> None:
    assert dollars(NOISE) == 0.3 and dollars(1234.5600000000002) == 1234.56
    assert dollars(2.345e-9) == 2.345e-9 and dollars(None) is None and dollars(0.0) == 0.0


def test_only_money_is_touched_however_deep_it_stands() -> None:
    at = 1_764_560_000.1234567
    found = shown({"lines": [Line(NOISE, at, [Line(None, NOISE), Line(NOISE, NOISE)])], "spent_usd": {"low": NOISE}, "p": NOISE})
    line = found["lines"][0]
    assert (line.cost_usd, line.at, line.name) == (0.3, at, "x")
    assert [(one.cost_usd, one.at) for one in line.within] == [(None, NOISE), (0.3, NOISE)]
    assert found["spent_usd"] == {"low": 0.3} and found["p"] == NOISE


def test_a_payback_is_money_but_for_its_counts() -> None:
    left = Estimate(NOISE, 1.0, math.inf)
    found = shown([Payback(3, 2, NOISE, NOISE, NOISE, NOISE, None, Estimate(NOISE, NOISE, NOISE), left, 5, None)])[0]
    assert (found.training, found.invested, found.net, found.per_call) == (0.3, 0.3, None, Estimate(0.3, 0.3, 0.3))
    assert found.calls_left == left and found.paid_at == 5
