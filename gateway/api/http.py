"""The few bytes of HTTP that the hot path writes itself."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Mapping
from typing import Any, Protocol

from litestar import Request
from litestar.types import Receive, Scope, Send

from gateway import errors
from gateway.access.refusals import TOLD
from gateway.context import Principal
from gateway.live import Live
from gateway.protocol.body import check_encoding, decode_object, decode_optional

_LINGER_S = 3.0
_LINGER_BYTES = 64 * 1024 * 1024
_HEARD_BYTES = 64 * 1024
"""Of a body that nobody will look at: after a longer one the connection is closed."""
EVENT_STREAM = b"text/event-stream; charset=utf-8"
_SLOWEST = 4096.0
"""Bytes per second that a body must keep up over ``idle`` seconds' grace: trickling is no progress."""
_ENCODING = b"content-encoding"


class ClientGone(Exception):
    """The client left before its request had arrived; there is nobody to answer."""


def headers_of(scope: Scope) -> dict[str, str]:
    """Lower-case header names to values; of a repeated header the last one counts."""
    return {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}


def client_patience(headers: Mapping[str, str]) -> float:
    """The seconds after which the SDK gives up anyway; no work is worth doing after that."""
    try:
        seconds = float(headers.get("x-stainless-read-timeout") or headers.get("x-server-timeout", "inf"))
    except ValueError:
        return float("inf")
    return seconds if seconds > 0 else float("inf")


async def read_body(scope: Mapping[str, Any], receive: Receive, *, limit: int, idle: float) -> bytes:
    """The request's body. Raises TooLarge, BadRequest (415, when it is encoded), RequestTimeout (no progress for
    ``idle`` seconds) or ClientGone."""
    parts: list[bytes] = []
    size, more, began = 0, True, time.monotonic()
    announced = next((value for name, value in scope["headers"] if name == b"content-length"), b"")
    refused = announced.isdigit() and int(announced) > limit
    while more and not refused:
        left = began + idle + size / _SLOWEST - time.monotonic()
        part, more = await _piece(receive, min(idle, max(0.0, left)))
        parts.append(part)
        size += len(part)
        refused = size > limit
    if refused:
        await _discard(receive, more)
        raise errors.TooLarge(
            f"The request's body is larger than {limit} bytes, the most this gateway accepts.",
            headers={"connection": "close"},
        )
    check_encoding(next((value.decode("latin-1") for name, value in scope["headers"] if name == _ENCODING), ""))
    return parts[0] if len(parts) == 1 else b"".join(parts)


async def _discard(receive: Receive, more: bool) -> None:
    """Reads on for a moment and drops it: a client that is still sending would see a reset, not the answer."""
    dropped = 0
    with contextlib.suppress(TimeoutError, errors.RequestTimeout):
        async with asyncio.timeout(_LINGER_S):
            while more and dropped < _LINGER_BYTES:
                part, more = await _piece(receive, _LINGER_S)
                dropped += len(part)


async def body_pieces(receive: Receive, idle: float) -> AsyncIterator[bytes]:
    """The request's body as it arrives. Raises RequestTimeout or ClientGone."""
    more = True
    while more:
        part, more = await _piece(receive, idle)
        if part:
            yield part


async def json_body(request: Request[Any, Any, Any], live: Live, *, optional: bool = False) -> dict[str, Any]:
    """A small endpoint's body as a map, ``optional`` where it may say nothing. Raises what ``read_body`` does, and
    BadRequest."""
    server, decode = live.runtime().config.server, decode_optional if optional else decode_object
    return decode(
        await read_body(
            request.scope, request.receive, limit=server.max_body_bytes, idle=server.body_timeout_s
        )
    )


class Arriving:
    """A request's body on its way; ``over`` once its last piece is here."""

    def __init__(self, receive: Receive) -> None:
        self._receive, self.over = receive, False

    async def __call__(self) -> Any:
        message = await self._receive()
        self.over = self.over or not message.get("more_body", False)
        return message


@contextlib.asynccontextmanager
async def heard(receive: Receive) -> AsyncIterator[Arriving]:
    """A refusal inside the block waits until the client has sent the rest, within bounds: closing on one that
    still sends resets the connection, and it would never see the answer."""
    arriving = Arriving(receive)
    try:
        yield arriving
    except errors.RequestTimeout:
        raise
    except errors.GatewayError:
        with contextlib.suppress(ClientGone):
            await _discard(arriving, not arriving.over)
        raise


class Read(Protocol):
    """Reads a request's body, as :func:`read_body` does."""

    async def __call__(self, *, limit: int, idle: float) -> bytes: ...


async def read_from(live: Live, headers: Mapping[str, str], read: Read) -> tuple[Principal, bytes]:
    """Who asks a model, and the request's body: nothing of it is kept of a stranger's. Raises what ``live.who`` and
    :func:`read_body` do."""
    runtime = live.runtime()
    try:
        principal = live.who(headers, runtime)
    except errors.GatewayError as error:
        principal = await _after_all(live, headers, read, error)
    server = runtime.config.server
    body = await read(limit=server.max_body_bytes, idle=server.body_timeout_s)
    if live.runtime() is not runtime:  # a key may be revoked while a slow body comes
        principal = live.who(headers, live.runtime())
    return principal, body


async def caller(live: Live, headers: Mapping[str, str]) -> Principal:
    """Who asks a model; a key that is not known yet may have been made at another worker just now. Raises what
    ``live.who`` does."""
    try:
        return live.who(headers, live.runtime())
    except errors.UnknownKey:
        await live.look_again()
        return live.who(headers, live.runtime())


async def _after_all(
    live: Live, headers: Mapping[str, str], read: Read, error: errors.GatewayError
) -> Principal:
    """Who it is that was refused with ``error`` at first. Raises it, or what the second look says, once the rest of
    the request was heard."""
    try:
        if not isinstance(error, errors.UnknownKey):
            raise error
        return await caller(live, headers)
    except errors.GatewayError as refused:
        await _heard_out(read, refused)
        raise


def demand(principal: Principal, scope: str, why: str) -> None:
    """For what needs a scope beside its path's. Raises Forbidden."""
    if scope not in principal.scopes:
        message = f"{why}, and this API key lacks the scope '{scope}'. Ask for a key that has it."
        raise errors.Forbidden(message)


async def known_by_now(live: Live, scope: Mapping[str, Any]) -> None:
    """Returns when whoever asks with a key of the right shape is known, or is known to be nobody: what handlers
    that look a key up once need."""
    with contextlib.suppress(errors.GatewayError):  # they tell what is wrong with it
        await caller(live, headers_of(scope))  # type: ignore[arg-type]


async def _heard_out(read: Read, error: errors.GatewayError) -> None:
    """Reads what a refused client still sends, within bounds, so that it sees the refusal and no reset."""
    try:
        await read(limit=_HEARD_BYTES, idle=_LINGER_S)
    except errors.GatewayError:
        error.headers["connection"] = "close"


async def _piece(receive: Receive, idle: float) -> tuple[bytes, bool]:
    try:
        async with asyncio.timeout(idle):
            message = await receive()
    except TimeoutError:
        raise errors.RequestTimeout(
            "The request's body arrived too slowly or not at all. Send it again.",
            headers={"connection": "close"},
        ) from None
    if message["type"] != "http.request":
        raise ClientGone
    return message.get("body", b""), message.get("more_body", False)


def _pairs(headers: Mapping[str, str]) -> list[tuple[bytes, bytes]]:
    return [(name.encode("latin-1"), value.encode("latin-1", "replace")) for name, value in headers.items()]


async def send_whole(
    send: Send, body: bytes, request_id: str, headers: Mapping[str, str], *, status: int = 200,
    refused: errors.Refused | None = None,
) -> None:
    """A complete JSON answer."""
    fixed = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
        (b"x-request-id", request_id.encode()),
    ]
    start: Any = {"type": "http.response.start", "status": status, "headers": fixed + _pairs(headers)}
    if refused is not None:
        start[TOLD] = refused
    await send(start)
    await send({"type": "http.response.body", "body": body, "more_body": False})


async def send_error(
    send: Send,
    error: errors.GatewayError,
    request_id: str,
    headers: Mapping[str, str],
    *,
    status: int | None = None,
    body: bytes | None = None,
) -> None:
    """An error; ``status`` and ``body`` are given where a dialect tells it in another shape than OpenAI's chat."""
    errors.note_detail(error, request_id)
    told = error.body() if body is None else body
    await send_whole(
        send, told, request_id, {**headers, **error.headers}, status=status or error.status, refused=error.refused
    )


class Authenticator(Protocol):
    """Who sends these headers. Raises Unauthenticated or Forbidden."""

    def __call__(self, headers: Mapping[str, str]) -> Principal: ...
