"""The completions that other workers remember and the database does not know yet: asked for when a client reads,
so that remembering a call costs nothing. Changes are told, and waited for until every worker knows them."""

from __future__ import annotations

from typing import Any

import msgspec

from gateway.api.stored.query import Place, Query, place
from gateway.sharing.bus import Bus
from gateway.storage.recent import DELETED, RecentCalls
from gateway.storage.values import StoredCompletion


class Elsewhere:
    """``recent`` is what this worker remembers, and answers for to the others."""

    def __init__(self, recent: RecentCalls, bus: Bus) -> None:
        self._recent, self._bus = recent, bus
        bus.hear("completion", self._told_one)
        bus.hear("completions", self._told_page)
        bus.hear("metadata", self._told_metadata)
        bus.hear("deleted", self._told_deletion)

    async def one(self, project: str, call_id: str) -> StoredCompletion | None:
        found = await self._bus.ask("completion", project, call_id)
        return _read(found[0]) if found else None

    async def page(self, project: str, asked: Query, after: Place | None) -> list[StoredCompletion]:
        """A page of each worker, so that their newest are among them."""
        pages = await self._bus.ask("completions", project, msgspec.to_builtins(asked), after)
        return [_read(one) for page in pages for one in page]

    async def changed(self, project: str, call_id: str, metadata: dict[str, str]) -> None:
        """Returns when the others know."""
        await self._bus.ask("metadata", project, call_id, metadata)

    async def deleted(self, project: str, call_id: str, created_at: float) -> None:
        """Returns when the others know."""
        await self._bus.ask("deleted", project, call_id, created_at)

    # ------------------------------------------------------------------ what this worker answers
    def _told_one(self, project: str, call_id: str) -> Any:
        found = self._recent.get(project, call_id)
        return None if found is None or found is DELETED else msgspec.to_builtins(found)

    def _told_page(self, project: str, query: dict[str, Any], start: Any) -> Any:
        asked, after = msgspec.convert(query, Query), msgspec.convert(start, Place | None)
        found = [
            one for one in self._recent.list(project)
            if asked.wants(one) and (after is None or asked.follows(one, after))
        ]  # fmt: skip
        found.sort(key=place, reverse=asked.descending)
        return [msgspec.to_builtins(one) for one in found[: asked.limit + 1]]

    def _told_metadata(self, project: str, call_id: str, metadata: dict[str, str]) -> None:
        self._recent.metadata(project, call_id, metadata)

    def _told_deletion(self, project: str, call_id: str, created_at: float) -> None:
        self._recent.forget(project, call_id, created_at)


def _read(told: Any) -> StoredCompletion:
    return msgspec.convert(told, StoredCompletion)
