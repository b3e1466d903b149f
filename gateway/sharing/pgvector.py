"""Kept questions that are searched in PostgreSQL, with its extension pgvector (``index: pgvector``).

Like those in Redis (``gateway.sharing.vectors``): sealed under a place that names project, task and bucket, searched by
a vector that the spool's key has turned, judged by the one that is sealed. A look-up waits for a tenth of a second at
most; what is to be kept waits in a short queue, and what finds no room there is not kept. The table is unlogged: it is
empty after a crash of the database, and writing it costs no log.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Mapping
from hashlib import sha256
from typing import TYPE_CHECKING

from cryptography.exceptions import InvalidTag

from gateway.caching.commons import Passed, encode, passed_in
from gateway.caching.entries import Purge
from gateway.sharing.link import Away
from gateway.sharing.vectors import Turned
from gateway.storage.answers import OVERHEAD
from gateway.storage.counting.redis_client import patience_of
from gateway.storage.spooling.format import SpoolCipher

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from gateway.sharing.pgvector_table import Place, Table

_log = logging.getLogger("understudy.sharing")
TIMEOUT = "UNDERSTUDY_PGVECTOR_TIMEOUT_MS"
_PATIENCE_S = 0.1
_LONGEST = 2000
"""Values of a vector that can be indexed there."""
_AT_ONCE = 8
"""Questions of one worker that wait to be kept: a flood of new ones is PostgreSQL's only as fast as it keeps them."""
_SWEEP_EVERY = 100
_SWEEP_S = 5.0
_BATCH = 200
_MISSING = (
    "tasks with 'index: pgvector' reuse nothing: this PostgreSQL has no extension 'vector', or its user may make"
    " neither the extension nor a table. Its administrator says 'CREATE EXTENSION vector' in the database."
)
_TOO_LONG = "tasks with 'index: pgvector' reuse nothing of encoders with more than %d values"


class PgVectors:
    """Bounded in questions for each task and in bytes for all workers together, give or take what came since the last
    sweep (a hundred questions of each worker, or five seconds); what would expire first goes first."""

    def __init__(
        self, url: str, cipher: SpoolCipher, patience_s: float, clock: Callable[[], float] = time.time
    ) -> None:
        self._url, self._cipher, self._patience, self._clock = url, cipher, patience_s, clock
        self._turned = Turned(cipher.derived(b"vectors of the semantic cache"))
        self._table: Table | None = None
        self._work: asyncio.Task[None] | None = None
        self._wanted: asyncio.Queue[Passed | None] = asyncio.Queue(_AT_ONCE)
        self._cleared = False
        self._swept, self._since = 0.0, 0
        self._told: set[str] = set()

    # ------------------------------------------------------------------ Searched
    async def nearest(self, project: str, task: str, bucket: str, vector: NDArray[np.float32]) -> Passed | None:
        """The likest question of this bucket, or one of the likest; None: there is none, or PostgreSQL is away."""
        table = self._ready()
        if table is None or self._cleared or self._too_long(len(vector)):
            return None
        of = _places(project, task, bucket)
        try:
            found = await table.nearest(*of, self._turned.bytes_of(vector))
        except Away:
            return None
        passed = self._opened((*of, found[0]), found[1]) if found is not None else None
        # The place names all three already: what is sealed under it is looked at as well.
        if passed is None or (passed.project, passed.task, passed.bucket) != (project, task, bucket):
            return None
        return passed if passed.answer.kept_at + passed.ttl > self._clock() else None

    def keep(self, passed: Passed) -> None:
        """Keeps a question with its vector, unless there is enough to do with those before it."""
        if self._ready() is not None and not self._too_long(len(passed.vector) // 4):
            with contextlib.suppress(asyncio.QueueFull):
                self._wanted.put_nowait(passed)

    async def purge(self, which: Purge) -> int:
        """What cannot be opened is forgotten, too. An outage ends it early: what is left expires by itself."""
        table, gone, after = self._ready(), 0, (b"", b"", "")
        with contextlib.suppress(Away):
            while table is not None and (page := await table.page(after, which.entry, _BATCH)):
                for place, sealed in page:
                    passed = self._opened(place, sealed)
                    if passed is None or which.fits(passed.key, passed.answer):
                        gone += await table.forget(place)
                after = page[-1][0]
        return gone

    def clear(self) -> None:
        """Forgets every question, once PostgreSQL is there to do so; until then none is found."""
        self._cleared = True
        self._ready()
        with contextlib.suppress(asyncio.QueueFull):
            self._wanted.put_nowait(None)

    # ------------------------------------------------------------------ beside the calls
    async def close(self) -> None:
        if self._work is not None:
            self._work.cancel()
            await asyncio.gather(self._work, return_exceptions=True)
        if self._table is not None:
            await self._table.database.close()

    async def settled(self) -> None:
        """Waits until what was to be kept is."""
        await self._wanted.join()

    def _ready(self) -> Table | None:
        """The first question that asks has the driver loaded and connections made: most gateways have no such task."""
        if self._work is None:
            self._work = asyncio.get_running_loop().create_task(self._keep_all())
        return self._table if self._table is not None and not self._table.database.away else None

    def _too_long(self, values: int) -> bool:
        if values > _LONGEST:
            self._tell(_TOO_LONG % _LONGEST)
        return values > _LONGEST

    async def _keep_all(self) -> None:
        self._table = table = await self._opened_table()
        await table.database.start()
        while True:
            await self._tidy(table)
            with contextlib.suppress(TimeoutError):
                passed = await asyncio.wait_for(self._wanted.get(), _SWEEP_S)
                try:
                    if passed is not None:
                        await self._keep(table, passed)
                except Away:
                    pass
                finally:
                    self._wanted.task_done()

    async def _opened_table(self) -> Table:
        """The driver takes a tenth of a second to load."""

        def load() -> type[Table]:
            from gateway.sharing.pgvector_table import Table

            return Table

        made = await asyncio.to_thread(load)
        return made(self._url, self._patience, self._cipher.key_id)

    async def _keep(self, table: Table, passed: Passed) -> None:
        import numpy as np

        place = (*_places(passed.project, passed.task, passed.bucket), passed.key)
        sealed = self._cipher.seal(_name(place) + encode(passed))
        size = OVERHEAD + len(sealed) + 2 * len(passed.vector)
        turned = self._turned.bytes_of(np.frombuffer(passed.vector, dtype=np.float32))
        if size <= passed.max_bytes:
            await table.keep(place, sealed, turned, (size, passed.max_entries, passed.max_bytes, passed.ttl))
            self._since += 1

    async def _tidy(self, table: Table) -> None:
        """Between two questions: what is to be forgotten goes first."""
        due = self._since >= _SWEEP_EVERY or (self._since and time.monotonic() - self._swept > _SWEEP_S)
        if table.database.refused:
            self._tell(_MISSING)
        with contextlib.suppress(Away):
            if self._cleared:
                await table.clear()
                self._cleared = False
            if due:
                self._since, self._swept = 0, time.monotonic()
                await table.sweep()

    def _opened(self, place: Place, sealed: bytes) -> Passed | None:
        try:
            opened = self._cipher.open(sealed)
        except (InvalidTag, ValueError):
            return None
        name = _name(place)
        return passed_in(opened[len(name) :]) if opened.startswith(name) else None

    def _tell(self, what: str) -> None:
        if what not in self._told:
            self._told.add(what)
            _log.error("%s", what)


def _places(project: str, task: str, bucket: str) -> tuple[bytes, bytes]:
    return sha256(f"{project}\0{task}".encode()).digest(), sha256(bucket.encode()).digest()


def _name(place: Place) -> bytes:
    return place[0] + place[1] + place[2].encode() + b"\0"


def pgvector_in(env: Mapping[str, str], cipher: SpoolCipher) -> PgVectors | None:
    """Where the database is PostgreSQL. Raises WrongTimeout for what cannot be its patience."""
    url = env.get("UNDERSTUDY_DATABASE_URL", "")
    if not url.startswith("postgres"):
        return None
    return PgVectors(url, cipher, patience_of(env, TIMEOUT, _PATIENCE_S))
