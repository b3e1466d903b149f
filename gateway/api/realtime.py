"""/v1/realtime: a WebSocket relayed to a provider that speaks OpenAI, in both directions.

The session passes the stages that every call passes (record, key, limits, who serves it) before the client is let in,
so a refusal is an ordinary HTTP answer. What is said inside is not read, but for the usage that the provider tells
after each response; a task with guardrails is therefore refused here rather than left unguarded.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, quote

import msgspec
from litestar import WebSocket, websocket

from gateway import errors
from gateway.api.http import headers_of
from gateway.api.ingress import told
from gateway.api.surface import new_exchange
from gateway.context import Exchange
from gateway.live import Live
from gateway.protocol.answer import Chunk, ChunkStream
from gateway.protocol.chat import Usage, usage_from_wire
from gateway.providers.codec import Codec, failed
from gateway.resilience.provider_keys import Lease
from gateway.surface import Surface, address, usage_of
from gateway.upstreams.reply import HandshakeRefused
from gateway.upstreams.upstream import Upstream
from optimizer.routing.plan import Rung

if TYPE_CHECKING:
    import aiohttp

Scope = Mapping[str, Any]
Receive = Callable[[], Awaitable[Any]]
Send = Callable[[Any], Awaitable[None]]

PATH = "/v1/realtime"
_KEY_PROTOCOL = "openai-insecure-api-key."
_BETA_PROTOCOL = "openai-beta."
_SPOKEN = "realtime"
_LONGEST_S = 3600.0
"""Sessions end after an hour, as OpenAI's own do."""
_IDLE_S = 900.0
_TELLABLE = frozenset({1000, 1001, 1002, 1003, *range(1007, 1015), *range(3000, 5000)})
"""Close codes that may stand in a close frame (RFC 6455, 7.4)."""
_USAGE_MARK = '"response.done"'
_USAGE_LARGEST = 4 * 1024 * 1024


class Said(Chunk, frozen=True):
    """One message of the provider, as it came."""

    message: str | bytes = ""


class Session:
    """The provider's side as a stream of messages. Its usage grows with every response; closing is idempotent.
    ``reason`` is what the provider closed it with."""

    def __init__(self, exchange: Exchange, upstream: aiohttp.ClientWebSocketResponse) -> None:
        self._exchange, self.upstream = exchange, upstream
        self._tell: Callable[[bool], None] | None = None
        self.lease: Lease | None = None
        self.reason, self._left = "", False
        exchange.usage = Usage()

    def on_end(self, tell: Callable[[bool], None]) -> None:
        """``tell`` is called once, at the end, with whether it was a good one."""
        self._tell = tell

    async def __aiter__(self) -> AsyncIterator[Chunk]:
        from aiohttp import WSMsgType  # loaded by now: there is a session

        while (message := await self.upstream.receive()).type in (WSMsgType.TEXT, WSMsgType.BINARY):
            if message.type is WSMsgType.TEXT:
                self._count(message.data)
            yield Said(data={}, message=message.data)
        if message.type is WSMsgType.CLOSE:
            self.reason = str(message.extra or "")
        elif not self._left:
            self._over(ok=False)
            raise failed("failed", errors.UpstreamFailed("The provider ended the session without a word."))
        await self.aclose()

    def _count(self, text: str) -> None:
        """Adds what a finished response used."""
        if _USAGE_MARK not in text or len(text) > _USAGE_LARGEST:
            return
        try:
            event = msgspec.json.decode(text)
            usage = event["response"]["usage"]
        except (msgspec.DecodeError, KeyError, TypeError, AttributeError):
            return
        more, now = usage_from_wire(usage_of(usage)), self._exchange.usage
        if event.get("type") == "response.done" and more is not None and now is not None:
            self._exchange.usage = now + more
            if self.lease is not None:
                self.lease.used(more.total)

    def _over(self, *, ok: bool) -> None:
        tell, self._tell = self._tell, None
        if self.lease is not None:
            self.lease.leave()
        if tell is not None:
            tell(ok)

    async def aclose(self, code: int = 1000, reason: str = "") -> None:
        """``code`` and ``reason`` are told to the provider where the session was still open."""
        self._left = True
        self._over(ok=True)
        if not self.upstream.closed:
            with contextlib.suppress(Exception):
                await asyncio.wait_for(self.upstream.close(code=code, message=_short(reason)), 1.0)


class Realtime:
    def __init__(self, surface: Surface, upstream: Upstream, live: Live) -> None:
        self._surface, self._upstream, self._live = surface, upstream, live

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if (await receive())["type"] != "websocket.connect":
            return
        request_id, exchange = "req_" + secrets.token_hex(16), None
        opened: list[Session] = []

        async def ask(exchange: Exchange, rung: Rung) -> Session:
            opened.append(await self._open(exchange, rung))
            return opened[-1]

        try:
            exchange = self._exchange(scope, request_id)
            stream = await self._surface.run(exchange, ask)
        except errors.GatewayError as error:
            await _refuse(send, error, request_id, told(exchange) if exchange is not None else {})
            return
        await self._relay(exchange, stream, opened[-1], scope, receive, send)  # type: ignore[arg-type]

    def _exchange(self, scope: Scope, request_id: str) -> Exchange:
        query = parse_qs(scope["query_string"].decode("latin-1"))
        model = (query.get("model") or [""])[0]
        if not model:
            raise errors.BadRequest("Name a model: /v1/realtime?model=...", param="model")
        headers = {**headers_of(scope), **_key_of(scope)}  # type: ignore[arg-type]
        exchange = new_exchange(
            self._live, headers, endpoint="realtime", model=model, text="", body={"model": model},
            request_id=request_id, started=time.monotonic(),
        )  # fmt: skip
        return exchange

    async def _open(self, exchange: Exchange, rung: Rung) -> Session:
        """Raises AttemptFailed when the provider does not open a session."""
        session, lease = await self._surface.open(
            exchange, rung, lambda codec: self._session(exchange, rung, codec)
        )
        session.lease = lease
        return session

    async def _session(self, exchange: Exchange, rung: Rung, codec: Codec) -> Session:
        name = rung.candidate.provider
        url, headers = address(codec, "/realtime", rung.candidate.model)
        base, _, more = url.partition("?")
        url = f"ws{base.removeprefix('http')}?model={quote(rung.candidate.model, safe='')}{'&' + more if more else ''}"
        kept = {
            key: value for key, value in headers.items() if key not in ("content-type", "accept-encoding")
        }
        beta = exchange.headers.get("openai-beta")
        if beta:
            kept["openai-beta"] = beta
        remaining = exchange.deadline - time.monotonic()
        try:
            opened = await self._upstream.websocket(url, kept, name=name, remaining=remaining)
        except HandshakeRefused as problem:
            raise codec.refuse(problem.status, problem.headers, b"", now=time.time()) from None
        return Session(exchange, opened)

    async def _relay(
        self,
        exchange: Exchange,
        stream: ChunkStream,
        session: Session,
        scope: Scope,
        receive: Receive,
        send: Send,
    ) -> None:
        """Until one side leaves, nobody has said anything for a quarter of an hour, or the hour is over."""
        offered = scope.get("subprotocols") or []
        headers = [(name.encode(), value.encode("latin-1")) for name, value in told(exchange).items()]
        await send({
            "type": "websocket.accept", "subprotocol": _SPOKEN if _SPOKEN in offered else None, "headers": headers,
        })  # fmt: skip
        heard = [time.monotonic()]
        up = asyncio.create_task(_upwards(session, receive, heard))
        down = asyncio.create_task(_downwards(stream, send, heard))
        code = 1000
        try:
            await _first_end((up, down), heard)
            if not down.done():  # the client has left, or nobody spoke for too long: an ordinary end
                await session.aclose(*_goodbye(up))
                await asyncio.wait((down,), timeout=1.0)
            problem = down.exception() if down.done() and not down.cancelled() else None
            if isinstance(problem, errors.GatewayError):
                code = 1011
                errors.note_detail(problem, exchange.request_id)
                with contextlib.suppress(Exception):
                    await send({"type": "websocket.send", "text": _event(problem)})
        finally:
            for task in (up, down):
                task.cancel()
            await asyncio.gather(up, down, return_exceptions=True)
            await asyncio.shield(stream.aclose())
            left = up.done() and not up.cancelled() and up.exception() is None
            if not left:
                with contextlib.suppress(Exception):
                    said = session.upstream.close_code
                    told_code = said if code == 1000 and said in _TELLABLE else code
                    await send({"type": "websocket.close", "code": told_code, "reason": session.reason})


async def _upwards(session: Session, receive: Receive, heard: list[float]) -> tuple[int, str]:
    """Client to provider. Returns when the client has left: code and reason, as far as they can be passed on."""
    while True:
        message = await receive()
        if message["type"] == "websocket.disconnect":
            code = message.get("code")
            return code if code in _TELLABLE else 1000, str(message.get("reason") or "")
        heard[0] = time.monotonic()
        text = message.get("text")
        if text is not None:
            await session.upstream.send_str(text)
        else:
            await session.upstream.send_bytes(message.get("bytes") or b"")


def _goodbye(up: asyncio.Task[tuple[int, str]]) -> tuple[int, str]:
    """What the client left with."""
    left = up.done() and not up.cancelled() and up.exception() is None
    return up.result() if left else (1000, "")


def _short(reason: str) -> bytes:
    """A close frame has room for 123 bytes; no character is cut in two."""
    return reason.encode()[:123].decode(errors="ignore").encode()


async def _downwards(stream: ChunkStream, send: Send, heard: list[float]) -> None:
    async for chunk in stream:
        heard[0] = time.monotonic()
        said = chunk.message if isinstance(chunk, Said) else ""
        kind = "text" if isinstance(said, str) else "bytes"
        await send({"type": "websocket.send", kind: said})


async def _first_end(tasks: tuple[asyncio.Task[Any], ...], heard: list[float]) -> None:
    end = time.monotonic() + _LONGEST_S
    while (left := min(end, heard[0] + _IDLE_S) - time.monotonic()) > 0:
        done, _ = await asyncio.wait(tasks, timeout=left, return_when=asyncio.FIRST_COMPLETED)
        if done:
            return


def _key_of(scope: Scope) -> dict[str, str]:
    """A browser cannot set headers: its key travels as a subprotocol, which goes no further."""
    found = {}
    for offered in scope.get("subprotocols") or []:
        if offered.startswith(_KEY_PROTOCOL):
            found["authorization"] = f"Bearer {offered.removeprefix(_KEY_PROTOCOL)}"
        elif offered.startswith(_BETA_PROTOCOL):
            found["openai-beta"] = offered.removeprefix(_BETA_PROTOCOL).replace("-", "=", 1)
    return found


async def _refuse(
    send: Send, error: errors.GatewayError, request_id: str, headers: Mapping[str, str]
) -> None:
    """Instead of a WebSocket, an ordinary answer in OpenAI's shape."""
    errors.note_detail(error, request_id)
    lines = {"content-type": "application/json", "x-request-id": request_id, **headers, **error.headers}
    start = {
        "type": "websocket.http.response.start", "status": error.status,
        "headers": [(name.encode(), value.encode("latin-1")) for name, value in lines.items()],
    }  # fmt: skip
    body = {"type": "websocket.http.response.body", "body": error.body(), "more_body": False}
    await send(start)
    await send(body)


def _event(error: errors.GatewayError) -> str:
    """An error as realtime clients know it."""
    return msgspec.json.encode({
        "type": "error", "event_id": "event_" + secrets.token_hex(10), **msgspec.json.decode(error.body()),
    }).decode()  # fmt: skip


def realtime_routes(surface: Surface, upstream: Upstream, live: Live) -> list[Any]:
    relay = Realtime(surface, upstream, live)

    @websocket(PATH)
    async def realtime(socket: WebSocket[Any, Any, Any]) -> None:
        await relay(socket.scope, socket.receive, socket.send)

    return [realtime]
