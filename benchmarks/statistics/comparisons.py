"""Comparisons of candidates: do their bounds hold under peeking, who finds the best one soonest and at what loss, and
do the intervals of a replay hold?"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

from benchmarks.statistics.rows import Floats, Row, median, share
from optimizer.bandits.arms import Arm
from optimizer.replay import Logged, replay
from optimizer.routing.strategies.race import still_running
from optimizer.routing.strategies.track import track_shares
from optimizer.stats.sequences import confidence_bounds

ALPHA = 0.05
_TRUTHS = (0.70, 0.80, 0.80, 0.90)
_MOST = 8_000
_MOST_MEASURED = 20_000
_EXPLORE = 0.02

Rule = Callable[[np.random.Generator, Floats, Floats], int]
"""Who is asked next, from (successes, failures) of each candidate."""


class Contest(NamedTuple):
    """Candidates that succeed at ``truths``; ``asked`` one of them gives a reward in [0, 1]. Cut at ``most`` calls."""

    truths: Floats
    asked: Callable[[int], float]
    most: int


def coverage(rng: np.random.Generator, scale: int) -> Iterator[Row]:
    runs, calls = 400 // scale, 1_000
    for truth in (0.5, 0.9, 0.99):
        missed = np.zeros(runs, bool)
        for run in range(runs):
            gained = np.cumsum(rng.random(calls) < truth)
            missed[run] = any(
                not _inside(truth, float(gained[n]), n + 1.0) for n in range(0, calls, 1 + calls // 400)
            )
        yield share(f"mean {truth:.0%}: ever outside within {calls:,} calls", missed, f"≤ {ALPHA:.0%}")
    widths = [
        np.diff(confidence_bounds(g, 300.0 - g, ALPHA))[0]
        for g in rng.binomial(300, 0.9, 400 // scale).astype(float)
    ]
    yield median("mean 90 %, 300 calls: width of the bounds, in thousandths", np.array(widths) * 1000, "")


def _inside(truth: float, gained: float, n: float) -> bool:
    low, high = confidence_bounds(gained, n - gained, ALPHA)
    return low <= truth <= high


def direction(rng: np.random.Generator, scale: int) -> Iterator[Row]:
    """Four candidates that succeed at 70, 80, 80 and 90 %; bounds at alpha / 4 each."""
    contest = Contest(np.array(_TRUTHS), lambda arm: float(rng.random() < _TRUTHS[arm]), _MOST)
    yield from _contests(rng, contest, 100 // scale)


def measured(scores: Floats) -> Callable[[np.random.Generator, int], Iterator[Row]]:
    """Candidates whose score in [0, 1] on real questions somebody measured; ``scores``: (questions, candidates). Each
    call is about a question drawn at random."""

    def section(rng: np.random.Generator, scale: int) -> Iterator[Row]:
        def asked(arm: int) -> float:
            return float(scores[rng.integers(len(scores)), arm])

        yield from _contests(rng, Contest(scores.mean(axis=0), asked, _MOST_MEASURED), max(2, 50 // scale))

    return section


def _contests(rng: np.random.Generator, contest: Contest, runs: int) -> Iterator[Row]:
    rules: list[tuple[str, Rule]] = [
        ("equal shares (A/B)", _equal), ("strategy race", _race), ("strategy track", _track),
        ("strategy bandit (Thompson)", _thompson),
    ]  # fmt: skip
    best = int(contest.truths.argmax())
    for name, rule in rules:
        found = [_until_proven(rng, rule, contest) for _ in range(runs)]
        lasted = np.array([calls for calls, _, _ in found], dtype=np.float64)
        wrong = np.array([winner not in (None, best) for _, winner, _ in found])
        lost = np.array([forgone for _, _, forgone in found])
        yield median(f"{name}: calls until one is proven best (cut at {contest.most:,})", lasted, "")
        yield median(f"{name}: successes forgone meanwhile", lost, "")
        yield share(f"{name}: the wrong one proven", wrong, f"≤ {ALPHA:.0%}")


def replays(rng: np.random.Generator, scale: int) -> Iterator[Row]:
    runs, worth = 1_000 // scale, {"a": 0.9, "b": 0.6}
    for logged, wanted in ((0.7, 0.3), (0.9, 0.0), (0.95, 0.5)):
        target = {"a": wanted, "b": 1 - wanted}
        truth = sum(target[name] * worth[name] for name in worth)
        inside = np.zeros(runs, bool)
        for run in range(runs):
            calls = []
            for first in rng.random(1_000) < logged:
                name = "a" if first else "b"
                value = float(rng.random() < worth[name])
                calls.append(Logged(name, logged if first else 1 - logged, target, value))
            found = replay(calls)
            inside[run] = found.low <= truth <= found.high
        drawn = f"1,000 calls drawn {logged:.0%}/{1 - logged:.0%}"
        yield share(f"{drawn}, replayed at {wanted:.0%}: truth inside", inside, "≈ 95 %")


def _until_proven(rng: np.random.Generator, rule: Rule, contest: Contest) -> tuple[int, int | None, float]:
    """(calls, who was proven, successes forgone)."""
    truths, asked, most = contest
    arms = len(truths)
    hits, misses = np.zeros(arms), np.zeros(arms)
    bounds = [(0.0, 1.0)] * arms
    for number in range(1, most + 1):
        arm = rule(rng, hits, misses)
        reward = asked(arm)
        hits[arm] += reward
        misses[arm] += 1 - reward
        bounds[arm] = confidence_bounds(float(hits[arm]), float(misses[arm]), ALPHA / arms)
        best = max(range(arms), key=lambda one: bounds[one][0])
        if all(bounds[best][0] > bounds[one][1] for one in range(arms) if one != best):
            return number, best, _forgone(truths, hits + misses)
    return most, None, _forgone(truths, hits + misses)


def _forgone(truths: Floats, calls: Floats) -> float:
    return float(((truths.max() - truths) * calls).sum())


def _equal(rng: np.random.Generator, hits: Floats, misses: Floats) -> int:
    return int(rng.integers(len(hits)))


def _race(rng: np.random.Generator, hits: Floats, misses: Floats) -> int:
    """``optimizer.routing.strategies.race``: even shares among those still running."""
    if rng.random() < _EXPLORE:
        return int(rng.integers(len(hits)))
    arms = [Arm(float(gained), float(missed)) for gained, missed in zip(hits, misses, strict=True)]
    return int(rng.choice(sorted(still_running(arms, ALPHA))))


def _track(rng: np.random.Generator, hits: Floats, misses: Floats) -> int:
    """``optimizer.routing.strategies.track``: the shares that prove soonest."""
    arms = tuple(Arm(float(gained), float(missed)) for gained, missed in zip(hits, misses, strict=True))
    return int(rng.choice(len(arms), p=track_shares(arms, ALPHA, _EXPLORE)))


def _thompson(rng: np.random.Generator, hits: Floats, misses: Floats) -> int:
    """``optimizer.bandits``: by the probability of being best, which is what the largest posterior draw has."""
    if rng.random() < _EXPLORE:
        return int(rng.integers(len(hits)))
    return int(rng.beta(hits + 1, misses + 1).argmax())
