"""Commands about runs and datasets, each inside an open write transaction."""

from __future__ import annotations

import uuid
from typing import Any

import sqlalchemy as sa

from gateway.protocol.fine_tuning import KIND, job_id
from gateway.storage.commands import (
    AddDataset,
    CancelRun,
    ClaimRun,
    EnqueueRun,
    FinishRun,
    PauseRun,
    PrioritiseRun,
    Refused,
    ReportRun,
    ResumeRun,
)
from gateway.storage.rows import dataset_of, run_of, storable, to_json
from gateway.storage.tables import DATASETS, RUN_EVENTS, RUNS
from gateway.storage.values import Dataset, Run
from gateway.storage.writing.events import announce
from gateway.storage.writing.journal import append_journal

_OPEN = ("queued", "running")
_RESTING = ("queued", "paused")


def enqueue_run(connection: sa.Connection, command: EnqueueRun) -> Run:
    scope = (
        RUNS.c.kind == command.kind,
        RUNS.c.project == command.project,
        RUNS.c.task == command.task,
        RUNS.c.fingerprint == command.fingerprint,
        RUNS.c.state.in_((*_OPEN, *_RESTING)),
    )
    open_run = connection.execute(sa.select(RUNS).where(*scope)).mappings().first()
    if open_run is not None:
        return run_of(open_run)
    run = Run(
        id=f"run_{uuid.uuid4().hex}", kind=command.kind, project=command.project, task=command.task,
        fingerprint=command.fingerprint, state="queued", attempt=0, params=command.params, result={}, error="",
        progress=0.0, step="queued", created_at=command.at, started_at=None, finished_at=None,
        heartbeat_at=None, cancel_requested=False, priority=command.priority,
    )  # fmt: skip
    row = {name: getattr(run, name) for name in Run.__struct_fields__}
    row |= {"params": to_json(run.params), "result": "{}", "worker": ""}
    connection.execute(sa.insert(RUNS).values(**storable(row)))
    return run


def claim_run(connection: sa.Connection, command: ClaimRun) -> Run | None:
    stale = sa.and_(RUNS.c.state == "running", RUNS.c.heartbeat_at < command.at - command.stale_s)
    while True:
        waiting = sa.select(RUNS).where(sa.or_(RUNS.c.state == "queued", stale))
        order = (RUNS.c.priority.desc(), RUNS.c.created_at, RUNS.c.id)
        row = connection.execute(waiting.order_by(*order).limit(1)).mappings().first()
        if row is None:
            return None
        if row["cancel_requested"]:
            _update(connection, row["id"], state="cancelled", finished_at=command.at)
        elif row["attempt"] >= command.max_attempts:
            error = f"Its worker stopped answering {row['attempt']} times; the run was given up."
            _update(connection, row["id"], state="failed", error=error, finished_at=command.at)
            _add_event(connection, row["id"], command.at, "error", error, {})
        else:
            break
    attempt = row["attempt"] + 1
    if attempt > 1:
        message = f"The worker before stopped answering; attempt {attempt} begins."
        _add_event(connection, row["id"], command.at, "warn", message, {"worker": row["worker"]})
    started = row["started_at"] if row["started_at"] is not None else command.at
    return _update(
        connection, row["id"], state="running", attempt=attempt, worker=command.worker, started_at=started,
        heartbeat_at=command.at,
    )  # fmt: skip


def report_run(connection: sa.Connection, command: ReportRun) -> Run:
    _owned(connection, command.run_id, command.worker)
    if command.message:
        _add_event(connection, command.run_id, command.at, command.level, command.message, command.data)
    progress = min(1.0, max(0.0, command.progress))
    return _update(connection, command.run_id, heartbeat_at=command.at, progress=progress, step=command.step)


def finish_run(connection: sa.Connection, command: FinishRun) -> Run:
    if command.state in _OPEN:
        raise Refused(f"A run cannot be finished as {command.state!r}.")
    row = _run(connection, command.run_id)
    if row["state"] == command.state and row["worker"] == command.worker:
        return run_of(row)
    _owned(connection, command.run_id, command.worker)
    progress = 1.0 if command.state == "succeeded" else row["progress"]
    return _update(
        connection, command.run_id, state=command.state, result=to_json(command.result), error=command.error,
        progress=progress, finished_at=command.at, heartbeat_at=command.at,
    )  # fmt: skip


def cancel_run(connection: sa.Connection, command: CancelRun) -> Run:
    row = _run(connection, command.run_id)
    if row["state"] not in (*_OPEN, *_RESTING):
        return run_of(row)
    append_journal(
        connection, "admin", at=command.at, actor=command.actor, subject=command.run_id, action="cancel run"
    )
    if row["state"] in _RESTING:
        return _update(
            connection, command.run_id, state="cancelled", cancel_requested=True, finished_at=command.at
        )
    return _update(connection, command.run_id, cancel_requested=True)


def pause_run(connection: sa.Connection, command: PauseRun) -> Run:
    row = _run(connection, command.run_id)
    if row["state"] == "paused":
        return run_of(row)
    if row["state"] not in _OPEN:
        raise Refused(f"It has {row['state']} already.")
    append_journal(
        connection, "admin", at=command.at, actor=command.actor, subject=command.run_id, action="pause run"
    )
    _add_event(connection, command.run_id, command.at, "info", "It was paused.", {})
    return _update(connection, command.run_id, state="paused", worker="")


def resume_run(connection: sa.Connection, command: ResumeRun) -> Run:
    row = _run(connection, command.run_id)
    if row["state"] in _OPEN:
        return run_of(row)
    if row["state"] != "paused":
        raise Refused(f"It has {row['state']} and cannot be resumed.")
    append_journal(
        connection, "admin", at=command.at, actor=command.actor, subject=command.run_id, action="resume run"
    )
    _add_event(connection, command.run_id, command.at, "info", "It was resumed.", {})
    return _update(connection, command.run_id, state="queued", attempt=0)


def prioritise_run(connection: sa.Connection, command: PrioritiseRun) -> Run:
    row = _run(connection, command.run_id)
    if row["state"] not in (*_OPEN, *_RESTING):
        raise Refused(f"It has {row['state']} already.")
    append_journal(
        connection, "admin", at=command.at, actor=command.actor, subject=command.run_id,
        action=f"run's priority {command.priority}", reason=command.reason,
    )  # fmt: skip
    return _update(connection, command.run_id, priority=command.priority)


def add_dataset(connection: sa.Connection, command: AddDataset) -> Dataset:
    dataset = command.dataset
    known = connection.execute(sa.select(DATASETS).where(DATASETS.c.digest == dataset.digest)).mappings()
    row = known.first()
    if row is not None:
        return dataset_of(row)
    scope = (DATASETS.c.project == dataset.project, DATASETS.c.task == dataset.task)
    newest = connection.execute(sa.select(sa.func.max(DATASETS.c.version)).where(*scope)).scalar()
    values = {name: getattr(dataset, name) for name in Dataset.__struct_fields__}
    values |= {"version": (newest or 0) + 1, "card": to_json(dataset.card)}
    connection.execute(sa.insert(DATASETS).values(**storable(values)))
    found = connection.execute(sa.select(DATASETS).where(DATASETS.c.digest == dataset.digest)).mappings()
    return dataset_of(found.one())


def _run(connection: sa.Connection, run_id: str) -> sa.RowMapping:
    row = connection.execute(sa.select(RUNS).where(RUNS.c.id == run_id)).mappings().first()
    if row is None:
        raise Refused(f"There is no run {run_id!r}.")
    return row


def _owned(connection: sa.Connection, run_id: str, worker: str) -> None:
    row = _run(connection, run_id)
    if row["state"] != "running" or row["worker"] != worker:
        raise Refused(f"Run {run_id!r} is {row['state']} and not this worker's any more.")


def _update(connection: sa.Connection, run_id: str, **values: Any) -> Run:
    connection.execute(sa.update(RUNS).where(RUNS.c.id == run_id).values(**storable(values)))
    run = run_of(_run(connection, run_id))
    if run.kind == KIND and values.get("state") in ("succeeded", "failed", "cancelled"):
        at = run.finished_at or run.created_at
        announce(connection, run.project, f"fine_tuning.job.{run.state}", job_id(run.id), at)
    return run


def _add_event(
    connection: sa.Connection, run_id: str, at: float, level: str, message: str, data: dict[str, Any]
) -> None:
    newest = connection.execute(
        sa.select(sa.func.max(RUN_EVENTS.c.seq)).where(RUN_EVENTS.c.run_id == run_id)
    ).scalar()
    row = {"run_id": run_id, "seq": (newest or 0) + 1, "at": at, "level": level, "message": message}
    connection.execute(sa.insert(RUN_EVENTS).values(**storable(row | {"data": to_json(data)})))
