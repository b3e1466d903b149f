"""What storage knows of erased people and datasets, and what is asked of the writer about them."""

from __future__ import annotations

import hashlib
from typing import Any

from msgspec import Struct

ERASED = "(erased)"
"""Stands in the ledger where an erased end user's name stood."""


class Erasure(Struct, frozen=True):
    """What one person left was erased: ``calls`` ledger lines lost their name, ``texts`` captured calls their text."""

    id: int
    at: float
    project: str
    who: str
    actor: str
    reason: str
    calls: int
    texts: int


class DatasetErasure(Struct, frozen=True):
    """``rows`` of a dataset are tombstones; ``requested`` of them because somebody asked for it, the others because
    their retention had run out."""

    digest: str
    rows: int
    requested: int
    at: float


class EraseUser(Struct, frozen=True, tag="erase_user"):
    """→ Erasure. Erases what the calls of a project's end user left up to ``at`` wherever the database holds it, and
    keeps out what is still under way in spools. Safe to repeat."""

    project: str
    end_user: str
    actor: str
    reason: str
    at: float


class NoteErased(Struct, frozen=True, tag="note_erased"):
    """→ None. How much of a dataset is gone, with the card that is left of it. Idempotent."""

    erasure: DatasetErasure
    card: dict[str, Any]


def lessons_of(detail: dict[str, Any]) -> list[str]:
    """Digests of the datasets that a student, as ``Reader.student_detail`` shows it, has learnt from: its own and, for
    one that began with another's weights, that one's."""
    found = detail.get("metrics", {}).get("taught_by")
    return list(found) if found else [detail["dataset"]] if detail.get("dataset") else []


def who_of(salt: str, project: str, end_user: str) -> str:
    """The salted hash that stands for a person."""
    return hashlib.sha256(f"{salt}\0{project}\0{end_user}".encode()).hexdigest()
