"""The client's end of one call, as the ingress sees it.

:class:`AsgiLine` speaks to any ASGI server. ``gateway.resilience.lane_cycle`` has the other one, which stands directly
on the connection and does the same with fewer steps.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, Protocol

from litestar.types import Receive, Scope, Send

from gateway.access.refusals import address_of
from gateway.api.http import headers_of, read_body

_WATCH_AFTER_S = 0.02


class Line(Protocol):
    """``headers`` by lower-case name. Header values that are written must be Latin-1 and hold no line break."""

    headers: Mapping[str, str]

    @property
    def gone(self) -> bool:
        """Whether the client left while it was watched."""

    @property
    def address(self) -> str:
        """Whose connection this is."""

    async def read(self, *, limit: int, idle: float) -> bytes:
        """The request's body, as ``gateway.api.http.read_body``."""

    def watch(self, call: asyncio.Task[Any]) -> None:
        """From now on a client that leaves cancels ``call``; once is enough. The body must have been read."""

    def leave(self) -> None:
        """The call is over: nobody is watched any more."""

    async def whole(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        """A complete answer."""

    async def begin(self, headers: Mapping[str, str]) -> None:
        """The head of a streamed answer; it may wait for the first bytes."""

    async def more(self, data: bytes) -> None: ...

    async def end(self, data: bytes) -> None:
        """The last bytes, possibly none."""


class AsgiLine:
    """A line over the three things an ASGI server gives."""

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._scope, self._receive, self._send = scope, receive, send
        self.headers: Mapping[str, str] = headers_of(scope)
        self._watch: Watch | None = None

    @property
    def gone(self) -> bool:
        return self._watch is not None and self._watch.noticed

    @property
    def address(self) -> str:
        return address_of(self._scope)

    async def read(self, *, limit: int, idle: float) -> bytes:
        return await read_body(self._scope, self._receive, limit=limit, idle=idle)

    def watch(self, call: asyncio.Task[Any]) -> None:
        if self._watch is None:
            self._watch = Watch(self._receive, call)

    def leave(self) -> None:
        if self._watch is not None:
            self._watch.stop()

    async def whole(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        await self._start(status, {**headers, "content-length": str(len(body))})
        await self.end(body)

    async def begin(self, headers: Mapping[str, str]) -> None:
        await self._start(200, headers)

    async def more(self, data: bytes) -> None:
        await self._send({"type": "http.response.body", "body": data, "more_body": True})

    async def end(self, data: bytes) -> None:
        await self._send({"type": "http.response.body", "body": data, "more_body": False})

    async def _start(self, status: int, headers: Mapping[str, str]) -> None:
        pairs = [
            (name.encode("latin-1"), value.encode("latin-1", "replace")) for name, value in headers.items()
        ]
        await self._send({"type": "http.response.start", "status": status, "headers": pairs})


class Watch:
    """Cancels a call whose client leaves. It begins a moment late: most calls are over before it would matter,
    and a task for each of them would cost more than everything else the ingress does."""

    def __init__(self, receive: Receive, call: asyncio.Task[Any]) -> None:
        self._receive, self._call = receive, call
        self._task: asyncio.Task[None] | None = None
        self._timer = asyncio.get_running_loop().call_later(_WATCH_AFTER_S, self._begin)

    @property
    def noticed(self) -> bool:
        """Whether the client has left."""
        return self._task is not None and self._task.done()

    def stop(self) -> None:
        self._timer.cancel()
        if self._task is not None:
            self._task.cancel()

    def _begin(self) -> None:
        self._task = asyncio.create_task(_cancel_on_disconnect(self._receive, self._call))


async def _cancel_on_disconnect(receive: Receive, call: asyncio.Task[Any]) -> None:
    """A client that leaves frees the upstream at once, also before the first byte."""
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            call.cancel()
            return
