"""Queries over runs and their events."""

from __future__ import annotations

import sqlalchemy as sa

from gateway.storage.rows import event_of, run_of
from gateway.storage.tables import RUN_EVENTS, RUNS
from gateway.storage.values import Run, RunEvent, TrainingTime


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

    def training_times(self, *, since: float) -> list[TrainingTime]:
        """Of all runs that were made from ``since`` on, added up by the database."""
        sqlite = self._engine.dialect.name == "sqlite"
        result = sa.type_coerce(RUNS.c.result, sa.JSON()) if sqlite else sa.cast(RUNS.c.result, sa.JSON())
        recipe = sa.func.coalesce(result["recipe"].as_string(), "").label("recipe")
        sums = (
            sa.func.coalesce(sa.func.sum(result[name].as_float()), 0.0).label(name)
            for name in ("seconds", "cpu_seconds")
        )
        query = sa.select(RUNS.c.project, RUNS.c.task, recipe, *sums).where(RUNS.c.created_at >= since)
        with self._engine.connect() as connection:
            rows = connection.execute(query.group_by(RUNS.c.project, RUNS.c.task, recipe)).mappings()
            return [TrainingTime(**row) for row in rows]

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
