"""What a gateway process shares with its like: nothing when it is alone, everything over Redis when it is not."""

from __future__ import annotations

from collections.abc import Mapping

from gateway.caching.commons import Searched
from gateway.caching.semantic import Semantic
from gateway.sharing.answers import RedisAnswers
from gateway.sharing.bus import ALONE, Bus
from gateway.sharing.commons import RedisCommons
from gateway.sharing.link import Link
from gateway.sharing.pgvector import pgvector_in
from gateway.sharing.redis_bus import RedisBus
from gateway.storage.answers import Answers, Clears, MemoryAnswers
from gateway.storage.counting.redis_client import patience_of
from gateway.storage.spooling.format import SpoolCipher


class Sharing:
    """``UNDERSTUDY_REDIS_URL`` in ``env`` makes every gateway of that Redis and spool key a worker among others.
    ``workers``: how many are behind this port, ``worker`` and ``group``: which one this is, and of whom."""

    def __init__(self, env: Mapping[str, str], cipher: SpoolCipher) -> None:
        url = env.get("UNDERSTUDY_REDIS_URL", "")
        self.workers = max(1, int(env.get("UNDERSTUDY_WORKERS") or 1)) if url else 1
        self.worker = env.get("UNDERSTUDY_WORKER", "")
        self.group = env.get("UNDERSTUDY_WORKERS_OF", "") if self.workers > 1 else ""
        self.bus: Bus = ALONE
        self.answers: Answers
        self.repeats: Answers
        """Answers by the ``Idempotency-Key`` of their requests: what caches hold takes no room from them."""
        self.commons: RedisCommons | None = None
        self.pgvector = pgvector_in(env, cipher)
        self._link: Link | None = None
        self._bus: RedisBus | None = None
        if url:
            self._link = Link(url, patience_s=patience_of(env))
            self.bus = self._bus = RedisBus(self._link, cipher)
            self.answers = RedisAnswers(self._link, cipher)
            self.repeats = RedisAnswers(self._link, cipher, "repeats")
            self.commons = RedisCommons(self._link, cipher)
        else:
            self.answers, self.repeats = MemoryAnswers(), MemoryAnswers()

    @property
    def kept(self) -> tuple[Clears, ...]:
        """All places where clients' answers are kept."""
        more = (self.commons.kept, self.commons.searched) if self.commons is not None else ()
        return (self.answers, self.repeats, *more, *((self.pgvector,) if self.pgvector is not None else ()))

    @property
    def searched(self) -> dict[str, Searched]:
        """Indexes that no worker holds, by the way of searching that policies name."""
        return {"pgvector": self.pgvector} if self.pgvector is not None else {}

    async def start(self, semantic: Semantic) -> None:
        if self._link is not None and self._bus is not None and self.commons is not None:
            await self._link.start()
            await self._bus.start()
            self.commons.follow(semantic)

    async def close(self) -> None:
        if self.pgvector is not None:
            await self.pgvector.close()
        if self._link is not None and self._bus is not None and self.commons is not None:
            await self.commons.close()
            await self._bus.close()
            await self._link.close()
