"""One request of the fast lane, straight on its connection: what ``gateway.api.line.Line`` asks for, without the
messages, tasks and per-header checks that general ASGI needs (docs/experiments.md says what those cost).

The server's protocol (``gateway.resilience.connections``) treats it like uvicorn's own ``RequestResponseCycle``: it
fills ``body``, sets ``more_body``, ``disconnected`` and ``keep_alive``, and calls ``message_event.set()``.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, MutableSet
from http import HTTPStatus
from typing import Any

from uvicorn.protocols.http.flow_control import FlowControl

from gateway.access.refusals import address_of
from gateway.api.http import read_body
from gateway.protocol.body import check_encoding

_log = logging.getLogger("understudy.lane")
_OF_A_BODY = ("content-length", "content-encoding")
_MUCH = 8 * 1024
"""Bytes that are not copied once more to stand between what frames them."""
_NO_SNIFFING = "x-content-type-options: nosniff\r\n"
_STATUS = {one.value: f"HTTP/1.1 {one.value} {one.phrase}\r\n{_NO_SNIFFING}" for one in HTTPStatus}
"""What every answer with a status begins with."""


class LaneCycle:
    """``headers`` have lower-case names; ``defaults`` are complete header lines for every answer; ``done`` is called
    when one has been written."""

    def __init__(
        self,
        transport: asyncio.Transport,
        flow: FlowControl,
        headers: dict[str, str],
        defaults: str,
        done: Callable[[], None],
        *,
        keep_alive: bool,
        expects_continue: bool,
    ) -> None:
        self._transport, self._flow, self._defaults, self._done = transport, flow, defaults, done
        self.headers = headers
        self.keep_alive = keep_alive
        self.body: bytearray | bytes = bytearray()
        self.more_body = True
        self.disconnected = self.response_complete = self.gone = False
        self._expects_continue = expects_continue
        self._waiter: asyncio.Future[None] | None = None
        self._call: asyncio.Task[Any] | None = None
        self._task: asyncio.Task[None] | None = None
        self._head, self._begun = b"", False

    @property
    def message_event(self) -> LaneCycle:
        """The protocol only ever calls its ``set()``. A reference would be a cycle, and a call's memory would wait for
        the collector instead of being the next one's."""
        return self

    @property
    def address(self) -> str:
        return address_of({"client": self._transport.get_extra_info("peername")})

    @property
    def response_started(self) -> bool:
        """Whether bytes of a streamed answer are on their way."""
        return self._begun and not self._head

    # ------------------------------------------------------------------ the protocol's side
    def set(self) -> None:
        """Something happened: more of the body, its end, or the client has left."""
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
        if self.disconnected and self._call is not None:
            call, self._call, self.gone = self._call, None, True
            call.cancel()

    def start(
        self, lane: Callable[[LaneCycle], Awaitable[None]], loop: asyncio.AbstractEventLoop, tasks: MutableSet[Any]
    ) -> None:
        """Begins the call in a task of its own, which stands in ``tasks`` until it is over."""
        task = loop.create_task(self._run(lane, tasks))
        self._task = task
        tasks.add(task)

    async def _run(self, lane: Callable[[LaneCycle], Awaitable[None]], tasks: MutableSet[Any]) -> None:
        """The call's task. A lane answers its own errors; after any other the connection is of no use."""
        try:
            await lane(self)
        except asyncio.CancelledError:
            self._transport.abort()
            raise
        except Exception:
            _log.exception("unhandled error in a fast lane")
        finally:
            tasks.discard(self._task)
            self._task = None  # it refers to this
        if not self.response_complete and not self.disconnected:
            self._transport.abort()

    # ------------------------------------------------------------------ the request
    async def read(self, *, limit: int, idle: float) -> bytes:
        if not self.more_body and len(self.body) <= limit and not self.disconnected:
            body, self.body = bytes(self.body), bytearray()
            if self._flow.read_paused:
                self._flow.resume_reading()  # also to hear that the client leaves
            if (encoding := self.headers.get("content-encoding")) is not None:
                check_encoding(encoding)
            return body
        said = [(name.encode(), self.headers.get(name, "").encode("latin-1")) for name in _OF_A_BODY]
        scope = {"headers": said}
        return await read_body(scope, self._receive, limit=limit, idle=idle)

    async def _receive(self) -> Any:
        """The next piece of the body, as an ASGI message."""
        if self._expects_continue:
            self._expects_continue = False
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        if self.more_body and not self.body and not self.disconnected:
            self._flow.resume_reading()
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        if self.disconnected:
            return {"type": "http.disconnect"}
        body, self.body = bytes(self.body), bytearray()
        self._flow.resume_reading()
        return {"type": "http.request", "body": body, "more_body": self.more_body}

    def watch(self, call: asyncio.Task[Any]) -> None:
        self._call = call
        if self.disconnected:
            self.set()

    def leave(self) -> None:
        self._call = None

    # ------------------------------------------------------------------ the answer
    async def whole(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        if self._flow.write_paused:
            await self._writable()
        if not self.disconnected:
            self._transport.write(self._lines(status, headers, f"content-length: {len(body)}") + body)
            self._complete()

    async def begin(self, headers: Mapping[str, str]) -> None:
        self._head, self._begun = self._lines(200, headers, "transfer-encoding: chunked"), True

    async def more(self, data: bytes) -> None:
        if self._flow.write_paused:
            await self._writable()
        if not self.disconnected:
            head, self._head = self._head, b""
            if len(data) < _MUCH:
                self._transport.write(b"%b%x\r\n%b\r\n" % (head, len(data), data))
            else:
                self._transport.writelines((b"%b%x\r\n" % (head, len(data)), data, b"\r\n"))

    async def end(self, data: bytes) -> None:
        if self._flow.write_paused:
            await self._writable()
        if not self.disconnected:
            last = b"%x\r\n%b\r\n" % (len(data), data) if data else b""
            self._transport.write(b"%b%b0\r\n\r\n" % (self._head, last))
            self._complete()

    async def _writable(self) -> None:
        if not self.disconnected:
            await self._flow.drain()

    def _lines(self, status: int, headers: Mapping[str, str], framing: str) -> bytes:
        """The head of an answer. Raises ValueError for a line break in a value."""
        told = "\r\n".join(map(": ".join, headers.items()))
        if told.count("\n") != len(headers) - 1 or told.count("\r") != len(headers) - 1:
            raise ValueError("a header of the answer holds a line break")
        if headers.get("connection") == "close":
            self.keep_alive = False
        elif not self.keep_alive:
            told += "\r\nconnection: close"
        return f"{_STATUS[status]}{self._defaults}{told}\r\n{framing}\r\n\r\n".encode("latin-1", "replace")

    def _complete(self) -> None:
        self.response_complete, self._head = True, b""
        self._call = None
        if not self.keep_alive:
            self._transport.close()
        self._done()
