"""Running counts over the pairs, so that a page that polls does not read every pair again each time."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import Any

from gateway.api.admin.shapes import Evidence
from gateway.storage.protocols import Reader
from gateway.storage.values import Pair
from optimizer.rollout import Student
from optimizer.stats.intervals import wilson

_PAGE = 20_000
_LEVEL = 0.95


@dataclass(slots=True)
class _Tally:
    """Counts by epoch: [compared, answered, agreed]. Pairs are append-only, so ``seq`` never runs back."""

    seq: int = 0
    epochs: dict[int, list[int]] = field(default_factory=dict)

    def add(self, pairs: list[Pair]) -> None:
        for pair in pairs:
            counts = self.epochs.setdefault(pair.epoch, [0, 0, 0])
            answered = pair.answered or pair.kind == "self"  # a teacher passes nothing on
            counts[0] += 1
            counts[1] += answered
            counts[2] += answered and pair.agree
            self.seq = max(self.seq, pair.seq)


class Tallies:
    """Evidence by student and self-agreement by task. Called from worker threads; blocking."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._students: dict[str, _Tally] = {}
        self._tasks: dict[str, _Tally] = {}

    def student(self, reader: Reader, student: Student, gates: dict[str, Any]) -> Evidence:
        with self._lock:
            tally = self._students.setdefault(student.id, _Tally())
            self._catch_up(reader, tally, student=student.id)
            with_pairs = [epoch for epoch, counts in tally.epochs.items() if counts[1]]
            fresh = student.epoch in with_pairs
            epoch = student.epoch if fresh else max(with_pairs, default=student.epoch)
            compared, answered, agreed = tally.epochs.get(epoch, [0, 0, 0])
        return evidence(answered, agreed, compared=compared, epoch=epoch, gates=gates)

    def ceiling(self, reader: Reader, task: str) -> Evidence | None:
        """The teacher's agreement with itself, over all pairs of kind ``self``; they answer always."""
        with self._lock:
            tally = self._tasks.setdefault(task, _Tally())
            self._catch_up(reader, tally, task=task, kinds=("self",))
            compared = sum(counts[0] for counts in tally.epochs.values())
            agreed = sum(counts[2] for counts in tally.epochs.values())
            answered = sum(counts[1] for counts in tally.epochs.values())
        return evidence(answered, agreed, compared=compared, epoch=0, gates={}) if answered else None

    @staticmethod
    def _catch_up(reader: Reader, tally: _Tally, **where: Any) -> None:
        while True:
            pairs = reader.pairs(after_seq=tally.seq, limit=_PAGE, **where)
            tally.add(pairs)
            if len(pairs) < _PAGE:
                return


def evidence(answered: int, agreed: int, *, compared: int, epoch: int, gates: dict[str, Any]) -> Evidence:
    if not answered:
        return Evidence(
            n=0, agreed=0, agreement=None, low=None, high=None, compared=compared, epoch=epoch, gates=gates
        )
    low, high = wilson(agreed, answered, _LEVEL)
    return Evidence(
        n=answered, agreed=agreed, agreement=agreed / answered, low=low, high=high, compared=compared,
        epoch=epoch, gates=gates,
    )  # fmt: skip


def pooled(parts: list[Evidence]) -> Evidence | None:
    """One figure for several students; None when nothing was compared."""
    answered = sum(part.n for part in parts)
    if not answered:
        return None
    return evidence(
        answered,
        sum(part.agreed for part in parts),
        compared=sum(part.compared for part in parts),
        epoch=0,
        gates={},
    )
