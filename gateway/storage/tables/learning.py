"""What is learnt from it: pairs, task versions, datasets, runs, students, the journal."""

from __future__ import annotations

import sqlalchemy as sa
from sqlmodel import Field, Index

from gateway.storage.tables.base import Table, counted, integer, text


class PairRow(Table, table=True):
    __tablename__ = "pairs"
    __table_args__ = (
        Index("ix_pairs_student", "student", "seq"),
        Index("ix_pairs_task", "task", "seq"),
        Index("ix_pairs_disagreement", "task", "agree", "seq"),
        Index("ix_pairs_call", "call_id"),
        Index("ix_pairs_created_at", "created_at"),
    )
    seq: int | None = Field(default=None, sa_column=counted())
    call_id: str
    kind: str
    created_at: float
    project: str
    task: str
    fingerprint: str
    student: str
    epoch: int = Field(sa_column=integer())
    session: str
    answered: bool
    agree: bool
    confidence: float
    propensity: float
    student_latency_ms: float
    extra_cost_usd: float | None
    teacher_text: str = Field(sa_column=text())
    student_text: str = Field(sa_column=text())
    scores: str = Field(sa_column=sa.Column(sa.Text(), nullable=False, server_default=""))
    slice: str = Field(sa_column_kwargs={"server_default": ""})
    principal: str = Field(sa_column_kwargs={"server_default": ""})


class TaskVersionRow(Table, table=True):
    __tablename__ = "task_versions"
    project: str = Field(primary_key=True)
    task: str = Field(primary_key=True)
    fingerprint: str = Field(primary_key=True)
    version: int
    first_seen: float
    trainable_calls: int = Field(sa_column=integer())


class DatasetRow(Table, table=True):
    __tablename__ = "datasets"
    __table_args__ = (sa.UniqueConstraint("project", "task", "version", name="uq_datasets_version"),)
    digest: str = Field(primary_key=True)
    project: str
    task: str
    fingerprint: str
    version: int
    created_at: float
    card: str = Field(sa_column=text())


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
    params: str = Field(sa_column=text())
    result: str = Field(sa_column=text())
    error: str = Field(sa_column=text())
    progress: float
    step: str
    worker: str
    created_at: float
    started_at: float | None
    finished_at: float | None
    heartbeat_at: float | None
    cancel_requested: bool
    priority: int = Field(default=0, sa_column_kwargs={"server_default": "0"})


class RunEventRow(Table, table=True):
    __tablename__ = "run_events"
    run_id: str = Field(primary_key=True, foreign_key="runs.id")
    seq: int = Field(primary_key=True)
    at: float
    level: str
    message: str = Field(sa_column=text())
    data: str = Field(sa_column=text())


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
    epoch: int = Field(sa_column=integer())
    certificate: str | None
    artifact: str
    max_answer_tokens: int
    slices: str = Field(sa_column=sa.Column(sa.Text(), nullable=False, server_default="[]"))
    deferred: str = Field(sa_column=sa.Column(sa.Text(), nullable=False, server_default="[]"))
    dataset: str
    metrics: str = Field(sa_column=text())
    created_at: float


class WishRow(Table, table=True):
    __tablename__ = "wishes"
    __table_args__ = (Index("ix_wishes_open", "handled_at", "id"),)
    id: int | None = Field(default=None, sa_column=counted())
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
    reason: str = Field(sa_column=text())
    detail: str = Field(sa_column=text())
    prev: str
    hash: str
