"""What webhooks are told: written with the change it tells of, so that neither a crash nor a deaf endpoint loses it."""

from __future__ import annotations

import hashlib

import msgspec
import sqlalchemy as sa

from gateway.storage.data_values import AddEvent, ClaimEvent, Event, SettleEvent
from gateway.storage.rows import storable, to_json
from gateway.storage.tables.data import EVENTS

KEPT_S = 3 * 86_400.0
"""For this long an event is offered to an endpoint that does not take it."""


def event_id(type: str, subject: str, once: str = "") -> str:
    """The same for the same thing, however often it is announced: receivers tell repetitions by it. ``once`` tells
    apart what happens to one subject several times."""
    name = f"{type}/{subject}/{once}" if once else f"{type}/{subject}"
    return "evt_" + hashlib.sha256(name.encode()).hexdigest()[:32]


def announce(
    connection: sa.Connection, project: str, type: str, subject: str, at: float, once: str = ""
) -> None:
    """Queues an event, once, and forgets those that nobody took in time."""
    connection.execute(sa.delete(EVENTS).where(EVENTS.c.at < at - KEPT_S))
    name = event_id(type, subject, once)
    if connection.execute(sa.select(EVENTS.c.id).where(EVENTS.c.id == name)).first() is not None:
        return
    row = {"id": name, "project": project, "type": type, "subject": subject, "at": at}
    connection.execute(sa.insert(EVENTS).values(**storable(row | {"tries": 0, "next_at": at, "done": "[]"})))


def add_event(connection: sa.Connection, command: AddEvent) -> None:
    announce(connection, command.project, command.kind, command.subject, command.at, command.once)


def claim_event(connection: sa.Connection, command: ClaimEvent) -> Event | None:
    due = sa.and_(EVENTS.c.next_at <= command.at, EVENTS.c.at >= command.at - KEPT_S)
    query = sa.select(EVENTS).where(due).order_by(EVENTS.c.next_at, EVENTS.c.id).limit(1)
    row = connection.execute(query).mappings().first()
    if row is None:
        return None
    changes = {"tries": row["tries"] + 1, "next_at": command.at + command.lease_s}
    connection.execute(sa.update(EVENTS).where(EVENTS.c.id == row["id"]).values(**changes))
    done = msgspec.json.decode(row["done"], type=tuple[str, ...])
    return Event(
        id=row["id"], project=row["project"], type=row["type"], subject=row["subject"], at=row["at"],
        tries=row["tries"] + 1, done=done,
    )  # fmt: skip


def settle_event(connection: sa.Connection, command: SettleEvent) -> None:
    mine = EVENTS.c.id == command.event_id
    if command.next_at is None:
        connection.execute(sa.delete(EVENTS).where(mine))
        return
    values = {"done": to_json(command.done), "next_at": command.next_at}
    connection.execute(sa.update(EVENTS).where(mine).values(**values))
