"""What a configuration must hold beyond its shape: references, terms of learning, safe doors, sane prices."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping

from gateway.config import Config
from gateway.policy import (
    door_checks,
    generative_checks,
    guard_checks,
    promotion_checks,
    provider_checks,
    routing_checks,
    surface_checks,
    task_checks,
)
from gateway.policy.convert import Converted
from gateway.policy.reading import Path, Problem, Source
from gateway.policy.view import View

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}\Z")


def check(config: Config, source: Source, converted: Converted, env: Mapping[str, str]) -> list[Problem]:
    """Every problem of ``config``. What was not read cleanly was reported already and is not judged again."""
    view = View(config, source, converted, env)
    parts: tuple[Callable[[View], Iterator[Problem]], ...] = (
        _names,
        provider_checks.providers, provider_checks.upstreams, provider_checks.keys, provider_checks.prices,
        task_checks.policies, task_checks.tasks, task_checks.matches, task_checks.learning,
        promotion_checks.promotion, promotion_checks.judge, promotion_checks.slices,
        routing_checks.aliases, routing_checks.models, surface_checks.surface, surface_checks.alerts,
        surface_checks.encoders, surface_checks.prompts, surface_checks.origins, guard_checks.guardrails,
        generative_checks.generative, generative_checks.ensembles, generative_checks.synthetics,
        generative_checks.clusters, door_checks.door,
    )  # fmt: skip
    return [problem for part in parts for problem in part(view)]


def _names(view: View) -> Iterator[Problem]:
    for section, noun in (("tasks", "task"), ("policies", "policy"), ("keys", "key")):
        first: dict[str, Path] = {}
        for index, raw in view.written(section):
            name = raw.get("name")
            if not isinstance(name, str):
                continue
            path: Path = (section, index, "name")
            if name in first:
                file, line = view.source.place(first[name])
                message = f"a {noun} named '{name}' is already written at {file}:{line}."
                yield view.problem(path, message, "Give one of the two another name.")
            first.setdefault(name, path)
    for section in ("providers", "guardrails", "prices"):
        for name in view.names(section):
            if not _NAME.match(name):
                hint = "Use letters, digits, '.', '_' and '-', at most 64 characters."
                yield view.problem((section, name), f"'{name}' is not a name.", hint)
