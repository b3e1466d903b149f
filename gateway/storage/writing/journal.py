"""Journal lines and single values inside an open write transaction."""

from __future__ import annotations

import secrets
from typing import Any, Literal

import msgspec
import sqlalchemy as sa

from gateway.storage.journal import GENESIS, canonical, entry_hash
from gateway.storage.tables import JOURNAL, META

_GENERATION, _HEAD = "generation", "journal_head"


def append_journal(
    connection: sa.Connection,
    kind: Literal["rollout", "admin", "key", "watch", "verdicts"],
    *,
    at: float,
    actor: str,
    subject: str,
    action: str,
    reason: str = "",
    detail: dict[str, Any] | None = None,
) -> int:
    """Adds a line to the hash-chained log. → its epoch."""
    last = connection.execute(
        sa.select(JOURNAL.c.epoch, JOURNAL.c.hash).order_by(JOURNAL.c.epoch.desc()).limit(1)
    ).first()
    epoch, prev = (last.epoch + 1, last.hash) if last is not None else (1, GENESIS)
    clean = canonical(detail or {}).replace("\\u0000", "\\ufffd")
    actor, subject, action, reason = (
        part.replace("\0", "\ufffd") for part in (actor, subject, action, reason)
    )
    digest = entry_hash(
        prev, epoch=epoch, at=at, kind=kind, actor=actor, subject=subject, action=action, reason=reason,
        detail=msgspec.json.decode(clean),
    )  # fmt: skip
    connection.execute(
        sa.insert(JOURNAL).values(
            epoch=epoch, at=at, kind=kind, actor=actor, subject=subject, action=action, reason=reason,
            detail=clean, prev=prev, hash=digest,
        )
    )  # fmt: skip
    set_meta(connection, _HEAD, digest)
    return int(epoch)


def journal_head(connection: sa.Connection) -> str:
    """The hash the newest line must have."""
    return get_meta(connection, _HEAD, GENESIS)


def generation(connection: sa.Connection) -> int:
    return int(get_meta(connection, _GENERATION, "0"))


def bump_generation(connection: sa.Connection) -> None:
    """Tells every reader that keys, students or switches have changed."""
    set_meta(connection, _GENERATION, str(generation(connection) + 1))


def salt_of(connection: sa.Connection) -> str:
    """What this installation's hashes of erased things are salted with; made when first needed."""
    salt = get_meta(connection, "salt", "")
    if not salt:
        salt = secrets.token_hex(16)
        set_meta(connection, "salt", salt)
    return salt


def get_meta(connection: sa.Connection, name: str, default: str) -> str:
    value = connection.execute(sa.select(META.c.value).where(META.c.name == name)).scalar()
    return default if value is None else str(value)


def set_meta(connection: sa.Connection, name: str, value: str) -> None:
    changed = connection.execute(sa.update(META).where(META.c.name == name).values(value=value))
    if changed.rowcount == 0:
        connection.execute(sa.insert(META).values(name=name, value=value))
