"""Queries over runs and their events."""

from __future__ import annotations

import sqlalchemy as sa

from gateway.storage.rows import event_of, run_of
from gateway.storage.tables import RUN_EVENTS, RUNS
from gateway.storage.values import Run, RunEvent


class RunQueries:
    _engine: sa.Engine

    def runs(self, *, task: str | None = None, limit: int = 50) -> list[Run]:
        """Newest first."""
        query = sa.select(RUNS).order_by(RUNS.c.created_at.desc(), RUNS.c.id.desc()).limit(limit)
        if task is not None:
            query = query.where(RUNS.c.task == task)
        with self._engine.connect() as connection:
            return [run_of(row) for row in connection.execute(query).mappings()]

    def project_runs(self, project: str, kind: str, *, limit: int) -> list[Run]:
        """Newest first."""
        where = (RUNS.c.project == project, RUNS.c.kind == kind)
        query = (
            sa.select(RUNS).where(*where).order_by(RUNS.c.created_at.desc(), RUNS.c.id.desc()).limit(limit)
        )
        with self._engine.connect() as connection:
            return [run_of(row) for row in connection.execute(query).mappings()]

    def run(self, run_id: str) -> Run | None:
        with self._engine.connect() as connection:
            row = connection.execute(sa.select(RUNS).where(RUNS.c.id == run_id)).mappings().first()
            return run_of(row) if row is not None else None

    def run_events(self, run_id: str, *, after_seq: int = 0, limit: int = 500) -> list[RunEvent]:
        """Oldest first, beginning behind ``after_seq``."""
        where = (RUN_EVENTS.c.run_id == run_id, RUN_EVENTS.c.seq > after_seq)
        query = sa.select(RUN_EVENTS).where(*where).order_by(RUN_EVENTS.c.seq).limit(limit)
        with self._engine.connect() as connection:
            return [event_of(row) for row in connection.execute(query).mappings()]
