"""What a student saves, from the ledger's own numbers. Money is US dollars; None where a price is unknown."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from msgspec import Struct


class Bucket(Protocol):
    """Some calls that one party answered (``gateway.storage.protocols.LedgerBucket`` is one).

    ``teacher_cost_usd``: what the teacher would have cost for the same calls. ``unpriced``: how many of the
    calls lack one of the two prices. ``extra_cost_usd``: re-asks, self-checks and shadow answers.
    """

    @property
    def party(self) -> str: ...
    @property
    def calls(self) -> int: ...
    @property
    def cost_usd(self) -> float: ...
    @property
    def teacher_cost_usd(self) -> float: ...
    @property
    def unpriced(self) -> int: ...
    @property
    def extra_cost_usd(self) -> float: ...


class Savings(Struct, frozen=True):
    """The balance of tasks that have a teacher.

    ``spent``: for the answers themselves. ``extra``: what learning and watching cost on top. ``saved`` =
    teacher_would_have_cost − spent − extra, below 0 when students cost more than they bring.
    ``cost_per_call`` includes the extra, ``teacher_cost_per_call`` is what a call cost before. Every sum is
    None when one of its calls has no known price (``unpriced`` counts them): a partial sum would look like a
    saving.
    """

    calls: int
    student_calls: int
    student_share: float
    unpriced: int
    spent: float | None
    teacher_would_have_cost: float | None
    extra: float
    saved: float | None
    saved_share: float | None
    cost_per_call: float | None
    teacher_cost_per_call: float | None


def summarise(buckets: Iterable[Bucket]) -> Savings:
    """Adds up ledger buckets; calls without a teacher (party ``plain``) are left out, they cannot save."""
    taught = [bucket for bucket in buckets if bucket.party in ("teacher", "student")]
    calls = sum(bucket.calls for bucket in taught)
    student_calls = sum(bucket.calls for bucket in taught if bucket.party == "student")
    unpriced = sum(bucket.unpriced for bucket in taught)
    extra = sum(bucket.extra_cost_usd for bucket in taught)
    spent = teacher = saved = None
    if unpriced == 0:
        spent = sum(bucket.cost_usd for bucket in taught)
        teacher = sum(bucket.teacher_cost_usd for bucket in taught)
        saved = teacher - spent - extra
    return Savings(
        calls=calls,
        student_calls=student_calls,
        student_share=student_calls / calls if calls else 0.0,
        unpriced=unpriced,
        spent=spent,
        teacher_would_have_cost=teacher,
        extra=extra,
        saved=saved,
        saved_share=saved / teacher if saved is not None and teacher else None,
        cost_per_call=(spent + extra) / calls if spent is not None and calls else None,
        teacher_cost_per_call=teacher / calls if teacher is not None and calls else None,
    )
