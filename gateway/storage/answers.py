"""Where cached answers are kept. ``MemoryAnswers`` is the backend of a single process; several share Redis
(``gateway.sharing.answers``)."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from typing import Protocol

Fits = Callable[[str, bytes], bool]
"""Whether an answer, by its key and bytes, is to be forgotten."""

_SLICE = 500
OVERHEAD = 256  # bytes an entry costs beside its answer, roughly


class Clears(Protocol):
    def clear(self) -> None:
        """Forgets every answer."""


class Answers(Clears, Protocol):
    """Answers by key. A backend that fails answers None: a cache may always be missing."""

    async def get(self, key: str, now: float) -> bytes | None: ...

    def put(self, key: str, answer: bytes, *, now: float, ttl: float, max_bytes: int) -> None:
        """Keeps ``answer`` for ``ttl`` seconds of the caller's clock within ``max_bytes`` altogether."""

    async def claim(self, key: str, ttl: float) -> bool:
        """Whether this process may ask for the answer. False: another one does, for ``ttl`` seconds at most."""

    def hold(self, key: str, ttl: float) -> None:
        """A claim of this process goes on for ``ttl`` more seconds."""

    def release(self, key: str) -> None:
        """A claim of this process is over, however it ended."""

    async def purge(self, fits: Fits, key: str = "") -> int:
        """Forgets what ``fits``; with ``key`` only the answer under it is looked at. Returns how many."""

    def stats(self) -> dict[str, int]:
        """``entries`` and the ``bytes`` they cost, roughly, as far as this process knows."""


class MemoryAnswers:
    """Least recently used first out; bounded by bytes, not by count."""

    def __init__(self) -> None:
        self._entries: OrderedDict[str, tuple[float, bytes]] = OrderedDict()
        self.bytes = 0

    async def get(self, key: str, now: float) -> bytes | None:
        found = self._entries.get(key)
        if found is None:
            return None
        expires, answer = found
        if now >= expires:
            self._drop(key)
            return None
        self._entries.move_to_end(key)
        return answer

    def put(self, key: str, answer: bytes, *, now: float, ttl: float, max_bytes: int) -> None:
        self._drop(key)
        size = len(answer) + OVERHEAD
        if size > max_bytes:
            return
        while self._entries and self.bytes + size > max_bytes:
            self._drop(next(iter(self._entries)))
        self._entries[key] = (now + ttl, answer)
        self.bytes += size

    async def claim(self, key: str, ttl: float) -> bool:
        return True

    def hold(self, key: str, ttl: float) -> None:
        """Nobody else waits."""

    def release(self, key: str) -> None:
        """Nobody else waits."""

    def clear(self) -> None:
        self._entries.clear()
        self.bytes = 0

    async def purge(self, fits: Fits, key: str = "") -> int:
        keys, gone = [key] if key else list(self._entries), 0
        for at, one in enumerate(keys):
            found = self._entries.get(one)
            if found is not None and fits(one, found[1]):
                self._drop(one)
                gone += 1
            if at % _SLICE == _SLICE - 1:
                await asyncio.sleep(0)  # others are served in between
        return gone

    def stats(self) -> dict[str, int]:
        return {"entries": len(self._entries), "bytes": self.bytes}

    def __len__(self) -> int:
        return len(self._entries)

    def _drop(self, key: str) -> None:
        gone = self._entries.pop(key, None)
        if gone is not None:
            self.bytes -= len(gone[1]) + OVERHEAD
