"""Calls as the watch over drift reads them: what was asked and answered, how surely, how fast, at what price."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from msgspec import Struct

from gateway.storage.records import FOREIGN
from gateway.storage.tables import CALLS, CAPTURES


class WatchedCall(Struct, frozen=True):
    """An answered call. ``text`` and ``answer`` are masked, None where they were not captured or are erased;
    ``confidence`` is the student's, whoever answered in the end."""

    id: str
    created_at: float
    provider: str
    model: str
    student: str
    latency_ms: float
    cost_usd: float | None
    confidence: float | None
    text: str | None
    answer: str | None
    arrival: int
    """Its number among all calls, in the order in which they came into the database."""


class WatchQueries:
    _engine: sa.Engine

    def watched_calls(
        self, project: str, task: str, fingerprint: str, *, after: int, limit: int
    ) -> list[WatchedCall]:
        """Live, successful calls that arrived behind ``after``, in the order of their arrival, the ``limit`` first."""
        query = _watched(project, task, fingerprint).where(CALLS.c.arrival > after)
        return self._of(query.order_by(CALLS.c.arrival).limit(limit))

    def watched_between(
        self, project: str, task: str, fingerprint: str, *, since: float, until: float, limit: int
    ) -> list[WatchedCall]:
        """The newest ``limit`` live, successful calls that happened after ``since`` and before ``until`` (unix
        seconds), in the order of their arrival; those from before anybody counted in the order of the clock."""
        query = _watched(project, task, fingerprint).where(CALLS.c.created_at > since, CALLS.c.created_at < until)
        found = self._of(query.order_by(CALLS.c.created_at.desc(), CALLS.c.id.desc()).limit(limit))
        return sorted(found, key=lambda call: (call.arrival, call.created_at, call.id))

    def last_arrival(self, project: str, task: str) -> int:
        """The number of the newest call of a task; 0 when it has none."""
        query = sa.select(sa.func.max(CALLS.c.arrival)).where(CALLS.c.project == project, CALLS.c.task == task)
        with self._engine.connect() as connection:
            return connection.execute(query).scalar() or 0

    def _of(self, query: sa.Select[tuple[Any, ...]]) -> list[WatchedCall]:
        with self._engine.connect() as connection:
            return [WatchedCall(**row) for row in connection.execute(query).mappings()]


def _watched(project: str, task: str, fingerprint: str) -> sa.Select[tuple[Any, ...]]:
    text = sa.case((CAPTURES.c.erased_at.is_(None), CAPTURES.c.last_user_text))
    answer = sa.case((CAPTURES.c.erased_at.is_(None), CAPTURES.c.answer_text))
    own = [CALLS.c[name] for name in WatchedCall.__struct_fields__ if name not in ("text", "answer")]
    return (
        sa.select(*own, text.label("text"), answer.label("answer"))
        .select_from(CALLS.outerjoin(CAPTURES, CAPTURES.c.call_id == CALLS.c.id))
        .where(
            CALLS.c.project == project, CALLS.c.task == task, CALLS.c.fingerprint == fingerprint,
            CALLS.c.status == "ok", CALLS.c.batch == "", CALLS.c.provider != "", CALLS.c.arm != FOREIGN,
        )
    )  # fmt: skip
