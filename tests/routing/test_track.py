"""Track-and-Stop's shares: right for known cases, true odds, and fewer calls to a proof than even shares."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from optimizer.bandits import Arm
from optimizer.bandits.tracking import best_proof_shares
from optimizer.routing.plan import Candidate
from optimizer.routing.scene import Scene
from optimizer.routing.strategies import Track
from optimizer.routing.strategies.race import still_running
from optimizer.routing.strategies.track import track_shares


def test_two_arms_are_played_alike() -> None:
    assert best_proof_shares([0.9, 0.5]) == pytest.approx((0.5, 0.5), abs=1e-6)


def test_equal_rivals_share_and_the_best_gets_the_root_of_their_number() -> None:
    # with K - 1 equal rivals the optimum is known: w_best = sqrt(K - 1) w_other
    shares = best_proof_shares([0.8, 0.5, 0.5, 0.5, 0.5])
    assert shares[1:] == pytest.approx([shares[1]] * 4)
    assert shares[0] == pytest.approx(2 * shares[1], rel=1e-5)


def test_a_close_rival_gets_more_than_a_distant_one() -> None:
    best, close, far = best_proof_shares([0.9, 0.85, 0.3])
    assert best > 0.4 and close > 0.4 and far < 0.02


@given(st.lists(st.floats(0, 1), min_size=2, max_size=8))
def test_shares_add_up(means: list[float]) -> None:
    shares = best_proof_shares(means)
    assert sum(shares) == pytest.approx(1.0)
    assert all(share > 0 for share in shares)


@given(st.lists(st.tuples(st.floats(0, 1e6), st.floats(0, 1e6)), min_size=2, max_size=5), st.floats(0, 1))
def test_what_is_logged_is_what_was_drawn_with(plays: list[tuple[float, float]], draw: float) -> None:
    candidates = tuple(Candidate("p", str(number)) for number in range(len(plays)))
    arms = {one.name: Arm(*play) for one, play in zip(candidates, plays, strict=True)}
    strategy = Track()
    choice = strategy.order(candidates, draw, Scene({}, arms))
    shares = track_shares(tuple(arms[one.name] for one in candidates), strategy.alpha, strategy.explore)
    assert set(choice.order) == set(candidates)
    assert choice.propensity == shares[candidates.index(choice.order[0])]
    assert min(shares) >= strategy.explore / len(plays) - 1e-12


def calls_until_proven(even: bool, seed: int) -> int:
    rng, truths = random.Random(seed), (0.9, 0.8, 0.5, 0.5)
    arms = [Arm() for _ in truths]
    for number in range(1, 20_000):
        shares = (0.25,) * 4 if even else track_shares(tuple(arms), 0.05, 0.02)
        index = rng.choices(range(4), shares)[0]
        good = rng.random() < truths[index]
        arms[index] = Arm(arms[index].gained + good, arms[index].missed + (not good))
        if number % 20 == 0 and still_running(arms, 0.05) == {0}:
            return number
    return 20_000


def test_it_proves_the_best_in_fewer_calls_than_even_shares() -> None:
    tracked = sorted(calls_until_proven(False, seed) for seed in range(7))
    even = sorted(calls_until_proven(True, seed) for seed in range(7))
    assert tracked[3] < even[3]
