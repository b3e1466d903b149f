"""Promotion, sessions, the cascade's threshold, the watch and intervals: what they promise, by simulation."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import pairwise

import numpy as np

from benchmarks.statistics.rows import Bools, Floats, Row, mean, median, share
from optimizer.cascade import choose_threshold, merit
from optimizer.drift import observe, start
from optimizer.stats.eprocess import BETS, log_wealth
from optimizer.stats.intervals import clopper_pearson_lower, clustered_wilson
from optimizer.stats.multiplicity import divide, spend

TARGET, MARGIN, ALPHA, DELTA = 0.95, 0.02, 0.05, 0.05
NULL = TARGET - MARGIN
NEEDED = math.log(1 / ALPHA)
PEEK_FROM = 100


# ---------------------------------------------------------------- promotion
def gate(rng: np.random.Generator, scale: int) -> Iterator[Row]:
    runs, pairs = 5000 // scale, 3000
    promoted, by_z = np.zeros(runs, bool), np.zeros(runs, bool)
    for chunk in _chunks(runs, 250):
        agree = rng.random((chunk.stop - chunk.start, pairs)) < NULL
        promoted[chunk] = log_wealth(agree, NULL).max(axis=1) >= NEEDED
        by_z[chunk] = peeked_z(agree)
    yield share(f"student exactly at {NULL:.0%} promoted within {pairs:,} pairs", promoted, f"≤ {ALPHA:.0%}")
    yield share("the same by a z-test, looked at after each pair", by_z, f"(a z-test says {ALPHA:.0%})")
    failed = np.zeros(runs, bool)
    for chunk in _chunks(runs, 250):
        agree = rng.random((chunk.stop - chunk.start, pairs)) < TARGET
        failed[chunk] = log_wealth(agree, TARGET, mirrored=True).max(axis=1) >= NEEDED
    yield share(f"student exactly at {TARGET:.0%} failed within {pairs:,} pairs", failed, f"≤ {ALPHA:.0%}")
    between = rng.random((500 // scale, 6000)) < (TARGET + NULL) / 2
    against = log_wealth(between, TARGET, mirrored=True).max(axis=1) >= NEEDED
    proven = (log_wealth(between, NULL).max(axis=1) >= NEEDED) & ~against
    yield share("student at 94.0%, between null and target: promoted within 6,000 pairs", proven, "")
    yield share("the same: failed", against, "")
    for truth in (0.955, 0.97, 0.98):
        crossed = log_wealth(rng.random((500 // scale, 6000)) < truth, NULL) >= NEEDED
        needed = np.where(crossed.any(axis=1), crossed.argmax(axis=1) + 1.0, np.inf)
        yield median(f"pairs until a student at {truth:.1%} is promoted", needed, "")


def peeked_z(agree: Bools) -> Bools:
    """Whether a one-sided z-test at the 5 % level is significant at any look from PEEK_FROM pairs on."""
    n = np.arange(1, agree.shape[1] + 1)
    z = (agree.cumsum(axis=1) / n - NULL) / np.sqrt(NULL * (1 - NULL) / n)
    return np.asarray((z[:, PEEK_FROM - 1 :] >= 1.6449).any(axis=1))


def _chunks(runs: int, size: int) -> Iterator[slice]:
    for low, high in pairwise([*range(0, runs, size), runs]):
        yield slice(low, high)


def sessions(rng: np.random.Generator, scale: int) -> Iterator[Row]:
    runs = 4000 // scale
    good = np.where(rng.random((runs, 200)) < 0.9, 1.0, 0.3)  # mean 0.93, exactly the null
    agree = rng.random((runs, 200, 8)) < good[..., None]
    by_session = log_wealth(agree.mean(axis=2), NULL).max(axis=1) >= NEEDED
    yield share("each session enters once, as its mean", by_session, f"≤ {ALPHA:.0%}")
    by_call = log_wealth(agree.reshape(runs, -1), NULL).max(axis=1) >= NEEDED
    yield share("each call enters as if it were independent", by_call, "nothing")


# ---------------------------------------------------------------- multiplicity
def multiplicity(rng: np.random.Generator, scale: int) -> Iterator[Row]:
    """Eight rounds of three candidates, every one exactly at the null, looked at after each of 1,500 pairs."""
    runs, rounds, candidates, pairs = 1000 // scale, 8, 3, 1_500
    levels = [divide(ALPHA, DELTA, number + 1, candidates=candidates).alpha for number in range(rounds)]
    spent, unspent = np.zeros(runs, bool), np.zeros(runs, bool)
    for run in range(runs):
        best = log_wealth(rng.random((rounds, candidates, pairs)) < NULL, NULL).max(axis=2)
        spent[run] = (best >= np.log(1 / np.array(levels))[:, None]).any()
        unspent[run] = (best >= NEEDED).any()
    yield share("any of 24 at the null ever promoted, alpha divided as the trainer does", spent, f"≤ {ALPHA:.0%}")
    yield share(f"the same, had each been judged at {ALPHA:.0%} by itself", unspent, "nothing")


def picked(rng: np.random.Generator, scale: int) -> Iterator[Row]:
    """Eight rounds of three candidates at the null. The one that did best on 1,000 calibration calls goes on and is
    judged alone, on 1,500 fresh pairs, looked at after each, or the best two side by side until one passes; and what
    picking does to a threshold of one round."""
    runs, rounds, candidates, pairs = 1000 // scale, 8, 3, 1_500
    levels = [
        divide(ALPHA, DELTA, number + 1, candidates=candidates, picked="calibration").alpha for number in range(rounds)
    ]
    halves = [
        divide(ALPHA, DELTA, number + 1, candidates=candidates, picked="calibration", together=2).alpha
        for number in range(rounds)
    ]
    fresh, reused, beside = np.zeros(runs, bool), np.zeros(runs, bool), np.zeros(runs, bool)
    for run in range(runs):
        best = log_wealth(rng.random((rounds, candidates, pairs)) < NULL, NULL).max(axis=2)
        ranked = (-rng.binomial(1000, NULL, size=(rounds, candidates))).argsort(axis=1, kind="stable")
        needed = np.log(1 / np.array(levels))
        fresh[run] = (best[np.arange(rounds), ranked[:, 0]] >= needed).any()
        both = np.take_along_axis(best, ranked[:, :2], axis=1)
        beside[run] = (both >= np.log(1 / np.array(halves))[:, None]).any()
        reused[run] = (best.max(axis=1) >= needed).any()
    yield share("the best of three by calibration ever promoted, alpha undivided", fresh, f"≤ {ALPHA:.0%}")
    yield share("either of the best two, side by side, ever promoted, alpha shared by both", beside, f"≤ {ALPHA:.0%}")
    yield share("the same, had the best been picked by the pairs that prove it", reused, "nothing")
    yield from _picked_thresholds(rng, 2000 // scale, candidates)


def _picked_thresholds(rng: np.random.Generator, runs: int, candidates: int) -> Iterator[Row]:
    shared, alone = np.zeros(runs, bool), np.zeros(runs, bool)
    delta = divide(ALPHA, DELTA, 1, candidates=candidates, picked="calibration").delta * DELTA / spend(DELTA, 1)
    for run in range(runs):
        sure = rng.random((candidates, 1000))
        agree = rng.random((candidates, 1000)) < TARGET - 1e-4
        for level, broken in ((delta, shared), (DELTA, alone)):
            found = [
                choose_threshold(one.tolist(), same.tolist(), target=TARGET, delta=level)
                for one, same in zip(sure, agree, strict=True)
            ]
            broken[run] = max(found, key=merit).threshold is not None
    name = "the best of three, each a hair too bad, has a threshold"
    yield share(f"{name}, delta shared", shared, f"≤ {DELTA:.0%}")
    yield share(f"{name}, delta {DELTA:.0%} for each", alone, "nothing")


# ---------------------------------------------------------------- cascade
def cascade(rng: np.random.Generator, scale: int) -> Iterator[Row]:
    runs, n = 2000 // scale, 1000
    cells = (np.arange(20_000) + 0.5) / 20_000
    shapes = {
        "a hair too bad at every confidence": np.full(cells.size, TARGET - 1e-4),
        "agreement falls evenly with confidence": 0.8 + 0.2 * cells,
        "97 % in the upper 30 %, 91 % below": np.where(cells > 0.7, 0.97, 0.91),
        "98 % in the upper 70 %, falling below": np.where(cells > 0.3, 0.98, 0.62 + 1.2 * cells),
    }
    for name, truth in shapes.items():
        above = truth[::-1].cumsum()[::-1] / np.arange(cells.size, 0, -1)  # true agreement at or above a cell
        broken, answered, alone = np.zeros(runs, bool), np.zeros(runs), np.zeros(runs, bool)
        for run in range(runs):
            drawn = rng.integers(0, cells.size, size=n)
            agree = rng.random(n) < truth[drawn]
            first = int(agree[np.argsort(-cells[drawn])[:100]].sum())
            alone[run] = clopper_pearson_lower(first, 100, 1 - DELTA) < TARGET
            found = choose_threshold(cells[drawn].tolist(), agree.tolist(), target=TARGET, delta=DELTA)
            if found.threshold is not None:
                cell = int(np.searchsorted(cells, found.threshold))
                broken[run], answered[run] = above[cell] < TARGET, 1 - cells[cell]
        yield share(f"{name}: true agreement below target", broken, f"≤ {DELTA:.0%}")
        yield mean(f"{name}: share of calls answered", answered, "", ".1%")
    yield share("the last student, left without any threshold", answered == 0, "")
    yield share("the same, had all of delta been staked on one start at 100 calls", alone, "")


# ---------------------------------------------------------------- watch
def watch(rng: np.random.Generator, scale: int) -> Iterator[Row]:
    arl, steps = 10_000, 100_000
    same = rng.random(2000) < 0.9
    state = start(TARGET, MARGIN, arl)
    for agree in same:
        state = observe(state, bool(agree))
    assert state.alarm_n == (alarm_after(same[None, :], arl)[0] or None), (
        "the fast copy differs from the watch"
    )
    quiet = alarm_times(rng, 500 // scale, NULL, arl, steps)
    yield mean(f"calls to a false alarm, exactly at {NULL:.0%} (cut at {steps:,})", quiet, f"≥ {arl:,}")
    good = alarm_times(rng, 500 // scale, 0.97, arl, 20_000)
    yield share("a student at 97.0 % alarmed within 20,000 re-asked calls", good < 20_000, "")
    for after in (0.90, 0.85, 0.80, 0.60):
        delay = alarm_times(rng, 1000 // scale, after, arl, 20_000, calm=300)
        yield median(f"re-asked calls until a fall from 97 % to {after:.0%} is noticed", delay, "")


def alarm_times(
    rng: np.random.Generator, runs: int, truth: float, arl: float, steps: int, calm: int = 0
) -> Floats:
    """Calls until the alarm, ``steps`` where there is none; ``calm`` calls at 97 % come first, uncounted."""
    sums, alarm = np.zeros((runs, len(BETS))), np.full(runs, float(steps))
    for _ in range(calm):
        sums = _one_call(sums, rng.random(runs) < 0.97)
    active = np.arange(runs)
    for n in range(1, steps + 1):
        sums = _one_call(sums, rng.random(active.size) < truth)
        raised: Bools = np.asarray(sums.mean(axis=1) >= arl)
        if raised.any():
            alarm[active[raised]] = n
            active, sums = active[~raised], sums[~raised]
            if active.size == 0:
                break
    return alarm


def alarm_after(agree: Bools, arl: float) -> list[int]:
    """Calls until the alarm of given sequences; 0 where there is none."""
    sums, found = np.zeros((agree.shape[0], len(BETS))), [0] * agree.shape[0]
    for n in range(agree.shape[1]):
        sums = _one_call(sums, agree[:, n])
        for run in np.flatnonzero(sums.mean(axis=1) >= arl):
            found[run] = found[run] or n + 1
    return found


def _one_call(sums: Floats, agree: Bools) -> Floats:
    """``optimizer.drift.observe`` for many runs at once."""
    gain = np.where(agree, -1.0, 1 / (1 - NULL) - 1)
    return np.asarray((1 + sums) * (1 + np.array(BETS) * gain[:, None]), dtype=np.float64)


# ---------------------------------------------------------------- intervals
def intervals(rng: np.random.Generator, scale: int) -> Iterator[Row]:
    runs = 2000 // scale
    covered = np.zeros(runs, bool)
    for run in range(runs):
        sizes = rng.integers(1, 12, size=80)
        agreed = rng.binomial(sizes, rng.beta(9, 1, size=80))
        clusters = [(int(hits), int(size)) for hits, size in zip(agreed, sizes, strict=True)]
        low, high = clustered_wilson(clusters, 0.95)
        covered[run] = low <= 0.9 <= high
    yield share("80 sessions of 1 to 11 calls, agreement 90 %: truth inside", covered, "≈ 95 % (approximate)")
