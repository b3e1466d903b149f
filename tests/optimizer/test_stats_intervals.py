from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import beta, binomtest

from optimizer.stats.intervals import (
    clopper_pearson,
    clopper_pearson_lower,
    clopper_pearson_upper,
    clustered_wilson,
    quantile_ranks,
    wilson,
)

COUNTS = st.integers(1, 400).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))


@given(COUNTS, st.sampled_from([0.8, 0.95, 0.99]))
def test_two_sided_intervals_are_those_of_scipy(count: tuple[int, int], confidence: float) -> None:
    successes, n = count
    for ours, method in ((clopper_pearson, "exact"), (wilson, "wilson")):
        theirs = binomtest(successes, n).proportion_ci(confidence, method=method)
        assert ours(successes, n, confidence) == pytest.approx((theirs.low, theirs.high), abs=1e-9)


@given(COUNTS)
def test_one_sided_bounds_are_beta_quantiles(count: tuple[int, int]) -> None:
    successes, n = count
    low = 0.0 if successes == 0 else beta.ppf(0.05, successes, n - successes + 1)
    high = 1.0 if successes == n else beta.ppf(0.95, successes + 1, n - successes)
    assert clopper_pearson_lower(successes, n, 0.95) == pytest.approx(low, abs=1e-9)
    assert clopper_pearson_upper(successes, n, 0.95) == pytest.approx(high, abs=1e-9)


def test_fewer_than_59_calls_certify_nothing_at_95_percent() -> None:
    assert clopper_pearson_lower(58, 58, 0.95) < 0.95 <= clopper_pearson_lower(59, 59, 0.95)


def test_no_data_says_nothing() -> None:
    assert clopper_pearson(0, 0, 0.95) == (0.0, 1.0)
    assert wilson(0, 0, 0.95) == (0.0, 1.0)
    assert quantile_ranks(0, 0.95, 0.05) == (None, None)


@pytest.mark.parametrize(
    ("successes", "n", "confidence"), [(3, 2, 0.9), (-1, 2, 0.9), (1, 2, 1.0), (1, 2, 0.0)]
)
def test_impossible_counts_and_confidences_are_refused(successes: int, n: int, confidence: float) -> None:
    with pytest.raises(ValueError, match=r"not a count|confidence"):
        wilson(successes, n, confidence)


def test_singletons_are_plain_calls_and_sessions_widen() -> None:
    single = [(1, 1)] * 90 + [(0, 1)] * 10
    assert clustered_wilson(single, 0.95) == wilson(90, 100, 0.95)
    clumped = [(10, 10)] * 9 + [(0, 10)]
    low, high = clustered_wilson(clumped, 0.95)
    assert (low, high) == pytest.approx(wilson(9, 10, 0.95), abs=0.03)
    assert clustered_wilson([(50, 50)], 0.95) == wilson(1, 1, 0.95)
    assert clustered_wilson([(5, 5)] * 8, 0.95) == wilson(8, 8, 0.95)


def test_clustered_interval_covers_at_its_rate() -> None:
    rng = np.random.default_rng(7)
    covered = 0
    for _ in range(400):
        shares = rng.beta(9, 1, size=80)  # mean 0.9, strongly different sessions
        sizes = rng.integers(1, 12, size=80)
        clusters = [(int(rng.binomial(n, p)), int(n)) for p, n in zip(shares, sizes, strict=True)]
        low, high = clustered_wilson(clusters, 0.95)
        covered += low <= 0.9 <= high
    assert covered / 400 >= 0.92


def test_quantile_ranks_bound_at_their_rate() -> None:
    assert quantile_ranks(58, 0.95, 0.05)[1] is None
    assert quantile_ranks(59, 0.95, 0.05)[1] == 59
    low, high = quantile_ranks(200, 0.95, 0.05)
    assert low is not None and high is not None
    sample = np.sort(np.random.default_rng(1).random((4000, 200)), axis=1)
    assert (sample[:, low - 1] <= 0.95).mean() >= 0.945
    assert (sample[:, high - 1] >= 0.95).mean() >= 0.945
