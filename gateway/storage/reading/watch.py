"""Calls as the watch over drift reads them: what was asked and answered, how surely, how fast, at what price."""

from __future__ import annotations

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


class WatchQueries:
    _engine: sa.Engine

    def watched_calls(
        self, project: str, task: str, fingerprint: str, *, after: tuple[float, str], until: float, limit: int,
        newest: bool = False,
    ) -> list[WatchedCall]:  # fmt: skip
        """Live, successful calls behind ``after`` (time, id) and before ``until``, oldest first: the ``limit`` oldest
        of them, or the newest."""
        at, last = after
        text = sa.case((CAPTURES.c.erased_at.is_(None), CAPTURES.c.last_user_text))
        answer = sa.case((CAPTURES.c.erased_at.is_(None), CAPTURES.c.answer_text))
        own = [CALLS.c[name] for name in WatchedCall.__struct_fields__ if name not in ("text", "answer")]
        query = (
            sa.select(*own, text.label("text"), answer.label("answer"))
            .select_from(CALLS.outerjoin(CAPTURES, CAPTURES.c.call_id == CALLS.c.id))
            .where(
                CALLS.c.project == project, CALLS.c.task == task, CALLS.c.fingerprint == fingerprint,
                CALLS.c.status == "ok", CALLS.c.batch == "", CALLS.c.provider != "", CALLS.c.arm != FOREIGN,
                CALLS.c.created_at < until, CALLS.c.created_at >= at,
                sa.or_(CALLS.c.created_at > at, CALLS.c.id > last),
            )
            .limit(limit)
        )  # fmt: skip
        order = (CALLS.c.created_at, CALLS.c.id)
        query = query.order_by(*(one.desc() for one in order) if newest else order)
        with self._engine.connect() as connection:
            rows = connection.execute(query).mappings().all()
        calls = [WatchedCall(**row) for row in rows]
        return calls[::-1] if newest else calls
