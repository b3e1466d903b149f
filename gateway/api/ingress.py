"""One way in for every dialect: reads the body, makes the exchange, watches for a client that leaves, and writes
the answer whole, as a stream or as an error. What is particular to an API stands in its :class:`Dialect`.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Mapping, Sequence
from typing import Any, Protocol

import msgspec
from litestar.types import Receive, Scope, Send

from gateway import errors
from gateway.api.checking import check, decoded
from gateway.api.http import EVENT_STREAM, ClientGone, client_patience, read_from
from gateway.api.line import AsgiLine, Line
from gateway.api.pulse import COMMENT, Pulse
from gateway.api.repeated import Remembering, first_or_repeated
from gateway.caching.repeats import HEADER
from gateway.caching.shortcuts import Shortcuts
from gateway.context import Exchange, Principal
from gateway.live import Live
from gateway.pipeline import Handler
from gateway.protocol.answer import Answer, Chunk, ChunkStream, WholeAnswer, arrived_of
from gateway.protocol.body import typed
from gateway.protocol.chat import ChatRequest, usage_to_wire
from gateway.protocol.mcp import sealed
from gateway.protocol.random_bytes import piece
from gateway.resilience.drain import stopping
from gateway.stages.assign import check_force
from gateway.upstreams import hops

_log = logging.getLogger("understudy.ingress")
encode = msgspec.json.encode
_STREAMED = {"cache-control": "no-cache", "x-accel-buffering": "no"}
_BIG_BODY = 256 * 1024
"""Bodies from this size on are decoded in a thread, so that they hold up nobody else."""
_NONE: Mapping[str, str] = {}


class Rendering:
    """One call in its client's dialect: ``body`` is the chat form of the request, and the methods write the
    answer. Chat's own behaviour is in ``gateway.api.chat``; others override what differs for them."""

    principal: Principal | None = None
    """Set when the dialect had to know the caller before the pipeline does."""
    foreign: tuple[str, ...] = ()
    """What the caller put into texts of the operator's: they are ``system``, and this is ``input``."""
    media_type = EVENT_STREAM
    """Of a stream."""
    ping = COMMENT
    """What a silent stream says now and then."""

    def __init__(self, body: dict[str, Any]) -> None:
        self.body = body

    def ask(self, pipeline: Handler, exchange: Exchange) -> Awaitable[Answer]:
        return pipeline(exchange)

    def agreed(self, exchange: Exchange) -> bool:
        """Whether a provider has agreed to stream."""
        return exchange.agreed

    async def whole(self, exchange: Exchange, data: dict[str, Any]) -> bytes:
        """The answer's body; ``data`` is a complete chat completion."""
        raise errors.Internal("this dialect writes no whole answers")

    def chunk(self, exchange: Exchange, data: dict[str, Any]) -> bytes:
        """The frames that one chat chunk becomes; empty when it says nothing new."""
        raise errors.Internal("this dialect writes no streams")

    def frames(self, exchange: Exchange, chunks: Sequence[Chunk]) -> bytes:
        """The frames of chunks that arrived together."""
        return b"".join([self.chunk(exchange, one.data) for one in chunks])

    async def finish(self, exchange: Exchange) -> bytes:
        """Frames after the last chunk; the call is recorded by now."""
        return b""

    def failed(self, exchange: Exchange, error: errors.GatewayError) -> bytes:
        """The frames that tell of an error after the 200; nothing may follow them."""
        raise errors.Internal("this dialect writes no streams")


class Dialect(Protocol):
    """One API. ``endpoint`` names it on the record, ``prefix`` begins its call ids."""

    @property
    def endpoint(self) -> str: ...
    @property
    def prefix(self) -> str: ...

    async def read(
        self, headers: Mapping[str, str], data: dict[str, Any], principal: Principal | None = None
    ) -> Rendering:
        """A decoded body in chat form; ``principal`` where the caller is known by other means than headers.
        Raises BadRequest that names the parameter at fault."""

    def error(self, error: errors.GatewayError, request_id: str) -> tuple[int, bytes]:
        """Status and body of an error."""

    def headers(self, request_id: str) -> dict[str, str]:
        """Headers that every answer of this API carries."""


class Ingress:
    """An ASGI app for one route, and a fast lane's handler; ``pipeline`` is the folded stages."""

    def __init__(
        self, pipeline: Handler, live: Live, dialect: Dialect, path: str = "", shortcuts: Shortcuts | None = None
    ) -> None:
        """``path``: what its path says of a request that its body does not. ``shortcuts``: of chat alone."""
        self._pipeline, self._live, self._dialect = pipeline, live, dialect
        self._shortcuts = shortcuts
        self._path = f"{dialect.endpoint} {path}"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.serve(AsgiLine(scope, receive, send))

    async def serve(self, line: Line) -> None:
        """Reads, answers and ends one call."""
        started, request_id, own_id = time.monotonic(), "req_" + piece().hex(), piece().hex()
        call: _Call | None = None
        drain, here = self._live.drain, asyncio.current_task()
        assert here is not None
        try:
            drain.enter(here)
            principal, body = await read_from(self._live, line.headers, line.read)
            if HEADER in line.headers:
                line.watch(here)
                found = await first_or_repeated(self._live, line, self._path, body)
                if found is None:
                    return
                line = found
            exchange, rendering, handler = await self._asked(line.headers, body, principal, request_id, started, own_id)
            call = _Call(exchange, line, rendering, self._dialect)
            line.watch(here)
            await call.answer(await rendering.ask(handler, exchange))
            call.over = True
            if isinstance(line, Remembering):
                line.keep()
            elif exchange.cache == "hit" and self._shortcuts is not None and exchange.given is None:
                await self._shortcuts.learn(exchange, line.headers, body, call.written)
        except errors.GatewayError as error:
            await self._refuse(line, error, request_id, call)
        except ClientGone:
            return
        except asyncio.CancelledError:
            if drain.over:
                await self._refuse(line, stopping(), request_id, call)
            elif not line.gone:
                raise  # neither the client nor our own stopping: somebody else's will
            here.uncancel()
        except Exception as problem:
            _log.exception("unhandled error in a %s call", self._dialect.endpoint)
            await self._refuse(line, errors.Internal(repr(problem)), request_id, call)
        finally:
            drain.leave(here)
            if call is not None:
                call.close()
            line.leave()

    async def _asked(
        self, headers: Mapping[str, str], body: bytes, principal: Principal,
        request_id: str, started: float, own_id: str,
    ) -> tuple[Exchange, Rendering, Handler]:
        """The call that a request is, how it is answered, and by whom. Raises GatewayError."""
        shortcuts, now = self._shortcuts, time.time()
        if shortcuts is not None:
            known = await shortcuts.find(headers, body, principal, self._live.runtime(), now)
            if known is not None:
                exchange = known.call(self._dialect.prefix + own_id, request_id, headers, started, now)
                return exchange, await self._dialect.read(headers, {}), shortcuts.handler
        data = decoded(body) if len(body) < _BIG_BODY else await asyncio.to_thread(decoded, body)
        rendering = await self._dialect.read(headers, data)
        if body.find(b"file_id") >= 0 or rendering.principal is not None:  # it, or what it continues, may name a file
            await self._fill(rendering, principal)
        exchange = self._exchange(headers, rendering, request_id, started, own_id)
        exchange.principal = exchange.principal or principal
        return exchange, rendering, self._pipeline

    async def once(
        self, data: dict[str, Any], principal: Principal, *, batch: str, request_id: str,
        headers: Mapping[str, str] = _NONE,
    ) -> bytes:
        """The answer's body to one request without a connection, a batch's line. Raises GatewayError."""
        rendering = await self._dialect.read(headers, data, principal)
        await self._fill(rendering, principal)
        exchange = self._exchange(headers, rendering, request_id, time.monotonic(), new_id())
        exchange.principal, exchange.batch = principal, batch
        answer = await rendering.ask(self._pipeline, exchange)
        if not isinstance(answer, WholeAnswer):
            await answer.aclose()
            raise errors.BadRequest("A line of a batch cannot be streamed.", param="stream")
        answer.data["id"], answer.data["model"] = exchange.call_id, exchange.request.model
        return await rendering.whole(exchange, answer.data)

    async def _fill(self, rendering: Rendering, principal: Principal) -> None:
        """Puts the content of files that were uploaded here in the place of their ids. Raises GatewayError."""
        documents, most = self._live.documents, self._live.runtime().config.server.max_body_bytes
        if documents is not None:
            rendering.body = await documents.filled(rendering.body, principal, most)

    def _exchange(
        self, headers: Mapping[str, str], rendering: Rendering, request_id: str, started: float, own_id: str
    ) -> Exchange:
        runtime, dialect = self._live.runtime(), self._dialect
        hops.arrived(headers)
        check_force(headers)
        body, secrets = sealed(rendering.body, runtime.config.mcp.hosts, runtime.config.mcp.connectors)
        request = typed(body, ChatRequest)
        check(body, request)
        deadline = started + min(runtime.config.timeouts.total, client_patience(headers))
        exchange = Exchange(  # in the order of its fields: told by their names they would cost several times as much
            dialect.prefix + own_id, request_id, time.time(), started, deadline,
            headers, body, request, runtime,
        )  # fmt: skip
        exchange.endpoint = dialect.endpoint
        exchange.principal, exchange.foreign, exchange.sealed = rendering.principal, rendering.foreign, secrets
        return exchange

    async def _refuse(
        self, line: Line, error: errors.GatewayError, request_id: str, call: _Call | None
    ) -> None:
        errors.note_detail(error, request_id)
        if error.refused is not None:
            self._live.refusals.note(error.refused, line.address)
        if call is not None and call.over:
            return
        if call is not None and call.open:
            await call.fail(error)
            return
        dialect = self._dialect
        status, body = dialect.error(error, request_id)
        headers = call.headers() if call else dialect.headers(request_id)
        fixed = {"content-type": "application/json", "x-request-id": request_id}
        await line.whole(status, fixed | headers | error.headers, body)


def new_id() -> str:
    """Thirty-two hex digits that nobody can guess."""
    return piece().hex()


def told(exchange: Exchange) -> dict[str, str]:
    """What the headers of an answer say about its call, in every API."""
    rung = exchange.answered_by
    found = {
        "x-understudy-call-id": exchange.call_id,
        "openai-version": "2020-10-01",
        "openai-processing-ms": str(round((time.monotonic() - exchange.started) * 1000)),
        **exchange.response_headers,
    }
    if exchange.task is not None:
        found["x-understudy-task"] = exchange.task.name
    if rung is not None:
        name = rung.candidate.name  # its model may be the client's own words
        found["x-understudy-candidate"] = name if name.isprintable() else ascii(name)[1:-1]
        settings = exchange.runtime.config.providers.get(rung.candidate.provider)
        if getattr(settings, "simulated", False):
            found["x-understudy-simulated"] = "true"
    if exchange.cache:
        found["x-understudy-cache"] = exchange.cache
    return found


class _Call:
    """Writes one answer."""

    def __init__(self, exchange: Exchange, line: Line, rendering: Rendering, dialect: Dialect) -> None:
        self._exchange, self._line = exchange, line
        self._rendering, self._dialect = rendering, dialect
        self.open = False
        """Whether the answer is a stream that has begun: what follows are frames."""
        self.over = False
        """Whether all of the answer is written: whatever goes wrong then, its client is told nothing more."""
        self.written = b""
        """An answer from the cache, in the bytes in which it left."""
        self._pulse: Pulse | None = None
        if exchange.request.streamed and exchange.given is None:
            every = exchange.runtime.config.server.ping_s
            self._pulse = Pulse(every, lambda: self.open or rendering.agreed(exchange), self._ping)

    async def _open(self) -> None:
        if not self.open:
            self.open = True
            kind = self._rendering.media_type.decode()
            fixed = {"content-type": kind, **_STREAMED, "x-request-id": self._exchange.request_id}
            await self._line.begin(fixed | self.headers())

    async def _ping(self) -> None:
        await self._open()
        await self._line.more(self._rendering.ping)

    async def fail(self, error: errors.GatewayError) -> None:
        """After the 200 an error frame without an end mark is the only thing every SDK understands."""
        await self._quiet()
        frames = self._rendering.failed(self._exchange, error)
        await self._line.end(frames)

    async def _quiet(self) -> None:
        """No more pings."""
        if self._pulse is not None:
            await self._pulse.settled()
            self.close()

    def close(self) -> None:
        if self._pulse is not None:
            self._pulse.stop()
            self._pulse = None  # it refers to this: a stream's memory would wait for the collector

    def headers(self) -> dict[str, str]:
        return told(self._exchange) | self._dialect.headers(self._exchange.request_id)

    def answer(self, answer: WholeAnswer | ChunkStream) -> Awaitable[None]:
        if not isinstance(answer, WholeAnswer):
            return self._streamed(answer)
        given = self._exchange.given is not None and self._exchange.request.streamed
        return self._at_once() if given else self._whole(answer)

    async def _at_once(self) -> None:
        """A stream that is there already, in one piece."""
        await self._open()
        await self._line.end(self._exchange.shown)

    async def _streamed(self, answer: ChunkStream) -> None:
        try:
            await self._stream(answer)
        finally:
            await answer.aclose()

    async def _whole(self, answer: WholeAnswer) -> None:
        exchange = self._exchange
        data = answer.data
        data["id"], data["model"] = exchange.call_id, exchange.request.model
        if data.get("usage") is None and exchange.usage is not None and exchange.given is None:
            data["usage"], exchange.shown = usage_to_wire(exchange.usage), b""
        self.written = body = await self._rendering.whole(exchange, data)
        headers = told(exchange)
        headers["content-type"], headers["x-request-id"] = "application/json", exchange.request_id
        headers.update(self._dialect.headers(exchange.request_id))
        busy = time.monotonic() - exchange.started - exchange.upstream_seconds
        headers["x-understudy-overhead-ms"] = f"{max(0.0, busy) * 1000:.2f}"
        if exchange.cost_usd is not None:
            headers["x-understudy-cost-usd"] = f"{exchange.cost_usd:.9f}".rstrip("0").rstrip(".")
        await self._line.whole(200, headers, body)

    async def _stream(self, stream: ChunkStream) -> None:
        exchange, line, rendering, pulse = self._exchange, self._line, self._rendering, self._pulse
        begun, parts, arrived = False, list[bytes](), arrived_of(stream)
        async for chunk in stream:
            frames = rendering.frames(exchange, [chunk, *arrived()])
            if not frames:
                continue
            if pulse is not None:
                pulse.touched = time.monotonic()
            if not begun:
                begun = True
                if pulse is not None:
                    await pulse.settled()
                await self._open()
            if exchange.cache == "hit":
                parts.append(frames)
            await line.more(frames)
        await self._quiet()
        await self._open()
        body = await rendering.finish(exchange)
        self.written = b"".join((*parts, body))
        await line.end(body)
