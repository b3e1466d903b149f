"""Reads the database, and only reads it. Blocking; usable from several threads."""

from __future__ import annotations

from gateway.storage.client_state import find_state, find_states
from gateway.storage.engine import read_engine
from gateway.storage.home import Home
from gateway.storage.incidents import IncidentQueries
from gateway.storage.protocols import Reader
from gateway.storage.reading.captures import CaptureQueries
from gateway.storage.reading.costs import CostQueries
from gateway.storage.reading.data import DataQueries
from gateway.storage.reading.discovery import DiscoveryQueries
from gateway.storage.reading.learning import LearningQueries
from gateway.storage.reading.page import PageQueries
from gateway.storage.reading.replay import ReplayQueries
from gateway.storage.reading.runs import RunQueries
from gateway.storage.reading.watch import WatchQueries
from gateway.storage.rows import key_of, student_of
from gateway.storage.seals import SealQueries
from gateway.storage.spending import SpendingQueries
from gateway.storage.tables import API_KEYS, STUDENTS
from gateway.storage.values import Key, Snapshot
from gateway.storage.writing.erasures import ErasureQueries
from gateway.storage.writing.journal import generation, get_meta
from optimizer.rollout import Stage


class SqlReader(
    CaptureQueries,
    CostQueries,
    DataQueries,
    DiscoveryQueries,
    ErasureQueries,
    IncidentQueries,
    LearningQueries,
    PageQueries,
    ReplayQueries,
    RunQueries,
    SealQueries,
    SpendingQueries,
    WatchQueries,
):
    """Every method raises ``sqlalchemy.exc.SQLAlchemyError`` while the database is away or not there yet."""

    def generation(self) -> int:
        with self._engine.connect() as connection:
            return generation(connection)

    def snapshot(self) -> Snapshot:
        with self._engine.begin() as connection:  # one consistent view
            keys = connection.execute(API_KEYS.select().order_by(API_KEYS.c.created_at)).mappings()
            students = connection.execute(
                STUDENTS.select()
                .where(STUDENTS.c.stage != Stage.RETIRED.value)
                .order_by(STUDENTS.c.created_at)
            ).mappings()
            return Snapshot(
                generation=generation(connection),
                keys=tuple(key_of(row) for row in keys),
                students=tuple(student_of(row) for row in students),
                students_off=get_meta(connection, "students_off", "0") == "1",
            )

    def keys(self) -> list[Key]:
        with self._engine.connect() as connection:
            rows = connection.execute(
                API_KEYS.select().order_by(API_KEYS.c.created_at, API_KEYS.c.id)
            ).mappings()
            return [key_of(row) for row in rows]

    def client_state(self, project: str, state_id: str, *, now: float) -> bytes | None:
        with self._engine.connect() as connection:
            return find_state(connection, project, state_id, now)

    def client_states(self, project: str, kind: str, *, now: float, limit: int) -> list[bytes]:
        with self._engine.connect() as connection:
            return find_states(connection, project, kind, now, limit)

    def close(self) -> None:
        self._engine.dispose()


def open_reader(home: Home, *, bulk: bool = False) -> Reader:
    """A Reader of this home's database. Connects when first asked, so the database may come later. ``bulk``: its
    questions may take a minute on PostgreSQL, where others are given up after five seconds."""
    return SqlReader(read_engine(home.database_url, bulk=bulk))
