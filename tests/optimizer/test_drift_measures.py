"""The two-sample game and the adaptive window: what they notice, and what they leave alone."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from optimizer import adwin, two_sample


def game(rng: random.Random, moved: float, rounds: int) -> two_sample.WatchState:
    reference = [rng.gauss(0, 1) for _ in range(1_000)]
    score = two_sample.by_bins(reference[:500], [rng.gauss(moved, 1) for _ in range(500)])
    state = two_sample.begin(0.1, 10_000)
    for _ in range(rounds):
        state = two_sample.play(
            state, score(rng.gauss(moved, 1)), score(rng.choice(reference[500:])), rng.random() < 0.5
        )
    return state


def test_equal_samples_are_not_told_apart() -> None:
    state = game(random.Random(1), 0.0, 3_000)
    share = two_sample.told_share(state)
    assert share is not None and 0.45 < share < 0.55
    assert not state.alarmed


def test_a_move_is_told_and_when_it_was() -> None:
    state = game(random.Random(2), 1.5, 1_000)
    assert state.alarm_n is not None and state.alarm_n < 300
    share = two_sample.told_share(state)
    assert share is not None and share > 0.7


def test_a_draw_is_decided_by_the_coin() -> None:
    state = two_sample.begin(0.1, 100)
    assert two_sample.told_share(state) is None
    assert two_sample.told_share(two_sample.play(state, 1.0, 1.0, True)) == 1.0
    assert two_sample.told_share(two_sample.play(state, 1.0, 1.0, False)) == 0.0


@pytest.mark.parametrize("margin", [0.0, 0.5, -1.0, math.nan])
def test_a_margin_out_of_range_is_refused(margin: float) -> None:
    with pytest.raises(ValueError, match="margin"):
        two_sample.begin(margin, 100)


def test_bins_take_any_sample() -> None:
    score = two_sample.by_bins([1.0] * 20, [1.0, 2.0])
    assert score(5.0) >= score(1.0) or score(1.0) >= score(5.0)
    assert all(math.isfinite(score(value)) for value in (-1e9, 0.0, 1.0, 1e9))


def filled(values: list[float]) -> adwin.Window:
    window = adwin.Window()
    for value in values:
        window = adwin.add(window, value)
    return window


@given(st.lists(st.floats(0, 1), max_size=300))
def test_the_window_holds_what_it_was_given(values: list[float]) -> None:
    window = adwin.Window(delta=1e-12)
    for value in values:
        window = adwin.add(window, value)
        if window.change is not None:
            return  # it forgot the older part, as it should
    assert window.n == len(values)
    assert window.mean == pytest.approx(sum(values) / len(values) if values else 0.0)
    assert all(len(runs) <= 5 for runs in window.levels)


def test_a_rise_is_found_and_the_past_forgotten() -> None:
    rng = random.Random(3)
    window = filled([rng.betavariate(3, 7) for _ in range(1_000)])
    assert window.n == 1_000
    changes = []
    for _ in range(1_000):
        window = adwin.add(window, rng.betavariate(5, 5))
        if window.change is not None:
            changes.append(window.change)
    assert changes and changes[0].before < 0.35 < changes[-1].after
    assert window.n < 1_600
    assert window.mean == pytest.approx(0.5, abs=0.03)


def test_values_out_of_range_are_held_to_it() -> None:
    assert filled([-3.0, 7.0]).mean == 0.5
