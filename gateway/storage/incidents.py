"""What guardrails found, as rows: kept for thirty days, gone earlier when the call's text is erased."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import sqlalchemy as sa

from gateway.storage.records import IncidentRecord
from gateway.storage.rows import storable
from gateway.storage.tables import INCIDENTS
from gateway.storage.values import Incident

RETENTION_S = 30 * 86_400.0


def add_incident(connection: sa.Connection, record: IncidentRecord) -> None:
    row = msgspec.structs.asdict(record)
    del row["late"]
    connection.execute(sa.insert(INCIDENTS).values(**storable(row)))


def forget_old(connection: sa.Connection, now: float) -> None:
    connection.execute(sa.delete(INCIDENTS).where(INCIDENTS.c.at <= now - RETENTION_S))


def erase_samples(connection: sa.Connection, call_ids: Sequence[str]) -> None:
    connection.execute(sa.update(INCIDENTS).where(INCIDENTS.c.call_id.in_(call_ids)).values(sample=""))


class IncidentQueries:
    _engine: sa.Engine

    def incidents(
        self, *, project: str | None, guardrail: str | None, before: int | None, limit: int
    ) -> list[Incident]:
        """Newest first. ``project`` and ``guardrail`` None: all; ``before``: those with a smaller id."""
        query = sa.select(INCIDENTS).order_by(INCIDENTS.c.id.desc()).limit(limit)
        wanted = ((INCIDENTS.c.project, project), (INCIDENTS.c.guardrail, guardrail))
        for column, value in wanted:
            if value is not None:
                query = query.where(column == value)
        if before is not None:
            query = query.where(INCIDENTS.c.id < before)
        with self._engine.connect() as connection:
            return [Incident(**row) for row in connection.execute(query).mappings()]
