"""The table of what guardrails found. ``sample`` is the one text outside captures and pairs; it is masked too."""

from __future__ import annotations

from sqlmodel import Field, Index

from gateway.storage.tables.base import Table, counted, integer, text


class IncidentRow(Table, table=True):
    __tablename__ = "incidents"
    __table_args__ = (
        Index("ix_incidents_project", "project", "id"),
        Index("ix_incidents_call", "call_id"),
        Index("ix_incidents_at", "at"),
        Index("ix_incidents_sealed", "sealed", "id"),
    )
    id: int | None = Field(default=None, sa_column=counted())
    call_id: str
    at: float
    project: str
    key_id: str
    model_asked: str
    endpoint: str
    guardrail: str
    action: str
    direction: str
    shadow: bool
    sample: str = Field(sa_column=text())
    sealed: int = Field(default=0, sa_column=integer(default=0))
