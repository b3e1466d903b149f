"""What the admin API answers. Money is US dollars, times are unix seconds, shares lie in [0, 1].

``None`` money means that nothing is known; a sum over calls whose price is unknown says so in ``unpriced``.
"""

from __future__ import annotations

from typing import Any

from msgspec import Struct


class Totals(Struct, frozen=True):
    """``cost_usd`` is what answering cost, ``extra_cost_usd`` what learning cost on top (re-asks, second
    opinions). ``saved_usd`` = teacher_cost_usd − cost − extra over calls of tasks with a teacher; None, as
    is ``teacher_cost_usd``, when one of those calls has no known price."""

    calls: int
    errors: int
    student_calls: int
    student_share: float | None
    cost_usd: float
    teacher_cost_usd: float | None
    extra_cost_usd: float
    saved_usd: float | None
    saved_share: float | None
    unpriced: int


class Bucket(Struct, frozen=True):
    """One bar of the chart; ``start`` is the bucket's first second."""

    start: int
    calls: int
    student_calls: int
    cost_usd: float
    teacher_cost_usd: float | None
    extra_cost_usd: float
    saved_usd: float | None
    unpriced: int


class Overview(Struct, frozen=True):
    now: float
    since: float
    bucket_s: int
    totals: Totals
    series: list[Bucket]
    agreement: Evidence | None
    """Pooled over the students that serve now; None while none does or nothing was compared."""
    students_off: bool
    simulated: bool
    config: dict[str, str]
    recorder_degraded: bool


class Evidence(Struct, frozen=True):
    """Agreement with the teacher on answered calls; ``low``/``high`` is the 95 % Wilson interval.

    ``epoch`` names the stage the pairs were collected in: the student's present one or, while that has none
    yet, the last that had. ``compared`` also counts the pairs in which the student passed the call on.
    """

    n: int
    agreed: int
    agreement: float | None
    low: float | None
    high: float | None
    compared: int
    epoch: int
    gates: dict[str, Any]


class StudentView(Struct, frozen=True):
    id: str
    version: int
    recipe: str
    stage: str
    paused: bool
    epoch: int
    round: int
    threshold: float
    fingerprint: str
    evidence: Evidence
    watch: dict[str, float]
    certificate: dict[str, str] | None
    dataset: str
    metrics: dict[str, Any]
    created_at: float | None
    wish: str
    """The open wish about this student (promote, resume, retrain); "" when there is none."""
    waiting_approval: bool
    slices: list[str] = []
    """The parts of its traffic that are proven by themselves; of these ``deferred`` stay with the teacher."""
    deferred: list[str] = []
    erased_rows: int = 0
    """Rows it learnt from that were erased since because somebody asked for it."""


class RunView(Struct, frozen=True):
    id: str
    kind: str
    state: str
    progress: float
    step: str
    error: str
    created_at: float
    finished_at: float | None
    priority: int = 0


class VersionView(Struct, frozen=True):
    fingerprint: str
    version: int
    first_seen: float
    trainable_calls: int


class DatasetView(Struct, frozen=True):
    digest: str
    version: int
    created_at: float


class CostNow(Struct, frozen=True):
    """Per call over the newest ``calls`` calls; ``unpriced`` of them have no known price."""

    calls: int
    per_call_usd: float | None
    teacher_per_call_usd: float | None
    unpriced: int


class CacheNow(Struct, frozen=True):
    """What the caches answered in the last hour, of how many calls, and what the teacher would have cost for it;
    None where its price is unknown or nothing was answered."""

    hits: int = 0
    calls: int = 0
    saved_usd: float | None = None


class TaskView(Struct, frozen=True):
    name: str
    project: str
    teacher: str | None
    simulated: bool
    target: float | None
    floor: float | None
    """target - margin: what the agreement must be shown to exceed."""
    approval: str | None
    captured_calls: int
    needed_calls: int | None
    ceiling: Evidence | None
    """How often the teacher agrees with itself; None while it was not asked twice."""
    cost: CostNow
    versions: list[VersionView]
    datasets: list[DatasetView]
    students: list[StudentView]
    runs: list[RunView]
    cache: CacheNow = CacheNow()


class SessionView(Struct, frozen=True):
    """Somebody who is logged in. ``this``: whoever asks; ``address``: where the login came from, ``seen_from``: where
    the last sign of a person did; ``ends``: when it does by itself, if nobody does anything until then."""

    id: str
    this: bool
    since: float
    seen: float
    idle_s: float
    ends: float
    address: str
    seen_from: str
    browser: str


class Done(Struct, frozen=True):
    """``status``: done (in force now) or asked (the trainer decides)."""

    status: str
    message: str
