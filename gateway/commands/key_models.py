"""Whether somebody serves the models that a key is made for: a key for a misspelt name opens nothing, and says so only
when it is used."""

from __future__ import annotations

import os
from argparse import Namespace
from collections.abc import Iterator

from msgspec import structs
from sqlalchemy.exc import SQLAlchemyError

from gateway.commands.common import policies_of, prepared_home
from gateway.errors import BadRequest, NotFound
from gateway.policy.convert import nearest
from gateway.policy.files import PolicyError, read
from gateway.runtime import Runtime, build_runtime
from gateway.stages.assign import resolve
from gateway.storage.reading.reader import open_reader
from gateway.storage.values import Key


def doubts(key: Key, options: Namespace) -> list[str]:
    """A sentence for each model of a new key that nobody is known to serve: a key may well be made before its task."""
    if not key.models:
        return []
    try:
        runtime = _runtime(options)
    except (PolicyError, SQLAlchemyError):
        return ["The policies cannot be read, so nobody looked whether --models are served. Run: understudy check"]
    return [text for name in key.models if (text := doubt(runtime, name, key.project))]


def _runtime(options: Namespace) -> Runtime:
    config = read(policies_of(options), os.environ).config
    reader = open_reader(prepared_home())
    try:
        snapshot = reader.snapshot()
    finally:
        reader.close()
    # What the gateway's environment lets it serve is not known here: this one may lack the providers' keys.
    return build_runtime(structs.replace(config, disabled_providers=()), snapshot)


def doubt(runtime: Runtime, name: str, project: str) -> str:
    """Why a request for ``name`` would be refused, and what was meant; "" when somebody serves it."""
    if name in runtime.tasks or name in runtime.matches or runtime.aliases.get(name) in runtime.tasks:
        return ""
    try:
        resolve(runtime, name, project)
    except BadRequest as problem:
        return problem.message
    except NotFound:
        near = nearest(name, known_names(runtime))
        hint = f"Did you mean '{near}'?" if near else "GET /v1/models lists what there is."
        unknown = "neither the policies nor the catalog know a task, an alias or a model of that name"
        return f"--models names '{name}': {unknown}. {hint}"
    return ""


def known_names(runtime: Runtime) -> Iterator[str]:
    yield from runtime.tasks
    yield from runtime.aliases
    for table in (runtime.models, runtime.catalogued):
        for model, candidates in table.items():
            yield from (one.name for one in candidates)
            if len(candidates) == 1:
                yield model
