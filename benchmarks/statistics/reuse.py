"""What the semantic cache's trust promises, by simulation: how often a task that errs too much ever opens, how many of
the hits of one that may open are wrong, and how soon one that went bad is closed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from math import inf

import numpy as np

from benchmarks.statistics.rows import Bools, Row, median, share
from optimizer.reuse import trust
from optimizer.reuse.wording import FEATURES

DELTA, ALPHA, REASK, RUN_LENGTH = 0.05, 0.05, 0.05, 2000
_ENTRIES, _MISLEADING = 40, 0.1
Wrong = Callable[[float, int], float]
"""The chance that an answer is wrong, by likeness in [0, 1] and kept question."""


class Traffic:
    """A task that meets comparisons one by one. ``refined``: labels also count for the kept question they are of."""

    def __init__(self, rng: np.random.Generator, wrong: Wrong, *, refined: bool = True) -> None:
        self.state = trust.start(DELTA, ALPHA, RUN_LENGTH)
        self.wrong, self._rng, self._refined = wrong, rng, refined
        self._entries: dict[int, trust.Entry] = {}
        self.hits = self.bad = self.right = self.labels = self.reasked = 0

    def meet(self, *, always: bool = False) -> None:
        """``always``: whatever is learnt, the comparison is a proposal: the worst rule there could be."""
        like, number = float(self._rng.random()), int(self._rng.integers(_ENTRIES))
        right = bool(self._rng.random() >= self.wrong(like, number))
        self.right += right
        seen, entry = (like, *([0.0] * (FEATURES - 1))), self._entries.get(number, trust.Entry())
        proposed = always or trust.proposes(self.state, trust.log_odds(self.state, seen, entry))
        if proposed and self.state.is_open and self._rng.random() >= REASK:
            self.hits, self.bad = self.hits + 1, self.bad + (not right)
            return
        self.labels, self.reasked = self.labels + 1, self.reasked + (proposed and self.state.is_open)
        self.state, entry = trust.learn(self.state, seen, entry, right=right, proposed=proposed)
        if self._refined:
            self._entries[number] = entry


def bound(rng: np.random.Generator, scale: int) -> Iterator[Row]:
    """Opened means ever: it is looked at after every label."""
    blind = [_ever(Traffic(rng, lambda like, _: DELTA), 600, always=True) for _ in range(400 // scale)]
    yield share("wrong in exactly delta of all proposals: it ever opens", np.array(blind), f"≤ {ALPHA:.0%}")
    at = [
        _ever(Traffic(rng, lambda like, _: DELTA if like > 0.5 else 0.5), 1_500) for _ in range(100 // scale)
    ]
    yield share("the learnt rule, wrong in delta of the likely half: it ever opens", np.array(at), f"≤ {ALPHA:.0%}")


def _ever(traffic: Traffic, most: int, *, always: bool = False) -> bool:
    for _ in range(most):
        traffic.meet(always=always)
        if traffic.state.is_open:
            return True
    return False


def _sure(like: float, number: int) -> float:
    return max(DELTA / 10, 1 - 1.6 * like)


def _misled(like: float, number: int) -> float:
    return 0.9 if number < _ENTRIES * _MISLEADING else _sure(like, number)


def hits(rng: np.random.Generator, scale: int) -> Iterator[Row]:
    """5,000 comparisons each. A kept question that misleads is wrong in nine of ten, however like it looks."""
    for what, wrong, refined in (
        ("clear likeness", _sure, True),
        ("one kept question in ten misleads", _misled, True),
        ("the same, without refinement by kept question", _misled, False),
    ):
        runs = [Traffic(rng, wrong, refined=refined) for _ in range(20 // scale)]
        for one in runs:
            for _ in range(5_000):
                one.meet()
        served = np.concatenate([np.arange(one.hits) < one.bad for one in runs])
        over = np.array([one.bad > DELTA * one.hits for one in runs])
        yield share(f"{what}: wrong hits, of all hits", served, f"≤ {DELTA:.0%}")
        yield share(f"{what}: tasks with more than delta of their hits wrong", over, "")
        yield share(f"{what}: right answers that hit", _found(runs), "")


def _found(runs: list[Traffic]) -> Bools:
    return np.concatenate([np.arange(one.right) < one.hits - one.bad for one in runs])


def closing(rng: np.random.Generator, scale: int) -> Iterator[Row]:
    """After it opened a kept answer is wrong more often, whatever the likeness. Nothing proposed counts as closed."""
    for worse in (0.1, 0.3, 0.6):
        runs = [_gone_bad(rng, worse) for _ in range(12 // scale or 1)]
        asked, harmed = (np.array([float(getattr(one, name)) for one in runs]) for name in ("reasked", "bad"))
        yield median(f"wrong in {worse:.0%} from then on: re-asked hits until it closes", asked, "")
        yield median(f"wrong in {worse:.0%} from then on: wrong hits until then", harmed, "")


def _gone_bad(rng: np.random.Generator, worse: float) -> Traffic:
    one = Traffic(rng, _sure)
    _ever(one, 20_000)
    one.wrong, one.reasked, one.bad = (lambda like, _: max(worse, _sure(like, 0))), 0, 0
    for _ in range(20_000):
        if one.state.alarms or one.state.cut == inf:
            break
        one.meet()
    return one
