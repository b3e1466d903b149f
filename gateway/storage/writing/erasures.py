"""Erasing one person: what the calls of an end user left in the database, and what of theirs arrives later.

A record may wait in a spool, for hours when the database was away, until after its person was erased. So the
erasure stays as a salted hash, and the ingester drops the text of every record that is older than it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import msgspec
import sqlalchemy as sa

from gateway.storage.engine import BULK_S, allow
from gateway.storage.erasure_values import ERASED, DatasetErasure, EraseUser, Erasure, NoteErased, who_of
from gateway.storage.records import CallRecord, ClientStateRecord
from gateway.storage.rows import storable, to_json
from gateway.storage.tables import CALLS, CAPTURES, CLIENT_STATE, DATASETS, PAIRS, STUDENTS
from gateway.storage.tables.erasures import DATASET_ERASURES, ERASURES
from gateway.storage.writing.erase import erase
from gateway.storage.writing.journal import append_journal, bump_generation, get_meta, salt_of

_AT_ONCE = 500


def erase_user(connection: sa.Connection, command: EraseUser) -> Erasure:
    """Carries an erasure out, in one transaction with its line in the journal."""
    allow(connection, statement_s=BULK_S)
    salt = salt_of(connection)
    who = who_of(salt, command.project, command.end_user)
    table = CALLS.c
    mine = (
        table.project == command.project,
        table.end_user == command.end_user,
        table.created_at <= command.at,
    )
    found = connection.execute(sa.select(table.id, table.session).where(*mine)).all()
    texts = 0
    for start in range(0, len(found), _AT_ONCE):
        part = found[start : start + _AT_ONCE]
        texts += erase(connection, [row.id for row in part], command.at)
        _unname(connection, [row.id for row in part])
    for session in {row.session for row in found if row.session}:
        _rename_session(connection, command.project, session, salt)
    _erase_state(connection, command.project, who, command.at)
    done = Erasure(
        id=0, at=command.at, project=command.project, who=who, actor=command.actor, reason=command.reason,
        calls=len(found), texts=texts,
    )  # fmt: skip
    row = msgspec.structs.asdict(done)
    row.pop("id")
    query = sa.insert(ERASURES).values(**storable(row)).returning(ERASURES.c.id)
    number = connection.execute(query).scalar_one()
    append_journal(
        connection, "admin", at=command.at, actor=command.actor, subject=f"person {who[:16]}",
        action="person erased", reason=command.reason,
        detail={"project": command.project, "calls": len(found), "texts": texts},
    )  # fmt: skip
    bump_generation(connection)  # so that every gateway forgets what it holds in memory
    return msgspec.structs.replace(done, id=int(number))


def _unname(connection: sa.Connection, call_ids: Sequence[str]) -> None:
    nobody = {"end_user": ERASED, "session": ""}
    connection.execute(sa.update(CALLS).where(CALLS.c.id.in_(call_ids)).values(**nobody))
    connection.execute(sa.update(CAPTURES).where(CAPTURES.c.call_id.in_(call_ids)).values(session=""))


def _rename_session(connection: sa.Connection, project: str, session: str, salt: str) -> None:
    """Evidence counts sessions as clusters: it keeps which pairs belong together, not what the client called them."""
    same = hashlib.sha256(f"{salt}\0{session}".encode()).hexdigest()[:32]
    mine = (PAIRS.c.project == project, PAIRS.c.session == session)
    connection.execute(sa.update(PAIRS).where(*mine).values(session=same))


def _erase_state(connection: sa.Connection, project: str, who: str, at: float) -> None:
    """Empties stored responses and conversations; the empty rows keep late writings of them out."""
    table = CLIENT_STATE.c
    mine = (table.project == project, table.owner == who, table.created_at <= at)
    connection.execute(sa.update(CLIENT_STATE).where(*mine).values(sealed=b""))


# ---------------------------------------------------------------- what arrives later
class Forgotten:
    """Who was erased after ``since``: records older than that are taken in without what they say."""

    def __init__(self, connection: sa.Connection, since: float) -> None:
        query = sa.select(ERASURES.c.who, sa.func.max(ERASURES.c.at)).where(ERASURES.c.at >= since)
        self._until = {who: float(at) for who, at in connection.execute(query.group_by(ERASURES.c.who))}
        self._salt = get_meta(connection, "salt", "")

    def covers(self, project: str, end_user: str, at: float) -> bool:
        if not self._until or not end_user:
            return False
        return at <= self._until.get(who_of(self._salt, project, end_user), -1.0)

    def call(self, record: CallRecord) -> CallRecord:
        """The record, without its text and whose it was when they were erased."""
        if not self.covers(record.project, record.end_user, record.created_at):
            return record
        return msgspec.structs.replace(record, text=None, end_user=ERASED, session="", metadata={})

    def state(self, record: ClientStateRecord) -> ClientStateRecord:
        if not self.covers(record.project, record.end_user, record.created_at):
            return record
        return msgspec.structs.replace(record, sealed=b"")


def is_erased(connection: sa.Connection, call_id: str) -> bool:
    """Whether a call's text was erased, or its person was."""
    of_nobody = sa.select(CALLS.c.id).where(CALLS.c.id == call_id, CALLS.c.end_user == ERASED)
    gone = sa.select(CAPTURES.c.call_id).where(CAPTURES.c.call_id == call_id, CAPTURES.c.erased_at.is_not(None))
    return connection.execute(of_nobody.union(gone)).first() is not None


# ---------------------------------------------------------------- datasets
def note_erased(connection: sa.Connection, command: NoteErased) -> None:
    """Keeps the count; the journal names the students that learnt from rows somebody asked to have erased."""
    found, table = command.erasure, DATASET_ERASURES
    before = connection.execute(
        sa.select(table.c.requested).where(table.c.digest == found.digest)
    ).scalar()
    row = msgspec.structs.asdict(found)
    if before is None:
        connection.execute(sa.insert(table).values(**row))
    else:
        connection.execute(sa.update(table).where(table.c.digest == found.digest).values(**row))
    connection.execute(
        sa.update(DATASETS).where(DATASETS.c.digest == found.digest).values(card=to_json(command.card))
    )
    if found.requested > (before or 0):
        learnt = sa.select(STUDENTS.c.id).where(STUDENTS.c.dataset == found.digest).order_by(STUDENTS.c.id)
        append_journal(
            connection, "rollout", at=found.at, actor="trainer", subject=f"dataset {found.digest[:12]}",
            action="rows erased", detail={
                "rows": found.requested, "students": list(connection.execute(learnt).scalars()),
            },
        )  # fmt: skip


class ErasureQueries:
    _engine: sa.Engine

    def erasures(self, *, after: int = 0, limit: int = 1000) -> list[Erasure]:
        """Oldest first, those with a larger id than ``after``."""
        query = sa.select(ERASURES).where(ERASURES.c.id > after).order_by(ERASURES.c.id).limit(limit)
        with self._engine.connect() as connection:
            return [Erasure(**row) for row in connection.execute(query).mappings()]

    def erased_calls(self, *, since: float) -> list[tuple[str, bool]]:
        """(id, whether it was asked for) of the calls whose text was erased from ``since`` on; the others' retention
        had run out."""
        table = CAPTURES.c
        asked = sa.func.coalesce(table.erased_at < table.expires_at, sa.true())
        query = sa.select(table.call_id, asked).where(table.erased_at.is_not(None), table.erased_at >= since)
        with self._engine.connect() as connection:
            return [(call_id, bool(requested)) for call_id, requested in connection.execute(query)]

    def dataset_erasures(self) -> dict[str, DatasetErasure]:
        """By digest."""
        with self._engine.connect() as connection:
            rows = connection.execute(sa.select(DATASET_ERASURES)).mappings()
            return {row["digest"]: DatasetErasure(**row) for row in rows}

    def salt(self) -> str:
        """What the hashes that stand for people were salted with; "" while nothing was erased."""
        with self._engine.connect() as connection:
            return get_meta(connection, "salt", "")
