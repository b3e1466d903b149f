"""The semantic caches' commons over plain Redis, version 5 and later: no module, no index there (ARCHITECTURE.md).

Kept questions stand under their keys like exact answers do, sealed, expiring and bounded by bytes. One stream tells of
them and holds every label; each worker reads it to its end five times a second. A worker that comes takes in what is
kept, begins where another one has written down that a task stands, and reads on from there. Redis away means that
nothing is looked up, kept or learnt until it is back.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Callable
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from cryptography.exceptions import InvalidTag
from msgspec.structs import replace

from gateway.caching.commons import (
    Lesson,
    News,
    Passed,
    Proven,
    Told,
    encode,
    passed_in,
    proven_in,
    told_in,
)
from gateway.caching.entries import Purge
from gateway.caching.lessons import Place
from gateway.caching.semantic import Semantic
from gateway.sharing.answers import RedisAnswers
from gateway.sharing.link import Away, Link
from gateway.sharing.vectors import RedisVectors
from gateway.storage.spooling.format import SpoolCipher

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_EVERY_S = 0.2
_BATCH = 200
_AT_ONCE = 25
_LONGEST = 20_000
"""Of the log, in events of some 300 bytes."""
_PROVEN_S = 30 * 86_400.0
_PROVEN_BYTES = 32 * 1024 * 1024


class RedisCommons:
    """Implements gateway.caching.commons.Commons. ``clock`` in unix seconds."""

    def __init__(self, link: Link, cipher: SpoolCipher, clock: Callable[[], float] = time.time) -> None:
        self._link, self._cipher, self._clock = link, cipher, clock
        self.kept = RedisAnswers(link, cipher, "likened")
        self.searched = RedisVectors(link, cipher)
        self._proven = RedisAnswers(link, cipher, "proven")
        self._log = f"understudy:{{{cipher.key_id.hex()}:lessons}}"
        self._id = uuid.uuid4().hex
        self._at: Place = (0, 0)
        self._wanted = asyncio.Event()
        self._loaded = False
        self._task: asyncio.Task[None] | None = None

    # ------------------------------------------------------------------ Commons
    @property
    def me(self) -> str:
        return self._id

    def ready(self) -> bool:
        """The first question that asks has the rest loaded: most gateways have no semantic cache."""
        self._wanted.set()
        return self._loaded and not self._link.away

    def keep(self, passed: Passed) -> None:
        if passed.way == "redis":
            self.searched.keep(passed)
            return
        self.kept.put(
            passed.key, encode(passed), now=0.0, ttl=passed.ttl, max_bytes=passed.max_bytes
        )
        self._say(News(passed.key, passed.answer.kept_at))

    async def nearest(
        self, project: str, task: str, bucket: str, vector: NDArray[np.float32]
    ) -> Passed | None:
        found = await self.searched.nearest(project, task, bucket, vector)
        return found if found is not None and found.answer.kept_at + found.ttl > self._clock() else None

    def tell(self, lesson: Lesson) -> None:
        self._say(replace(lesson, sender=self._id))

    async def purge(self, which: Purge) -> int:
        def fits(key: str, raw: bytes) -> bool:
            passed = passed_in(raw)
            return passed is None or which.fits(passed.key, passed.answer)

        return await self.kept.purge(fits, which.entry) + await self.searched.purge(fits)

    def _say(self, told: Told) -> None:
        sealed = self._cipher.seal(encode(told))
        self._link.tell("XADD", self._log, "MAXLEN", "~", _LONGEST, "*", "e", sealed)

    # ------------------------------------------------------------------ following
    def follow(self, semantic: Semantic) -> None:
        self._task = asyncio.create_task(self._follow(semantic))

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _follow(self, semantic: Semantic) -> None:
        await self._wanted.wait()
        while True:
            try:
                if not self._loaded:
                    await self._load(semantic)
                while await self._read(semantic):
                    pass
                self._loaded = True
            except Away:
                pass
            await asyncio.sleep(_EVERY_S)

    async def _load(self, semantic: Semantic) -> None:
        """What others keep, oldest first, so that the newest stay where an index is full; then what they proved."""
        keys = await self.kept.keys()
        await self._take(semantic, keys)
        for raw in await self._proven.many(await self._proven.keys()):
            proven = proven_in(raw)
            if proven is not None:
                semantic.restore(proven)

    async def _take(self, semantic: Semantic, keys: list[str]) -> None:
        """Few at a time: others are served in between."""
        for at in range(0, len(keys), _AT_ONCE):
            for raw in await self.kept.many(keys[at : at + _AT_ONCE]):
                passed = passed_in(raw)
                if passed is not None:
                    semantic.take(passed, self._clock())

    async def _read(self, semantic: Semantic) -> bool:
        """The next events of the log. → whether there may be more."""
        since = f"{self._at[0]}-{self._at[1] + 1}"
        found = await self._link.ask("XRANGE", self._log, since, "+", "COUNT", _BATCH)
        told = [(_place(number), self._opened(fields)) for number, fields in found]
        lessons = [(place, one) for place, one in told if isinstance(one, Lesson)]
        news = [one for _, one in told if isinstance(one, News)]
        await self._take(semantic, [one.key for one in news if semantic.lacks(one.key, one.kept_at)])
        if lessons:
            for proven in await semantic.learned(lessons):
                self._write_down(proven)
        self._at = told[-1][0] if told else self._at
        return len(told) == _BATCH

    def _opened(self, fields: Any) -> Told | None:
        """None for what is not ours, or not of this version."""
        try:
            return told_in(self._cipher.open(fields[b"e"]))
        except (InvalidTag, ValueError, KeyError):
            return None

    def _write_down(self, proven: Proven) -> None:
        place = sha256(f"{proven.project}\0{proven.task}".encode()).hexdigest()
        self._proven.put(place, encode(proven), now=0.0, ttl=_PROVEN_S, max_bytes=_PROVEN_BYTES)
        self._link.tell("PEXPIRE", self._log, int(_PROVEN_S * 1000))


def _place(number: bytes) -> Place:
    milliseconds, _, nth = number.decode().partition("-")
    return int(milliseconds), int(nth)
