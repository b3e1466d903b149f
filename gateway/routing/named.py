"""Who serves the names that stand alone as a model, by the policies' word; ``catalogued`` has the catalog's."""

from __future__ import annotations

from collections.abc import Mapping

from gateway.config import Config, Policy, Task
from gateway.routing.ways import listed
from optimizer.routing.plan import Candidate

TUNED = "ft:"
"""How the names of fine-tuned models begin, here and at OpenAI."""


def candidates_of(task: Task, policies: Mapping[str, Policy]) -> tuple[Candidate, ...]:
    """Everybody who may answer a task's calls: under its own policy first, then under those of its rules."""
    names = (task.policy, *(rule.policy for rule in task.rules))
    refs = [ref for name in names for ref in listed(task, policies.get(name or ""))]
    return tuple(dict.fromkeys(Candidate(provider=ref.provider, model=ref.model) for ref in refs))


def named_models(config: Config, policies: Mapping[str, Policy]) -> dict[str, tuple[Candidate, ...]]:
    """What tasks may ask and what has a price of the operator's."""
    models: dict[str, set[Candidate]] = {}
    for task in config.tasks:
        for candidate in candidates_of(task, policies):
            models.setdefault(candidate.model, set()).add(candidate)
    for provider, table in config.prices.items():
        if provider in config.providers:
            for model in table:
                models.setdefault(model, set()).add(Candidate(provider=provider, model=model))
    return {model: tuple(sorted(found, key=lambda one: one.name)) for model, found in models.items()}
