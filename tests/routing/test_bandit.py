"""The bandit: it finds the better arm, starves nobody, says its true odds, and survives every state."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from optimizer.bandits import Arm, MemoryBanditState, Outcome, Reward, reward, shares
from optimizer.bandits.arms import decayed, drawn, rewarded
from optimizer.routing.choose import Situation, choose
from optimizer.routing.plan import Candidate
from optimizer.routing.strategies import Bandit

ARMS = (Candidate("a", "m"), Candidate("b", "m"), Candidate("c", "m"))
DAY = 86_400.0


def simulate(
    chances: dict[str, float],
    calls: int,
    seed: int,
    strategy: Bandit,
    state: MemoryBanditState,
    start: float = 0.0,
) -> list[tuple[str, float, bool]]:
    """(arm, propensity, success) of each call, one a second, as the gateway would make them."""
    rng, found = random.Random(seed), []
    for step in range(calls):
        now = start + step
        arms = state.arms("t/p", now=now, half_life_s=strategy.half_life_s)
        plan = choose(Situation(ARMS, strategy, draw=rng.random(), arms=arms, scope="t/p"))
        arm = plan.rungs[0].candidate.name
        success = rng.random() < chances[arm]
        value = reward(Outcome(success, 0.0, 0.0), strategy.reward)
        state.play("t/p", arm, value, now=now, half_life_s=strategy.half_life_s)
        found.append((arm, plan.propensity, success))
    return found


def test_it_finds_the_better_arm_and_starves_nobody() -> None:
    chances = {"a/m": 0.6, "b/m": 0.85, "c/m": 0.7}
    calls = simulate(chances, 2000, 1, Bandit(half_life_s=DAY, explore=0.06), MemoryBanditState(refresh_s=5))
    late = [arm for arm, _, _ in calls[1000:]]
    assert late.count("b/m") / len(late) > 0.8
    assert min(propensity for _, propensity, _ in calls) >= 0.02
    for arm in chances:
        assert late.count(arm) > 5


def test_it_follows_a_change() -> None:
    strategy, state = Bandit(half_life_s=200, explore=0.1), MemoryBanditState(refresh_s=5)
    simulate({"a/m": 0.9, "b/m": 0.3, "c/m": 0.3}, 800, 2, strategy, state)
    calls = simulate({"a/m": 0.2, "b/m": 0.9, "c/m": 0.3}, 1500, 3, strategy, state, start=800.0)
    late = [arm for arm, _, _ in calls[1000:]]
    assert late.count("b/m") / len(late) > 0.6


def test_propensities_are_the_odds_and_make_replays_unbiased() -> None:
    chances = {"a/m": 0.5, "b/m": 0.8, "c/m": 0.65}
    calls = simulate(chances, 3000, 4, Bandit(half_life_s=DAY, explore=0.3), MemoryBanditState(refresh_s=20))
    # Inverse propensity scoring of "always this arm" recovers its true rate (weights are at most 10).
    for arm, chance in chances.items():
        values = [success / propensity if one == arm else 0.0 for one, propensity, success in calls]
        mean = sum(values) / len(values)
        spread = math.sqrt(sum((value - mean) ** 2 for value in values)) / len(values)
        assert abs(mean - chance) < 4 * spread


def test_shares_are_those_of_thompson_sampling() -> None:
    arms = (Arm(30, 10), Arm(24, 12), Arm(2, 1))
    rng, wins = random.Random(5), [0, 0, 0]
    for _ in range(20_000):
        draws = [rng.betavariate(arm.gained + 1, arm.missed + 1) for arm in arms]
        wins[draws.index(max(draws))] += 1
    for share, won in zip(shares(arms, 0.0), wins, strict=True):
        assert abs(share - won / 20_000) < 0.015  # four standard errors of the simulation


sums = st.floats(-1e9, 1e12) | st.sampled_from([0.0, math.nan, math.inf, -math.inf, 1e300, 5e-324])


@given(st.lists(st.builds(Arm, sums, sums), min_size=1, max_size=5), st.floats(0, 1))
def test_no_state_breaks_the_shares(arms: list[Arm], explore: float) -> None:
    found = shares(tuple(arms), explore)
    assert all(math.isfinite(one) and one >= explore / len(arms) - 1e-12 for one in found)
    assert sum(found) == pytest.approx(1.0)
    assert 0 <= drawn(found, 0.999999999) < len(arms)


wild = st.floats(allow_nan=True, allow_infinity=True)


@given(st.lists(st.tuples(wild, wild), max_size=20), st.floats(1e-3, 1e9))
def test_no_reward_and_no_clock_breaks_an_arm(plays: list[tuple[float, float]], half_life: float) -> None:
    arm = Arm()
    for value, now in plays:
        arm = rewarded(arm, value, now if math.isfinite(now) else 0.0, half_life)
        assert arm.gained >= 0 and arm.missed >= 0 and 0 < arm.mean < 1 + 1e-9


@given(st.booleans(), wild, st.none() | wild)
def test_a_reward_is_a_share(success: bool, ms: float, cost: float | None) -> None:
    assert 0 <= reward(Outcome(success, ms, cost), Reward()) <= 1


def test_what_an_answer_is_worth() -> None:
    terms = Reward(success=2, latency=1, cost=1, latency_ms=100, cost_usd=0.01)
    assert reward(Outcome(False, 0.0, 0.0), terms) == 0.0
    assert reward(Outcome(True, 0.0, 0.0), terms) == 1.0
    assert reward(Outcome(True, 100.0, 0.01), terms) == 0.75
    assert reward(Outcome(True, 0.0, None), terms) == 0.75  # an unknown cost is not a cost of 0
    assert reward(Outcome(True), Reward(success=0, latency=0, cost=0)) == 1.0


def test_old_plays_fade() -> None:
    assert decayed(Arm(8, 4, at=100.0), 110.0, 10.0) == Arm(4, 2, 110.0)
    assert decayed(Arm(8, 4, at=100.0), 90.0, 10.0) == Arm(8, 4, 100.0)
    state = MemoryBanditState(refresh_s=0.0, most=2)
    for scope in ("x", "y", "z"):
        state.play(scope, "a", 1.0, now=0.0, half_life_s=1.0)
    assert state.arms("x", now=0.0, half_life_s=1.0) == {}
    assert state.arms("z", now=1.0, half_life_s=1.0) == {"a": Arm(0.5, 0.0, 1.0)}
