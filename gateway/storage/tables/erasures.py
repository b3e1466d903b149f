"""The tables of what was erased: whose data, and how much of which dataset."""

from __future__ import annotations

import sqlalchemy as sa
from sqlmodel import Field, Index

from gateway.storage.tables.base import METADATA, Table, counted, text


class ErasureRow(Table, table=True):
    """One person's erasure. ``who`` is a salted hash: it finds late records of that person and names nobody."""

    __tablename__ = "erasures"
    __table_args__ = (Index("ix_erasures_at", "at"),)
    id: int | None = Field(default=None, sa_column=counted())
    at: float
    project: str
    who: str
    actor: str
    reason: str = Field(sa_column=text())
    calls: int
    texts: int


class DatasetErasureRow(Table, table=True):
    """How many rows of a dataset are tombstones, and how many of those because somebody asked for it."""

    __tablename__ = "dataset_erasures"
    digest: str = Field(primary_key=True)
    rows: int
    requested: int
    at: float = Field(sa_column=sa.Column(sa.Float(), nullable=False))


ERASURES = METADATA.tables["erasures"]
DATASET_ERASURES = METADATA.tables["dataset_erasures"]
