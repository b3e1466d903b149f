"""Answers inside the gateway: whole or in chunks, always in OpenAI's shape."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any, Protocol

import msgspec
from msgspec import Struct

from gateway.protocol.chat import Usage


class Pattern(Struct, frozen=True, eq=False):
    """What the plain chunks of one stream have in common: ``data`` is one of them, and all are alike but for the text
    they add to the first choice. Known by identity."""

    data: dict[str, Any]


class Chunk(Struct, frozen=True, gc=False):
    """One piece of a streamed answer: the JSON that goes out, and what stages look at.

    ``pattern`` is there when the chunk does nothing but add ``text``, in the way of its fellows; ``literals`` are the
    pieces of that text as the provider wrote them, JSON strings in their quotes. There are several where chunks that
    are alike arrived together: ``data`` adds the text of all of them at once. Such a chunk need have no JSON of its
    ``own``: most of them pass without anybody asking for it. ``begun``, of the first one: what the provider has counted
    before it answers, where it tells.
    """

    own: dict[str, Any] | None
    text: str = ""
    finish_reason: str | None = None
    usage: Usage | None = None
    pattern: Pattern | None = None
    literals: tuple[bytes, ...] = ()
    begun: Usage | None = None

    @property
    def data(self) -> dict[str, Any]:
        """The JSON that goes out, made anew each time where it is not its own."""
        if self.own is not None:
            return self.own
        assert self.pattern is not None
        choice = {**self.pattern.data["choices"][0], "delta": {"content": self.text}}
        return {**self.pattern.data, "choices": [choice]}


def parted(chunk: Chunk) -> tuple[Chunk, Chunk]:
    """A chunk of several literals as its first piece and all that is behind it."""
    assert chunk.pattern is not None
    first = msgspec.json.decode(chunk.literals[0], type=str)
    pieces = (first, chunk.literals[:1]), (chunk.text[len(first) :], chunk.literals[1:])
    head, rest = (plain_chunk(chunk.pattern, text, literals) for text, literals in pieces)
    return head, rest


def plain_chunk(pattern: Pattern, text: str, literals: tuple[bytes, ...]) -> Chunk:
    """One that adds ``text``, which ``literals`` write."""
    return Chunk(None, text, None, None, pattern, literals)


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


Arrived = Callable[[], list[Chunk]]
"""Takes the chunks behind the last one that can be had without waiting; those that are alike may be one."""


def arrived_of(stream: object) -> Arrived:
    """What ``stream`` has of that. Streams that look at every chunk by itself have no ``arrived`` and give none."""
    take: Arrived = getattr(stream, "arrived", list)
    return take


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
