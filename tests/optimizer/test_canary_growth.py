from __future__ import annotations

import random

import pytest

from optimizer.canary import begin, observe, share
from optimizer.gates import Agreement, Outcome, Terms
from optimizer.stats.principals import ENOUGH, Admission

TERMS = Terms(target=0.95, margin=0.02, alpha=0.05, delta=0.05)


def test_the_canary_starts_small_and_grows_with_the_evidence() -> None:
    growth = begin(0.95, 0.02, 0.05, 1)
    seen = [share(growth, 0.05, 0.5)]
    for _ in range(200):
        growth = observe(growth, True)
        seen.append(share(growth, 0.05, 0.5))
    assert seen[0] == 0.05 and seen[-1] == pytest.approx(0.5)
    assert seen == sorted(seen)
    assert 0.05 < seen[40] < 0.5


def test_it_shrinks_when_the_student_disappoints_but_never_below_its_start() -> None:
    growth = begin(0.95, 0.02, 0.05, 1)
    for _ in range(80):
        growth = observe(growth, True)
    before = share(growth, 0.05, 0.5)
    growth = observe(growth, False)
    assert share(growth, 0.05, 0.5) < before
    for _ in range(100):
        growth = observe(growth, False)
    assert share(growth, 0.05, 0.5) == 0.05


def test_a_canary_that_may_not_grow_stays() -> None:
    growth = begin(0.95, 0.02, 0.05, 1)
    for _ in range(500):
        growth = observe(growth, True)
    assert share(growth, 0.2, 0.1) == 0.2


# ---------------------------------------------------------------- bots
def traffic(seed: int, calls: int = 4000) -> list[tuple[str, bool]]:
    """200 callers whom the student serves at 92 %, and 3 bots with 30 % of the traffic that always agree."""
    rng = random.Random(seed)
    found = []
    for _ in range(calls):
        bot = rng.random() < 0.3
        found.append(
            (f"bot{rng.randrange(3)}" if bot else f"user{rng.randrange(200)}", bot or rng.random() < 0.92)
        )
    return found


def verdict(calls: list[tuple[str, bool]]) -> str:
    outcomes = [Outcome(f"c{at}", "", True, agree, 0.9, 1.0) for at, (_, agree) in enumerate(calls)]
    return Agreement().judge(outcomes, TERMS).verdict


def test_bots_with_a_third_of_the_traffic_flip_no_gate() -> None:
    flipped = kept = 0
    for seed in range(20):
        calls, admission = traffic(seed), Admission()
        counted = [call for call in calls if admission.admits(call[0])]
        bots = sum(caller.startswith("bot") for caller, _ in counted)
        assert bots / len(counted) < 0.10
        assert admission.left_out == len(calls) - len(counted)
        flipped += verdict(calls) == "pass"
        kept += verdict(counted) == "pass"
    assert flipped >= 10  # what would happen without the cap
    assert kept <= 2


def test_few_callers_are_not_capped_and_nobody_in_particular_never_is() -> None:
    admission = Admission()
    assert all(admission.admits("only") for _ in range(500))
    assert all(admission.admits("") for _ in range(500))
    assert admission.left_out == 0


def test_made_up_users_under_one_key_are_one_key() -> None:
    admission = Admission()
    for number in range(60):
        assert admission.admits(f"key{number}/ann")
    counted = sum(admission.admits(f"bot/user{number}") for number in range(500))
    assert counted == 20


def test_who_counts_does_not_depend_on_agreement() -> None:
    callers = [caller for caller, _ in traffic(1)]
    one, two = Admission(), Admission()
    assert [one.admits(caller) for caller in callers] == [two.admits(caller) for caller in callers]
    assert len(one.users) > ENOUGH
