"""What should happen now: pure decisions about runs, from what the database says."""

from __future__ import annotations

from collections.abc import Container, Sequence
from typing import Any

from gateway.config import Config, Learn, Task
from gateway.storage.commands import EnqueueRun
from gateway.storage.values import Run, TaskVersion
from optimizer.rollout import Stage, Student

OPEN = ("queued", "running", "paused")
_FEWEST = 50
Scope = tuple[str, str, str]
"""(project, task, fingerprint)."""


def due(
    config: Config, versions: Sequence[TaskVersion], students: Sequence[Student], runs: Sequence[Run],
    requests: Sequence[Scope], now: float, hurried: Container[str] = (),
) -> list[EnqueueRun]:  # fmt: skip
    """The runs to enqueue. A scope with an open run gets none.

    A retrain that was asked for is queued at once, so that it shows, and waits for ``min_new_calls``. Without
    a request: the first training starts at ``min_calls``; a scope whose last run or student failed waits for
    ``min_new_calls`` more than it had then; one whose student serves gets a successor once its calls have
    grown by ``growth``, and none while a successor is still being proven. ``hurried`` tasks, whose teacher will
    be gone, train a first time at a quarter of ``min_calls`` and do not wait for ``growth``.
    """
    learning = {task.name: task for task in config.tasks if may_learn(task)}
    found: list[EnqueueRun] = []
    for version in versions:
        task = learning.get(version.task)
        if task is None or task.learn is None:
            continue
        scope = (version.project, version.task, version.fingerprint)
        history = sorted(
            (run for run in runs if run.kind == "train" and scope_of(run) == scope),
            key=lambda run: run.created_at,
        )
        if any(run.state in OPEN for run in history):
            continue
        stages = [one.stage for one in students if scope_of(one) == scope and one.stage != Stage.RETIRED]
        if any(stage != Stage.LIVE for stage in stages) and scope not in requests:
            continue
        alive = bool(stages)
        params = _params(
            task.learn, version, history, requested=scope in requests, alive=alive,
            hurried=version.task in hurried, now=now,
        )  # fmt: skip
        if params is not None:
            found.append(EnqueueRun("train", *scope, params=params, at=now))
    return found


def _params(
    learn: Learn, version: TaskVersion, history: Sequence[Run], *, requested: bool, alive: bool, hurried: bool,
    now: float,
) -> dict[str, Any] | None:
    """The parameters of the run a scope is due, None when it is due none."""
    calls = version.trainable_calls
    if requested:
        return {
            "reason": "a retrain was asked for",
            "trainable_calls": calls,
            "not_before_calls": calls + learn.min_new_calls,
            "fresh_since": now,
        }
    if calls < (max(_FEWEST, learn.min_calls // 4) if hurried else learn.min_calls):
        return None
    if not history:
        return None if alive else {"reason": "enough calls were captured", "trainable_calls": calls}
    before = calls_at(history[-1])
    grown = hurried or (learn.growth is not None and calls >= before * learn.growth)
    if calls < before + learn.min_new_calls or (alive and not grown):
        return None
    return {
        "reason": "enough new calls were captured since the last run",
        "trainable_calls": calls,
        "fresh_since": float(history[-1].params.get("fresh_since", 0.0)),
    }


def wished(version: TaskVersion, history: Sequence[Run], now: float) -> EnqueueRun:
    """The run a person asked for: it does not wait."""
    last = max(history, key=lambda run: run.created_at, default=None)
    params = {
        "reason": "a person asked for a retrain",
        "trainable_calls": version.trainable_calls,
        "fresh_since": float(last.params.get("fresh_since", 0.0)) if last else 0.0,
    }
    return EnqueueRun("train", version.project, version.task, version.fingerprint, params=params, at=now)


def may_learn(task: Task) -> bool:
    """Whether a task opted into learning and its operator vouches that the teacher's terms allow it."""
    return task.learn is not None and task.teacher is not None and task.teacher.may_train_on_outputs


def longest_s(config: Config, task: str, usual: float) -> float:
    """How long a training of the task may take, in seconds: as it says itself when it may train with torch."""
    learn = next((one.learn for one in config.tasks if one.name == task), None)
    plans = (learn.generative, learn.fine_tune) if learn is not None else ()
    once = max([usual, *(plan.max_hours * 3600.0 for plan in plans if plan is not None)])
    if learn is None:
        return once
    each = once if learn.search is None else 2 * once + learn.search.max_minutes * 60.0
    return each * (learn.candidates.most if learn.candidates is not None else 1)


def calls_at(run: Run) -> int:
    """How many trainable calls a run's scope had when it trained (or was queued)."""
    return int(run.result.get("trainable_calls") or run.params.get("trainable_calls") or 0)


def waiting_for(run: Run, versions: Sequence[TaskVersion]) -> int:
    """How many trainable calls a run still waits for; 0 when it may start."""
    wanted = int(run.params.get("not_before_calls") or 0)
    have = next((one.trainable_calls for one in versions if scope_of(one) == scope_of(run)), 0)
    return max(0, wanted - have)


def claimable(runs: Sequence[Run], versions: Sequence[TaskVersion], now: float, stale_s: float) -> bool:
    """Whether claiming is worth while: a queued run that may start, or a running one whose worker died."""
    return any(
        (run.state == "queued" and waiting_for(run, versions) == 0)
        or (run.state == "running" and now - (run.heartbeat_at or 0.0) > stale_s)
        for run in runs
    )


def round_of(run: Run, runs: Sequence[Run]) -> int:
    """The run's number among its scope's trainings, from 1: error budgets are spent over them. Every run
    counts that was not cancelled, because each may have looked at calibration calls."""
    return 1 + sum(
        one.kind == run.kind
        and scope_of(one) == scope_of(run)
        and one.id != run.id
        and one.state != "cancelled"
        and (one.created_at, one.id) < (run.created_at, run.id)
        for one in runs
    )


def scope_of(thing: Run | Student | TaskVersion) -> Scope:
    return thing.project, thing.task, thing.fingerprint
