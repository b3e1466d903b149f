"""What clients keep here between calls, as rows: sealed documents with an end of their own, never part of training."""

from __future__ import annotations

import msgspec
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from gateway.storage.erasure_values import who_of
from gateway.storage.records import STATE_TTL_S, ClientStateRecord, StateDeletionRecord
from gateway.storage.tables import CLIENT_STATE
from gateway.storage.writing.journal import salt_of


def add_state(connection: sa.Connection, record: ClientStateRecord) -> None:
    """Stores a document in the place of its earlier writing; one that was deleted stays so."""
    if not record.sealed:
        return
    table, new = CLIENT_STATE.c, _row(connection, record)
    kept = {name: new.excluded[name] for name in ("created_at", "expires_at", "sealed", "owner")}
    connection.execute(
        new.on_conflict_do_update(
            index_elements=[table.project, table.id],
            set_=kept,
            where=(table.sealed != b"") & (table.created_at <= new.excluded.created_at),
        )
    )


def delete_state(connection: sa.Connection, record: StateDeletionRecord) -> None:
    """Empties the row. A deletion that overtook its document leaves an empty row that keeps it out."""
    table = CLIENT_STATE.c
    mine = (table.project == record.project, table.id == record.id)
    if not connection.execute(sa.update(CLIENT_STATE).where(*mine).values(sealed=b"")).rowcount:
        empty = ClientStateRecord(record.id, record.project, "", record.at, record.at + STATE_TTL_S, b"")
        connection.execute(_row(connection, empty).on_conflict_do_nothing())


def find_state(connection: sa.Connection, project: str, state_id: str, now: float) -> bytes | None:
    """The sealed document; b"" once deleted; None when unknown or expired."""
    table = CLIENT_STATE.c
    query = sa.select(table.sealed).where(
        table.project == project, table.id == state_id, table.expires_at > now
    )
    return connection.execute(query).scalar()


def find_states(connection: sa.Connection, project: str, kind: str, now: float, limit: int) -> list[bytes]:
    """The sealed documents of a kind, newest first; b"" where one was deleted."""
    table = CLIENT_STATE.c
    query = sa.select(table.sealed).where(
        table.project == project, table.kind == kind, table.expires_at > now
    )
    return list(connection.execute(query.order_by(table.created_at.desc(), table.id).limit(limit)).scalars())


def forget_expired(connection: sa.Connection, now: float) -> None:
    connection.execute(sa.delete(CLIENT_STATE).where(CLIENT_STATE.c.expires_at <= now))


def _row(connection: sa.Connection, record: ClientStateRecord) -> sqlite.Insert | postgresql.Insert:
    dialect = sqlite if connection.dialect.name == "sqlite" else postgresql
    found: sqlite.Insert | postgresql.Insert = dialect.insert(CLIENT_STATE)
    row = msgspec.structs.asdict(record)
    end_user = row.pop("end_user")  # known to the database by a salted hash alone
    owner = who_of(salt_of(connection), record.project, end_user) if end_user else ""
    return found.values(**row, owner=owner)
