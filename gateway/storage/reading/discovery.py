"""What discovery reads: captured calls that no task claimed, and how many such calls there were in all."""

from __future__ import annotations

from typing import Any

import msgspec
import sqlalchemy as sa
from msgspec import Struct

from gateway.storage.tables import CALLS, CAPTURES


class UntaggedCall(Struct, frozen=True):
    """A captured call without a task; its text is masked."""

    call_id: str
    project: str
    created_at: float
    model: str
    """As the client named it."""
    provider: str
    served_by: str
    """The provider's model that answered."""
    fingerprint: str
    request: dict[str, Any]
    text: str
    answer: str
    finish_reason: str
    tokens: int
    group: str
    cost_usd: float | None


class UntaggedTotal(Struct, frozen=True):
    """All answered calls without a task of one model in one project, captured or not."""

    project: str
    model: str
    calls: int
    first: float
    last: float


class DiscoveryQueries:
    _engine: sa.Engine

    def untagged_calls(self, *, since: float, limit: int) -> list[UntaggedCall]:
        """The newest ``limit``, oldest first."""
        query = (
            sa.select(
                CAPTURES.c.call_id, CAPTURES.c.project, CAPTURES.c.created_at, CAPTURES.c.model, CAPTURES.c.request,
                CAPTURES.c.last_user_text.label("text"), CAPTURES.c.answer_text.label("answer"),
                CAPTURES.c.finish_reason, CAPTURES.c.completion_tokens.label("tokens"),
                CAPTURES.c.group_id.label("group"), CALLS.c.cost_usd, CALLS.c.provider,
                CALLS.c.model.label("served_by"), CALLS.c.fingerprint,
            )
            .join(CALLS, CALLS.c.id == CAPTURES.c.call_id)
            .where(
                CAPTURES.c.task == "", CAPTURES.c.erased_at.is_(None), CAPTURES.c.created_at >= since,
                CALLS.c.status == "ok",
            )
            .order_by(CAPTURES.c.created_at.desc(), CAPTURES.c.call_id.desc())
            .limit(limit)
        )  # fmt: skip
        with self._engine.connect() as connection:
            rows = connection.execute(query).mappings().all()
        return [UntaggedCall(**{**row, "request": _object(row["request"])}) for row in reversed(rows)]

    def untagged_totals(self, *, since: float) -> list[UntaggedTotal]:
        query = (
            sa.select(
                CALLS.c.project, CALLS.c.model_asked.label("model"), sa.func.count().label("calls"),
                sa.func.min(CALLS.c.created_at).label("first"), sa.func.max(CALLS.c.created_at).label("last"),
            )
            .where(CALLS.c.task == "", CALLS.c.status == "ok", CALLS.c.created_at >= since)
            .group_by(CALLS.c.project, CALLS.c.model_asked)
        )  # fmt: skip
        with self._engine.connect() as connection:
            return [UntaggedTotal(**row) for row in connection.execute(query).mappings()]


def _object(text: str | None) -> dict[str, Any]:
    value = msgspec.json.decode(text) if text else {}
    return value if isinstance(value, dict) else {}
