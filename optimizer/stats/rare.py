"""An e-process for events that must be rare: built so that a clean record convinces as fast as it can.

Against "the rate is at least p0", the likelihood ratio of a lower rate q over p0 is a bet that multiplies the wealth
by (1 − q)/(1 − p0) at a clean outcome and by q/p0 at an event. Half of the money is on q = 0, which n clean outcomes
make worth (1 − p0)^−n / 2 and a single event ruins; the rest is spread over rates that survive events. Against "the
rate is at most p0" the bets are on higher rates. The chance that the wealth *ever* reaches 1/alpha under its null is at
most alpha (Ville, 1939; mixtures as in Robbins, 1970), also for outcomes in [0, 1] whose conditional mean is the rate.
"""

from __future__ import annotations

from collections.abc import Iterable
from math import ceil, log, log1p

from optimizer.stats.eprocess import to_e_value

_LOWER = ((0.0, 1 / 2), (1 / 8, 1 / 6), (1 / 4, 1 / 6), (1 / 2, 1 / 6))
_HIGHER = ((2.0, 1 / 4), (4.0, 1 / 4), (10.0, 1 / 4), (40.0, 1 / 4))
"""(rate as a multiple of p0, share of the money)."""
_MOST = 0.9


def rare_wealth(events: Iterable[float], rate: float, *, mirrored: bool = False) -> float:
    """The largest wealth so far against "rate ≥ ``rate``", or, mirrored, against "rate ≤ ``rate``". ``events`` are in
    [0, 1] and in time order. Raises ValueError for a rate outside (0, 1)."""
    if not 0 < rate < 1:
        raise ValueError(f"a rate lies between 0 and 1, not at {rate}")
    bets = [(min(_MOST, times * rate), share) for times, share in (_HIGHER if mirrored else _LOWER)]
    wealth = [share for _, share in bets]
    scale = 0.0  # logarithm of what was taken out of ``wealth`` to keep it in range
    best = 0.0
    for event in events:
        wealth = [
            held * ((1 - event) * (1 - bet) / (1 - rate) + event * bet / rate)
            for held, (bet, _) in zip(wealth, bets, strict=True)
        ]
        total = sum(wealth)
        if not 1e-100 < total < 1e100:
            wealth = [max(held / total, 0.0) for held in wealth] if total else wealth
            scale += log(total) if total else 0.0
            total = sum(wealth)
        best = max(best, scale + log(total)) if total else best
    return to_e_value(best)


def clean_needed(rate: float, alpha: float) -> int:
    """How many outcomes without any event it takes to reach 1/``alpha``."""
    low, high = 0, ceil(log(2 / alpha) / -log1p(-rate))
    while high - low > 1:
        middle = (low + high) // 2
        wealth = sum(share * ((1 - times * rate) / (1 - rate)) ** middle for times, share in _LOWER)
        low, high = (low, middle) if wealth >= 1 / alpha else (middle, high)
    return high
