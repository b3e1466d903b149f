"""Captured calls as columns of small numbers, so that a million of them are compared by machine and not by Python.

Equal texts have equal codes; codes are numbered in order of appearance, so the same calls give the same columns.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from gateway.protocol.called import ENDED
from gateway.storage.values import TrainingCall

Codes = NDArray[np.int32]
Rows = NDArray[np.int64]
"""Positions of calls, ascending: the calls a step was given or left."""
Value = TypeVar("Value", bound=Hashable)
Tick = Callable[[float, str], None]
"""``tick(share done, what is being done)``."""


@dataclass(frozen=True, slots=True, eq=False)
class Columns:
    """One entry for each call, oldest first. ``same``: the input with case and spacing aside; ``user`` is an end
    user of a key; ``answers`` are the distinct answers that ``answer`` numbers."""

    calls: Sequence[TrainingCall]
    usable: NDArray[np.bool_]
    text: Codes
    same: Codes
    answer: Codes
    key: Codes
    user: Codes
    answers: Sequence[str]


def columns_of(calls: Sequence[TrainingCall]) -> Columns:
    """Usable are complete answers (words or tool calls, not empty) to an input that is not empty."""
    answer, answers = coded(call.answer for call in calls)
    blank = np.array([not text.strip() for text in answers], dtype=bool)
    stopped = (call.finish_reason in ENDED and not call.text.isspace() and call.text != "" for call in calls)
    usable = np.fromiter(stopped, dtype=bool, count=len(calls))
    return Columns(
        calls=calls,
        usable=usable & ~blank[answer] if len(calls) else usable,
        text=coded(call.text for call in calls)[0],
        same=coded(" ".join(call.text.casefold().split()) for call in calls)[0],
        answer=answer,
        key=coded(call.key_id for call in calls)[0],
        user=coded((call.key_id, call.end_user) for call in calls)[0],
        answers=answers,
    )


def coded(values: Iterable[Value]) -> tuple[Codes, list[Value]]:
    """(a number for each value, the distinct values by number)."""
    numbers: dict[Value, int] = {}
    codes = np.fromiter((numbers.setdefault(value, len(numbers)) for value in values), dtype=np.int32)
    return codes, list(numbers)


def sizes(codes: Codes) -> NDArray[np.int64]:
    """How many rows have each row's code."""
    return np.bincount(codes)[codes] if len(codes) else np.empty(0, dtype=np.int64)


def newest(codes: Codes, cap: int) -> NDArray[np.bool_]:
    """Which rows are among the last ``cap`` of their code."""
    order = np.argsort(codes[::-1], kind="stable")
    ordered = codes[::-1][order]
    starts = (
        np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]]) if len(codes) else np.empty(0, dtype=int)
    )
    lengths = np.diff(np.r_[starts, len(codes)])
    rank = np.empty(len(codes), dtype=np.int64)
    rank[order] = np.arange(len(codes)) - np.repeat(starts, lengths)
    return (rank < cap)[::-1]
