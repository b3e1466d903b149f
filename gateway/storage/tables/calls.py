"""What clients did: keys, calls, captured text, feedback, the ledger's sums."""

from __future__ import annotations

import sqlalchemy as sa
from sqlmodel import Field, Index

from gateway.storage.tables.base import Table, counted, integer, text


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
    tokens_per_minute: int | None = Field(default=None, sa_column=integer(nullable=True))
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
        Index("ix_calls_arrival", "project", "task", "arrival"),
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
    attempts: str = Field(sa_column=text())
    prompt_tokens: int = Field(sa_column=integer())
    cached_tokens: int = Field(sa_column=integer())
    completion_tokens: int = Field(sa_column=integer())
    tokens_estimated: bool
    cost_usd: float | None
    teacher_cost_usd: float | None
    confidence: float | None
    arm: str
    propensity: float
    reason: str
    config_digest: str
    verdicts: str = Field(sa_column=text())
    batch: str = Field(sa_column_kwargs={"server_default": ""})
    drawn: str = Field(sa_column_kwargs={"server_default": ""})
    prompt_cache_usd: float | None
    arrival: int = Field(default=0, sa_column=integer(default=0))
    """The how-manieth call it was that came into the database; 0: before anybody counted."""


class CaptureRow(Table, table=True):
    """The text of a call, masked. ``lesson``: trainable, successful, teacher-answered and not erased."""

    __tablename__ = "captures"
    __table_args__ = (
        Index("ix_captures_lesson", "project", "task", "fingerprint", "lesson", "created_at"),
        Index("ix_captures_listing", "project", "visible", "created_at", "call_id"),
        Index("ix_captures_expiry", "expires_at"),
        Index(
            "ix_captures_erased", "erased_at", sqlite_where=sa.text("erased_at IS NOT NULL"),
            postgresql_where=sa.text("erased_at IS NOT NULL"),
        ),
    )  # fmt: skip
    call_id: str = Field(primary_key=True, foreign_key="calls.id")
    project: str
    task: str
    fingerprint: str
    created_at: float
    model: str
    key_id: str
    end_user: str
    session: str
    request: str | None = Field(sa_column=text(nullable=True))
    answer: str | None = Field(sa_column=text(nullable=True))
    last_user_text: str = Field(sa_column=text())
    answer_text: str = Field(sa_column=text())
    group_id: str
    finish_reason: str
    completion_tokens: int = Field(sa_column=integer())
    metadata_json: str = Field(sa_column=text())
    visible: bool
    trainable: bool
    lesson: bool
    expires_at: float | None
    erased_at: float | None
    tombstone: str
    source: str = Field(default="", sa_column_kwargs={"server_default": ""})
    rejected: str = Field(default="", sa_column=sa.Column(sa.Text(), nullable=False, server_default=""))
    label: str = Field(default="", sa_column=sa.Column(sa.Text(), nullable=False, server_default=""))
    label_share: float = Field(default=1.0, sa_column_kwargs={"server_default": "1"})
    votes: int = Field(default=0, sa_column_kwargs={"server_default": "0"})
    judged: bool = Field(default=False, sa_column_kwargs={"server_default": sa.false()})


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
    id: int | None = Field(default=None, sa_column=counted())
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
    id: int | None = Field(default=None, sa_column=counted())
    call_id: str
    at: float
    record: str = Field(sa_column=text())


class LedgerBucketRow(Table, table=True):
    """The ledger in steps of 60 seconds, kept up in the transaction that adds the calls."""

    __tablename__ = "ledger_buckets"
    start: int = Field(sa_column=sa.Column(sa.BigInteger(), primary_key=True, autoincrement=False))
    project: str = Field(primary_key=True)
    task: str = Field(primary_key=True)
    party: str = Field(primary_key=True)
    calls: int = Field(sa_column=integer())
    errors: int = Field(sa_column=integer())
    cost_usd: float
    teacher_cost_usd: float
    unpriced: int = Field(sa_column=integer())
    extra_cost_usd: float
    prompt_tokens: int = Field(sa_column=integer())
    completion_tokens: int = Field(sa_column=integer())


class SpoolCursorRow(Table, table=True):
    """How far a spool writer's segments have been ingested; stored in the transaction that ingests them."""

    __tablename__ = "spool_cursors"
    writer: str = Field(primary_key=True)
    segment: int
    offset: int = Field(sa_column=integer())
    seq: int = Field(sa_column=integer())


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
    owner: str = Field(default="", sa_column_kwargs={"server_default": ""})
