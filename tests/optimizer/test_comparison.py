"""Which candidate is best: bounds that hold at every look, verdicts that wait, and the strategy that races."""

from __future__ import annotations

import random

import pytest

from optimizer.bandits.arms import Arm
from optimizer.comparison import compare
from optimizer.routing.plan import Candidate
from optimizer.routing.scene import Scene
from optimizer.routing.strategies.race import Race, race_shares, still_running
from optimizer.stats.sequences import confidence_bounds

A, B, C = (Candidate(provider="p", model=name) for name in "abc")


def calls(truth: float, n: int, seed: int) -> list[tuple[float, bool]]:
    rng = random.Random(seed)
    return [(float(hit), hit) for hit in (rng.random() < truth for _ in range(n))]


def test_the_bounds_hold_the_mean_at_every_look() -> None:
    rng, missed = random.Random(4), 0
    for _ in range(200):
        gained, outside = 0.0, False
        for n in range(1, 301):
            gained += rng.random() < 0.9
            low, high = confidence_bounds(gained, n - gained, 0.1)
            outside |= not low <= 0.9 <= high
        missed += outside
    assert missed <= 200 * 0.1


def test_the_bounds_of_shares_hold_too() -> None:
    """Values between 0 and 1 are less spread than hits and misses, so what holds for these holds for those."""
    rng, missed = random.Random(4), 0
    for _ in range(100):
        gained = 0.0
        for n in range(1, 201):
            gained += rng.betavariate(4, 2)
            low, high = confidence_bounds(gained, n - gained, 0.1)
            if not low <= 2 / 3 <= high:
                missed += 1
                break
    assert missed <= 10


@pytest.mark.parametrize(("gained", "missed"), [(0.0, 0.0), (5.0, 0.0), (0.0, 5.0), (1e6, 1e6), (0.2, 0.1)])
def test_the_edges_are_bounds_as_well(gained: float, missed: float) -> None:
    low, high = confidence_bounds(gained, missed, 0.05)
    n = gained + missed
    assert 0.0 <= low <= (gained / n if n else 0.5) <= high <= 1.0


@pytest.mark.parametrize(("gained", "missed", "alpha"), [(-1, 0, 0.05), (1, float("nan"), 0.05), (1, 1, 0.0), (1, 1, 1.0)])
def test_junk_is_refused(gained: float, missed: float, alpha: float) -> None:
    with pytest.raises(ValueError, match="sums"):
        confidence_bounds(gained, missed, alpha)


def test_a_clear_winner_is_named_and_a_close_one_waits() -> None:
    clear = compare({"a": calls(0.95, 600, 1), "b": calls(0.7, 600, 2)})
    assert (clear.winner, clear.contenders[0].name) == ("a", "a")
    close = compare({"a": calls(0.90, 300, 1), "b": calls(0.89, 300, 2)})
    assert close.winner == "" and "may yet be no better" in close.reason
    few = compare({"a": calls(0.95, 600, 1), "b": calls(0.1, 20, 2)})
    assert few.winner == "" and "b has 20 of the 100 calls" in few.reason


def test_who_fails_more_often_does_not_win_by_being_cheap() -> None:
    cheap = [(0.9 if hit else 0.0, hit) for _, hit in calls(0.8, 2000, 1)]
    sound = [(0.5, hit) for _, hit in calls(0.99, 2000, 2)]
    found = compare({"cheap": cheap, "sound": sound})
    assert found.winner == "" and "sound succeeds more often" in found.reason


def test_a_guardrail_that_is_proven_worse_outweighs_worth() -> None:
    worth = {"cheap": calls(0.95, 600, 1), "liked": calls(0.7, 600, 2)}
    content = {"cheap": [0.0] * 60 + [1.0] * 240, "liked": [1.0] * 300}
    found = compare(worth, guards={"content": content})
    assert found.winner == "" and "liked is better in 'content'" in found.reason
    assert [(one.name, one.guards[0].n, one.guards[0].mean) for one in found.contenders] == [
        ("cheap", 300, 0.8), ("liked", 300, 1.0)
    ]  # fmt: skip
    assert compare(worth, guards={"content": {"cheap": [1.0] * 300, "liked": [0.9] * 300}}).winner == "cheap"
    assert compare(worth, guards={"content": {}}).winner == "cheap", "nothing is known of it yet"


def test_equal_candidates_seldom_have_a_winner() -> None:
    wrong = sum(
        bool(compare({name: calls(0.8, 400, 10 * seed + i) for i, name in enumerate("abc")}).winner) for seed in range(100)
    )
    assert wrong <= 5


def test_a_race_gives_even_shares_and_puts_losers_out() -> None:
    assert race_shares((Arm(), Arm(), Arm()), 0.05, 0.03) == pytest.approx((1 / 3, 1 / 3, 1 / 3))
    arms = (Arm(gained=900, missed=100), Arm(gained=600, missed=400), Arm(gained=890, missed=110))
    assert still_running(arms, 0.05) == {0, 2}
    assert race_shares(arms, 0.05, 0.03) == pytest.approx((0.495, 0.01, 0.495))


def test_the_logged_propensity_is_the_share_that_was_drawn_with() -> None:
    strategy, scene = Race(), Scene(arms={A.name: Arm(900, 100), B.name: Arm(600, 400)})
    counted = {A.name: 0, B.name: 0}
    for step in range(1000):
        choice = strategy.order((A, B), (step + 0.5) / 1000, scene)
        counted[choice.order[0].name] += 1
        assert choice.propensity == pytest.approx(0.99 if choice.order[0] == A else 0.01)
    assert counted == {A.name: 990, B.name: 10}


def test_a_comparison_needs_two() -> None:
    with pytest.raises(ValueError, match="two candidates"):
        compare({"a": calls(0.5, 10, 1)})
