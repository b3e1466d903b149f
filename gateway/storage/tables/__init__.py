"""The database's tables. Queries use them as plain SQLAlchemy tables (``CALLS.c.id``); Alembic compares against
them. Text that clients or models wrote lives in ``captures``, ``pairs`` and ``incidents`` only, and only masked.

JSON is stored as text that we encode ourselves: it reads the same on both backends.
"""

from __future__ import annotations

import sqlalchemy as sa

from gateway.storage.tables import calls, erasures, incidents, learning, spending
from gateway.storage.tables.base import METADATA, Table

__all__ = ["METADATA", "Table"]

_DECLARED = (calls, erasures, incidents, learning, spending)


def _table(name: str) -> sa.Table:
    return METADATA.tables[name]


META = _table("meta")
API_KEYS = _table("api_keys")
CALLS = _table("calls")
CAPTURES = _table("captures")
CAPTURE_METADATA = _table("capture_metadata")
FEEDBACK_LOG = _table("feedback_log")
PARKED = _table("parked")
PAIRS = _table("pairs")
TASK_VERSIONS = _table("task_versions")
LEDGER_BUCKETS = _table("ledger_buckets")
DATASETS = _table("datasets")
RUNS = _table("runs")
RUN_EVENTS = _table("run_events")
STUDENTS = _table("students")
WISHES = _table("wishes")
RETRAIN_REQUESTS = _table("retrain_requests")
JOURNAL = _table("journal")
SPOOL_CURSORS = _table("spool_cursors")
INCIDENTS = _table("incidents")
CLIENT_STATE = _table("client_state")
