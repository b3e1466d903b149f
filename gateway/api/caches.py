"""GET /admin/api/caches: how the semantic cache stands, in the worker that is asked. Behind the admin's session.

``{"entries", "bytes", "tasks": [{"project", "task", "open", "round", "seen", "proposals", "e_value", "alarms",
"delta"}]}``: the kept questions, what they cost in memory roughly, and for each task whether it serves, in which round
of proof it is, labels and proposals so far, the evidence of the round, and how often an alarm closed it.
"""

from __future__ import annotations

from typing import Any

from litestar import get
from msgspec import Struct

from gateway.caching.semantic import Semantic, Standing


class Caches(Struct, frozen=True):
    entries: int
    bytes: int
    tasks: list[Standing]


def cache_routes(semantic: Semantic) -> list[Any]:
    """For ``admin_routes(more=...)``, which holds the door."""

    @get("/api/caches", include_in_schema=False, sync_to_thread=False)
    def caches() -> Caches:
        return Caches(**semantic.stats(), tasks=semantic.standings())

    return [caches]
