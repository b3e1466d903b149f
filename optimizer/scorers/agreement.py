"""Does a student's answer equal the teacher's, under the task's comparison?"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal

from optimizer.scorers.structured import json_equal, numeric, tool_calls

Comparison = Literal["exact", "folded", "json", "numeric", "tool_calls"]

_TRAILING = ".,;:!?… "


def agrees(comparison: str, student: str, teacher: str) -> bool:
    """True when the two answers count as the same.

    ``exact`` compares code point by code point. ``folded`` ignores case, the amount of white space, and
    punctuation at the end. ``json`` compares values. ``numeric`` compares the last number of each.
    ``tool_calls`` compares calls whatever their order and their arguments as values, and words as ``exact``. Raises
    ValueError for a comparison that does not exist.
    """
    compare = _COMPARISONS.get(comparison)
    if compare is None:
        raise ValueError(f"unknown comparison {comparison!r}: use one of {', '.join(_COMPARISONS)}")
    return compare(student, teacher)


def _exact(student: str, teacher: str) -> bool:
    return student == teacher


def _folded(student: str, teacher: str) -> bool:
    return _fold(student) == _fold(teacher)


def _fold(text: str) -> str:
    return " ".join(text.casefold().split()).rstrip(_TRAILING)


def _same_number(student: str, teacher: str) -> bool:
    return numeric(student, teacher) == 1.0


def _same_calls(student: str, teacher: str) -> bool:
    return student == teacher or tool_calls(student, teacher) == 1.0


_COMPARISONS: Mapping[str, Callable[[str, str], bool]] = {
    "exact": _exact,
    "folded": _folded,
    "json": json_equal,
    "numeric": _same_number,
    "tool_calls": _same_calls,
}
