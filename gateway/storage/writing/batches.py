"""Commands about batches, each inside an open write transaction."""

from __future__ import annotations

from typing import Any

import msgspec
import sqlalchemy as sa

from gateway.storage.commands import Refused
from gateway.storage.data_values import (
    OPEN_BATCH,
    AddBatch,
    Batch,
    BatchUsage,
    CancelBatch,
    ClaimBatch,
    LineError,
    ReportBatch,
)
from gateway.storage.rows import storable, to_json
from gateway.storage.tables.data import BATCHES
from gateway.storage.writing.events import announce

_decode_errors = msgspec.json.Decoder(tuple[LineError, ...]).decode
_decode_usage = msgspec.json.Decoder(BatchUsage | None).decode


def batch_of(row: sa.RowMapping) -> Batch:
    values = dict(row)
    metadata, usage = values.pop("metadata_json"), values.pop("usage")
    return Batch(
        **{**values, "errors": _decode_errors(values["errors"]), "metadata": msgspec.json.decode(metadata)},
        usage=_decode_usage(usage) if usage is not None else None,
    )


def add_batch(connection: sa.Connection, command: AddBatch) -> Batch:
    batch = command.batch
    known = _row(connection, batch.id)
    if known is not None:
        return known
    mine = sa.select(sa.func.count()).select_from(BATCHES)
    mine = mine.where(BATCHES.c.project == batch.project, BATCHES.c.status.in_(OPEN_BATCH))
    if connection.execute(mine).scalar_one() >= command.most_open:
        raise Refused(
            f"The project has {command.most_open} batches at work already, the most it may have. Wait or cancel one."
        )
    row = msgspec.structs.asdict(batch)
    row |= {"errors": to_json(batch.errors), "metadata_json": to_json(row.pop("metadata"))}
    row["usage"] = to_json(batch.usage) if batch.usage is not None else None
    connection.execute(sa.insert(BATCHES).values(**storable(row)))
    return batch


def claim_batch(connection: sa.Connection, command: ClaimBatch) -> Batch | None:
    stale, others = command.at - command.stale_s, BATCHES.alias()
    idle = sa.or_(BATCHES.c.heartbeat_at.is_(None), BATCHES.c.heartbeat_at < stale)
    waiting = sa.select(BATCHES).where(BATCHES.c.status.in_(OPEN_BATCH), idle, BATCHES.c.project.not_in(command.but))
    at_work = sa.select(sa.func.count()).where(
        others.c.project == BATCHES.c.project, others.c.status.in_(OPEN_BATCH), others.c.heartbeat_at >= stale
    )
    order = at_work.scalar_subquery(), BATCHES.c.created_at, BATCHES.c.id
    row = connection.execute(waiting.order_by(*order).limit(1)).mappings().first()
    if row is None:
        return None
    return _update(connection, row["id"], worker=command.worker, heartbeat_at=command.at)


def report_batch(connection: sa.Connection, command: ReportBatch) -> Batch:
    batch = _row(connection, command.batch_id)
    if batch is None or batch.worker != command.worker or batch.status not in OPEN_BATCH:
        raise Refused("The batch is no longer this worker's.")
    changes: dict[str, Any] = {
        "heartbeat_at": None if command.release else command.at,
        "total": command.total,
        "completed": command.completed,
        "failed": command.failed,
    }
    new = command.status
    if batch.status == "cancelling" and new in OPEN_BATCH:
        new = "cancelling"
    if new != batch.status:
        changes |= {"status": new, f"{new}_at": command.at}
    if command.errors:
        changes["errors"] = to_json(command.errors)
    if command.usage is not None:
        changes["usage"] = to_json(command.usage)
    for name in ("output_file_id", "error_file_id", "model"):
        if getattr(command, name) is not None:
            changes[name] = getattr(command, name)
    return _update(connection, batch.id, **changes)


def cancel_batch(connection: sa.Connection, command: CancelBatch) -> Batch | None:
    batch = _row(connection, command.batch_id)
    if batch is None or batch.project != command.project:
        return None
    if batch.status == "cancelling":
        return batch
    if batch.status not in OPEN_BATCH or batch.status == "finalizing":
        raise Refused(f"Cannot cancel a batch with status '{batch.status}'.")
    return _update(connection, batch.id, status="cancelling", cancelling_at=command.at)


def _row(connection: sa.Connection, batch_id: str) -> Batch | None:
    row = connection.execute(sa.select(BATCHES).where(BATCHES.c.id == batch_id)).mappings().first()
    return batch_of(row) if row is not None else None


def _update(connection: sa.Connection, batch_id: str, **changes: Any) -> Batch:
    connection.execute(sa.update(BATCHES).where(BATCHES.c.id == batch_id).values(**storable(changes)))
    batch = _row(connection, batch_id)
    assert batch is not None
    if "status" in changes and batch.status not in OPEN_BATCH:
        at = getattr(batch, f"{batch.status}_at") or batch.created_at
        announce(connection, batch.project, f"batch.{batch.status}", batch.id, at)
    return batch
