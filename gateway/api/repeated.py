"""The client's end of a call that came with an ``Idempotency-Key``: an answer that is written is also remembered."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from gateway.api.line import Line
from gateway.caching.repeats import Asking, Told
from gateway.live import Live

REPEATED = {"idempotent-replayed": "true"}


async def first_or_repeated(live: Live, line: Line, path: str, body: bytes) -> Line | None:
    """The line on which a request with the header is to be answered; None when it has been, in the bytes of before.
    Raises what ``Repeats.begin`` does."""
    if live.repeats is None:
        return line
    found = await live.repeats.begin(line.headers, (path, body), live.runtime().config.idempotency)
    if isinstance(found, Told):
        await repeat(line, found)
        return None
    return line if found is None else Remembering(line, found)


async def repeat(line: Line, told: Told) -> None:
    """Writes an answer again, in the same bytes."""
    headers = told.headers | REPEATED
    if not told.streamed:
        await line.whole(200, headers, told.body)
        return
    await line.begin(headers)
    await line.more(told.body)
    await line.end(b"")


class Remembering:
    """A line on which the first request under a key is answered."""

    def __init__(self, line: Line, asking: Asking) -> None:
        self.headers: Mapping[str, str] = line.headers
        self._line, self._asking = line, asking
        self._status, self._head = 200, dict[str, str]()
        self._parts: list[bytes] = []
        self._size, self._streamed = 0, False

    @property
    def gone(self) -> bool:
        return self._line.gone

    @property
    def address(self) -> str:
        return self._line.address

    async def read(self, *, limit: int, idle: float) -> bytes:
        return await self._line.read(limit=limit, idle=idle)

    def watch(self, call: asyncio.Task[Any]) -> None:
        self._line.watch(call)

    def leave(self) -> None:
        self._asking.land()
        self._line.leave()

    async def whole(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        self._status, self._head = status, dict(headers)
        self._note(body)
        await self._line.whole(status, headers, body)

    async def begin(self, headers: Mapping[str, str]) -> None:
        self._head, self._streamed = dict(headers), True
        await self._line.begin(headers)

    async def more(self, data: bytes) -> None:
        self._note(data)
        await self._line.more(data)

    async def end(self, data: bytes) -> None:
        self._note(data)
        await self._line.end(data)

    def keep(self) -> None:
        """The answer was a good one, to its end."""
        if self._status == 200 and self._size <= self._asking.most_bytes:
            self._asking.keep(self._head, b"".join(self._parts), streamed=self._streamed)

    def _note(self, data: bytes) -> None:
        self._size += len(data)
        if self._size <= self._asking.most_bytes:
            self._parts.append(data)
        else:
            self._parts.clear()
