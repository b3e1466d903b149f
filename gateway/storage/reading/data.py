"""Queries over files, batches and events; every one is scoped to a project but those of the runner, the sweeper
and the webhooks."""

from __future__ import annotations

import sqlalchemy as sa

from gateway.storage.data_values import OPEN_BATCH, Batch, StoredFile
from gateway.storage.tables.data import BATCHES, EVENTS, FILES
from gateway.storage.writing.batches import batch_of
from gateway.storage.writing.events import KEPT_S


class DataQueries:
    _engine: sa.Engine

    def file(self, project: str, file_id: str) -> StoredFile | None:
        query = sa.select(FILES).where(FILES.c.project == project, FILES.c.id == file_id)
        with self._engine.connect() as connection:
            row = connection.execute(query).mappings().first()
            return StoredFile(**row) if row is not None else None

    def files(
        self, project: str, *, purpose: str | None, after: tuple[float, str] | None, limit: int, descending: bool
    ) -> list[StoredFile]:
        """A page in order of creation, beginning behind ``after``: when a file was created, and its id."""
        query = sa.select(FILES).where(FILES.c.project == project)
        if purpose is not None:
            query = query.where(FILES.c.purpose == purpose)
        query = _page(query, FILES, after, limit, descending)
        with self._engine.connect() as connection:
            return [StoredFile(**row) for row in connection.execute(query).mappings()]

    def file_bytes(self, project: str) -> int:
        """What the project's files take."""
        query = sa.select(sa.func.coalesce(sa.func.sum(FILES.c.bytes), 0)).where(FILES.c.project == project)
        with self._engine.connect() as connection:
            return int(connection.execute(query).scalar_one())

    def expired_files(self, now: float, *, limit: int = 500) -> list[StoredFile]:
        query = sa.select(FILES).where(FILES.c.expires_at <= now).order_by(FILES.c.expires_at).limit(limit)
        with self._engine.connect() as connection:
            return [StoredFile(**row) for row in connection.execute(query).mappings()]

    def batch(self, project: str, batch_id: str) -> Batch | None:
        query = sa.select(BATCHES).where(BATCHES.c.project == project, BATCHES.c.id == batch_id)
        with self._engine.connect() as connection:
            row = connection.execute(query).mappings().first()
            return batch_of(row) if row is not None else None

    def batch_waiting(self, before: float) -> bool:
        """Whether there is an open batch that nobody has reported on since ``before``."""
        idle = sa.or_(BATCHES.c.heartbeat_at.is_(None), BATCHES.c.heartbeat_at < before)
        query = sa.select(BATCHES.c.id).where(BATCHES.c.status.in_(OPEN_BATCH), idle).limit(1)
        with self._engine.connect() as connection:
            return connection.execute(query).first() is not None

    def batches(self, project: str, *, after: Batch | None, limit: int) -> list[Batch]:
        """Newest first, beginning behind ``after``."""
        query = sa.select(BATCHES).where(BATCHES.c.project == project)
        query = _page(query, BATCHES, (after.created_at, after.id) if after else None, limit, True)
        with self._engine.connect() as connection:
            return [batch_of(row) for row in connection.execute(query).mappings()]

    def event_waiting(self, now: float) -> bool:
        """Whether webhooks are to be told something."""
        query = sa.select(EVENTS.c.id).where(EVENTS.c.next_at <= now, EVENTS.c.at >= now - KEPT_S).limit(1)
        with self._engine.connect() as connection:
            return connection.execute(query).first() is not None


def _page(
    query: sa.Select[tuple[object, ...]],
    table: sa.Table,
    after: tuple[float, str] | None,
    limit: int,
    descending: bool,
) -> sa.Select[tuple[object, ...]]:
    at, name = table.c.created_at, table.c.id
    if after is not None:
        time, mark = after
        beyond = sa.and_(at == time, name < mark if descending else name > mark)
        query = query.where(sa.or_(at < time if descending else at > time, beyond))
    order = (at.desc(), name.desc()) if descending else (at.asc(), name.asc())
    return query.order_by(*order).limit(limit)
