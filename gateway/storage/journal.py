"""The hash chain of the journal, as pure functions: changing, removing or swapping a line breaks it.

Each hash covers the hash before it and the canonical JSON of the rest, as in Schneier and Kelsey, "Secure audit
logs to support computer forensics" (1999), without the keyed part: who can rewrite the whole table can forge it,
so the head is also kept apart from the table.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Any

import msgspec

from gateway.storage.values import JournalEntry

GENESIS = "0" * 64
_encode = msgspec.json.Encoder(order="deterministic").encode


def canonical(detail: dict[str, Any]) -> str:
    """One spelling for one map: sorted keys, no spaces, non-finite numbers as null."""
    return _encode(detail).decode()


def entry_hash(
    prev: str, *, epoch: int, at: float, kind: str, actor: str, subject: str, action: str, reason: str,
    detail: dict[str, Any],
) -> str:  # fmt: skip
    """The hex SHA-256 of a line that follows the line with hash ``prev``."""
    rest = _encode([epoch, float(at), kind, actor, subject, action, reason, detail])
    return hashlib.sha256(prev.encode() + b"\n" + rest).hexdigest()


def hash_of(entry: JournalEntry) -> str:
    """What ``entry.hash`` must be for the entry to be genuine."""
    return entry_hash(
        entry.prev, epoch=entry.epoch, at=entry.at, kind=entry.kind, actor=entry.actor, subject=entry.subject,
        action=entry.action, reason=entry.reason, detail=entry.detail,
    )  # fmt: skip


def first_break(entries: Iterable[JournalEntry], *, head: str | None = None) -> int | None:
    """The epoch at which the chain no longer holds, reading from the first line on; None when it holds.

    ``head`` is the hash that the last line must have (None: not known). When lines are missing at the end, the
    answer is the epoch of the first missing one.
    """
    prev, expected = GENESIS, 1
    for entry in entries:
        if entry.epoch != expected or entry.prev != prev or entry.hash != hash_of(entry):
            return expected
        prev, expected = entry.hash, expected + 1
    return None if head is None or head == prev else expected
