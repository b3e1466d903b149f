"""What of the policies and the students can change a task's answers: the part of a cache key that no request shows.

A task's cached answers outlive a change that does not concern it: another task's policy, an API key, a limit, the
promotion of another task's student. It is put together once for each task and view (``Runtime``), not per request.
"""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec

from gateway.config import Config, Task
from gateway.routing.named import candidates_of
from gateway.runtime import Runtime

_ELSEWHERE = frozenset(
    {"server", "timeouts", "retries", "upstreams", "keys", "limits", "spool", "idempotency", "files", "batches",
     "webhooks", "fine_tuning", "surface", "discover", "promotion", "templates", "tasks", "policies", "digest"}
)  # fmt: skip
"""Sections that say nothing about what is answered, or of which only a part does. A new section counts."""
_NOT_THE_ANSWER = frozenset({"capture", "limits", "watch", "semantic_cache"})
"""Of a task."""


def scope_of(runtime: Runtime, project: str, task: Task | None, model: str) -> str:
    """Hex digits that differ where policies or students might give ``project`` another answer. ``model``: what was
    asked for, where it is no task's."""
    if task is None:
        return _digest([_ruled(runtime, None), _students(runtime, project, {model, model.partition("/")[2]})])
    known = runtime.cache_scopes.get((project, task.name))
    if known is None:
        names = {task.name, *(one.model for one in candidates_of(task, runtime.policies))}
        known = _digest([_ruled(runtime, task), _students(runtime, project, names)])
        runtime.cache_scopes[project, task.name] = known
    return known


def _ruled(runtime: Runtime, task: Task | None) -> str:
    name = task.name if task is not None else ""
    known = runtime.cache_scopes.get(("", name))
    if known is None:
        known = runtime.cache_scopes["", name] = _digest(_rules(runtime.config, task), runtime.config.digest)
    return known


def _rules(config: Config, task: Task | None) -> list[Any]:
    rules: list[Any] = [
        [name, getattr(config, name)] for name in config.__struct_fields__ if name not in _ELSEWHERE
    ]
    if task is not None:
        rules += [[name, getattr(task, name)] for name in task.__struct_fields__ if name not in _NOT_THE_ANSWER]
        named = {task.policy, *(rule.policy for rule in task.rules)}
        rules += [one for one in config.policies if one.name in named]
    return rules


def _students(runtime: Runtime, project: str, names: set[str]) -> list[Any]:
    """Those that could answer: what one said is not replayed once it was taken back."""
    snapshot = runtime.snapshot
    found = [
        (one.id, one.epoch, one.paused)
        for one in snapshot.students
        if one.project == project and (one.task in names or one.id in names)
    ]
    return [snapshot.students_off, sorted(found)] if found else []


def _digest(value: Any, odd: str = "") -> str:
    """``odd`` stands for a value that has no JSON: the same in every worker, as its own words might not be."""
    encode = msgspec.json.Encoder(order="deterministic", enc_hook=lambda _: odd).encode
    return hashlib.sha256(encode(value)).hexdigest()
