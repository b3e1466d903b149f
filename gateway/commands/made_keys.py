"""Keys that were made by command, beside those of the policies: who has one, and whom the policies seem to know."""

from __future__ import annotations

import time
from collections.abc import Iterator

from sqlalchemy.exc import SQLAlchemyError

from gateway.commands.common import warn
from gateway.policy.files import Loaded
from gateway.policy.reading import Problem
from gateway.storage.home import Home
from gateway.storage.reading.reader import open_reader
from gateway.storage.values import Key


def strangers(loaded: Loaded) -> Iterator[Problem]:
    """A warning for each key and project that rules, guardrails, webhooks and limits name and nobody has."""
    if not loaded.callers:
        return
    try:
        keys = [key for key in made_keys(Home.from_env()) if state_of(key, time.time()) == "valid"]
    except SQLAlchemyError:
        warn("the database cannot be read, so nobody looked whether the policies name keys that were made.")
        return
    known = {
        "key": {name for key in keys for name in (key.id, key.name)},
        "project": {key.project for key in keys},
    }
    yield from (one.problem for one in loaded.callers if one.name not in known[one.noun])


def made_keys(home: Home) -> list[Key]:
    """Raises SQLAlchemyError. A data directory that is not there yet holds none, and is not made for that."""
    if home.embedded and not home.database.exists():
        return []
    reader = open_reader(home)
    try:
        return reader.keys()
    finally:
        reader.close()


def state_of(key: Key, now: float) -> str:
    if key.revoked_at is not None:
        return "revoked"
    return "expired" if key.expires_at is not None and key.expires_at <= now else "valid"
