from __future__ import annotations

from functools import reduce
from types import SimpleNamespace

import numpy as np
import pytest

from optimizer.drift import WatchState, health, observe, overpriced, start
from optimizer.stats.intervals import percentile

LIMITS = SimpleNamespace(max_error_rate=0.05, max_p95_latency_ms=100.0, max_cost_share=1.0)


def until_alarm(state: WatchState, agree: np.ndarray) -> int:
    """Calls observed until the alarm; all of them when there is none."""
    for n, one in enumerate(agree, start=1):
        state = observe(state, bool(one))
        if state.alarmed:
            return n
    return len(agree)


def test_false_alarms_are_as_rare_as_promised() -> None:
    """Exactly at the edge of what is still good, the mean run is at least the stated one."""
    rng = np.random.default_rng(21)
    runs = [until_alarm(start(0.95, 0.02, 300), rng.random(4000) < 0.93) for _ in range(150)]
    assert np.mean(runs) >= 300


def test_a_fall_is_seen_within_a_hundred_or_so_reasked_calls() -> None:
    rng = np.random.default_rng(22)
    delays = []
    for _ in range(40):
        quiet = reduce(observe, (rng.random(600) < 0.97).tolist(), start(0.95, 0.02, 10_000))
        assert not quiet.alarmed
        delays.append(until_alarm(quiet, rng.random(3000) < 0.8))
    assert np.median(delays) < 150


def test_a_good_year_does_not_make_it_slow() -> None:
    """The alarm after ten thousand good calls comes as fast as after a hundred."""
    bad = np.arange(2000) % 4 != 0
    fresh = reduce(observe, [True] * 100, start(0.95, 0.02, 10_000))
    old = reduce(observe, [True] * 10_000, start(0.95, 0.02, 10_000))
    assert until_alarm(old, bad) == until_alarm(fresh, bad)


def test_the_state_counts_and_an_alarm_stays() -> None:
    state = reduce(observe, [False] * 12, start(0.95, 0.02, 100))
    assert state.alarmed
    assert state.alarm_n is not None
    calm = reduce(observe, [True] * 5000, state)
    assert calm.alarmed
    assert (calm.n, calm.agreed, calm.alarm_n) == (5012, 5000, state.alarm_n)
    assert calm.evidence < calm.alarm_at == 100


def test_it_never_overflows() -> None:
    assert reduce(observe, [False] * 2000, start(0.95, 0.02, 100)).evidence < float("inf")


def test_an_impossible_watch_is_refused() -> None:
    with pytest.raises(ValueError, match="target and margin"):
        start(0.5, 0.6, 100)
    with pytest.raises(ValueError, match="run length"):
        start(0.95, 0.02, 0)


# ---------------------------------------------------------------- errors and latency
def test_health_names_what_is_wrong() -> None:
    assert health(0, 200, 12.0, LIMITS) is None
    assert "40 of the last 200 calls failed" in (health(40, 200, 12.0, LIMITS) or "")
    assert "150 ms" in (health(0, 200, 150.0, LIMITS) or "")


def test_health_waits_until_it_can_know() -> None:
    assert health(3, 3, 900.0, LIMITS) is None
    assert health(2, 25, None, LIMITS) is None  # 8 % of 25 calls is not surely above 5 %


def test_percentile_is_an_order_statistic() -> None:
    assert percentile([]) is None
    assert percentile([5.0]) == 5.0
    assert percentile([float(i) for i in range(1, 101)]) == 95.0


def test_a_student_that_costs_more_than_its_teacher_is_told() -> None:
    assert overpriced(200, 1.0, 1.0, LIMITS) is None
    assert overpriced(199, 9.0, 1.0, LIMITS) is None  # too few to say
    assert "$1.200000" in (overpriced(200, 1.2, 1.0, LIMITS) or "")
