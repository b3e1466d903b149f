"""ADWIN: the mean of a stream over a window that is as long as nothing has changed, and no longer.

Whenever two parts of the window, the older and the newer, have means that differ by more than chance allows, the older
part is forgotten and the change is told. The window is kept as an exponential histogram, so it costs memory and time
in the order of the logarithm of its length.

Source: Bifet & Gavaldà, Learning from time-changing data with adaptive windowing, SIAM SDM 2007; the bound with the
window's variance is the one of their section 4.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from msgspec import Struct, structs

_PER_LEVEL = 5
_EVERY = 32
_SHORTEST = 30


class Change(Struct, frozen=True):
    """The mean was ``before`` (over ``calls_before`` values) and is ``after`` (over ``calls_after``)."""

    before: float
    after: float
    calls_before: int
    calls_after: int


class Window(Struct, frozen=True):
    """Values in [0, 1]. ``levels[i]`` holds (sum, sum of squares) of runs of 2**i values, the newest run first.
    ``change`` is what the last value brought to light, else None."""

    delta: float = 0.002
    levels: tuple[tuple[tuple[float, float], ...], ...] = ()
    seen: int = 0
    change: Change | None = None

    @property
    def n(self) -> int:
        return sum(len(runs) << level for level, runs in enumerate(self.levels))

    @property
    def mean(self) -> float:
        n = self.n
        return sum(run[0] for runs in self.levels for run in runs) / n if n else 0.0


def add(window: Window, value: float) -> Window:
    """The window after one more value, which is held to [0, 1]. Every 32nd value looks for a change: a wrong alarm has
    probability at most ``delta`` at each look."""
    value = min(1.0, max(0.0, value))
    levels = _pushed(window.levels, (value, value * value))
    grown = structs.replace(window, levels=levels, seen=window.seen + 1, change=None)
    return _shrunk(grown) if grown.seen % _EVERY == 0 else grown


def _pushed(
    levels: tuple[tuple[tuple[float, float], ...], ...], run: tuple[float, float]
) -> tuple[tuple[tuple[float, float], ...], ...]:
    """A new run of one value; where a level is full its two oldest runs become one of the next."""
    done = list(levels)
    level = 0
    carried: tuple[float, float] | None = run
    while carried is not None:
        runs = (carried, *(done[level] if level < len(done) else ()))
        carried = None
        if len(runs) > _PER_LEVEL:
            (a, b), runs = runs[-2:], runs[:-2]
            carried = (a[0] + b[0], a[1] + b[1])
        if level < len(done):
            done[level] = runs
        else:
            done.append(runs)
        level += 1
    return tuple(done)


def _shrunk(window: Window) -> Window:
    """Forgets the oldest runs for as long as some cut of the window shows a change."""
    change: Change | None = None
    while (found := _cut(window)) is not None:
        change = found if change is None else change
        window = structs.replace(window, levels=_without_oldest(window.levels))
    return structs.replace(window, change=change)


def _cut(window: Window) -> Change | None:
    n, total, squares = window.n, 0.0, 0.0
    for _, run in _oldest_first(window):
        total, squares = total + run[0], squares + run[1]
    if n < 2 * _SHORTEST:
        return None
    variance = max(0.0, squares / n - (total / n) ** 2)
    log = math.log(2 * math.log(n) / window.delta)
    before_n, before = 0, 0.0
    for size, run in _oldest_first(window):
        before_n, before = before_n + size, before + run[0]
        after_n = n - before_n
        if before_n < _SHORTEST or after_n < _SHORTEST:
            continue
        m = 1 / (1 / before_n + 1 / after_n)
        epsilon = math.sqrt(2 / m * variance * log) + 2 / (3 * m) * log
        older, newer = before / before_n, (total - before) / after_n
        if abs(older - newer) > epsilon:
            return Change(older, newer, before_n, after_n)
    return None


def _oldest_first(window: Window) -> Iterator[tuple[int, tuple[float, float]]]:
    for level in range(len(window.levels) - 1, -1, -1):
        for run in reversed(window.levels[level]):
            yield 1 << level, run


def _without_oldest(
    levels: tuple[tuple[tuple[float, float], ...], ...],
) -> tuple[tuple[tuple[float, float], ...], ...]:
    kept = list(levels)
    kept[-1] = kept[-1][:-1]
    while kept and not kept[-1]:
        kept.pop()
    return tuple(kept)
