"""The immutable view a call runs under: policies, keys and students, indexed for constant-time look-ups.

A new Runtime is built whenever the policies or the database's snapshot change, and swapped in whole.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from gateway.config import Config, Policy, Task
from gateway.config.models import shutdown_at
from gateway.providers import ClassifierProvider
from gateway.providers.codec import Codec
from gateway.providers.keyed import KeyedCodec, codec_of, keyed_codecs
from gateway.routing.catalogued import catalogued
from gateway.routing.named import TUNED, named_models
from gateway.routing.ways import TaskWays, Way, aliases_of, parameters_of, ways_of
from gateway.storage.values import Key, Snapshot
from optimizer.rollout import Student
from optimizer.routing.choose import Decision
from optimizer.routing.plan import Candidate


@dataclass(frozen=True, slots=True)
class Runtime:
    """``students`` by (project, task, fingerprint), newest version first; ``keys`` by digest, the digest that a
    rotated key had before included."""

    config: Config
    snapshot: Snapshot
    keys: Mapping[str, Key]
    tasks: Mapping[str, Task]
    policies: Mapping[str, Policy]
    matches: Mapping[str, tuple[Task, ...]]
    students: Mapping[tuple[str, str, str], tuple[Student, ...]]
    codecs: Mapping[str, Codec]
    keyed: Mapping[str, tuple[KeyedCodec, ...]]
    """The providers that have several keys."""

    models: Mapping[str, tuple[Candidate, ...]]
    """Bare model names to the candidates that serve them by the policies' word."""

    catalogued: Mapping[str, tuple[Candidate, ...]]
    """The same by the catalog's word, for names that the policies do not mention."""

    ways: Mapping[str, TaskWays]
    """How each task's calls are routed."""

    aliases: Mapping[str, str]
    key_names: Mapping[str, str]
    """By key id, for rules that name a key."""

    students_by_id: Mapping[str, Student]
    parameters: Mapping[tuple[str, Candidate], Mapping[str, Any]]
    """What the variants among a task's candidates set, by task and candidate."""

    recorded_from: Mapping[str, float]
    """From when on every call of a task is captured, because its teacher will be gone: unix seconds."""

    settled: dict[str, tuple[Way, Decision]] = field(default_factory=dict)
    """What routing always decides, by task; filled on first use, gone with this view."""

    cache_scopes: dict[tuple[str, str], str] = field(default_factory=dict)
    """What a task's cached answers hang on besides the request, by project and task; filled likewise."""


def build_runtime(config: Config, snapshot: Snapshot, engine_socket: str = "") -> Runtime:
    """Indexes a configuration and a snapshot; done once per change, never per request.

    ``engine_socket`` is where the built-in classifier engine listens when the policies name no other place.
    """
    matches: dict[str, list[Task]] = {}
    policies = {policy.name: policy for policy in config.policies}
    for task in config.tasks:
        for match in task.match:
            matches.setdefault(match.model, []).append(task)
    students: dict[tuple[str, str, str], list[Student]] = {}
    for student in sorted(snapshot.students, key=lambda one: -one.version):
        students.setdefault((student.project, student.task, student.fingerprint), []).append(student)
    return Runtime(
        config=config,
        snapshot=snapshot,
        keys={
            **{key.previous_digest: key for key in snapshot.keys if key.previous_digest is not None},
            **{key.digest: key for key in snapshot.keys},
        },
        tasks={task.name: task for task in config.tasks},
        policies=policies,
        matches={model: tuple(tasks) for model, tasks in matches.items()},
        students={scope: tuple(versions) for scope, versions in students.items()},
        codecs={name: codec_of(name, settings, engine_socket) for name, settings in config.providers.items()},
        keyed={
            name: keyed
            for name, settings in config.providers.items()
            if (keyed := keyed_codecs(name, settings))
        },
        models=named_models(config, policies),
        catalogued=catalogued(config),
        ways=ways_of(config, policies),
        aliases=aliases_of(config),
        key_names={
            **{key.id: key.name for key in config.keys},
            **{key.id: key.name for key in snapshot.keys},
        },
        students_by_id={student.id: student for student in snapshot.students},
        parameters=parameters_of(config, policies),
        recorded_from=recorded_from(config),
    )


def recorded_from(config: Config) -> dict[str, float]:
    """The tasks that learn from a teacher whose end is announced, and when recording begins in earnest."""
    found: dict[str, float] = {}
    for task in config.tasks:
        if task.learn is None or task.teacher is None:
            continue
        at = shutdown_at(config.models, task.teacher)
        if at is not None:
            found[task.name] = at - task.watch.retiring_days * 86_400.0
    return found


def student_provider(runtime: Runtime) -> str:
    """The provider name of the built-in engine; "students" when the policies do not name one."""
    for name, settings in runtime.config.providers.items():
        if isinstance(settings, ClassifierProvider):
            return name
    return "students"


def own_student(runtime: Runtime, project: str, student: str) -> bool:
    """Whether a project has a student of this name that is not retired."""
    return any(one.id == student and one.project == project for one in runtime.snapshot.students)


def is_tuned(runtime: Runtime, candidate: Candidate) -> bool:
    """Whether a candidate is a model that a fine-tuning job made here: a student without a certificate."""
    settings = runtime.config.providers.get(candidate.provider)
    return candidate.model.startswith(TUNED) and isinstance(settings, ClassifierProvider)


def asks_for(runtime: Runtime, candidate: Candidate, n: int | None) -> int:
    """How many asks ``n`` choices of a candidate take: as many, where its provider gives fewer at a time, else 1."""
    if n is None or n < 2:
        return 1
    codec = runtime.codecs.get(candidate.provider)
    return n if codec is not None and codec.most_choices() < n else 1
