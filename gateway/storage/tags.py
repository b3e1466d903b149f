"""A call's metadata as it was sent, so that costs can be told by it. Erased with the call's text."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import sqlalchemy as sa
from sqlmodel import Field, Index

from gateway.storage.records import CallRecord
from gateway.storage.rows import storable
from gateway.storage.tables import METADATA, Table


class CallTagRow(Table, table=True):
    __tablename__ = "call_tags"
    __table_args__ = (Index("ix_call_tags_name", "name", "call_id"),)
    call_id: str = Field(primary_key=True, foreign_key="calls.id")
    name: str = Field(primary_key=True)
    value: str


CALL_TAGS = METADATA.tables["call_tags"]


def add_tags(connection: sa.Connection, calls: Iterable[CallRecord]) -> None:
    rows = [
        storable({"call_id": call.id, "name": name, "value": value})
        for call in calls
        for name, value in call.metadata.items()
    ]
    if rows:
        connection.execute(sa.insert(CALL_TAGS), rows)


def erase_tags(connection: sa.Connection, call_ids: Sequence[str]) -> None:
    connection.execute(sa.delete(CALL_TAGS).where(CALL_TAGS.c.call_id.in_(call_ids)))
