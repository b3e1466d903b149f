from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from optimizer.cascade import _grid, calibrate, choose_threshold, suggest_threshold
from optimizer.stats.intervals import clopper_pearson_lower

TARGET, DELTA = 0.95, 0.05


def test_a_perfect_student_answers_everything() -> None:
    confidence = [i / 1000 for i in range(1000)]
    found = choose_threshold(confidence, [True] * 1000, target=TARGET, delta=DELTA)
    assert found.threshold == 0.0
    assert (found.answered, found.agreed, found.n) == (1000, 1000, 1000)
    assert found.level == pytest.approx(DELTA)
    assert found.lower == clopper_pearson_lower(1000, 1000, 1 - found.level)


def test_too_few_calls_certify_nothing() -> None:
    found = choose_threshold([0.9] * 99, [True] * 99, target=TARGET, delta=DELTA)
    assert found.threshold is None
    assert found.tested == 0
    assert choose_threshold([], [], target=TARGET, delta=DELTA).threshold is None


@settings(max_examples=60)
@given(st.integers(0, 2**32 - 1), st.integers(1, 30))
def test_what_is_certified_is_what_would_be_answered(seed: int, levels: int) -> None:
    rng = np.random.default_rng(seed)
    confidence = np.round(rng.random(600) * levels) / levels  # many ties
    agree = rng.random(600) < 0.9 + 0.1 * confidence
    found = choose_threshold(confidence.tolist(), agree.tolist(), target=TARGET, delta=DELTA)
    if found.threshold is not None:
        answered = confidence >= found.threshold
        assert (found.answered, found.agreed) == (answered.sum(), (answered & agree).sum())
        assert found.lower >= TARGET
        assert found.answered >= 100


def test_the_order_of_calls_does_not_matter() -> None:
    rng = np.random.default_rng(4)
    confidence, order = rng.random(800), rng.permutation(800)
    agree = rng.random(800) < 0.85 + 0.15 * confidence
    one = choose_threshold(confidence.tolist(), agree.tolist(), target=0.9, delta=DELTA)
    two = choose_threshold(confidence[order].tolist(), agree[order].tolist(), target=0.9, delta=DELTA)
    assert one == two


def test_the_grid_spends_delta_once_and_never_looks_at_labels() -> None:
    ranked = [-i / 5000 for i in range(5000, 0, -1)]
    grid = _grid(ranked, 100)
    assert grid[0][0] == 100
    assert grid[-1][0] == 5000
    assert all(a < b for (a, _), (b, _) in pairwise(grid))
    assert sum(share for _, share in grid) == pytest.approx(1)


@given(st.integers(1, 400), st.integers(1, 120), st.integers(1, 500))
def test_the_grid_always_ends_with_every_call(n: int, min_answered: int, levels: int) -> None:
    ranked = sorted(-(i % levels) / levels for i in range(n))
    grid = _grid(ranked, min_answered)
    if n < min_answered:
        assert grid == []
    else:
        assert grid[-1][0] == n
        assert grid[0][0] >= min_answered
        assert sum(share for _, share in grid) == pytest.approx(1)


@pytest.mark.parametrize("shape", ["flat", "falling", "steps"])
def test_the_guarantee_holds_at_its_rate(shape: str) -> None:
    """In at most delta of 1,000 calibrations the true agreement of what would be answered is below target."""
    rng = np.random.default_rng(99)
    runs, n, broken = 1000, 500, 0
    cells = (np.arange(10_000) + 0.5) / 10_000
    truth = {
        "flat": np.full(10_000, TARGET - 1e-4),  # every threshold is a little too bad
        "falling": np.clip(0.80 + 0.2 * cells, 0, 1),
        "steps": np.where(cells > 0.7, 0.97, 0.91),
    }[shape]
    true_agreement = np.cumsum(truth[::-1])[::-1] / np.arange(10_000, 0, -1)  # of all calls at or above
    for _ in range(runs):
        drawn = rng.integers(0, 10_000, size=n)
        agree = rng.random(n) < truth[drawn]
        found = choose_threshold(cells[drawn].tolist(), agree.tolist(), target=TARGET, delta=DELTA)
        if found.threshold is not None:
            broken += true_agreement[np.searchsorted(cells, found.threshold)] < TARGET
    assert broken / runs <= DELTA + 2 * np.sqrt(DELTA * (1 - DELTA) / runs)


def test_a_few_disagreements_at_the_top_do_not_lose_a_good_student() -> None:
    confidence = [1 - i / 2000 for i in range(2000)]
    agree = [i not in (3, 40, 77, 90) for i in range(1400)] + [i % 3 > 0 for i in range(600)]
    found = choose_threshold(confidence, agree, target=TARGET, delta=DELTA)
    assert found.threshold is not None
    assert found.answered > 1000


@pytest.mark.parametrize(
    ("confidence", "agree", "message"),
    [
        ([0.5], [], "1 confidences but 0"),
        ([float("nan")], [True], "between 0 and 1"),
        ([1.5], [True], "between 0 and 1"),
    ],
)
def test_bad_input_is_refused(confidence: list[float], agree: list[bool], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        choose_threshold(confidence, agree, target=TARGET, delta=DELTA)


def test_bad_terms_are_refused() -> None:
    with pytest.raises(ValueError, match="target"):
        choose_threshold([], [], target=1.0, delta=DELTA)
    with pytest.raises(ValueError, match="min_answered"):
        choose_threshold([], [], target=TARGET, delta=DELTA, min_answered=0)


def test_with_few_calls_a_threshold_is_suggested_and_says_that_it_is_not_certified() -> None:
    pairs = [(1 - i / 400, i < 120 or i % 3 > 0) for i in range(400)]  # the 120 surest agree, then two of three
    args = {"target": TARGET, "delta": 0.03, "min_answered": 100}
    assert not calibrate(pairs, **args, provisional=50).provisional  # 0.95^100 is small enough to certify
    few = [*pairs[:80], *((sure, False) for sure, _ in pairs[80:160])]
    assert calibrate(few, **args, provisional=None).threshold is None
    found = calibrate(few, **args, provisional=50)
    assert found.provisional
    assert found.level == 0
    assert found.answered == 82  # 80 of 82 are 97.56 %, 80 of 83 are fewer than half-way from 95 % to 100 %
    assert sum(sure >= (found.threshold or 0) for sure, _ in few) == found.answered


def test_nothing_is_suggested_below_its_least_calls_or_agreement() -> None:
    short, bad = [True] * 48 + [False] * 100, [False, *[True] * 30, False] * 10
    for agree in (short, bad):
        confidence = [1 - i / 1000 for i in range(len(agree))]
        assert suggest_threshold(confidence, agree, target=TARGET, delta=DELTA).threshold is None


def test_calls_of_equal_confidence_are_suggested_together() -> None:
    confidence, agree = [0.9] * 60 + [0.8] * 60, [True] * 60 + [True, False] * 30
    found = suggest_threshold(confidence, agree, target=TARGET, delta=DELTA)
    assert (found.threshold, found.answered) == (0.9, 60)
