"""Off-policy replay: unbiased, with intervals that hold, and honest about what it cannot know."""

from __future__ import annotations

import numpy as np
import pytest

from optimizer.replay import Logged, certain, replay, shares
from optimizer.routing.plan import Candidate
from optimizer.routing.strategies import Ordered, Weighted

A, B, C = (Candidate(provider="p", model=name) for name in "abc")
WORTH = {A.name: 0.9, B.name: 0.6}


def logged(rng: np.random.Generator, n: int, target: dict[str, float], *, pa: float = 0.7) -> list[Logged]:
    found = []
    for _ in range(n):
        drawn, propensity = (A, pa) if rng.random() < pa else (B, 1 - pa)
        value = float(rng.random() < WORTH[drawn.name])
        found.append(Logged(drawn.name, propensity, target, value))
    return found


@pytest.mark.parametrize("to_b", [0.0, 0.3, 0.9, 1.0])
def test_the_interval_holds_the_truth_and_the_estimators_are_unbiased(to_b: float) -> None:
    rng = np.random.default_rng(7)
    target = {A.name: 1 - to_b, B.name: to_b}
    truth = sum(share * WORTH[name] for name, share in target.items())
    runs = [replay(logged(rng, 400, target)) for _ in range(300)]
    assert np.mean([run.low <= truth <= run.high for run in runs]) >= 0.92
    for estimates in ([run.ips for run in runs], [run.dr for run in runs], [run.snips for run in runs]):
        assert np.mean(estimates) == pytest.approx(truth, abs=0.012)
    assert np.std([run.dr for run in runs]) <= np.std([run.ips for run in runs]) + 1e-9


def test_the_policy_that_was_in_force_is_worth_what_was_observed() -> None:
    rng = np.random.default_rng(3)
    found = replay(logged(rng, 5000, {A.name: 0.7, B.name: 0.3}))
    assert found.ips == pytest.approx(found.observed)
    assert found.effective == pytest.approx(5000)
    assert found.reason == ""


def test_a_candidate_that_was_never_drawn_is_named() -> None:
    rng = np.random.default_rng(3)
    found = replay(logged(rng, 200, {A.name: 0.5, C.name: 0.5}))
    assert "p/c would get 50.0% of the calls and was never drawn" in found.reason


def test_too_little_overlap_is_said() -> None:
    rng = np.random.default_rng(3)
    found = replay(logged(rng, 60, {B.name: 1.0}, pa=0.9))
    assert "30 are needed" in found.reason


@pytest.mark.parametrize("propensity", [0.0, -0.1, 1.5, float("nan")])
def test_junk_is_refused(propensity: float) -> None:
    with pytest.raises(ValueError, match="propensity"):
        replay([Logged(A.name, propensity, certain(A), 1.0)])
    with pytest.raises(ValueError, match="no calls"):
        replay([])


def test_shares_come_from_the_strategies_themselves() -> None:
    weighted = Weighted(weights={A.name: 3, B.name: 1, C.name: 0})
    assert shares(lambda draw: weighted.order((A, B, C), draw)) == pytest.approx({A.name: 0.75, B.name: 0.25})
    assert shares(lambda draw: Ordered().order((B, A), draw)) == {B.name: 1.0}
