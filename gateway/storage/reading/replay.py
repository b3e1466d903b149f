"""Past calls as a replay needs them: who was drawn with which odds, and what came of it."""

from __future__ import annotations

from collections import defaultdict

import msgspec
import sqlalchemy as sa

from gateway.storage.records import Attempt
from gateway.storage.tables import CALLS, FEEDBACK_LOG
from gateway.storage.tags import CALL_TAGS
from gateway.storage.values import PastCall
from gateway.storage.writing.feedback import SCORE

_DRAWN_AMONG_PROVIDERS = ("teacher", "plain")
_NOT_ONLY_AMONG_THEM = "outside the canary"


class ReplayQueries:
    _engine: sa.Engine

    def past_calls(self, task: str, *, since: float, limit: int) -> list[PastCall]:
        """The newest ``limit`` calls since ``since``, oldest first. Left out: calls that a student was drawn for
        or might have been, those of clients that left, and those recorded before draws were."""
        where = (
            CALLS.c.task == task,
            CALLS.c.created_at >= since,
            CALLS.c.drawn != "",
            CALLS.c.arm.in_(_DRAWN_AMONG_PROVIDERS),
            CALLS.c.reason != _NOT_ONLY_AMONG_THEM,
            CALLS.c.status != "client_closed",
        )
        apart = ("metadata", "feedback")
        columns = [CALLS.c[name] for name in PastCall.__struct_fields__ if name not in apart]
        query = sa.select(*columns).where(*where).order_by(CALLS.c.created_at.desc()).limit(limit)
        tags = sa.select(CALL_TAGS).join(CALLS, CALLS.c.id == CALL_TAGS.c.call_id).where(*where)
        said = sa.select(FEEDBACK_LOG.c.call_id, FEEDBACK_LOG.c.value).join(CALLS, CALLS.c.id == FEEDBACK_LOG.c.call_id)
        said = said.where(*where, FEEDBACK_LOG.c.name == SCORE).order_by(FEEDBACK_LOG.c.id)
        with self._engine.connect() as connection:
            feedback = {row.call_id: _score(row.value) for row in connection.execute(said)}
            rows = connection.execute(query).mappings().all()
            metadata: dict[str, dict[str, str]] = defaultdict(dict)
            for tag in connection.execute(tags).mappings():
                metadata[tag["call_id"]][tag["name"]] = tag["value"]
        return [
            PastCall(
                **{**row, "attempts": msgspec.json.decode(row["attempts"], type=list[Attempt])},
                metadata=metadata.get(row["id"], {}),
                feedback=feedback.get(row["id"]),
            )
            for row in reversed(rows)
        ]


def _score(said: str) -> float | None:
    """In [0, 1]; None for what clients wrote into metadata that is no such number."""
    try:
        score = float(said)
    except ValueError:
        return None
    return score if 0 <= score <= 1 else None
