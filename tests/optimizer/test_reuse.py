"""Reuse of answers: what the guards forbid, and that trust is earned, kept to its bound, and lost."""

from __future__ import annotations

import random

import numpy as np
import pytest

from optimizer.reuse import lexical, trust
from optimizer.reuse.wording import FEATURES, features, forbidden, wording


@pytest.mark.parametrize(
    ("kept", "asked", "guard"),
    [
        ("Is it safe to mix these?", "Is it not safe to mix these?", "negation"),
        ("Can I take it with food?", "Can't I take it with food?", "negation"),
        ("Is there a cure?", "Is there no cure?", "negation"),
        ("Is it open?", "Is it, no wait, is it open?", None),
        ("What is 5 plus 3?", "What is 5 plus 4?", "numbers"),
        ("Convert 1,000 to words", "Convert 1,000 into words", None),
        ("It takes two days, right?", "It takes three days, right?", "numbers"),
        ("Who governs France?", "Who governs Spain?", "names"),
        ("what is COVID-19?", "what is this COVID-19 thing?", None),
        ("Is it open on Monday?", "Is it open on monday?", None),
        ("is it open today?", "is it open tomorrow?", "dates"),
        ("", "", None),
        ("Is COVID-19 dangerous?", "Is COVID 19 dangerous?", None),
        ("Is COVID-19 dangerous?", "Is COVID 20 dangerous?", "numbers"),
        ("Does it run on Windows-11?", "Does it run on Windows 10?", "numbers"),
        ("Who is Jean-Luc then?", "Who is Jean-Paul then?", "names"),
        ("What did he want?", "Who did no what did he want?", None),
        ("Is there time for lunch?", "Is there no time for lunch?", "negation"),
        ("Where is the cat?", "Where is the dog no the cat?", None),
    ],
)
def test_guards(kept: str, asked: str, guard: str | None) -> None:
    assert forbidden(wording(kept), wording(asked)) == guard


def test_a_guard_that_is_not_named_forbids_nothing() -> None:
    assert forbidden(wording("what is 5?"), wording("what is 6?"), ("negation",)) is None


def test_features_are_bounded_for_any_text() -> None:
    rng = random.Random(1)
    for _ in range(300):
        one, two = ("".join(rng.choice("abcA1 -'’.,é字 ") for _ in range(rng.randrange(80))) for _ in "xx")
        seen = features(wording(one), wording(two), 0.5)
        assert len(seen) == FEATURES
        assert all(-1 <= value <= 3 for value in seen)


def test_lexical_vectors_have_length_one_and_order_by_likeness() -> None:
    base, near, far = (
        lexical.vector(wording(text).words)
        for text in ("how do I reset my password", "how can I reset the password", "when does the shop open")
    )
    assert float(np.linalg.norm(base)) == pytest.approx(1, abs=1e-5)
    assert base @ near > base @ far
    assert not lexical.vector(()).any()


def feature(value: float) -> tuple[float, ...]:
    return (value, *([0.0] * (FEATURES - 1)))


class Stream:
    """Comparisons whose chance of being wrong falls with their similarity, down to ``floor``."""

    def __init__(self, seed: int, floor: float) -> None:
        self.rng, self.floor = random.Random(seed), floor
        self.state = trust.start(0.05, 0.05, 1000)
        self.hits = self.wrong = 0

    def meet(self, reask: float = 0.1) -> None:
        similarity = self.rng.random()
        right = self.rng.random() >= max(self.floor, 1 - 1.6 * similarity)
        seen = feature(similarity)
        proposed = trust.proposes(self.state, trust.log_odds(self.state, seen, trust.Entry()))
        if proposed and self.state.is_open and self.rng.random() >= reask:
            self.hits += 1
            self.wrong += not right
            return
        self.state, _ = trust.learn(self.state, seen, trust.Entry(), right=right, proposed=proposed)


def test_a_task_opens_once_it_is_proven_and_its_hits_keep_to_delta() -> None:
    stream = Stream(seed=3, floor=0.004)
    for _ in range(6000):
        stream.meet()
    assert stream.state.is_open
    assert stream.hits > 500
    assert stream.wrong / stream.hits <= 0.05


def test_a_task_whose_proposals_are_wrong_too_often_does_not_open() -> None:
    """At exactly delta, looked at after every label: at most alpha of the tasks may open."""
    opened = 0
    for seed in range(60):
        rng, state = random.Random(seed), trust.start(0.05, 0.05, 1000)
        for _ in range(600):
            right = rng.random() >= 0.05
            state, _ = trust.learn(state, feature(1), trust.Entry(), right=right, proposed=True)
        opened += state.is_open or state.alarms > 0
    assert opened <= 6  # 3 are expected at most; P(more than 6) < 0.04 even then


def test_an_open_task_that_goes_bad_is_closed_and_starts_a_stricter_round() -> None:
    stream = Stream(seed=5, floor=0.004)
    while not stream.state.is_open:
        stream.meet()
    opened_in = stream.state.round
    stream.floor = 0.6
    for _ in range(4000):
        stream.meet()
        if stream.state.alarms:
            break
    assert not stream.state.is_open
    assert stream.state.round == opened_in + 1
    assert not trust.proposes(stream.state, 1e9)  # nothing is proposed until it was learnt anew


def test_an_entry_that_misled_is_trusted_less_than_its_like() -> None:
    stream = Stream(seed=7, floor=0.004)
    for _ in range(1500):
        stream.meet(reask=1.0)
    seen, entry = feature(0.9), trust.Entry()
    before = trust.log_odds(stream.state, seen, entry)
    for _ in range(3):
        _, entry = trust.learn(stream.state, seen, entry, right=False, proposed=False)
    assert trust.log_odds(stream.state, seen, entry) < before - 2
    assert trust.log_odds(stream.state, seen, trust.Entry()) == before


def test_labels_are_bounded() -> None:
    state = trust.start(0.02, 0.05, 1000)
    for number in range(2300):
        state, _ = trust.learn(
            state, feature(number % 7), trust.Entry(), right=number % 2 == 0, proposed=False
        )
    assert len(state.labels) == 2000
    assert state.seen == 2300


def test_kept_questions_that_mislead_do_not_hold_up_the_others() -> None:
    """One in ten is wrong in nine of ten cases, however like it looks: pooled, nothing could ever be proposed."""
    rng, state, entries = random.Random(2), trust.start(0.05, 0.05, 1000), [trust.Entry()] * 40
    served = wrong = 0
    for _ in range(4000):
        number, similarity = rng.randrange(40), rng.random()
        right = rng.random() >= (0.9 if number < 4 else max(0.005, 1 - 1.6 * similarity))
        seen = feature(similarity)
        proposed = trust.proposes(state, trust.log_odds(state, seen, entries[number]))
        if proposed and state.is_open and rng.random() >= 0.1:
            served, wrong = served + 1, wrong + (not right)
            continue
        state, entries[number] = trust.learn(state, seen, entries[number], right=right, proposed=proposed)
    assert served > 300
    assert wrong <= 0.05 * served
    assert max(one.shift for one in entries[:4]) < min(one.shift for one in entries[4:])
