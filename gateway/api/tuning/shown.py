"""Runs as OpenAI's fine-tuning jobs, their events and their checkpoints. Pure."""

from __future__ import annotations

from typing import Any

import msgspec

from gateway.protocol.fine_tuning import VALIDATING, Order, job_id
from gateway.storage.values import Run, RunEvent

_ENOUGH = 0.02
_HYPERPARAMETERS = ("n_epochs", "batch_size", "learning_rate_multiplier")


def shown(run: Run) -> dict[str, Any]:
    """A job. ``estimated_finish`` goes on at the speed so far."""
    order = msgspec.convert(run.params, Order)
    names = (*_HYPERPARAMETERS, "beta") if order.method == "dpo" else _HYPERPARAMETERS
    numbers = {name: _plain(order.hyperparameters.get(name)) for name in names}
    return {
        "id": job_id(run.id),
        "object": "fine_tuning.job",
        "created_at": int(run.created_at),
        "finished_at": int(run.finished_at) if run.finished_at is not None else None,
        "estimated_finish": _finish(run),
        "model": order.model,
        "fine_tuned_model": run.result.get("fine_tuned_model") if run.state == "succeeded" else None,
        "organization_id": run.project,
        "status": _status(run),
        "hyperparameters": {name: value for name, value in numbers.items() if name != "beta"},
        "method": {"type": order.method, order.method: {"hyperparameters": numbers}},
        "seed": order.seed,
        "training_file": order.training_file,
        "validation_file": order.validation_file,
        "result_files": run.result.get("result_files", []),
        "trained_tokens": run.result.get("trained_tokens"),
        "error": _error(run),
        "integrations": [],
        "metadata": order.metadata or {},
        "user_provided_suffix": order.suffix,
    }


def _plain(value: float | None) -> float | int | str:
    if value is None:
        return "auto"
    return int(value) if value == int(value) else value


def _status(run: Run) -> str:
    return "validating_files" if run.state == "running" and run.step == VALIDATING else run.state


def _finish(run: Run) -> int | None:
    if run.state != "running" or run.started_at is None or run.heartbeat_at is None or run.progress < _ENOUGH:
        return None
    return int(run.started_at + (run.heartbeat_at - run.started_at) / run.progress)


def _error(run: Run) -> dict[str, Any] | None:
    if run.state != "failed":
        return None
    found = run.result
    return {"code": found.get("code", "training_failed"), "message": run.error, "param": found.get("param")}


def shown_event(run: Run, event: RunEvent) -> dict[str, Any]:
    return {
        "id": f"ft-event-{job_id(run.id).removeprefix('ftjob-')}-{event.seq}",
        "object": "fine_tuning.job.event",
        "created_at": int(event.at),
        "level": event.level,
        "message": event.message,
        "data": event.data,
        "type": "metrics" if event.data else "message",
    }


def checkpoints(run: Run) -> list[dict[str, Any]]:
    """The one checkpoint that can be called: the finished model itself."""
    if run.state != "succeeded":
        return []
    metrics = run.result.get("metrics", {})
    step = int(metrics.get("steps", 1))
    return [{
        "id": "ftckpt_" + run.id.removeprefix("run_"),
        "object": "fine_tuning.job.checkpoint",
        "created_at": int(run.finished_at or 0),
        "fine_tuned_model_checkpoint": run.result["fine_tuned_model"],
        "fine_tuning_job_id": job_id(run.id),
        "step_number": step,
        "metrics": {"step": step, "train_loss": metrics.get("last_loss"), **metrics},
    }]  # fmt: skip
