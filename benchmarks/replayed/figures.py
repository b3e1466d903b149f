"""What a replay amounts to: pure sums over its calls."""

from __future__ import annotations

from collections.abc import Sequence
from math import sqrt

from msgspec import Struct

_Z = 1.959963984540054


class Answered(Struct, frozen=True):
    """One call of the replay. ``student``: its id, "" when the simulated teacher answered."""

    student: str
    agreed: bool


class Figures(Struct, frozen=True):
    """``calls`` … ``agreement_high`` are about the calls after ``captured`` teacher-labelled ones.

    ``first_savings_call``: number of the first call that a student answered, so cheaper than the teacher;
    ``net_savings_from_call``: after which the ledger's net savings (re-asks and self-checks subtracted) were above
    zero; None when there was none. ``saved_share``: net savings of the whole replay as a
    share of what the teacher alone would have cost; ``saved_share_after``: of the calls after the capture.
    """

    simulated_teacher: bool
    calls: int
    served_share: float
    agreement: float | None
    agreement_low: float
    agreement_high: float
    first_savings_call: int | None
    net_savings_from_call: int | None
    saved_share: float | None
    saved_share_after: float | None
    total_calls: int
    captured: int
    errors: int
    served_share_once_live: float | None
    calls_once_live: int


def wilson(hits: int, n: int) -> tuple[float, float]:
    """95 % interval of a proportion (Wilson 1927); (0, 1) without observations."""
    if n == 0:
        return 0.0, 1.0
    share, z2 = hits / n, _Z * _Z
    middle, spread = share + z2 / (2 * n), _Z * sqrt(share * (1 - share) / n + z2 / (4 * n * n))
    return (middle - spread) / (1 + z2 / n), (middle + spread) / (1 + z2 / n)


def served(calls: Sequence[Answered]) -> list[Answered]:
    return [call for call in calls if call.student]


def share(calls: Sequence[Answered]) -> float | None:
    return len(served(calls)) / len(calls) if calls else None


def agreement(calls: Sequence[Answered]) -> tuple[float | None, float, float]:
    """Share of the served calls that equal the label, with its interval."""
    by_student = served(calls)
    hits = sum(call.agreed for call in by_student)
    return (hits / len(by_student) if by_student else None, *wilson(hits, len(by_student)))
