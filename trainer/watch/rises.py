"""Whether those who answer a task's calls have become slower or dearer: ADWIN over the logarithm of each."""

from __future__ import annotations

import math
from collections.abc import Iterator

from msgspec import Struct

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


class Rises:
    """One window per party (a candidate, or a student by its id) and measure."""

    def __init__(self) -> None:
        self._windows: dict[tuple[str, str], adwin.Window] = {}

    def see(self, call: WatchedCall, settings: Drift) -> Iterator[Rise]:
        """One more call; what rose enough to tell."""
        party = call.student or f"{call.provider}/{call.model}"
        for measure, value in (("latency", call.latency_ms), ("cost", call.cost_usd)):
            if measure not in settings.measures or value is None:
                continue
            key = (party, measure)
            window = self._windows.get(key) or adwin.Window(delta=settings.delta)
            window = self._windows[key] = adwin.add(window, _squeezed(measure, value))
            if window.change is None:
                continue
            before, after = (_stretched(measure, one) for one in (window.change.before, window.change.after))
            if after > before * (1 + settings.least_rise):
                yield Rise(party, measure, before, after, window.change.calls_after)

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
