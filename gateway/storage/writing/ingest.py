"""Turns spool records into rows, a batch at a time, inside one transaction that also moves the cursors."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
import sqlalchemy as sa
from msgspec import structs
from sqlalchemy.dialects import postgresql, sqlite

from gateway.storage.client_state import add_state, delete_state
from gateway.storage.commands import AddForeign, Refused
from gateway.storage.incidents import add_incident
from gateway.storage.records import (
    SYNTHETIC,
    AuditRecord,
    CallRecord,
    ClientStateRecord,
    DeletionRecord,
    DemotionRecord,
    FeedbackRecord,
    IncidentRecord,
    MetadataRecord,
    PairRecord,
    SpoolRecord,
    StateDeletionRecord,
    SwitchRecord,
    VoteRecord,
    WishRecord,
    spelled,
)
from gateway.storage.rows import storable, to_json
from gateway.storage.spending import spend
from gateway.storage.spooling.reader import Position
from gateway.storage.tables import (
    CALLS,
    CAPTURE_METADATA,
    CAPTURES,
    FEEDBACK_LOG,
    PAIRS,
    PARKED,
    SPOOL_CURSORS,
    TASK_VERSIONS,
)
from gateway.storage.tags import add_tags
from gateway.storage.votes import add_vote
from gateway.storage.writing.capture import capture_row, pair_texts
from gateway.storage.writing.erase import erase
from gateway.storage.writing.erasures import Forgotten, is_erased
from gateway.storage.writing.feedback import add_to_call, add_to_session
from gateway.storage.writing.journal import append_journal, bump_generation, get_meta, set_meta
from gateway.storage.writing.ledger import Buckets
from gateway.storage.writing.students import add_wish, demote
from gateway.storage.writing.truths import CORRECTION, hold

_CALL_COLUMNS = [column.name for column in CALLS.columns if column.name != "arrival"]
_ARRIVALS = "arrivals"
_parked = msgspec.json.Decoder(MetadataRecord | FeedbackRecord | DeletionRecord).decode
_FEEDBACK = "feedback."


def ingest(connection: sa.Connection, records: Sequence[SpoolRecord], positions: dict[str, Position]) -> None:
    """Adds ``records`` in order and stores the cursors. A call that is there already is skipped."""
    buckets = Buckets()
    calls = [record for record in records if isinstance(record, CallRecord)]
    states = [record for record in records if isinstance(record, ClientStateRecord)]
    if calls or states:
        oldest = min([*(call.created_at for call in calls), *(state.created_at for state in states)])
        forgotten = Forgotten(connection, oldest)
        if calls:  # before anything that refers to them
            _add_calls(connection, [forgotten.call(call) for call in calls], buckets)
        for state in states:
            add_state(connection, forgotten.state(state))
    for record in records:
        _add(connection, record, buckets)
    buckets.store(connection)
    for writer, position in positions.items():
        _store_cursor(connection, writer, position)


def _add(connection: sa.Connection, record: SpoolRecord, buckets: Buckets) -> None:
    match record:
        case CallRecord() | ClientStateRecord():
            return
        case PairRecord():
            _add_pair(connection, record)
            buckets.add_pair(record)
        case VoteRecord():
            buckets.add_vote(record)
            spend(connection, "ensemble", record.project, record.task, record.at, record.extra_cost_usd)
            add_vote(connection, record)
        case MetadataRecord() | DeletionRecord():
            _apply_to_call(connection, record)
        case FeedbackRecord(call_id=""):
            add_to_session(connection, record)
        case FeedbackRecord():
            _apply_to_call(connection, record)
        case DemotionRecord():
            demote(connection, record)
        case WishRecord():
            add_wish(connection, record)
        case SwitchRecord():
            _switch(connection, record)
        case StateDeletionRecord():
            delete_state(connection, record)
        case IncidentRecord():
            _incident(connection, record)
        case AuditRecord():
            append_journal(
                connection, "admin", at=record.at, actor=record.actor, subject=record.subject,
                action=record.action, reason=record.reason,
            )  # fmt: skip


# ---------------------------------------------------------------- calls
def _add_calls(connection: sa.Connection, calls: Iterable[CallRecord], buckets: Buckets) -> None:
    unique = {call.id: call for call in calls}
    known = set(connection.execute(sa.select(CALLS.c.id).where(CALLS.c.id.in_(list(unique)))).scalars())
    fresh = [call for call in unique.values() if call.id not in known]
    if not fresh:
        return
    _insert(connection, fresh)
    add_tags(connection, fresh)
    captures = [storable(capture_row(call, call.text)) for call in fresh if call.text is not None]
    if captures:
        connection.execute(sa.insert(CAPTURES), captures)
        entries = [
            storable({"call_id": call.id, "name": name, "value": value})
            for call in fresh
            if call.text is not None
            for name, value in call.metadata.items()
        ]
        if entries:
            connection.execute(sa.insert(CAPTURE_METADATA), entries)
    lessons = {row["call_id"] for row in captures if row["lesson"] and not row["source"]}
    for call in fresh:
        if not call.source:
            buckets.add_call(call)
        elif call.key_id == SYNTHETIC:
            buckets.add_synthetic(call)
    _count_versions(connection, fresh, lessons)
    _apply_parked(connection, [call.id for call in fresh])


def add_foreign(connection: sa.Connection, command: AddForeign) -> int:
    """Calls of elsewhere go the way of all calls, but for the ledger."""
    if any(not call.source for call in command.calls):
        raise Refused("A call from elsewhere must say where it comes from.")
    ids = [call.id for call in command.calls]
    known = sa.select(sa.func.count()).select_from(CALLS).where(CALLS.c.id.in_(ids))
    before = connection.execute(known).scalar_one()
    ingest(connection, command.calls, {})
    return int(connection.execute(known).scalar_one() - before)


def _insert(connection: sa.Connection, calls: Sequence[CallRecord]) -> None:
    """Numbered as they arrive: one transaction writes at a time, so who has read up to a number misses none."""
    arrived = int(get_meta(connection, _ARRIVALS, "0"))
    rows = [_call_row(call) | {"arrival": number} for number, call in enumerate(calls, arrived + 1)]
    connection.execute(sa.insert(CALLS), rows)
    set_meta(connection, _ARRIVALS, str(arrived + len(calls)))


def _call_row(call: CallRecord) -> dict[str, Any]:
    row = {name: getattr(call, name) for name in _CALL_COLUMNS}
    return storable(row | {"attempts": to_json(call.attempts), "verdicts": to_json(call.verdicts)})


def _count_versions(connection: sa.Connection, calls: Sequence[CallRecord], lessons: set[str]) -> None:
    found: dict[tuple[str, str, str], tuple[float, int]] = {}
    for call in calls:
        if call.task and call.fingerprint:
            scope = (call.project, call.task, call.fingerprint)
            seen, count = found.get(scope, (call.created_at, 0))
            found[scope] = (min(seen, call.created_at), count + (call.id in lessons))
    table = TASK_VERSIONS.c
    for (project, task, fingerprint), (seen, count) in found.items():
        scope_is = (table.project == project, table.task == task, table.fingerprint == fingerprint)
        more = sa.update(TASK_VERSIONS).where(*scope_is).values(trainable_calls=table.trainable_calls + count)
        if connection.execute(more).rowcount:
            continue
        newest = connection.execute(
            sa.select(sa.func.max(table.version)).where(table.project == project, table.task == task)
        ).scalar()
        row = {
            "project": project, "task": task, "fingerprint": fingerprint, "version": (newest or 0) + 1,
            "first_seen": seen, "trainable_calls": count,
        }  # fmt: skip
        connection.execute(sa.insert(TASK_VERSIONS).values(**storable(row)))


def _incident(connection: sa.Connection, record: IncidentRecord) -> None:
    gone = is_erased(connection, record.call_id)
    add_incident(connection, structs.replace(record, sample="") if gone else record)
    if record.late:
        _add_verdict(connection, record)


def _add_verdict(connection: sa.Connection, record: IncidentRecord) -> None:
    """The call's own record went into the same spool before."""
    of_call = CALLS.c.id == record.call_id
    known = connection.execute(sa.select(CALLS.c.verdicts).where(of_call)).scalar()
    if known is not None:
        said = spelled(record.guardrail, record.action, record.shadow)
        verdicts = to_json([*msgspec.json.decode(known), said])
        connection.execute(sa.update(CALLS).where(of_call).values(verdicts=verdicts))


def _add_pair(connection: sa.Connection, record: PairRecord) -> None:
    row = msgspec.structs.asdict(record)
    row.pop("mask")
    if judged := row.pop("judge_usd"):
        spend(connection, "judge", record.project, record.task, record.created_at, judged)
    if record.kind == "shadow" and record.extra_cost_usd != judged:
        copied = None if record.extra_cost_usd is None else record.extra_cost_usd - judged
        spend(connection, "shadow", record.project, record.task, record.created_at, copied)
    texts = ("", "") if is_erased(connection, record.call_id) else pair_texts(record)
    row["teacher_text"], row["student_text"] = texts
    row["scores"] = to_json(record.scores) if record.scores else ""
    connection.execute(sa.insert(PAIRS).values(**storable(row)))
    hold(connection, record.call_id)


# ---------------------------------------------------------------- what is said about a call later
def _apply_to_call(connection: sa.Connection, record: MetadataRecord | FeedbackRecord | DeletionRecord) -> None:
    project = connection.execute(sa.select(CALLS.c.project).where(CALLS.c.id == record.call_id)).scalar()
    if project is None:  # another process's spool may be behind: wait for the call
        row = {"call_id": record.call_id, "at": record.at, "record": to_json(record)}
        connection.execute(sa.insert(PARKED).values(**storable(row)))
    elif project == record.project:
        if isinstance(record, DeletionRecord):
            _delete(connection, record)
        elif isinstance(record, FeedbackRecord):
            add_to_call(connection, record, record.call_id)
        else:
            _replace_metadata(connection, record)


def _apply_parked(connection: sa.Connection, call_ids: Sequence[str]) -> None:
    waiting = (
        sa.select(PARKED.c.id, PARKED.c.record).where(PARKED.c.call_id.in_(call_ids)).order_by(PARKED.c.id)
    )
    for row in connection.execute(waiting).all():
        connection.execute(sa.delete(PARKED).where(PARKED.c.id == row.id))
        _apply_to_call(connection, _parked(row.record))


def _delete(connection: sa.Connection, record: DeletionRecord) -> None:
    if erase(connection, [record.call_id], time.time()):  # now: what follows erasures goes by when they were made
        append_journal(
            connection,
            "admin",
            at=record.at,
            actor=record.actor,
            subject=record.call_id,
            action="text erased",
        )


def _replace_metadata(connection: sa.Connection, record: MetadataRecord) -> None:
    call_id, metadata = record.call_id, record.metadata
    kept = (CAPTURES.c.call_id == call_id, CAPTURES.c.erased_at.is_(None))
    changed = connection.execute(sa.update(CAPTURES).where(*kept).values(metadata_json=to_json(metadata)))
    if changed.rowcount == 0:
        return
    connection.execute(sa.delete(CAPTURE_METADATA).where(CAPTURE_METADATA.c.call_id == call_id))
    for name, value in metadata.items():
        entry = storable({"call_id": call_id, "name": name, "value": value})
        connection.execute(sa.insert(CAPTURE_METADATA).values(**entry))
        if name.startswith(_FEEDBACK):
            said = entry | {"project": record.project, "actor": record.actor, "at": record.at}
            connection.execute(sa.insert(FEEDBACK_LOG).values(**storable(said)))
    if CORRECTION in metadata:
        hold(connection, call_id)


def _switch(connection: sa.Connection, record: SwitchRecord) -> None:
    set_meta(connection, "students_off", "1" if record.students_off else "0")
    action = "students switched off" if record.students_off else "students switched on"
    append_journal(
        connection, "admin", at=record.at, actor=record.actor, subject="students", action=action,
        reason=record.reason,
    )  # fmt: skip
    bump_generation(connection)


# ---------------------------------------------------------------- cursors
def load_cursors(connection: sa.Connection) -> dict[str, Position]:
    rows = connection.execute(sa.select(SPOOL_CURSORS)).all()
    return {row.writer: Position(row.segment, row.offset, row.seq) for row in rows}


def prune(connection: sa.Connection, writers: set[str], *, now: float | None = None) -> None:
    """Forgets cursors of writers that have no segment left, and waiting records whose call never came."""
    for writer in set(load_cursors(connection)) - writers:
        connection.execute(sa.delete(SPOOL_CURSORS).where(SPOOL_CURSORS.c.writer == writer))
    week_ago = (time.time() if now is None else now) - 7 * 86_400
    connection.execute(sa.delete(PARKED).where(PARKED.c.at < week_ago))


def _store_cursor(connection: sa.Connection, writer: str, position: Position) -> None:
    values = {"segment": position.segment, "offset": position.offset, "seq": position.seq}
    dialect = sqlite if connection.dialect.name == "sqlite" else postgresql
    insert = dialect.insert(SPOOL_CURSORS).values(writer=writer, **values)
    connection.execute(insert.on_conflict_do_update(index_elements=["writer"], set_=values))
