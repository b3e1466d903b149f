"""The database's tables. Queries use them as plain SQLAlchemy tables (``CALLS.c.id``); Alembic compares against
them. Text that clients or models wrote lives in ``captures`` and ``pairs`` only, and only masked.

JSON is stored as text that we encode ourselves: it reads the same on both backends.
"""

from __future__ import annotations

import sqlalchemy as sa
from sqlmodel import Field, Index, SQLModel

Money = float | None


class Table(SQLModel):
    """Base of all tables, with a metadata of its own."""

    metadata = sa.MetaData()


def _big(*, primary: bool = False) -> sa.types.TypeEngine[int]:
    """64 bits; a counting SQLite primary key must be declared INTEGER."""
    return sa.BigInteger().with_variant(sa.Integer(), "sqlite") if primary else sa.BigInteger()


def _counted() -> sa.Column[int]:
    return sa.Column(_big(primary=True), primary_key=True, autoincrement=True)


def _integer(*, default: int | None = None, nullable: bool = False) -> sa.Column[int]:
    server_default = None if default is None else str(default)
    return sa.Column(_big(), nullable=nullable, server_default=server_default)


def _text(*, nullable: bool = False) -> sa.Column[str]:
    return sa.Column(sa.Text(), nullable=nullable)


class MetaRow(Table, table=True):
    """Single values: generation, students_off, journal_head, salt."""

    __tablename__ = "meta"
    name: str = Field(primary_key=True)
    value: str


class ApiKeyRow(Table, table=True):
    __tablename__ = "api_keys"
    __table_args__ = (sa.UniqueConstraint("project", "name", name="uq_api_keys_project_name"),)
    id: str = Field(primary_key=True)
    name: str
    project: str
    digest: str = Field(unique=True)
    hint: str
    scopes: str
    models: str
    requests_per_minute: int | None
    created_at: float
    expires_at: float | None
    revoked_at: float | None
    tokens_per_minute: int | None = Field(default=None, sa_column=_integer(nullable=True))
    concurrency: int | None
    budget_usd_day: float | None
    budget_usd_month: float | None
    previous_digest: str | None
    previous_until: float | None


class CallRow(Table, table=True):
    """The ledger: who, which, tokens, cost, time, decisions; never text."""

    __tablename__ = "calls"
    __table_args__ = (
        Index("ix_calls_scope", "project", "task", "created_at"),
        Index("ix_calls_created_at", "created_at"),
        Index("ix_calls_key", "key_id", "created_at"),
    )
    id: str = Field(primary_key=True)
    request_id: str
    created_at: float
    project: str
    key_id: str
    end_user: str
    session: str
    task: str
    fingerprint: str
    model_asked: str
    provider: str
    model: str
    student: str
    status: str
    http_status: int
    error_code: str
    stream: bool
    latency_ms: float
    first_byte_ms: float | None
    overhead_ms: float
    attempts: str = Field(sa_column=_text())
    prompt_tokens: int = Field(sa_column=_integer())
    cached_tokens: int = Field(sa_column=_integer())
    completion_tokens: int = Field(sa_column=_integer())
    tokens_estimated: bool
    cost_usd: float | None
    teacher_cost_usd: float | None
    confidence: float | None
    arm: str
    propensity: float
    reason: str
    config_digest: str
    verdicts: str = Field(sa_column=_text())
    batch: str = Field(sa_column_kwargs={"server_default": ""})


class CaptureRow(Table, table=True):
    """The text of a call, masked. ``lesson``: trainable, successful, teacher-answered and not erased."""

    __tablename__ = "captures"
    __table_args__ = (
        Index("ix_captures_lesson", "project", "task", "fingerprint", "lesson", "created_at"),
        Index("ix_captures_listing", "project", "visible", "created_at", "call_id"),
        Index("ix_captures_expiry", "expires_at"),
    )
    call_id: str = Field(primary_key=True, foreign_key="calls.id")
    project: str
    task: str
    fingerprint: str
    created_at: float
    model: str
    key_id: str
    end_user: str
    session: str
    request: str | None = Field(sa_column=_text(nullable=True))
    answer: str | None = Field(sa_column=_text(nullable=True))
    last_user_text: str = Field(sa_column=_text())
    answer_text: str = Field(sa_column=_text())
    group_id: str
    finish_reason: str
    completion_tokens: int = Field(sa_column=_integer())
    metadata_json: str = Field(sa_column=_text())
    visible: bool
    trainable: bool
    lesson: bool
    expires_at: float | None
    erased_at: float | None
    tombstone: str


class CaptureMetadataRow(Table, table=True):
    """The metadata map once more, one row per entry, so that listings can filter by it through an index."""

    __tablename__ = "capture_metadata"
    __table_args__ = (Index("ix_capture_metadata_entry", "name", "value"),)
    call_id: str = Field(primary_key=True, foreign_key="captures.call_id")
    name: str = Field(primary_key=True)
    value: str


class FeedbackRow(Table, table=True):
    __tablename__ = "feedback_log"
    __table_args__ = (Index("ix_feedback_log_call", "call_id"),)
    id: int | None = Field(default=None, sa_column=_counted())
    call_id: str
    project: str
    actor: str
    at: float
    name: str
    value: str


class ParkedRow(Table, table=True):
    """A metadata update or deletion that overtook its call on the way through another process's spool."""

    __tablename__ = "parked"
    __table_args__ = (Index("ix_parked_call", "call_id"),)
    id: int | None = Field(default=None, sa_column=_counted())
    call_id: str
    at: float
    record: str = Field(sa_column=_text())


class PairRow(Table, table=True):
    __tablename__ = "pairs"
    __table_args__ = (
        Index("ix_pairs_student", "student", "seq"),
        Index("ix_pairs_task", "task", "seq"),
        Index("ix_pairs_disagreement", "task", "agree", "seq"),
        Index("ix_pairs_call", "call_id"),
        Index("ix_pairs_created_at", "created_at"),
    )
    seq: int | None = Field(default=None, sa_column=_counted())
    call_id: str
    kind: str
    created_at: float
    project: str
    task: str
    fingerprint: str
    student: str
    epoch: int = Field(sa_column=_integer())
    session: str
    answered: bool
    agree: bool
    confidence: float
    propensity: float
    student_latency_ms: float
    extra_cost_usd: float | None
    teacher_text: str = Field(sa_column=_text())
    student_text: str = Field(sa_column=_text())


class TaskVersionRow(Table, table=True):
    __tablename__ = "task_versions"
    project: str = Field(primary_key=True)
    task: str = Field(primary_key=True)
    fingerprint: str = Field(primary_key=True)
    version: int
    first_seen: float
    trainable_calls: int = Field(sa_column=_integer())


class LedgerBucketRow(Table, table=True):
    """The ledger in steps of 60 seconds, kept up in the transaction that adds the calls."""

    __tablename__ = "ledger_buckets"
    start: int = Field(sa_column=sa.Column(sa.BigInteger(), primary_key=True, autoincrement=False))
    project: str = Field(primary_key=True)
    task: str = Field(primary_key=True)
    party: str = Field(primary_key=True)
    calls: int = Field(sa_column=_integer())
    errors: int = Field(sa_column=_integer())
    cost_usd: float
    teacher_cost_usd: float
    unpriced: int = Field(sa_column=_integer())
    extra_cost_usd: float
    prompt_tokens: int = Field(sa_column=_integer())
    completion_tokens: int = Field(sa_column=_integer())


class DatasetRow(Table, table=True):
    __tablename__ = "datasets"
    __table_args__ = (sa.UniqueConstraint("project", "task", "version", name="uq_datasets_version"),)
    digest: str = Field(primary_key=True)
    project: str
    task: str
    fingerprint: str
    version: int
    created_at: float
    card: str = Field(sa_column=_text())


class RunRow(Table, table=True):
    __tablename__ = "runs"
    __table_args__ = (
        Index("ix_runs_state", "state", "created_at"),
        Index("ix_runs_task", "task", "created_at"),
        Index("ix_runs_scope", "project", "task", "fingerprint", "created_at"),
        Index(
            "uq_runs_open", "kind", "project", "task", "fingerprint", unique=True,
            sqlite_where=sa.text("state IN ('queued', 'running')"),
            postgresql_where=sa.text("state IN ('queued', 'running')"),
        ),
    )  # fmt: skip
    id: str = Field(primary_key=True)
    kind: str
    project: str
    task: str
    fingerprint: str
    state: str
    attempt: int
    params: str = Field(sa_column=_text())
    result: str = Field(sa_column=_text())
    error: str = Field(sa_column=_text())
    progress: float
    step: str
    worker: str
    created_at: float
    started_at: float | None
    finished_at: float | None
    heartbeat_at: float | None
    cancel_requested: bool


class RunEventRow(Table, table=True):
    __tablename__ = "run_events"
    run_id: str = Field(primary_key=True, foreign_key="runs.id")
    seq: int = Field(primary_key=True)
    at: float
    level: str
    message: str = Field(sa_column=_text())
    data: str = Field(sa_column=_text())


class StudentRow(Table, table=True):
    __tablename__ = "students"
    __table_args__ = (Index("ix_students_scope", "project", "task", "fingerprint", "stage"),)
    id: str = Field(primary_key=True)
    project: str
    task: str
    fingerprint: str
    version: int
    recipe: str
    round: int
    threshold: float
    stage: str
    paused: bool
    epoch: int = Field(sa_column=_integer())
    certificate: str | None
    artifact: str
    max_answer_tokens: int
    dataset: str
    metrics: str = Field(sa_column=_text())
    created_at: float


class WishRow(Table, table=True):
    __tablename__ = "wishes"
    __table_args__ = (Index("ix_wishes_open", "handled_at", "id"),)
    id: int | None = Field(default=None, sa_column=_counted())
    student: str
    action: str
    actor: str
    reason: str
    at: float
    handled_at: float | None
    outcome: str


class RetrainRow(Table, table=True):
    """When a retrain was last asked for; answered by any younger run of the same scope."""

    __tablename__ = "retrain_requests"
    project: str = Field(primary_key=True)
    task: str = Field(primary_key=True)
    fingerprint: str = Field(primary_key=True)
    at: float


class JournalRow(Table, table=True):
    __tablename__ = "journal"
    __table_args__ = (Index("ix_journal_kind", "kind", "epoch"),)
    epoch: int = Field(sa_column=sa.Column(sa.BigInteger(), primary_key=True, autoincrement=False))
    at: float
    kind: str
    actor: str
    subject: str
    action: str
    reason: str = Field(sa_column=_text())
    detail: str = Field(sa_column=_text())
    prev: str
    hash: str


class SpoolCursorRow(Table, table=True):
    """How far a spool writer's segments have been ingested; stored in the transaction that ingests them."""

    __tablename__ = "spool_cursors"
    writer: str = Field(primary_key=True)
    segment: int
    offset: int = Field(sa_column=_integer())
    seq: int = Field(sa_column=_integer())


class ClientStateRow(Table, table=True):
    """What clients keep here, sealed under the spool's key; a deleted one stays as an empty row until it expires."""

    __tablename__ = "client_state"
    __table_args__ = (Index("ix_client_state_expiry", "expires_at"),)
    project: str = Field(primary_key=True)
    id: str = Field(primary_key=True)
    kind: str
    created_at: float
    expires_at: float
    sealed: bytes = Field(sa_column=sa.Column(sa.LargeBinary(), nullable=False))


METADATA = Table.metadata


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
CLIENT_STATE = _table("client_state")
