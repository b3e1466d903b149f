"""A stream whose chunks leave when they may: what all streams behind guardrails have in common."""

from __future__ import annotations

from collections import deque
from typing import Self

from gateway.context import Chunk, ChunkStream


class QueuedStream:
    """Chunks of ``inner`` go to ``_take``, and what it puts into ``_ready`` leaves. Whatever it raises is the end."""

    def __init__(self, inner: ChunkStream) -> None:
        self._inner, self._chunks = inner, aiter(inner)
        self._ready: deque[Chunk] = deque()
        self._ended = False

    async def _take(self, chunk: Chunk | None) -> None:
        """``chunk`` None: the end of the stream. Here everything leaves at once."""
        if chunk is not None:
            self._ready.append(chunk)

    async def push(self, chunk: Chunk | None) -> list[Chunk]:
        """What leaves once ``chunk`` is here, for whoever is handed chunks and has no stream of them to read."""
        await self._take(chunk)
        chunks = list(self._ready)
        self._ready.clear()
        return chunks

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Chunk:
        while not self._ready:
            if self._ended:
                raise StopAsyncIteration
            try:
                chunk: Chunk | None = await anext(self._chunks)
            except StopAsyncIteration:
                chunk, self._ended = None, True
            try:
                await self._take(chunk)
            except Exception:
                self._ended = True
                raise
        return self._ready.popleft()

    async def aclose(self) -> None:
        self._ended = True
        self._ready.clear()
        await self._inner.aclose()
