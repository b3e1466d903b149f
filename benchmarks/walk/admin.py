"""The admin page's JSON API, as the demo reads it: the fields it needs, by name; others may come and go."""

from __future__ import annotations

from typing import Any, TypeVar

import httpx
import msgspec
from msgspec import Struct

T = TypeVar("T")
_STAGES = ("retired", "candidate", "shadow", "canary", "live")


class Agreement(Struct, frozen=True):
    """Agreement on ``n`` answered calls with its 95 % interval."""

    n: int = 0
    agreement: float | None = None
    low: float | None = None
    high: float | None = None

    def __str__(self) -> str:
        if self.agreement is None or self.low is None or self.high is None:
            return "not measured yet"
        return f"{self.agreement:.1%} [{self.low:.1%}, {self.high:.1%}], n={self.n:,}"


class StudentSeen(Struct, frozen=True):
    id: str
    version: int
    recipe: str
    stage: str
    paused: bool
    threshold: float
    evidence: Agreement
    watch: dict[str, float] = {}
    certificate: dict[str, str] | None = None
    metrics: dict[str, Any] = {}

    @property
    def rank(self) -> int:
        """How far it has come: -1 when it serves nobody any more."""
        return -1 if self.paused or self.stage == "retired" else _STAGES.index(self.stage)

    @property
    def serves(self) -> bool:
        return not self.paused and self.stage in {"canary", "live"}


class RunSeen(Struct, frozen=True):
    id: str
    state: str
    progress: float
    step: str
    error: str
    created_at: float


class CostSeen(Struct, frozen=True):
    per_call_usd: float | None = None
    teacher_per_call_usd: float | None = None


class TaskSeen(Struct, frozen=True):
    name: str
    teacher: str | None
    captured_calls: int
    needed_calls: int | None
    cost: CostSeen
    students: list[StudentSeen]
    runs: list[RunSeen]
    datasets: list[dict[str, Any]] = []
    ceiling: Agreement | None = None
    target: float | None = None
    floor: float | None = None

    @property
    def leading(self) -> StudentSeen | None:
        """The student that has come furthest; None while there is none that may still rise."""
        rising = [one for one in self.students if one.rank >= 0]
        return max(rising, key=lambda one: (one.rank, one.version), default=None)

    def student(self, student_id: str) -> StudentSeen | None:
        return next((one for one in self.students if one.id == student_id), None)


class Totals(Struct, frozen=True):
    calls: int = 0
    errors: int = 0
    student_calls: int = 0
    cost_usd: float = 0.0
    teacher_cost_usd: float = 0.0
    extra_cost_usd: float = 0.0
    saved_usd: float = 0.0
    saved_share: float | None = None
    unpriced: int = 0

    def since(self, before: Totals) -> Totals:
        """What was added after ``before`` (``saved_share`` of that part)."""
        saved, teacher = self.saved_usd - before.saved_usd, self.teacher_cost_usd - before.teacher_cost_usd
        return Totals(
            calls=self.calls - before.calls,
            errors=self.errors - before.errors,
            student_calls=self.student_calls - before.student_calls,
            cost_usd=self.cost_usd - before.cost_usd,
            teacher_cost_usd=teacher,
            extra_cost_usd=self.extra_cost_usd - before.extra_cost_usd,
            saved_usd=saved,
            saved_share=saved / teacher if teacher > 0 else None,
            unpriced=self.unpriced - before.unpriced,
        )

    @property
    def per_1000(self) -> float | None:
        """US dollars per 1,000 calls, learning costs included; None while nothing is priced."""
        priced = self.calls - self.unpriced
        return 1000 * (self.cost_usd + self.extra_cost_usd) / priced if priced > 0 else None

    @property
    def student_share(self) -> float | None:
        return self.student_calls / self.calls if self.calls > 0 else None


class _Overview(Struct, frozen=True):
    totals: Totals


class Entry(Struct, frozen=True):
    """A line of the hash-chained journal."""

    epoch: int
    at: float
    kind: str
    actor: str
    subject: str
    action: str
    reason: str
    detail: dict[str, Any] = {}

    def __str__(self) -> str:
        return f"{self.actor}: {self.action} {self.subject}" + (f" ({self.reason})" if self.reason else "")


class _Journal(Struct, frozen=True):
    entries: list[Entry]
    broken_at: int | None = None


class _Tasks(Struct, frozen=True):
    tasks: list[TaskSeen]


class AdminClient:
    """Logged in with the admin key. Methods raise ``httpx.HTTPError`` when the gateway does not answer."""

    def __init__(self, origin: str, key: str) -> None:
        self._http = httpx.Client(base_url=origin, timeout=10, trust_env=False)
        self._http.post("/admin/login", json={"key": key}).raise_for_status()

    def _get(self, path: str, kind: type[T]) -> T:
        answer = self._http.get(path).raise_for_status()
        return msgspec.json.decode(answer.content, type=kind)

    def task(self, name: str) -> TaskSeen:
        """Raises LookupError when the policies have no such task."""
        for task in self._get("/admin/api/tasks", _Tasks).tasks:
            if task.name == name:
                return task
        raise LookupError(f"The policies have no task {name}.")

    def totals(self) -> Totals:
        """Everything since the first call."""
        return self._get("/admin/api/overview", _Overview).totals

    def journal(self, limit: int = 30) -> list[Entry]:
        """Newest first."""
        return self._get(f"/admin/api/journal?limit={limit}", _Journal).entries

    def close(self) -> None:
        self._http.close()
