"""Connections to PostgreSQL that do not wait for ever. A server that stands still, or a network that swallows what is
sent, keeps no timeout of its own; here the client gives up, and the pool makes a new connection."""

from __future__ import annotations

import time
from collections.abc import Generator
from typing import Any

import psycopg
import sqlalchemy as sa
from sqlalchemy import event

SLACK_S = 2.0
"""Beyond what a statement may take on the server: its own answer that time is up comes first."""

_LOOK_S = 0.1
"""How often a wait looks up, as psycopg's own does: Ctrl-C would not be noticed otherwise."""


class PatientConnection(psycopg.Connection[Any]):
    """``patience``: the most seconds that one answer is waited for."""

    patience = 60.0

    def wait(self, gen: Generator[Any, Any, Any], interval: float = _LOOK_S, timeout: float | None = None) -> Any:
        """As psycopg's. Raises OperationalError, with the connection closed, when nothing has come."""
        began, least = time.monotonic(), self.patience if timeout is None else timeout
        try:
            return super().wait(gen, interval, least)
        except psycopg.OperationalError:
            if timeout is None and time.monotonic() - began >= least:
                self.pgconn.finish()  # an answer that came now would be taken for the next one's
                raise psycopg.OperationalError("the database has not answered") from None
            raise


def bounded(engine: sa.Engine, statement_s: float) -> sa.Engine:
    """``engine`` with connections that wait for ``statement_s`` and a little, unless :func:`lengthen` was called. One
    that comes back after the engine was disposed of is closed."""

    @event.listens_for(engine, "do_connect")
    def connect(dialect: Any, record: Any, args: list[Any], settings: dict[str, Any]) -> PatientConnection:
        return PatientConnection.connect(*args, **settings)

    @event.listens_for(engine, "connect")
    @event.listens_for(engine, "checkin")
    def usual(connection: Any, record: Any) -> None:
        if connection is not None:
            connection.patience = statement_s + SLACK_S

    disposed: list[sa.Engine] = []
    event.listen(engine, "engine_disposed", disposed.append)

    @event.listens_for(engine, "checkin")
    def late(connection: Any, record: Any) -> None:
        if connection is not None and disposed:  # a thread was still asking: nobody would close it any more
            connection.close()

    return engine


def lengthen(connection: sa.Connection, statement_s: float) -> None:
    """Until the connection goes back to its pool."""
    found: Any = connection.connection.dbapi_connection
    if isinstance(found, PatientConnection):
        found.patience = max(found.patience, statement_s + SLACK_S)
