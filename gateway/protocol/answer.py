"""Answers inside the gateway: whole or in chunks, always in OpenAI's shape."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, Protocol

from msgspec import Struct

from gateway.protocol.chat import Usage


class Chunk(Struct, frozen=True):
    """One piece of a streamed answer: the JSON that goes out, and what stages look at."""

    data: dict[str, Any]
    text: str = ""
    finish_reason: str | None = None
    usage: Usage | None = None


class WholeAnswer(Struct, frozen=True):
    """A complete chat completion in OpenAI's shape."""

    data: dict[str, Any]
    text: str
    finish_reason: str | None
    usage: Usage | None


class ChunkStream(Protocol):
    """A streamed answer. ``aclose`` is idempotent, safe before the first chunk, and frees the upstream."""

    def __aiter__(self) -> AsyncIterator[Chunk]: ...
    async def aclose(self) -> None: ...


Answer = WholeAnswer | ChunkStream


class ReadyStream:
    """A stream made of chunks that are already here: a student's answer, a replayed cache entry."""

    def __init__(self, chunks: list[Chunk]) -> None:
        self._chunks = iter(chunks)

    def __aiter__(self) -> ReadyStream:
        return self

    async def __anext__(self) -> Chunk:
        for chunk in self._chunks:
            return chunk
        raise StopAsyncIteration

    async def aclose(self) -> None:
        self._chunks = iter(())
