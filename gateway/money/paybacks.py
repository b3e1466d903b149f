"""The paybacks of all tasks that learn, from the ledger, the runs and what students' examinations said beforehand."""

from __future__ import annotations

from msgspec import Struct

from gateway.config import Config, Task
from gateway.storage.protocols import Reader
from gateway.storage.values import LedgerBucket, TrainingTime
from optimizer.payback import Estimate, Payback, expected_per_call, payback
from optimizer.rollout import Stage, Student

_GENERATIVE = ("sft", "distill", "dpo")
_STRETCHES = 96
"""About so many stretches of equal length: an interval rests on many, and each holds several calls."""
_SHORTEST_S = 10
_DAY_S = 86_400


class TaskPayback(Struct, frozen=True):
    task: str
    project: str
    payback: Payback


def paybacks(config: Config, reader: Reader, *, days: float, now: float) -> list[TaskPayback]:
    """The last ``days``; trainings older than that are not charged, as what they brought is not counted. Blocking.
    Raises SQLAlchemyError."""
    first = min((one.first_seen for one in reader.task_versions()), default=now)
    since = max(now - days * _DAY_S, first)
    width = int(max(0.0, now - since) / _STRETCHES) // _SHORTEST_S * _SHORTEST_S + _SHORTEST_S
    learning = {task.name: task for task in config.tasks if task.learn is not None}
    rows = [row for row in reader.ledger(since=since, bucket_s=width) if row.task in learning]
    students = reader.students()
    times = reader.training_times(since=since)
    found = []
    for project, name in sorted({(row.project, row.task) for row in rows}):
        task = learning[name]
        mine = [row for row in rows if (row.project, row.task) == (project, name)]
        trained = sum(training_usd(config, one) for one in times if (one.project, one.task) == (project, name))
        own = [one for one in students if (one.project, one.task) == (project, name)]
        ahead = _forecast(task, mine, own, reader)
        balance = payback(mine, trained, ahead)
        found.append(TaskPayback(name, project, balance))
    return found


def training_usd(config: Config, time: TrainingTime) -> float:
    """What runs cost: their CPU time at the built-in engine's price, or, for a language model, their whole time at the
    price of the engine that serves it. Runs that say no time cost nothing here."""
    if time.recipe in _GENERATIVE:
        engine = "vllm" if config.engines.vllm is not None else "transformers"
        return time.seconds / 3600 * config.engines.usd_per_hour(engine)
    return time.cpu_seconds / 3600 * config.engines.classifier.usd_per_cpu_hour


def _forecast(
    task: Task, rows: list[LedgerBucket], students: list[Student], reader: Reader
) -> Estimate | None:
    """From the examination of the student that serves now, else of the newest."""
    serving = [one for one in students if one.stage is Stage.LIVE] or students
    calls = sum(row.calls for row in rows)
    if not serving or not calls or any(row.unpriced for row in rows):
        return None
    newest = max(serving, key=lambda one: one.version)
    holdout = reader.student_detail(newest.id).get("metrics", {}).get("holdout", {})
    teacher = sum(row.teacher_cost_usd for row in rows) / calls
    return expected_per_call(
        int(holdout.get("answered", 0)), int(holdout.get("n", 0)), teacher, task.watch.reask_rate
    )
