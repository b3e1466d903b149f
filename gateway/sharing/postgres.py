"""Questions to PostgreSQL that never hold up serving: a few connections of the event loop's own, and little patience.

After a failure PostgreSQL counts as away: questions are refused at once until a new connection in the background has
found everything in its place. Imported where a policy needs it, because the driver is an extra.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Mapping, Sequence
from typing import Any

import psycopg
from psycopg import sql, waiting
from psycopg.abc import PQGen
from psycopg.adapt import Dumper

from gateway.concurrency.patience import Patience
from gateway.sharing.link import Away
from gateway.storage.engine import normal_url

_log = logging.getLogger("understudy.sharing")
_LOOKING = 4
"""Connections for look-ups; one more keeps and forgets."""
_PROBE_S, _LONGEST_PAUSE_S = 0.25, 4.0
KEEPING_S = 5.0
"""The longest that keeping or forgetting may take. Nobody waits for it."""
_LOCK = 0x756E6472
_REFUSED = (
    psycopg.errors.FeatureNotSupported, psycopg.errors.UndefinedFile, psycopg.errors.InsufficientPrivilege,
)  # fmt: skip
Query = sql.SQL | sql.Composed
Dumpers = Mapping[type, type[Dumper]]


class HurriedConnection(psycopg.AsyncConnection[Any]):
    """Who gives up waiting for an answer gives up the connection with it: nothing waits for a cancellation."""

    async def wait(self, gen: PQGen[Any], interval: float = 0.1, timeout: float | None = None) -> Any:  # noqa: ASYNC109
        try:
            return await waiting.wait_async(gen, self.pgconn.socket, interval=interval, timeout=timeout)
        except asyncio.CancelledError:
            self.pgconn.finish()
            raise


class Database:
    """``patience_s``: how long a look-up may take. ``needs``: what is made when it connects, where it is not there;
    ``settings``: of its connections, as libpq's ``options`` has them; ``dumpers``: of values psycopg does not know."""

    def __init__(
        self, url: str, patience_s: float, needs: Sequence[Query], settings: str, dumpers: Dumpers
    ) -> None:
        self._url = normal_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
        self._patience, self._needs, self._settings, self._dumpers = patience_s, needs, settings, dumpers
        self._idle: asyncio.LifoQueue[HurriedConnection] = asyncio.LifoQueue()
        self._keeper: HurriedConnection | None = None
        self._all: list[HurriedConnection] = []
        self._made: set[str] = set()
        self._watching: asyncio.Task[None] | None = None
        self.away = True
        self.refused = False

    async def start(self) -> None:
        await self._probe()
        self._watching = asyncio.create_task(self._watch())

    async def close(self) -> None:
        if self._watching is not None:
            self._watching.cancel()
            await asyncio.gather(self._watching, return_exceptions=True)
        await self._drop()

    async def look(self, query: Query, values: Mapping[str, Any]) -> list[Any]:
        """The rows. Raises Away, at the latest when patience ends."""
        if self.away:
            raise Away
        looking = asyncio.ensure_future(self._look(query, values))
        looking.add_done_callback(_heard)
        return await asyncio.shield(looking)  # a client that leaves takes no connection along

    async def _look(self, query: Query, values: Mapping[str, Any]) -> list[Any]:
        try:
            async with Patience(self._patience):
                connection = await self._idle.get()
                try:
                    return await _rows(connection, query, values)
                finally:
                    if not connection.closed:
                        self._idle.put_nowait(connection)
        except (psycopg.Error, OSError, TimeoutError) as problem:
            self._lost(problem)
            raise Away from None

    async def do(self, query: Query, values: Mapping[str, Any]) -> list[Any]:
        """The rows of what keeps or forgets; one caller at a time. Raises Away."""
        if self.away or self._keeper is None:
            raise Away
        try:
            async with asyncio.timeout(KEEPING_S):
                return await _rows(self._keeper, query, values)
        except psycopg.DataError:
            raise Away from None  # this one does not fit, others do
        except (psycopg.Error, OSError, TimeoutError) as problem:
            self._lost(problem)
            raise Away from None

    async def once(self, name: str, statement: Query) -> None:
        """Makes something that is missing, once for each time that it connects. Raises Away."""
        if name not in self._made:
            await self._make([statement])
            self._made.add(name)

    async def _make(self, statements: Sequence[Query]) -> None:
        """Workers that start together make a thing once."""
        if self._keeper is None:
            raise Away
        try:
            async with asyncio.timeout(KEEPING_S), self._keeper.transaction():
                await self._keeper.execute(sql.SQL("SELECT pg_advisory_xact_lock({})").format(sql.Literal(_LOCK)))
                for statement in statements:
                    await self._keeper.execute(statement)
        except (psycopg.Error, OSError, TimeoutError) as problem:
            self._lost(problem)
            raise Away from problem

    async def _watch(self) -> None:
        pause = _PROBE_S
        while True:
            await asyncio.sleep(pause)
            if self.away:
                await self._probe()
            pause = min(2 * pause, _LONGEST_PAUSE_S) if self.away else _PROBE_S

    async def _probe(self) -> None:
        """Connects anew, everything."""
        await self._drop()
        self._made.clear()
        try:
            async with asyncio.timeout(KEEPING_S):
                self._keeper = await self._connected(KEEPING_S)
                await self._make(self._needs)
                for _ in range(_LOOKING):
                    self._idle.put_nowait(await self._connected(max(1.0, 2 * self._patience)))
        except (Away, psycopg.Error, OSError, TimeoutError) as problem:
            self._lost(problem)
            self.refused = isinstance(problem.__cause__, _REFUSED)
        else:
            self.away = self.refused = False

    async def _connected(self, statement_s: float) -> HurriedConnection:
        options = f"-c statement_timeout={round(statement_s * 1000)} {self._settings}"
        connection = await HurriedConnection.connect(
            self._url, autocommit=True, connect_timeout=3, options=options, prepare_threshold=0
        )
        for of, dumper in self._dumpers.items():
            connection.adapters.register_dumper(of, dumper)
        self._all.append(connection)
        return connection

    def _lost(self, problem: BaseException) -> None:
        if not self.away:
            _log.warning("PostgreSQL is away (%s): no question is looked up there", type(problem).__name__)
        self.away = True

    async def _drop(self) -> None:
        while not self._idle.empty():
            self._idle.get_nowait()
        gone, self._all, self._keeper = self._all, [], None
        for connection in gone:
            with contextlib.suppress(psycopg.Error, OSError):
                await connection.close()


def _heard(done: asyncio.Future[list[Any]]) -> None:
    """Who asked may have gone."""
    if not done.cancelled():
        done.exception()


async def _rows(connection: HurriedConnection, query: Query, values: Mapping[str, Any]) -> list[Any]:
    cursor = await connection.execute(query, values, binary=True)
    return await cursor.fetchall() if cursor.description is not None else []
