"""Several choices of a model whose provider gives fewer at a time: asks side by side, put together as one answer.

Every ask is an attempt of its own, with its own place in the provider's lane; what they used is added up, so cost and
limits see what was really asked. One that fails is tried again alone (``gateway.stages.tries``); when it fails for
good the whole does: the others are hung up on, and those that had answered are counted as discarded.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from msgspec import structs

from gateway.context import Exchange
from gateway.protocol.answer import Chunk, ChunkStream, WholeAnswer
from gateway.protocol.chat import Usage, total_of, usage_to_wire
from optimizer.routing.plan import Candidate

Body = Mapping[str, Any]
Ask = Callable[[], Awaitable[WholeAnswer | ChunkStream]]
_WAITING = 256
"""Chunks that wait for a client before the providers are made to wait."""


def bodies(body: Body, n: int) -> list[Body]:
    """What each of the asks says. A ``seed`` that all had in common would make the choices alike."""
    one = {name: value for name, value in body.items() if name != "n"}
    seed = body.get("seed")
    return [one if at == 0 or not isinstance(seed, int) else {**one, "seed": seed + at} for at in range(n)]


async def whole(exchange: Exchange, candidate: Candidate, asks: Sequence[Ask]) -> WholeAnswer:
    """The choices of all asks as one answer. Raises what the first failing one raised."""
    tasks = [asyncio.ensure_future(ask()) for ask in asks]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
    finally:
        for task in tasks:
            task.cancel()
        found = await asyncio.gather(*tasks, return_exceptions=True)
        answers = [one for one in found if isinstance(one, WholeAnswer)]
        if len(answers) < len(tasks):
            used = (answer.usage for answer in answers)
            exchange.discarded.extend((candidate, usage) for usage in used if usage is not None)
    for one in found:
        if isinstance(one, BaseException) and not isinstance(one, asyncio.CancelledError):
            raise one
    return _merged(answers)


def _merged(answers: Sequence[WholeAnswer]) -> WholeAnswer:
    first = answers[0]
    usage = total_of(answer.usage for answer in answers)
    if usage is not None and any(answer.usage is None for answer in answers):
        usage = structs.replace(usage, estimated=True)
    choices = [{**answer.data["choices"][0], "index": at} for at, answer in enumerate(answers)]
    data = {**first.data, "choices": choices}
    if usage is not None:
        data["usage"] = usage_to_wire(usage)
    return WholeAnswer(data, first.text, first.finish_reason, usage)


class SideBySide:
    """The streams of all asks as one: every chunk as it comes, under its choice's index, and one usage at the end."""

    def __init__(self, exchange: Exchange, candidate: Candidate, asks: Sequence[Ask]) -> None:
        self._exchange, self._candidate = exchange, candidate
        self._here: asyncio.Queue[tuple[int, Chunk | BaseException | None]] = asyncio.Queue()
        self._room, self._ready = asyncio.Event(), asyncio.Event()
        self._room.set()
        self._waiting, self._open = len(asks), len(asks)
        self._problem: BaseException | None = None
        self._used: dict[int, Usage] = {}
        self._envelope: dict[str, Any] = {}
        self._over = False
        self._tasks = [asyncio.ensure_future(self._read(at, ask)) for at, ask in enumerate(asks)]

    async def begin(self) -> None:
        """Until each ask has its first chunk. Raises what the first failing one raised."""
        try:
            await self._ready.wait()
            if self._problem is not None:
                raise self._problem
        except BaseException:
            await self.aclose()
            raise

    async def _read(self, at: int, ask: Ask) -> None:
        """One ask from its first byte to its last. It is read on before the others are here: it may hold the place that
        they are waiting for."""
        stream: WholeAnswer | ChunkStream | None = None
        try:
            stream = await ask()
            assert not isinstance(stream, WholeAnswer)
            self._began()
            async for chunk in stream:
                if chunk.usage is not None:
                    self._used[at] = chunk.usage
                if self._ready.is_set():
                    await self._room.wait()
                self._here.put_nowait((at, chunk))
                if self._here.qsize() >= _WAITING:
                    self._room.clear()
            self._here.put_nowait((at, None))
        except asyncio.CancelledError:
            raise
        except BaseException as problem:
            self._problem = self._problem or problem
            self._ready.set()
            self._here.put_nowait((at, problem))
        finally:
            if stream is not None and not isinstance(stream, WholeAnswer):
                await stream.aclose()

    def _began(self) -> None:
        self._waiting -= 1
        if not self._waiting:
            self._ready.set()

    def __aiter__(self) -> SideBySide:
        return self

    async def __anext__(self) -> Chunk:
        while self._open:
            at, one = await self._here.get()
            if self._here.qsize() < _WAITING // 2:
                self._room.set()
            if isinstance(one, BaseException):
                await self.aclose()
                raise one
            if one is None:
                self._open -= 1
            elif (chunk := self._mine(at, one)) is not None:
                return chunk
        if self._over or not self._used:
            self._over = True
            raise StopAsyncIteration
        self._over = True
        usage = total_of(self._used.values())
        assert usage is not None
        return Chunk({**self._envelope, "choices": [], "usage": usage_to_wire(usage)}, usage=usage)

    def _mine(self, at: int, chunk: Chunk) -> Chunk | None:
        """The chunk as one of this answer's; None when it held nothing but usage."""
        data = chunk.data
        if not self._envelope:
            self._envelope = {name: value for name, value in data.items() if name not in ("choices", "usage")}
        choices = [{**one, "index": at} for one in data.get("choices") or () if isinstance(one, dict)]
        if not choices:
            return None
        made = {**self._envelope, "choices": choices}
        return Chunk(made, chunk.text if at == 0 else "", chunk.finish_reason if at == 0 else None)

    async def aclose(self) -> None:
        """Frees all upstreams. What was used and is not told any more is counted all the same."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if not self._over:
            self._over = True
            self._exchange.discarded.extend((self._candidate, one) for one in self._used.values())
        self._open, self._used = 0, {}


async def streamed(exchange: Exchange, candidate: Candidate, asks: Sequence[Ask]) -> SideBySide:
    """A stream that has begun in every choice. Raises AttemptFailed."""
    made = SideBySide(exchange, candidate, asks)
    await made.begin()
    return made
