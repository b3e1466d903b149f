"""Queries over students, their evidence, and what asks for training."""

from __future__ import annotations

from typing import Any

import msgspec
import sqlalchemy as sa

from gateway.storage.rows import dataset_of, pair_of, student_of, wish_of
from gateway.storage.tables import (
    DATASETS,
    PAIRS,
    RETRAIN_REQUESTS,
    RUNS,
    STUDENTS,
    TASK_VERSIONS,
    WISHES,
)
from gateway.storage.values import Dataset, Pair, TaskVersion, Wish
from optimizer.rollout import Stage, Student

PAIR_COLUMNS = [PAIRS.c[name] for name in Pair.__struct_fields__]


class LearningQueries:
    _engine: sa.Engine

    def task_versions(self) -> list[TaskVersion]:
        order = (TASK_VERSIONS.c.project, TASK_VERSIONS.c.task, TASK_VERSIONS.c.version)
        with self._engine.connect() as connection:
            rows = connection.execute(sa.select(TASK_VERSIONS).order_by(*order)).mappings()
            return [TaskVersion(**row) for row in rows]

    def students(self, *, include_retired: bool = True) -> list[Student]:
        query = sa.select(STUDENTS).order_by(STUDENTS.c.created_at, STUDENTS.c.id)
        if not include_retired:
            query = query.where(STUDENTS.c.stage != Stage.RETIRED.value)
        with self._engine.connect() as connection:
            return [student_of(row) for row in connection.execute(query).mappings()]

    def student_detail(self, student_id: str) -> dict[str, Any]:
        table = STUDENTS.c
        query = sa.select(table.dataset, table.metrics, table.created_at).where(table.id == student_id)
        with self._engine.connect() as connection:
            row = connection.execute(query).first()
        if row is None:
            return {}
        metrics = msgspec.json.decode(row.metrics)
        return {"dataset": row.dataset, "metrics": metrics, "created_at": row.created_at}

    def pairs(
        self,
        *,
        student: str | None = None,
        task: str | None = None,
        kinds: tuple[str, ...] = (),
        epoch: int | None = None,
        after_seq: int = 0,
        limit: int = 100_000,
    ) -> list[Pair]:
        """Evidence in the order it was ingested, beginning behind ``after_seq``."""
        where = [PAIRS.c.seq > after_seq]
        if student is not None:
            where.append(PAIRS.c.student == student)
        if task is not None:
            where.append(PAIRS.c.task == task)
        if kinds:
            where.append(PAIRS.c.kind.in_(kinds))
        if epoch is not None:
            where.append(PAIRS.c.epoch == epoch)
        query = sa.select(*PAIR_COLUMNS).where(*where).order_by(PAIRS.c.seq).limit(limit)
        with self._engine.connect() as connection:
            return [pair_of(row) for row in connection.execute(query).mappings()]

    def datasets(self, *, task: str | None = None) -> list[Dataset]:
        query = sa.select(DATASETS).order_by(DATASETS.c.created_at, DATASETS.c.digest)
        if task is not None:
            query = query.where(DATASETS.c.task == task)
        with self._engine.connect() as connection:
            return [dataset_of(row) for row in connection.execute(query).mappings()]

    def open_wishes(self) -> list[Wish]:
        query = sa.select(WISHES).where(WISHES.c.handled_at.is_(None)).order_by(WISHES.c.id)
        with self._engine.connect() as connection:
            return [wish_of(row) for row in connection.execute(query).mappings()]

    def retrain_requests(self) -> list[tuple[str, str, str]]:
        """Scopes whose newest request is younger than their newest run, oldest request first."""
        asked = RETRAIN_REQUESTS.c
        answered = sa.exists().where(
            RUNS.c.project == asked.project,
            RUNS.c.task == asked.task,
            RUNS.c.fingerprint == asked.fingerprint,
            RUNS.c.created_at >= asked.at,
        )
        query = sa.select(asked.project, asked.task, asked.fingerprint).where(~answered).order_by(asked.at)
        with self._engine.connect() as connection:
            rows = connection.execute(query).all()
        return [(row.project, row.task, row.fingerprint) for row in rows]
