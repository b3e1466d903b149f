"""Builds the admin page's figures from the database and the running view. Blocking; no HTTP in here."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from gateway.api.admin.evidence import Tallies, pooled
from gateway.api.admin.shapes import (
    Bucket,
    CacheNow,
    CostNow,
    DatasetView,
    Evidence,
    Overview,
    RunView,
    StudentView,
    TaskView,
    Totals,
    VersionView,
)
from gateway.config import Config, Task
from gateway.control import Control
from gateway.runtime import Runtime
from gateway.storage.erasure_values import lessons_of
from gateway.storage.protocols import Reader
from gateway.storage.values import STEP_S, Dataset, JournalEntry, LedgerBucket, Run, TaskVersion, Wish
from optimizer.roi import summarise
from optimizer.rollout import Stage, Student
from optimizer.slices import parts

_WIDTHS = (1, 2, 5, 10, 30, 60, 120, 300, 600, 1800, 3600, 7200, 21600, 86400, 604800)
_MOST_BARS = 96
_LONGEST_S = 30 * 86400.0
_RECENT_S = 3600.0
_RECENT_CALLS = 100
_MOVES = 500
_OPEN = ("queued", "running")
_SERVING = (Stage.CANARY, Stage.LIVE)


# ---------------------------------------------------------------- overview
def overview(control: Control, tallies: Tallies, *, hours: float | None, now: float) -> Overview:
    """``hours`` None shows everything since the first call, at most thirty days."""
    reader, runtime = control.reader, control.runtime()
    since = now - hours * 3600 if hours else _first_call(reader.task_versions(), now)
    width = bucket_width(now - since)
    since = since // width * width
    buckets = reader.ledger(since=since, bucket_s=width)
    serving = [one for one in runtime.snapshot.students if one.stage in _SERVING]
    return Overview(
        now=now,
        since=since,
        bucket_s=width,
        totals=totals(buckets),
        series=series(buckets, since=int(since), until=now, width=width),
        agreement=pooled([tallies.student(reader, one, {}) for one in serving]),
        students_off=runtime.snapshot.students_off,
        simulated=any(_simulated(runtime.config, task) for task in runtime.config.tasks),
        config=control.config_status(),
        recorder_degraded=bool(control.recorder.stats().get("degraded")),
    )


def bucket_width(span_s: float) -> int:
    """The narrowest round width, in seconds, that the ledger has and that makes at most :data:`_MOST_BARS` bars."""
    wide = (width for width in _WIDTHS if width >= STEP_S and span_s / width <= _MOST_BARS)
    return next(wide, _WIDTHS[-1])


def _first_call(versions: list[TaskVersion], now: float) -> float:
    first = min((one.first_seen for one in versions), default=now - 600)
    return max(min(first, now - 60), now - _LONGEST_S)


def totals(buckets: Iterable[LedgerBucket]) -> Totals:
    """Sums a ledger; the savings are :func:`optimizer.roi.summarise`'s. ``cost_usd`` sums the known prices of
    all calls, those of no task (party ``plain``) included."""
    rows = list(buckets)
    balance = summarise(rows)
    calls = sum(row.calls for row in rows)
    return Totals(
        calls=calls,
        errors=sum(row.errors for row in rows),
        student_calls=balance.student_calls,
        student_share=balance.student_calls / calls if calls else None,
        cost_usd=sum(row.cost_usd for row in rows),
        teacher_cost_usd=balance.teacher_would_have_cost,
        extra_cost_usd=sum(row.extra_cost_usd for row in rows),
        saved_usd=balance.saved,
        saved_share=balance.saved_share,
        unpriced=sum(row.unpriced for row in rows),
    )


def series(buckets: list[LedgerBucket], *, since: int, until: float, width: int) -> list[Bucket]:
    """One bar for every ``width`` seconds from ``since`` to ``until``, those without calls included."""
    by_start: dict[int, list[LedgerBucket]] = {}
    for row in buckets:
        by_start.setdefault(int(row.start) // width * width, []).append(row)
    bars = []
    for start in range(since // width * width, int(until) + 1, width):
        sums = totals(by_start.get(start, ()))
        bars.append(
            Bucket(
                start=start,
                calls=sums.calls,
                student_calls=sums.student_calls,
                cost_usd=sums.cost_usd,
                teacher_cost_usd=sums.teacher_cost_usd,
                extra_cost_usd=sums.extra_cost_usd,
                saved_usd=sums.saved_usd,
                unpriced=sums.unpriced,
            )
        )
    return bars


def _simulated(config: Config, task: Task) -> bool:
    if task.teacher is None:
        return False
    return bool(getattr(config.providers.get(task.teacher.provider), "simulated", False))


# ---------------------------------------------------------------- tasks
def tasks(control: Control, tallies: Tallies, *, now: float) -> list[TaskView]:
    """Every configured task with its students, newest first, as they stand in this process right now."""
    reader, runtime = control.reader, control.runtime()
    students = present_students(reader, runtime)
    moves = reader.journal(limit=_MOVES, kind="rollout")
    wishes = {wish.student: wish for wish in reader.open_wishes()}
    versions, datasets = reader.task_versions(), reader.datasets()
    erased = {digest: one.requested for digest, one in reader.dataset_erasures().items()}
    ledger = reader.ledger(since=now - _RECENT_S, bucket_s=STEP_S)
    views = []
    for task in runtime.config.tasks:
        mine = sorted((one for one in students if one.task == task.name), key=lambda one: -one.version)
        shown = [
            _student(
                control, tallies, task, one, [m for m in moves if m.subject == one.id], wishes.get(one.id), erased
            )
            for one in mine
        ]
        views.append(
            _task(
                runtime,
                task,
                shown,
                versions=[one for one in versions if one.task == task.name],
                datasets=[one for one in datasets if one.task == task.name],
                runs=reader.runs(task=task.name, limit=10),
                cost=cost_now(row for row in ledger if row.task == task.name and row.party != "cache"),
                cache=cache_now([row for row in ledger if row.task == task.name]),
                ceiling=tallies.ceiling(reader, task.name),
            )
        )
    return views


def present_students(reader: Reader, runtime: Runtime) -> list[Student]:
    """The stored students, corrected by what this process did and the database does not show yet."""
    stored = reader.students(include_retired=True)
    if reader.generation() > runtime.snapshot.generation:
        return stored
    here = {one.id: one for one in runtime.snapshot.students}
    present = []
    for one in stored:
        known = here.get(one.id)
        if known is None and one.stage is not Stage.RETIRED:
            present.append(_retired(one))
        else:
            present.append(known or one)
    return present


def _retired(one: Student) -> Student:
    return Student(
        id=one.id, project=one.project, task=one.task, fingerprint=one.fingerprint, version=one.version,
        recipe=one.recipe, round=one.round, threshold=one.threshold, stage=Stage.RETIRED, paused=False,
        epoch=one.epoch, certificate=one.certificate, artifact=one.artifact,
        max_answer_tokens=one.max_answer_tokens, slices=one.slices, deferred=one.deferred,
    )  # fmt: skip


def _task(
    runtime: Runtime,
    task: Task,
    students: list[StudentView],
    *,
    versions: list[TaskVersion],
    datasets: list[Dataset],
    runs: list[Run],
    cost: CostNow,
    cache: CacheNow,
    ceiling: Evidence | None,
) -> TaskView:
    learn = task.learn
    return TaskView(
        name=task.name,
        project=versions[0].project if versions else "default",
        teacher=f"{task.teacher.provider}/{task.teacher.model}" if task.teacher else None,
        simulated=_simulated(runtime.config, task),
        target=learn.target if learn else None,
        floor=learn.target - learn.margin if learn else None,
        approval=learn.approval if learn else None,
        captured_calls=sum(one.trainable_calls for one in versions),
        needed_calls=learn.min_calls if learn else None,
        ceiling=ceiling,
        cost=cost,
        versions=[
            VersionView(
                fingerprint=one.fingerprint, version=one.version, first_seen=one.first_seen,
                trainable_calls=one.trainable_calls,
            )
            for one in versions
        ],
        datasets=[
            DatasetView(digest=one.digest, version=one.version, created_at=one.created_at) for one in datasets
        ],
        students=students,
        runs=[run_view(run) for run in runs],
        cache=cache,
    )  # fmt: skip


def run_view(run: Run) -> RunView:
    return RunView(
        id=run.id, kind=run.kind, state=run.state, progress=run.progress, step=run.step, error=run.error,
        created_at=run.created_at, finished_at=run.finished_at, priority=run.priority,
    )  # fmt: skip


def _student(
    control: Control,
    tallies: Tallies,
    task: Task,
    one: Student,
    moves: list[JournalEntry],
    wish: Wish | None,
    erased: dict[str, int],
) -> StudentView:
    detail: dict[str, Any] = control.reader.student_detail(one.id)
    found = tallies.student(control.reader, one, gates_of(moves))
    return StudentView(
        id=one.id,
        version=one.version,
        recipe=one.recipe,
        stage=one.stage.value,
        paused=one.paused,
        epoch=one.epoch,
        round=one.round,
        threshold=one.threshold,
        fingerprint=one.fingerprint,
        evidence=found,
        watch=control.watch_numbers(one.id) if one.stage in _SERVING else {},
        certificate=certificate(one, moves),
        dataset=detail.get("dataset", ""),
        metrics=detail.get("metrics", {}),
        created_at=detail.get("created_at"),
        wish=wish.action if wish else "",
        waiting_approval=waits(task, one, found, wish),
        slices=list(parts(one.slices)),
        deferred=list(one.deferred),
        erased_rows=sum(erased.get(digest, 0) for digest in lessons_of(detail)),
    )


def gates_of(moves: list[JournalEntry]) -> dict[str, Any]:
    """``{gate: {"verdict", "reason", "numbers"}}`` of the newest move that gates decided; {} for none."""
    for move in sorted(moves, key=lambda one: -one.epoch):
        results = move.detail.get("results")
        if results:
            return {
                result["gate"]: {name: result.get(name) for name in ("verdict", "reason", "numbers")}
                for result in results
            }
    return {}


def certificate(one: Student, moves: list[JournalEntry]) -> dict[str, str] | None:
    """Its hash and its path in the data directory, which ``understudy verify`` takes. A certificate's file is
    named after the stage that it opened, which the journal knows."""
    digest = one.certificate
    if not digest:
        return None
    opened = (str(move.detail.get("to")) for move in moves if move.detail.get("certificate") == digest)
    return {
        "digest": digest,
        "path": f"certificates/{one.id}-{next(opened, one.stage.value)}-{digest[:8]}.json",
    }


def waits(task: Task, one: Student, found: Evidence, wish: Wish | None) -> bool:
    """Whether the evidence looks sufficient and a person has to say so (``approval: manual``)."""
    if task.learn is None or task.learn.approval != "manual" or wish is not None or one.paused:
        return False
    in_trial = one.stage in (Stage.SHADOW, Stage.CANARY) and found.epoch == one.epoch
    return in_trial and found.low is not None and found.low > task.learn.target - task.learn.margin


def cache_now(rows: list[LedgerBucket]) -> CacheNow:
    """What the caches did for a task, from its ledger rows of all parties."""
    spared = [row for row in rows if row.party == "cache"]
    hits = sum(row.calls for row in spared)
    known = hits and not any(row.unpriced for row in spared)
    return CacheNow(
        hits=hits,
        calls=sum(row.calls for row in rows),
        saved_usd=sum(row.teacher_cost_usd for row in spared) if known else None,
    )


def cost_now(rows: Iterable[LedgerBucket]) -> CostNow:
    """Cost per call over the newest buckets that hold about :data:`_RECENT_CALLS` calls."""
    newest: list[LedgerBucket] = []
    calls = 0
    for row in sorted(rows, key=lambda one: -one.start):
        if calls >= _RECENT_CALLS and row.start != newest[-1].start:
            break
        newest.append(row)
        calls += row.calls
    balance = summarise(newest)
    return CostNow(
        calls=calls,
        per_call_usd=balance.cost_per_call,
        teacher_per_call_usd=balance.teacher_cost_per_call,
        unpriced=sum(row.unpriced for row in newest),
    )
