"""Does a student's answer equal the teacher's, under the task's comparison?"""

from __future__ import annotations

from typing import Literal, get_args

Comparison = Literal["exact", "folded"]

_TRAILING = ".,;:!?… "


def agrees(comparison: str, student: str, teacher: str) -> bool:
    """True when the two answers count as the same.

    ``exact`` compares code point by code point. ``folded`` ignores case, the amount of white space, and
    punctuation at the end. Raises ValueError for a comparison that does not exist.
    """
    if comparison == "exact":
        return student == teacher
    if comparison == "folded":
        return _fold(student) == _fold(teacher)
    raise ValueError(f"unknown comparison {comparison!r}: use one of {', '.join(get_args(Comparison))}")


def _fold(text: str) -> str:
    return " ".join(text.casefold().split()).rstrip(_TRAILING)
