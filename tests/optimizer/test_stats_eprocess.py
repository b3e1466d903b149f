from __future__ import annotations

from functools import reduce

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from optimizer.stats.clusters import by_session
from optimizer.stats.eprocess import BETS, log_wealth, start, to_e_value, update

NULL, ALPHA = 0.93, 0.05
OUTCOMES = st.lists(st.floats(0, 1), min_size=1, max_size=60)
NULLS = st.floats(0.05, 0.95)


@given(OUTCOMES, NULLS, st.booleans())
def test_step_by_step_equals_the_whole_path(outcomes: list[float], null: float, mirrored: bool) -> None:
    fed = [1 - one if mirrored else one for one in outcomes]
    state = reduce(update, fed, start(null, mirrored=mirrored))
    path = log_wealth(outcomes, null, mirrored=mirrored)
    assert state.n == len(outcomes)
    assert state.log_wealth == pytest.approx(float(path[-1]), abs=1e-9)
    assert state.log_best == pytest.approx(max(0.0, float(path.max())), abs=1e-9)


@given(NULLS, st.floats(0, 1), OUTCOMES)
def test_the_game_is_never_favourable_under_the_null(null: float, share: float, past: list[float]) -> None:
    """Whatever happened, an outcome with mean ≤ null does not raise the expected wealth."""
    state = reduce(update, past, start(null))
    mean = share * null
    expected = mean * update(state, 1.0).e_value + (1 - mean) * update(state, 0.0).e_value
    assert expected <= state.e_value * (1 + 1e-9)


def test_peeking_after_every_pair_promotes_a_null_student_with_probability_at_most_alpha() -> None:
    rng = np.random.default_rng(2024)
    runs, pairs = 2500, 1500
    outcomes = rng.random((runs, pairs)) < NULL
    promoted = (log_wealth(outcomes, NULL).max(axis=1) >= np.log(1 / ALPHA)).mean()
    assert promoted <= ALPHA + 2 * np.sqrt(ALPHA * (1 - ALPHA) / runs)
    assert promoted > 0.005  # and it is no test that never decides


def test_peeking_for_failure_takes_back_a_good_student_with_probability_at_most_alpha() -> None:
    outcomes = np.random.default_rng(5).random((2500, 1500)) < 0.95
    failed = (log_wealth(outcomes, 0.95, mirrored=True).max(axis=1) >= np.log(1 / ALPHA)).mean()
    assert failed <= ALPHA + 2 * np.sqrt(ALPHA * (1 - ALPHA) / 2500)


def test_sessions_count_once_or_the_error_rate_is_lost() -> None:
    rng = np.random.default_rng(8)
    runs, sessions, calls = 2000, 120, 8
    # at the null, but a session is either all good or mostly bad
    good = rng.random((runs, sessions)) < 0.9
    share = np.where(good, 1.0, 0.3)
    agree = rng.random((runs, sessions, calls)) < share[..., None]
    assert agree.mean() == pytest.approx(NULL, abs=0.002)
    level = np.log(1 / ALPHA)
    by_call = (log_wealth(agree.reshape(runs, -1), NULL).max(axis=1) >= level).mean()
    by_mean = (log_wealth(agree.mean(axis=2), NULL).max(axis=1) >= level).mean()
    assert by_mean <= ALPHA + 2 * np.sqrt(ALPHA * (1 - ALPHA) / runs)
    assert by_call > 2 * ALPHA


def test_a_good_student_is_found_in_some_hundred_pairs() -> None:
    outcomes = np.random.default_rng(3).random((500, 3000)) < 0.965
    crossed = log_wealth(outcomes, NULL) >= np.log(1 / ALPHA)
    assert crossed.any(axis=1).mean() > 0.99
    assert 150 < np.median(crossed.argmax(axis=1)) < 500


def test_huge_evidence_stays_finite() -> None:
    assert to_e_value(1e6) < float("inf")
    assert log_wealth([1.0] * 50_000, 0.5)[-1] > 1000


@pytest.mark.parametrize("null", [0.0, 1.0, -0.1])
def test_a_null_outside_the_open_interval_is_refused(null: float) -> None:
    with pytest.raises(ValueError, match="target and margin"):
        start(null)
    with pytest.raises(ValueError, match="target and margin"):
        log_wealth([1.0], null)


def test_an_outcome_outside_its_range_is_refused() -> None:
    with pytest.raises(ValueError, match="outside"):
        update(start(0.5), 1.5)
    assert all(0 < bet < 1 for bet in BETS)


# ---------------------------------------------------------------- sessions
def test_calls_without_a_session_enter_at_once() -> None:
    evidence = by_session([("a", "", True), ("b", "b", False)])
    assert evidence.means == (1.0, 0.0)
    assert (evidence.waiting, evidence.late) == (0, 0)


def test_a_session_enters_once_when_it_is_over() -> None:
    calls = [("a", "s", True), ("b", "s", False), ("c", "", True)]
    assert by_session(calls, closed_after=2).means == (1.0,)
    later = [*calls, ("d", "", True), ("e", "", True), ("f", "s", True)]
    evidence = by_session(later, closed_after=2)
    assert evidence.means == (1.0, 1.0, 0.5, 1.0)
    assert (evidence.waiting, evidence.late) == (0, 1)


def test_a_call_counts_once() -> None:
    assert by_session([("a", "", True), ("a", "", True)]).means == (1.0,)


@given(st.lists(st.tuples(st.integers(0, 6), st.booleans()), max_size=80), st.integers(0, 80))
def test_evidence_only_grows(calls: list[tuple[int, bool]], seen: int) -> None:
    """What entered the e-process stays as it was when more calls arrive."""
    log = [(str(i), "" if session == 0 else f"s{session}", agree) for i, (session, agree) in enumerate(calls)]
    whole, part = by_session(log, closed_after=5), by_session(log[:seen], closed_after=5)
    assert whole.finished[: len(part.finished)] == part.finished
    assert sum(n for _, n in whole.finished) + whole.waiting + whole.late == len(log)
