"""Whether those who answer a task's calls have become slower or dearer: ADWIN over the logarithm of each."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

from msgspec import Struct, structs

from gateway.config import Drift
from gateway.storage.reading.watch import WatchedCall
from optimizer import adwin

_LARGEST = {"latency": 3_600_000.0, "cost": 1_000.0}
_UNIT = {"latency": 1.0, "cost": 1e-7}
"""Milliseconds and US dollars: what counts as next to nothing."""


class Rise(Struct, frozen=True):
    """A typical (geometric mean) value rose from ``before`` to ``after``: milliseconds or US dollars a call."""

    party: str
    measure: str
    before: float
    after: float
    calls: int


class _Episode(Struct, frozen=True):
    """From the rise that was told until the value is back near its ``base``, what it was before. ``told``: the level of
    the newest rise that was told."""

    base: float
    told: float
    since: int
    """How many values had been seen when it was told."""


_WORSE = 2.0
"""Within an episode a value is told of again only when it has become so many times what was told."""
_LOOK = 32
"""Values between two looks at how an episode goes on."""
_SETTLES = 300
"""Values after an alarm over which the level of the same rise still comes out: at first a part of before is in it."""


def together(rises: Iterable[Rise]) -> list[Rise]:
    """Those of one look, one for each party and measure: from where its first began to where its last ended."""
    found: dict[tuple[str, str], Rise] = {}
    for rise in rises:
        key = (rise.party, rise.measure)
        first = found.get(key, rise)
        found[key] = structs.replace(rise, before=first.before)
    return list(found.values())


class Rises:
    """One window per party (a candidate, or a student by its id) and measure."""

    def __init__(self) -> None:
        self._windows: dict[tuple[str, str], adwin.Window] = {}
        self._episodes: dict[tuple[str, str], _Episode] = {}

    def see(self, call: WatchedCall, settings: Drift) -> Iterator[Rise]:
        """One more call; what rose enough to tell."""
        party = call.student or f"{call.provider}/{call.model}"
        for measure, value in (("latency", call.latency_ms), ("cost", call.cost_usd)):
            if measure not in settings.measures or value is None:
                continue
            key = (party, measure)
            window = self._windows.get(key) or adwin.Window(delta=settings.delta)
            window = self._windows[key] = adwin.add(window, _squeezed(measure, value))
            if key in self._episodes and window.seen % _LOOK == 0:
                self._follow(key, _stretched(measure, window.mean), window.seen, 1 + settings.least_rise)
            if window.change is None:
                continue
            before, after = (_stretched(measure, one) for one in (window.change.before, window.change.after))
            if self._is_news(key, before, after, window.seen, 1 + settings.least_rise):
                yield Rise(party, measure, before, after, window.change.calls_after)

    def _follow(self, key: tuple[str, str], mean: float, seen: int, least: float) -> None:
        """Ends an episode that is over; while it settles, what was told stands for the level it comes to."""
        episode = self._episodes[key]
        if mean <= episode.base * least:
            del self._episodes[key]
        elif mean > episode.told and seen - episode.since <= _SETTLES:
            self._episodes[key] = structs.replace(episode, told=mean)

    def _is_news(self, key: tuple[str, str], before: float, after: float, seen: int, least: float) -> bool:
        episode = self._episodes.get(key)
        if after <= (before * least if episode is None else episode.told * _WORSE):
            return False
        self._episodes[key] = _Episode(before if episode is None else episode.base, after, seen)
        return True

    def means(self) -> dict[str, dict[str, float]]:
        """The present typical value by party and measure."""
        found: dict[str, dict[str, float]] = {}
        for (party, measure), window in self._windows.items():
            found.setdefault(party, {})[measure] = _stretched(measure, window.mean)
        return found


def _squeezed(measure: str, value: float) -> float:
    """Into [0, 1], as the bound of ADWIN needs it; by logarithms, so that one slow call does not hide a hundred."""
    unit = _UNIT[measure]
    return math.log1p(max(0.0, value) / unit) / math.log1p(_LARGEST[measure] / unit)


def _stretched(measure: str, value: float) -> float:
    unit = _UNIT[measure]
    return math.expm1(value * math.log1p(_LARGEST[measure] / unit)) * unit
