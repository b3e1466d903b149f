"""/v1/realtime: a WebSocket relayed to a provider that speaks OpenAI, in both directions.

The session passes the stages that every call passes (record, key, limits, who serves it) before the client is let in,
so a refusal is an ordinary HTTP answer. What is said inside is not read, but for the usage that the provider tells
after each response; where guardrails concern a session, they judge every event of both sides.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any
from urllib.parse import parse_qs, quote

from litestar import WebSocket, websocket

from gateway import errors
from gateway.access.refusals import TOLD
from gateway.api.http import caller, headers_of
from gateway.api.ingress import told
from gateway.api.realtime.servers import refusal
from gateway.api.realtime.session import Said, Session
from gateway.api.surface import new_exchange
from gateway.context import Exchange, Principal
from gateway.live import Live
from gateway.protocol.answer import ChunkStream
from gateway.protocol.realtime import error_event
from gateway.providers.codec import Codec
from gateway.runtime import Runtime
from gateway.stages.authenticate import model_not_found
from gateway.surface import Surface, address
from gateway.upstreams.reply import HandshakeRefused
from gateway.upstreams.upstream import Upstream
from optimizer.routing.plan import Rung

Scope = Mapping[str, Any]
Receive = Callable[[], Awaitable[Any]]
Send = Callable[[Any], Awaitable[None]]
GoingOn = Callable[[Exchange, Principal, Runtime], Awaitable[None]]
"""Charges a call that lasts with what it used by now. Raises GatewayError when it may use no more."""

_log = logging.getLogger("understudy.realtime")
PATH = "/v1/realtime"
_KEY_PROTOCOL = "openai-insecure-api-key."
_BETA_PROTOCOL = "openai-beta."
_SPOKEN = "realtime"
_LONGEST_S = 3600.0
"""Sessions end after an hour, as OpenAI's own do."""
_IDLE_S = 900.0
_TELLABLE = frozenset({1000, 1001, 1002, 1003, *range(1007, 1015), *range(3000, 5000)})
"""Close codes that may stand in a close frame (RFC 6455, 7.4)."""
_LOOK_S = 0.5
"""How often it is looked whether a session may go on; after each of its responses as well."""
_NOT_ANY_MORE = 1008
"""The close code of a session that we end (RFC 6455: it goes against a policy)."""


class Realtime:
    def __init__(self, surface: Surface, upstream: Upstream, live: Live, going_on: GoingOn) -> None:
        self._surface, self._upstream, self._live, self._going_on = surface, upstream, live, going_on

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if (await receive())["type"] != "websocket.connect":
            return
        request_id, exchange = "req_" + secrets.token_hex(16), None
        opened: list[Session] = []

        async def ask(exchange: Exchange, rung: Rung) -> Session:
            opened.append(await self._open(exchange, rung))
            return opened[-1]

        try:
            self._same_site(headers_of(scope))  # type: ignore[arg-type]
            exchange = self._exchange(scope, request_id)
            exchange.principal = await caller(self._live, exchange.headers)
            stream = await self._surface.run(exchange, ask)
        except errors.GatewayError as error:
            await _refuse(send, error, request_id, told(exchange) if exchange is not None else {})
            return
        await self._relay(exchange, stream, opened[-1], scope, receive, send)  # type: ignore[arg-type]

    def _same_site(self, headers: Mapping[str, str]) -> None:
        """Raises Forbidden when a browser says that a page opens this which is not listed."""
        origin = headers.get("origin", "")
        if not self._live.origins.speaks(origin, headers.get("host", "")):
            raise errors.Forbidden(
                "Pages of this origin may not open a realtime session here. The gateway's operator lists those "
                "that may under server.cors_origins.",
                code="origin_not_allowed",
                refused=errors.Refused("origin", ascii(origin[:100])[1:-1]),
            )

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
        exchange.lasts_s = _LONGEST_S
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
        """Until one side leaves, nobody has said anything for a quarter of an hour, the hour is over, or the key or its
        budget is."""
        offered = scope.get("subprotocols") or []
        headers = [(name.encode(), value.encode("latin-1")) for name, value in told(exchange).items()]
        await send({
            "type": "websocket.accept", "subprotocol": _SPOKEN if _SPOKEN in offered else None, "headers": headers,
        })  # fmt: skip
        heard = [time.monotonic()]
        up = asyncio.create_task(_upwards(session, receive, send, heard))
        down = asyncio.create_task(_downwards(stream, send, heard))
        over = asyncio.create_task(self._over(exchange, session))
        code = 1000
        try:
            await _first_end((up, down, over), heard)
            if not down.done():
                await _ended_by_us(session, up, over)
                await asyncio.wait((down,), timeout=1.0)
            problem = down.exception() if down.done() and not down.cancelled() else session.ended
            if isinstance(problem, errors.GatewayError):
                code = 1011 if session.ended is None else _NOT_ANY_MORE
                errors.note_detail(problem, exchange.request_id)
                await _bounded(send({"type": "websocket.send", "text": error_event(problem)}))
        finally:
            for task in (up, down, over):
                task.cancel()
            await asyncio.gather(up, down, over, return_exceptions=True)
            await asyncio.shield(stream.aclose())
            left = up.done() and not up.cancelled() and up.exception() is None
            if not left:
                said = session.upstream.close_code
                told_code = said if code == 1000 and said in _TELLABLE else code
                reason = session.reason if session.ended is None else session.ended.code or ""
                await _bounded(send({"type": "websocket.close", "code": told_code, "reason": reason}))

    async def _over(self, exchange: Exchange, session: Session) -> errors.GatewayError:
        """Returns when the session may not go on, with the reason."""
        end = time.monotonic() + _LONGEST_S
        while time.monotonic() < end:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_LOOK_S):
                    await session.used.wait()
            session.used.clear()
            try:
                await self._look(exchange)
            except errors.Unavailable:
                pass  # nothing is known against it
            except errors.GatewayError as error:
                return error
            except Exception:  # the session is not the one to pay for a fault of ours
                _log.exception("it could not be looked whether a realtime session may go on")
        return errors.BadRequest("Your session hit the maximum duration of 60 minutes.", code="session_expired")

    async def _look(self, exchange: Exchange) -> None:
        """Raises GatewayError when the key has ended, lost the model, or spent its budget."""
        runtime = self._live.runtime()
        principal = self._live.who(exchange.headers, runtime)
        if principal.models and exchange.request.model not in principal.models:
            raise model_not_found(exchange.request.model)
        await self._going_on(exchange, principal, runtime)


async def _ended_by_us(
    session: Session, up: asyncio.Task[tuple[int, str]], over: asyncio.Task[errors.GatewayError]
) -> None:
    """The client has left or nobody spoke for too long, which is an ordinary end; or the session may not go on."""
    if not up.done() and over.done() and not over.cancelled():
        up.cancel()  # what the client asks for now is not answered any more
        await session.end(over.result())
    else:
        await session.aclose(*_goodbye(up))


async def _bounded(saying: Awaitable[None]) -> None:
    """A client that does not listen, or has left, is not waited for."""
    with contextlib.suppress(Exception):
        await asyncio.wait_for(saying, 1.0)


async def _upwards(session: Session, receive: Receive, send: Send, heard: list[float]) -> tuple[int, str]:
    """Client to provider. Returns when the client has left: code and reason, as far as they can be passed on."""
    while True:
        message = await receive()
        if message["type"] == "websocket.disconnect":
            code = message.get("code")
            return code if code in _TELLABLE else 1000, str(message.get("reason") or "")
        heard[0] = time.monotonic()
        text = message.get("text")
        said = text if text is not None else message.get("bytes") or b""
        if (problem := refusal(said, session.mcp.hosts, session.mcp.connectors)) is not None:
            await send({"type": "websocket.send", "text": problem})
        elif session.guard is not None:
            onward = await session.guard.said(said)
            for event in onward.up:
                await session.upstream.send_str(event)
            for event in onward.down:
                await send({"type": "websocket.send", "text": event})
        elif text is not None:
            await session.upstream.send_str(text)
        else:
            await session.upstream.send_bytes(said)


def _goodbye(up: asyncio.Task[tuple[int, str]]) -> tuple[int, str]:
    """What the client left with."""
    left = up.done() and not up.cancelled() and up.exception() is None
    return up.result() if left else (1000, "")


async def _downwards(stream: ChunkStream, send: Send, heard: list[float]) -> None:
    async for chunk in stream:
        heard[0] = time.monotonic()
        said = chunk.message if isinstance(chunk, Said) else ""
        kind = "text" if isinstance(said, str) else "bytes"
        await send({"type": "websocket.send", kind: said})


async def _first_end(tasks: tuple[asyncio.Task[Any], ...], heard: list[float]) -> None:
    while (left := heard[0] + _IDLE_S - time.monotonic()) > 0:
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
    fixed = {"content-type": "application/json", "x-content-type-options": "nosniff", "x-request-id": request_id}
    lines = {**fixed, **headers, **error.headers}
    start = {
        "type": "websocket.http.response.start", "status": error.status,
        "headers": [(name.encode(), value.encode("latin-1")) for name, value in lines.items()], TOLD: error.refused,
    }  # fmt: skip
    body = {"type": "websocket.http.response.body", "body": error.body(), "more_body": False}
    await send(start)
    await send(body)


def realtime_routes(surface: Surface, upstream: Upstream, live: Live, going_on: GoingOn) -> list[Any]:
    relay = Realtime(surface, upstream, live, going_on)

    @websocket(PATH)
    async def realtime(socket: WebSocket[Any, Any, Any]) -> None:
        await relay(socket.scope, socket.receive, socket.send)

    return [realtime]
