"""What clients keep here between calls, as rows: sealed documents with an end of their own, never part of training."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from gateway.storage.records import ClientStateRecord, StateDeletionRecord
from gateway.storage.tables import CLIENT_STATE

TTL_S = 30 * 86_400.0


def add_state(connection: sa.Connection, record: ClientStateRecord) -> None:
    """Stores a document. One that is there already (or was deleted before it arrived) is left as it is."""
    if not record.sealed:
        return
    _insert(
        connection,
        record.project,
        record.id,
        record.kind,
        record.created_at,
        record.expires_at,
        record.sealed,
    )


def delete_state(connection: sa.Connection, record: StateDeletionRecord) -> None:
    """Empties the row. A deletion that overtook its document leaves an empty row that keeps it out."""
    table = CLIENT_STATE.c
    mine = (table.project == record.project, table.id == record.id)
    if not connection.execute(sa.update(CLIENT_STATE).where(*mine).values(sealed=b"")).rowcount:
        _insert(connection, record.project, record.id, "", record.at, record.at + TTL_S, b"")


def find_state(connection: sa.Connection, project: str, state_id: str, now: float) -> bytes | None:
    """The sealed document; b"" once deleted; None when unknown or expired."""
    table = CLIENT_STATE.c
    query = sa.select(table.sealed).where(
        table.project == project, table.id == state_id, table.expires_at > now
    )
    return connection.execute(query).scalar()


def forget_expired(connection: sa.Connection, now: float) -> None:
    connection.execute(sa.delete(CLIENT_STATE).where(CLIENT_STATE.c.expires_at <= now))


def _insert(
    connection: sa.Connection,
    project: str,
    state_id: str,
    kind: str,
    at: float,
    expires_at: float,
    sealed: bytes,
) -> None:
    dialect = sqlite if connection.dialect.name == "sqlite" else postgresql
    row = {
        "project": project,
        "id": state_id,
        "kind": kind,
        "created_at": at,
        "expires_at": expires_at,
        "sealed": sealed,
    }
    connection.execute(dialect.insert(CLIENT_STATE).values(**row).on_conflict_do_nothing())
