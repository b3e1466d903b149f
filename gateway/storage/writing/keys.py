"""Virtual keys: made, ended and given a new text. One transaction each, every one in the journal."""

from __future__ import annotations

from typing import Any

import msgspec
import sqlalchemy as sa

from gateway.storage.commands import CreateKey, Refused, RevokeKey, RotateKey
from gateway.storage.rows import key_of, key_row, storable
from gateway.storage.tables import API_KEYS
from gateway.storage.values import Key
from gateway.storage.writing.journal import append_journal, bump_generation


def create_key(connection: sa.Connection, command: CreateKey) -> Key:
    key = command.key
    same_name = sa.and_(API_KEYS.c.project == key.project, API_KEYS.c.name == key.name)
    taken = sa.select(API_KEYS.c.id).where(
        sa.or_(API_KEYS.c.id == key.id, API_KEYS.c.digest == key.digest, same_name)
    )
    if connection.execute(taken).first() is not None:
        raise Refused(f"Project {key.project!r} already has a key named {key.name!r}. Choose another name.")
    connection.execute(sa.insert(API_KEYS).values(**storable(key_row(key))))
    append_journal(
        connection, "key", at=key.created_at, actor=command.actor, subject=key.id, action="created",
        detail={"name": key.name, "project": key.project, "scopes": list(key.scopes), "hint": key.hint},
    )  # fmt: skip
    bump_generation(connection)
    return key


def revoke_key(connection: sa.Connection, command: RevokeKey) -> Key:
    key = _the_one(connection, command.ref)
    if key.revoked_at is not None:
        return key
    return _change(connection, key, command.actor, command.at, "revoked", {"revoked_at": command.at})


def rotate_key(connection: sa.Connection, command: RotateKey) -> Key:
    key = _the_one(connection, command.ref)
    if key.revoked_at is not None:
        raise Refused(f"The key {command.ref!r} is revoked. Make a new one with `understudy keys create`.")
    changes = {
        "digest": command.digest, "hint": command.hint,
        "previous_digest": key.digest, "previous_until": command.at + command.grace_s,
    }  # fmt: skip
    return _change(connection, key, command.actor, command.at, "rotated", changes)


def _the_one(connection: sa.Connection, ref: str) -> Key:
    """The one active key that ``ref`` names, else a revoked one. Raises Refused."""
    matches = sa.select(API_KEYS).where(
        sa.or_(API_KEYS.c.id == ref, API_KEYS.c.name == ref, API_KEYS.c.hint == ref)
    )
    found = [key_of(row) for row in connection.execute(matches).mappings()]
    active = [key for key in found if key.revoked_at is None]
    if not found:
        raise Refused(f"No key has the id, name or hint {ref!r}. `understudy keys list` shows them.")
    if len(active) > 1:
        ids = ", ".join(sorted(key.id for key in active))
        raise Refused(f"{len(active)} keys match {ref!r}; name one by its id: {ids}.")
    return active[0] if active else found[0]


def _change(
    connection: sa.Connection, key: Key, actor: str, at: float, action: str, changes: dict[str, Any]
) -> Key:
    connection.execute(sa.update(API_KEYS).where(API_KEYS.c.id == key.id).values(**changes))
    append_journal(
        connection, "key", at=at, actor=actor, subject=key.id, action=action,
        detail={"name": key.name, "project": key.project, "hint": changes.get("hint", key.hint)},
    )  # fmt: skip
    bump_generation(connection)
    return msgspec.structs.replace(key, **changes)
