"""Answers that a provider's content filter stopped before they said anything, where the policies ask another then.

A whole answer can always be given up. A stream is held back until its first words are here, and passed on from then on
whatever becomes of it: what a client has read is not taken back.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, Final

from gateway import errors
from gateway.context import Exchange
from gateway.protocol.answer import Answer, Chunk, ChunkStream, WholeAnswer, arrived_of
from gateway.providers.codec import AttemptFailed, failed
from gateway.stages.tries import spoiled
from optimizer.routing.plan import Candidate

_STOPPED: Final = "content_filter"
_SILENT = frozenset({"role", "refusal"})
"""What of a delta says nothing of the answer: why it was stopped may stand before the end that tells so."""


async def unfiltered(exchange: Exchange, candidate: Candidate, answer: Answer) -> Answer:
    """``answer``, unless the filter stopped all of it. Raises AttemptFailed; what was used is counted then."""
    if isinstance(answer, WholeAnswer):
        reasons = [one.get("finish_reason") for one in _choices(answer.data)]
        if set(reasons) != {_STOPPED}:
            return answer
        raise _given_up(exchange, candidate, answer)
    try:
        return await _begun(exchange, candidate, answer)
    except AttemptFailed as problem:
        if problem.failure.kind != _STOPPED:
            spoiled(exchange, candidate, "timeout" if problem.failure.kind == "timeout" else "failed")
        await answer.aclose()
        raise
    except BaseException:
        await answer.aclose()
        raise


async def _begun(exchange: Exchange, candidate: Candidate, stream: ChunkStream) -> Answer:
    """The stream with what had to be read of it to know that it says something, or that it ends otherwise."""
    head: list[Chunk] = []
    chunks, ends = aiter(stream), set[str]()
    async for chunk in chunks:
        head.append(chunk)
        ends |= {one["finish_reason"] for one in _choices(chunk.data) if one.get("finish_reason")}
        if chunk.text or ends - {_STOPPED} or any(_says(one) for one in _choices(chunk.data)):
            return _Begun(head, stream, chunks)
    if ends:
        raise _given_up(exchange, candidate, *head)
    return _Begun(head, stream, chunks)


def _choices(data: dict[str, Any]) -> list[dict[str, Any]]:
    return [one for one in data.get("choices") or () if isinstance(one, dict)]


def _says(choice: dict[str, Any]) -> bool:
    delta = choice.get("delta")
    return isinstance(delta, dict) and any(value and name not in _SILENT for name, value in delta.items())


def _given_up(exchange: Exchange, candidate: Candidate, *parts: Chunk | WholeAnswer) -> AttemptFailed:
    exchange.discarded.extend((candidate, one.usage) for one in parts if one.usage is not None)
    spoiled(exchange, candidate, "refused")
    return failed(_STOPPED, errors.UpstreamFailed("The provider's content filter stopped it."))


class _Begun:
    """A stream of which the first chunks were read already."""

    def __init__(self, head: list[Chunk], inner: ChunkStream, chunks: AsyncIterator[Chunk]) -> None:
        self._head, self._inner, self._chunks = head, inner, chunks
        self._behind = arrived_of(inner)

    def __aiter__(self) -> _Begun:
        return self

    async def __anext__(self) -> Chunk:
        return self._head.pop(0) if self._head else await anext(self._chunks)

    def arrived(self) -> list[Chunk]:
        head, self._head = self._head, []
        return head + self._behind()

    async def aclose(self) -> None:
        self._head = []
        await self._inner.aclose()
