"""Whether somebody serves the models that the policies' keys are for, and has the keys and projects that rules,
guardrails, webhooks and limits are about: a misspelt name opens nothing and fits nobody, and says so only when it is
used, or never."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

from msgspec import Struct, structs

from gateway.config import Config
from gateway.config.limits import YAML
from gateway.policy.convert import nearest
from gateway.policy.reading import Path, Problem, Source
from gateway.routing.catalogued import catalogued
from gateway.routing.named import TUNED, named_models

Served = Mapping[str, frozenset[str]]
"""What may stand alone as a model's name, with ``provider/model`` of everybody who serves it; a task's has none."""


class Named(Struct, frozen=True):
    """A key or a project that the policies are about and have no key of: those made by command may have one.
    ``problem`` is the warning if they have not."""

    noun: str
    name: str
    problem: Problem


def named_callers(config: Config, source: Source) -> tuple[Named, ...]:
    """Whom rules, guardrails, webhooks and limits name beside those who have a key in the policies."""
    written = source.data.get("keys")
    keys = [one for one in written if isinstance(one, dict)] if isinstance(written, list) else []
    names = {str(one.get("name")) for one in keys}
    known = {
        "key": names | {f"{YAML}{name}" for name in names},
        "project": {"default", *(str(one.get("project")) for one in keys)},
    }
    return tuple(
        Named(noun, name, source.problem(path, *_stranger(noun, name, known[noun])))
        for noun, path, listed in _callers(config)
        for at, name in enumerate(listed)
        if name not in known[noun]
        for path in [(*path, at)]
    )


def _callers(config: Config) -> Iterator[tuple[str, Path, list[str]]]:
    for index, task in enumerate(config.tasks):
        for place, rule in enumerate(task.rules):
            here: Path = ("tasks", index, "rules", place, "when")
            yield "key", (*here, "key"), rule.when.key
            yield "project", (*here, "project"), rule.when.project
    for name, guard in config.guardrails.items():
        yield "key", ("guardrails", name, "keys"), guard.keys
        yield "project", ("guardrails", name, "projects"), guard.projects
    for index, hook in enumerate(config.webhooks):
        yield "project", ("webhooks", index, "project"), [hook.project] if hook.project is not None else []
    for project in config.limits.projects:
        yield "project", ("limits", "projects", project), [project]


def _stranger(noun: str, name: str, known: Collection[str]) -> tuple[str, str]:
    message = f"nobody has a key of the project '{name}'." if noun == "project" else f"nobody has a key '{name}'."
    near = nearest(name, sorted(known))
    return message, f"Did you mean '{near}'?" if near else "`understudy keys list` shows them."


def unserved_models(config: Config, source: Source) -> Iterator[Problem]:
    """Warns of each model in a key's list that nobody serves, and of those that several do."""
    keys = source.data.get("keys")
    written = [(at, key) for at, key in enumerate(keys if isinstance(keys, list) else []) if key.get("models")]
    served = _served(config) if written else {}
    for at, key in written:
        for position, name in enumerate(key["models"]):
            message, hint = _doubt(config, served, name)
            if message:
                yield source.problem(("keys", at, "models", position), message, hint)


def _doubt(config: Config, served: Served, name: str) -> tuple[str, str]:
    """(what is the matter with a name, what to write instead); ("", "") where it is served, or only a request tells."""
    provider, slash, model = name.partition("/")
    if name.startswith(TUNED) or (slash and model and provider in config.providers):
        return "", ""
    several = sorted(served.get(name, ()))
    if len(several) > 1 and not _surface(config):
        message = f"the model '{name}' is served by more than one provider, and a request has to name one."
        return message, f"Name one of: {', '.join(several)}."
    if name in served:
        return "", ""
    near = nearest(name, {*served, *(one for names in served.values() for one in names)})
    if not near and _surface(config):
        return "", ""
    message = f"nobody serves '{name}': there is no task, alias or model of that name in the policies or the catalog."
    return message, f"Did you mean '{near}'?" if near else ""


def _surface(config: Config) -> bool:
    """Whether some endpoint has a provider of its own, which is asked for whatever bare name a client writes."""
    surface = config.surface
    own = (surface.embeddings, surface.images, surface.audio, getattr(surface.moderations, "provider", ""))
    return any(own)


def _served(config: Config) -> Served:
    """A provider that is disabled counts: it is so for want of its key, where the list is right."""
    named = named_models(config, {policy.name: policy for policy in config.policies})
    everybody = {**catalogued(structs.replace(config, disabled_providers=())), **named}
    found = {model: frozenset(one.name for one in candidates) for model, candidates in everybody.items()}
    matched = (match.model for task in config.tasks for match in task.match)
    return found | dict.fromkeys((*config.aliases, *(task.name for task in config.tasks), *matched), frozenset[str]())
