"""The tables of files, batches and events."""

from __future__ import annotations

from sqlmodel import Field, Index

from gateway.storage.tables.base import METADATA, Table, integer, text


class FileRow(Table, table=True):
    """What is known of a file; its bytes lie in the data directory."""

    __tablename__ = "files"
    __table_args__ = (
        Index("ix_files_listing", "project", "created_at", "id"),
        Index("ix_files_expiry", "expires_at"),
    )
    id: str = Field(primary_key=True)
    project: str
    key_id: str
    filename: str
    purpose: str
    bytes: int = Field(sa_column=integer())
    created_at: float
    expires_at: float | None


class BatchRow(Table, table=True):
    __tablename__ = "batches"
    __table_args__ = (
        Index("ix_batches_listing", "project", "created_at", "id"),
        Index("ix_batches_status", "status", "created_at"),
    )
    id: str = Field(primary_key=True)
    project: str
    key_id: str
    endpoint: str
    completion_window: str
    input_file_id: str
    created_at: float
    expires_at: float
    status: str
    output_file_id: str | None
    error_file_id: str | None
    output_expires_s: int | None
    errors: str = Field(sa_column=text())
    metadata_json: str = Field(sa_column=text())
    in_progress_at: float | None
    finalizing_at: float | None
    completed_at: float | None
    failed_at: float | None
    expired_at: float | None
    cancelling_at: float | None
    cancelled_at: float | None
    total: int
    completed: int
    failed: int
    worker: str
    heartbeat_at: float | None
    model: str | None
    usage: str | None = Field(sa_column=text(nullable=True))


class EventRow(Table, table=True):
    """Kept until every webhook that wants it has taken it."""

    __tablename__ = "events"
    __table_args__ = (Index("ix_events_next", "next_at"),)
    id: str = Field(primary_key=True)
    project: str
    type: str
    subject: str
    at: float
    tries: int
    next_at: float
    done: str = Field(sa_column=text())


FILES = METADATA.tables["files"]
BATCHES = METADATA.tables["batches"]
EVENTS = METADATA.tables["events"]
