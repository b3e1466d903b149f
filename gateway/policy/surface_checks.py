"""Checks of who serves what is not chat, and of how somebody is told about budgets."""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib.util import find_spec

from gateway.access.origins import ANY
from gateway.config import CandidateRef, SemanticCache
from gateway.local_models.model_names import folder_of
from gateway.policy.convert import did_you_mean
from gateway.policy.reading import Path, Problem
from gateway.policy.view import View


def prompts(view: View) -> Iterator[Problem]:
    """The current version of every template is there."""
    for name, prompt in view.config.prompts.items():
        if ("prompts", name) not in view.unclean and prompt.current not in prompt.versions:
            message = f"prompt '{name}' has no version '{prompt.current}'."
            yield view.problem(
                ("prompts", name, "current"), message, did_you_mean(prompt.current, prompt.versions)
            )


def surface(view: View) -> Iterator[Problem]:
    """A provider that is named here is there and switched on: no other one would answer in its place."""
    if ("surface",) in view.unclean:
        return
    settings = view.config.surface
    named: list[tuple[Path, str | None]] = [
        (("surface", what), getattr(settings, what)) for what in ("embeddings", "images", "audio")
    ]
    if isinstance(settings.moderations, CandidateRef):
        named.append((("surface", "moderations", "provider"), settings.moderations.provider))
    embedder = view.config.vector_stores.model
    if embedder is not None and ("vector_stores",) not in view.unclean:
        named.append((("vector_stores", "model", "provider"), embedder.provider))
    known = view.names("providers")
    for path, name in named:
        if name is None:
            continue
        if name not in known:
            hint = did_you_mean(name, known) or "Add it to 'providers:' in gateway.yaml."
            yield view.problem(path, f"no provider is named '{name}'.", hint)
        elif name in view.config.disabled_providers:
            message = f"provider '{name}' is disabled because ${view.unset(('providers', name))} is not set"
            hint = "Set it, name another provider or take this line out."
            yield view.problem(path, f"{message} in the environment.", hint)


_ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://(?:\[[0-9a-f:.]+\]|[a-z0-9._-]+)(?::\d{1,5})?", re.IGNORECASE)


def origins(view: View) -> Iterator[Problem]:
    """Origins are written as browsers send them, or no page would ever match."""
    for index, origin in enumerate(view.config.server.cors_origins):
        path: Path = ("server", "cors_origins", index)
        if origin != ANY and _ORIGIN.fullmatch(origin) is None:
            hint = "Write scheme and host alone, such as https://app.example.com, or '*' for all."
            yield view.problem(path, f"'{origin}' is not an origin.", hint)
        elif origin == ANY and len(view.config.server.cors_origins) > 1:
            yield view.problem(path, "'*' stands for all origins, so no other can stand beside it.")


_ENCODER_FILES = ("config.json", "tokenizer.json", "model.safetensors")


def encoders(view: View) -> Iterator[Problem]:
    """Encoders lie where the policies say: without its own a semantic cache would be off, and nobody would know."""
    for at, task in enumerate(view.config.tasks):
        rules, path = task.semantic_cache, ("tasks", at, "semantic_cache")
        if rules is None or ("tasks", at) in view.unclean:
            continue
        if task.cache is False:
            yield view.problem(path, "this task says 'cache: false' too.", "Take out one of the two.")
        yield from _encoder_at(view, (*path, "encoder"), rules.encoder)
        yield from _index_of(view, path, rules)
    yield from _encoder_at(view, ("fine_tuning", "encoder"), view.config.fine_tuning.encoder)


_MOST_EXACT = 20_000
_REDIS, _DATABASE = "UNDERSTUDY_REDIS_URL", "UNDERSTUDY_DATABASE_URL"


def _index_of(view: View, path: Path, rules: SemanticCache) -> Iterator[Problem]:
    """A product with more vectors than that takes milliseconds, of every client's time."""
    if rules.index == "faiss" and find_spec("faiss") is None:
        message = "this index needs the package faiss, which is not installed."
        yield view.problem((*path, "index"), message, "pip install 'understudy[vectors]'")
    if rules.index == "exact" and rules.max_entries > _MOST_EXACT:
        message = f"the exact index holds {_MOST_EXACT:,} questions of a task at most."
        yield view.problem((*path, "max_entries"), message, "Add 'index: faiss', or lower it.")
    if rules.index == "redis" and not view.env.get(_REDIS):
        message = f"this index is Redis', and ${_REDIS} is not set in the environment."
        yield view.problem((*path, "index"), message, "Set it to a Redis of version 8 or later, or take 'faiss'.")
    if rules.index == "pgvector" and not view.env.get(_DATABASE, "").startswith("postgres"):
        message = f"this index is PostgreSQL's, and ${_DATABASE} names none in the environment."
        yield view.problem((*path, "index"), message, "Set it to one with the extension 'vector', or take 'faiss'.")


def _encoder_at(view: View, path: Path, folder: str | None) -> Iterator[Problem]:
    if folder is None:
        return
    place = folder_of(folder)
    missing = [name for name in _ENCODER_FILES if not (place / name).is_file()]
    if missing:
        message = f"the encoder's folder '{place}' has no {missing[0]}."
        hint = "Name the folder of a sentence encoder, or one of the hub's after 'hf download', or leave 'encoder' out."
        yield view.problem(path, message, hint)
    elif find_spec("tokenizers") is None:
        message = "an encoder needs the package tokenizers."
        yield view.problem(path, message, "pip install 'understudy[embeddings]'")


def alerts(view: View) -> Iterator[Problem]:
    """What a webhook is sent is signed, so it needs a secret."""
    path: Path = ("limits", "alerts")
    if ("limits",) in view.unclean or view.unset(path):
        return
    settings = view.config.limits.alerts
    if settings.webhook and not settings.webhook.startswith(("https://", "http://")):
        hint = "Write a whole address such as https://hooks.example.com/budget."
        yield view.problem((*path, "webhook"), "this is not an http(s) address.", hint)
    if settings.webhook and not settings.secret.strip():
        hint = "Add 'secret: \"${ALERT_SECRET}\"', a long random text that the receiver knows too."
        message = "a webhook needs a secret, or its receiver could not tell these alerts from anybody else's."
        yield view.problem((*path, "webhook"), message, hint)
