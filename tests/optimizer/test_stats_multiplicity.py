from __future__ import annotations

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from optimizer.stats.eprocess import log_wealth
from optimizer.stats.intervals import clopper_pearson_lower
from optimizer.stats.multiplicity import (
    divide,
    e_lond,
    share_of_round,
    spend,
    within_round,
)


def test_all_rounds_together_stay_within_the_budget() -> None:
    spent = [spend(0.05, round) for round in range(1, 20_000)]
    assert spent[0] == pytest.approx(0.05 * 0.6079271)
    assert sum(spent) < 0.05 < sum(spent) + 1e-5


@given(st.integers(1, 60), st.integers(0, 59))
def test_e_lond_is_never_stricter_than_spending(round: int, earlier: int) -> None:
    if earlier < round:
        assert e_lond(0.05, round, earlier) >= spend(0.05, round)


def promoted_by(e_values: list[float], alpha: float) -> list[bool]:
    """Which of a sequence of rounds e-LOND promotes."""
    found: list[bool] = []
    for round, e_value in enumerate(e_values, start=1):
        found.append(e_value >= 1 / e_lond(alpha, round, sum(found)))
    return found


def test_e_lond_keeps_the_false_discovery_rate() -> None:
    rng = np.random.default_rng(11)
    alpha, shares = 0.2, []
    for _ in range(1500):
        null = rng.random(25) < 0.5
        # a likelihood ratio of N(3, 1) against N(0, 1) is an e-value under the null
        x = rng.normal(np.where(null, 0.0, 3.0))
        promoted = np.array(promoted_by(np.exp(3 * x - 4.5).tolist(), alpha))
        shares.append((promoted & null).sum() / max(1, promoted.sum()))
    assert np.mean(shares) <= alpha * 0.5 + 3 * np.std(shares) / np.sqrt(len(shares))


def test_divide_writes_down_every_level() -> None:
    levels = divide(0.05, 0.1, 3, candidates=2, earlier_promotions=1)
    assert levels.alpha == spend(0.05, 3) / 2
    assert levels.delta == spend(0.1, 3) / 2
    assert levels.e_lond == e_lond(0.05, 3, 1) / 2 > levels.alpha


def test_discovery_puts_e_lond_in_force_and_leaves_delta_spent() -> None:
    levels = divide(0.05, 0.1, 3, earlier_promotions=2, control="discovery")
    assert levels.alpha == levels.e_lond == e_lond(0.05, 3, 2) > spend(0.05, 3)
    assert levels.delta == spend(0.1, 3)
    assert b"control" not in msgspec.json.encode(divide(0.05, 0.1, 3))


def test_a_picked_candidate_has_the_whole_alpha_and_its_share_of_delta() -> None:
    levels = divide(0.05, 0.1, 3, candidates=4, earlier_promotions=1, picked="calibration")
    assert levels.alpha == spend(0.05, 3) and levels.e_lond == e_lond(0.05, 3, 1)
    assert levels.delta == spend(0.1, 3) / 4
    assert b"picked" not in msgspec.json.encode(divide(0.05, 0.1, 3, candidates=4))


def test_picking_by_calibration_keeps_the_family_of_rounds_within_alpha() -> None:
    """Six rounds of three students exactly at the null; what was picked is judged on pairs it was not picked by."""
    rng = np.random.default_rng(20261129)
    needed = np.log([1 / divide(0.05, 0.05, one, candidates=3, picked="calibration").alpha for one in range(1, 7)])
    fresh, reused = 0, 0
    for _ in range(300):
        best = log_wealth(rng.random((6, 3, 1000)) < 0.93, 0.93).max(axis=2)
        first = rng.binomial(500, 0.93, size=(6, 3)).argmax(axis=1)
        fresh += bool((best[np.arange(6), first] >= needed).any())
        reused += bool((best.max(axis=1) >= needed).any())
    assert clopper_pearson_lower(fresh, 300, 0.99) <= 0.05
    assert reused > fresh  # the same pairs may not both pick and prove


def test_impossible_rounds_are_refused() -> None:
    with pytest.raises(ValueError, match="count from 1"):
        share_of_round(0)
    with pytest.raises(ValueError, match="at least one candidate"):
        within_round(0.05, 0)
    with pytest.raises(ValueError, match="cannot precede"):
        e_lond(0.05, 2, 2)
