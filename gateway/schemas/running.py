"""What a check carries along: the faults it found and the work it may still do."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from gateway.schemas.problems import Fault

Check = Callable[[Any, str, "Run"], bool]
"""(value, its JSON pointer, the run) → whether it fits; what is wrong is noted on the run."""

_MOST_FAULTS = 5


class TooCostly(Exception):
    """The schema makes more work of this value than its size allows for."""


class Run:
    """One check of one value. ``quiet`` above 0: alternatives are being tried, and their faults are nobody's."""

    __slots__ = ("faults", "left", "quiet")

    def __init__(self, work: int) -> None:
        self.left, self.quiet = work, 0
        self.faults: list[Fault] = []

    def spend(self, work: int) -> None:
        """Raises TooCostly."""
        self.left -= work
        if self.left < 0:
            raise TooCostly

    def fault(self, at: str, rule: str, message: str) -> bool:
        """Notes a fault; always False, so that a check can end with it."""
        if not self.quiet and len(self.faults) < _MOST_FAULTS:
            self.faults.append(Fault(at, rule, message))
        return False

    def fits(self, check: Check, value: Any, at: str) -> bool:
        """Whether a value fits, without noting why not."""
        self.quiet += 1
        try:
            return check(value, at, self)
        finally:
            self.quiet -= 1


def every(results: Iterable[bool]) -> bool:
    """Whether all fit, asked to the end, so that each fault is noted."""
    fits = True
    for one in results:
        fits = one and fits
    return fits


def key_of(value: Any, run: Run | None = None) -> Any:
    """Something hashable that is equal for equal JSON values: 1 and 1.0 are, 1 and true are not."""
    if run is not None:
        run.spend(1)
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool):
        return ("bool", value)
    if isinstance(value, list):
        return ("list", *(key_of(one, run) for one in value))
    if isinstance(value, dict):
        return ("map", frozenset((name, key_of(one, run)) for name, one in value.items()))
    return value
