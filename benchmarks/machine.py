"""How fast the machine is while it measures: bars in milliseconds say nothing without it, and a virtual machine whose
host is busy may take twice as long for the same work from one hour to the next."""

from __future__ import annotations

import time

_TURNS = 500_000
_TIMES = 5


def turn_ns() -> float:
    """Nanoseconds that one addition in a plain loop of Python takes now, the least of five tries."""
    found = []
    for _ in range(_TIMES):
        began, total = time.perf_counter(), 0
        for number in range(_TURNS):
            total += number
        found.append(time.perf_counter() - began)
    return min(found) / _TURNS * 1e9


def told(before: float, after: float) -> str:
    return f"One addition in a loop of Python took {before:.0f} ns before and {after:.0f} ns after."
