"""Intervals for a proportion and for a quantile. Counts are calls; confidences lie in (0, 1).

scipy is imported only where a beta or binomial quantile is needed: the gateway imports this module and must
stay light.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil, sqrt
from statistics import NormalDist


def clopper_pearson(successes: int, n: int, confidence: float) -> tuple[float, float]:
    """The exact two-sided interval of Clopper & Pearson (1934); (0, 1) when there is no data."""
    _check(successes, n, confidence)
    tail = (1 - confidence) / 2
    return _beta_low(successes, n, tail), 1 - _beta_low(n - successes, n, tail)


def clopper_pearson_lower(successes: int, n: int, confidence: float) -> float:
    """The exact one-sided bound: the true share is at least this with the given confidence."""
    _check(successes, n, confidence)
    return _beta_low(successes, n, 1 - confidence)


def clopper_pearson_upper(successes: int, n: int, confidence: float) -> float:
    """The exact one-sided bound: the true share is at most this with the given confidence."""
    _check(successes, n, confidence)
    return 1 - _beta_low(n - successes, n, 1 - confidence)


def wilson(successes: float, n: float, confidence: float) -> tuple[float, float]:
    """Wilson's score interval (1927): approximate, but close at every share and free of scipy.

    ``n`` may be an effective, fractional number of calls. (0, 1) when there is no data.
    """
    _check(successes, n, confidence)
    if n == 0:
        return 0.0, 1.0
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    share, squared = successes / n, z * z / n
    centre = (share + squared / 2) / (1 + squared)
    half = z * sqrt(share * (1 - share) / n + squared / (4 * n)) / (1 + squared)
    low = 0.0 if successes == 0 else max(0.0, centre - half)
    return low, 1.0 if successes == n else min(1.0, centre + half)


def clustered_wilson(clusters: Sequence[tuple[float, int]], confidence: float) -> tuple[float, float]:
    """Wilson's interval for calls that come in sessions. ``clusters``: (agreed, calls) of each session.

    The calls are worth fewer independent ones: their number is divided by the design effect (Kish 1965), the
    ratio of the cluster-robust variance of the share to the variance that independent calls would have.
    """
    calls = sum(size for _, size in clusters)
    agreed = sum(hits for hits, _ in clusters)
    if calls == 0 or calls == len(clusters):
        return wilson(agreed, calls, confidence)
    share, count = agreed / calls, len(clusters)
    independent = share * (1 - share) / calls
    if count == 1 or independent == 0:
        return wilson(share * count, count, confidence)  # only sessions can be counted as independent
    spread = sum((hits - share * size) ** 2 for hits, size in clusters)
    robust = spread / calls**2 * count / (count - 1)
    effective = calls / max(1.0, robust / independent)
    return wilson(share * effective, effective, confidence)


def quantile_ranks(n: int, quantile: float, alpha: float) -> tuple[int | None, int | None]:
    """Ranks (from 1) of the order statistics that bound a quantile of ``n`` independent values.

    The lower one is at most the quantile, the upper one at least, each with probability 1 − ``alpha``,
    whatever the distribution (David & Nagaraja, Order Statistics, 2003, section 7.1). None where ``n`` is too
    small.
    """
    if n == 0:
        return None, None
    import numpy as np
    from scipy.special import bdtr

    below = bdtr(np.arange(n), n, quantile)  # P(Binomial(n, quantile) <= r), r = 0 … n-1
    upper = np.flatnonzero(below >= 1 - alpha)
    lower = np.flatnonzero(below <= alpha)
    return (
        int(lower[-1]) + 1 if lower.size else None,
        int(upper[0]) + 1 if upper.size else None,
    )


def percentile(values: Sequence[float], share: float = 0.95) -> float | None:
    """The smallest value that at least ``share`` of the values do not exceed; None without values."""
    if not values:
        return None
    return sorted(values)[max(0, ceil(share * len(values)) - 1)]


def _beta_low(successes: int, n: int, tail: float) -> float:
    if successes == 0:
        return 0.0
    from scipy.special import betaincinv

    return float(betaincinv(successes, n - successes + 1, tail))


def _check(successes: float, n: float, confidence: float) -> None:
    if not 0 <= successes <= n:
        raise ValueError(f"{successes} successes of {n} is not a count")
    if not 0 < confidence < 1:
        raise ValueError(f"confidence {confidence} must lie between 0 and 1")
