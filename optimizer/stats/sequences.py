"""Confidence sequences: bounds of a mean in [0, 1] that hold at every look at once, from sums alone.

For every p, the product of the likelihood ratios q against p, averaged over q by a Beta(1/2, 1/2) prior, is a
non-negative supermartingale while the mean is p, for any values in [0, 1] (Robbins, 1970; Waudby-Smith and Ramdas,
JRSS B 86(1), 2024). So the values of p for which it is below 1 / alpha hold the mean with probability 1 - alpha at all
times together (Ville, 1939), also when a bandit chose the calls: whether another is asked may depend on all before.
"""

from __future__ import annotations

from collections.abc import Callable
from math import isfinite, lgamma, log, log1p, pi

_STEPS = 40
_PRIOR = 0.5
_LOG_PRIOR = log(pi)  # of B(1/2, 1/2)
_EDGE = 1e-12


def confidence_bounds(gained: float, missed: float, alpha: float) -> tuple[float, float]:
    """(low, high) for the mean of n values in [0, 1] that add up to ``gained`` and miss n by ``missed``; (0, 1) before
    any. Raises ValueError for sums that are negative or no numbers."""
    if not (isfinite(gained) and isfinite(missed) and gained >= 0 and missed >= 0 and 0 < alpha < 1):
        raise ValueError("sums must be numbers of at least 0, alpha between 0 and 1")
    n = gained + missed
    if n == 0:
        return 0.0, 1.0
    height = _log_beta(gained + _PRIOR, missed + _PRIOR) - _LOG_PRIOR + log(alpha)

    def refuted(p: float) -> bool:
        return height - gained * log(p) - missed * log1p(-p) >= 0

    mean = gained / n
    return _edge(refuted, 0.0, mean), _edge(refuted, 1.0, mean)


def _edge(refuted: Callable[[float], bool], outside: float, inside: float) -> float:
    """Between a refuted value and one that is not, the border; ``outside`` itself when it is not refuted either."""
    if not refuted(min(1 - _EDGE, max(_EDGE, outside))):
        return outside
    for _ in range(_STEPS):
        middle = (outside + inside) / 2
        if refuted(min(1 - _EDGE, max(_EDGE, middle))):
            outside = middle
        else:
            inside = middle
    return outside


def _log_beta(a: float, b: float) -> float:
    return lgamma(a) + lgamma(b) - lgamma(a + b)
