"""A two-sample test that may be looked at after every call: can anybody tell recent calls from the earlier ones?

A game of rounds. In each, a fresh recent value and a reference value are shown to a discriminator that was fitted
to past rounds only, and it says which of the two is the recent one. While both come from one distribution it is right
half of the time, whatever it is; so its being right more often is evidence that they differ. The rounds feed the
e-detector of :mod:`optimizer.drift`, which states how rarely it is wrong.

Source: Lopez-Paz & Oquab, Revisiting classifier two-sample tests, ICLR 2017; Podkopaev & Ramdas, Sequential predictive
two-sample and independence testing, NeurIPS 2023. Here the null is "right at most half of the time + margin": the
reference is a finite sample that rounds share, and a difference nobody could use is no drift.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable, Sequence

from optimizer.drift import WatchState, observe, start

Score = Callable[[float], float]


def begin(margin: float, average_run_length: float) -> WatchState:
    """The state of a game. ``margin`` in (0, 0.5): how much more often than half of the time the discriminator has to
    be right before anything counts. False alarms come once in ``average_run_length`` rounds at most, on average.
    Raises ValueError for a margin out of range."""
    if not 0 < margin < 0.5:
        raise ValueError(f"the margin must lie between 0 and 0.5, not {margin}")
    return start(0.5, margin, average_run_length)


def play(state: WatchState, recent: float, reference: float, coin: bool) -> WatchState:
    """One round: the scores of the two values, higher meaning "more like the recent ones". ``coin`` decides a draw."""
    told = coin if recent == reference else recent > reference
    return observe(state, not told)


def told_share(state: WatchState) -> float | None:
    """How often the recent value was told from the other; None before the first round."""
    return (state.n - state.agreed) / state.n if state.n else None


def by_bins(reference: Sequence[float], recent: Sequence[float], bins: int = 10) -> Score:
    """A discriminator of single numbers: the log-ratio of both samples' shares in bins that hold the reference in
    equal parts. Neither sample may be empty."""
    ordered = sorted(reference)
    edges = sorted({ordered[len(ordered) * cut // bins] for cut in range(1, bins)})
    ratios = []
    here = [bisect_right(edges, value) for value in recent]
    there = [bisect_right(edges, value) for value in reference]
    for index in range(len(edges) + 1):
        now = (here.count(index) + 1) / (len(here) + len(edges) + 1)
        before = (there.count(index) + 1) / (len(there) + len(edges) + 1)
        ratios.append(math.log(now / before))
    return lambda value: ratios[bisect_right(edges, value)]
