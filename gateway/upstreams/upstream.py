"""The only file that knows how providers are reached; ``gateway.upstreams.http1`` beside it moves the bytes.

Calls with a known body go over the lean client. aiohttp carries what is rare: bodies that are streamed up, and
health checks. Neither follows redirects or reads proxies from the environment, and TLS is always verified.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import time
from collections.abc import AsyncIterator, Callable, Collection
from typing import Any, Protocol

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

from gateway import errors
from gateway.config import Timeouts
from gateway.providers.codec import AttemptFailed, UpstreamRequest, failed
from gateway.upstreams import hops, http1
from gateway.upstreams.addresses import AddressRefused, Checked, check_literal, literal, permitted

LARGEST_ANSWER = 32 * 1024 * 1024
_MOST_WRITTEN = 256
_HEARTBEAT_S = 20.0


class StreamedRequest(UpstreamRequest, frozen=True, kw_only=True):
    """A request whose body is read as it is sent; ``pieces`` begins anew for each attempt."""

    pieces: Callable[[], AsyncIterator[bytes]]


class Lease(Protocol):
    """What a reply holds until it is released; ``used`` is told the tokens it cost."""

    def used(self, tokens: int) -> None: ...
    def leave(self) -> None: ...


class Reply:
    """An upstream answer whose headers have arrived. Release it, whatever happens; twice is fine."""

    def __init__(self, answer: http1.Answer, name: str, gap: float, deadline: float) -> None:
        self._answer, self._name, self._gap, self._deadline = answer, name, gap, deadline
        self.status = answer.status
        self.headers = answer.headers
        self.lease: Lease | None = None

    async def read(self) -> bytes:
        """The whole body. Raises AttemptFailed when it is cut, too slow or too large."""
        part = self._rest()
        if part is not None and len(part) <= LARGEST_ANSWER:
            return part
        parts: list[bytes] = []
        size = 0
        while part or (part := await self.piece()):
            size += len(part)
            if size > LARGEST_ANSWER:
                raise failed("failed", errors.UpstreamFailed(f"The provider '{self._name}' sent too much."))
            parts.append(part)
            part = b""
        return parts[0] if len(parts) == 1 else b"".join(parts)

    async def piece(self) -> bytes:
        """The next bytes of the body, b"" at its end; a gap longer than ``chunk_gap`` is a failure."""
        try:
            return await self._piece()
        except TimeoutError:
            raise _timeout(self._name, "between two pieces of the answer") from None
        except (aiohttp.ClientError, OSError, ValueError) as problem:
            raise failed(
                "failed",
                errors.UpstreamFailed(
                    f"The connection to the provider '{self._name}' broke in the middle of the answer.",
                    detail=type(problem).__name__,
                ),
            ) from None

    async def _piece(self) -> bytes:
        return await self._answer.piece(min(time.monotonic() + self._gap, self._deadline))

    def _rest(self) -> bytes | None:
        """What is left of the body when nothing has to be waited for."""
        return self._answer.rest()

    def release(self) -> None:
        """Gives the connection back to the pool when the body was read to its end, else closes it."""
        self._answer.release()
        if self.lease is not None:
            self.lease.leave()


class _RareReply(Reply):
    """The answer to a request whose body was streamed up."""

    def __init__(self, response: aiohttp.ClientResponse, name: str) -> None:
        self._response, self._name = response, name
        self.status = response.status
        self.headers = response.headers
        self.lease = None

    async def _piece(self) -> bytes:
        content = self._response.content
        while True:
            part = await content.readany()
            if part or content.at_eof():
                return part

    def _rest(self) -> bytes | None:
        return None

    def release(self) -> None:
        if self._response.content.at_eof():
            self._response.release()
        else:
            self._response.close()
        if self.lease is not None:
            self.lease.leave()


class Upstream:
    """Connection pools to every provider. Made once, inside the event loop; ``close`` at shutdown."""

    def __init__(
        self,
        timeouts: Timeouts,
        *,
        per_host: int = 512,
        tls: ssl.SSLContext | None = None,
        resolver: AbstractResolver | None = None,
        inside: Callable[[], Collection[str]] = frozenset,
    ) -> None:
        """``tls`` replaces the system's trust, ``resolver`` its look-ups of names; ``inside`` gives the names that may
        lead to private addresses."""
        self._timeouts = timeouts
        self._per_host = per_host
        self._tls = tls if tls is not None else ssl.create_default_context()
        self._resolver, self._inside = resolver, inside
        self._names: Checked | None = None
        self._written: dict[int, tuple[dict[str, str], bytes]] = {}
        self._pool: http1.Pool | None = None
        self._rare: aiohttp.ClientSession | None = None

    async def send(self, request: UpstreamRequest, *, name: str, remaining: float) -> Reply:
        """Sends and waits for the headers. ``remaining`` seconds are left of the call's deadline.

        Raises AttemptFailed: timeout, or failed when there is no connection.
        """
        first_byte = min(self._timeouts.first_byte, remaining)
        if first_byte <= 0:
            raise _timeout(name, "before it was asked: the deadline had passed")
        try:
            if isinstance(request, StreamedRequest):
                return _RareReply(await self._send_streamed(request, first_byte, remaining), name)
            now = time.monotonic()
            answer = await self._lean().post(
                http1.destination(request.url, request.socket),
                self._lines(request.headers) + hops.line(),
                request.body,
                connect_until=now + min(self._timeouts.connect, remaining),
                until=now + first_byte,
            )
            return Reply(answer, name, self._timeouts.chunk_gap, now + remaining)
        except TimeoutError:
            raise _timeout(name, "to connect or to send its first byte") from None
        except (aiohttp.ClientError, OSError, ValueError) as problem:
            raise _unreachable(name, problem) from None

    def _lines(self, headers: dict[str, str]) -> bytes:
        """``headers`` as they go on the wire; most codecs send the same ones with every request."""
        known = self._written.get(id(headers))
        if known is None or known[0] is not headers:
            if len(self._written) >= _MOST_WRITTEN:
                self._written.clear()
            known = self._written[id(headers)] = headers, http1.header_lines(headers)
        return known[1]

    async def _send_streamed(
        self, request: StreamedRequest, first_byte: float, remaining: float
    ) -> aiohttp.ClientResponse:
        limits = self._timeouts
        timeout = aiohttp.ClientTimeout(
            total=remaining, sock_connect=min(limits.connect, remaining), sock_read=limits.chunk_gap
        )
        check_literal(request.url)
        options: dict[str, Any] = {"allow_redirects": False, "timeout": timeout}
        async with asyncio.timeout(first_byte):
            headers = {**request.headers, hops.HEADER: str(hops.passed())}
            return await self._session().post(request.url, data=request.pieces(), headers=headers, **options)

    async def websocket(
        self, url: str, headers: dict[str, str], *, name: str, remaining: float
    ) -> aiohttp.ClientWebSocketResponse:
        """An open WebSocket. Raises AttemptFailed, and aiohttp.WSServerHandshakeError when it was refused."""
        first_byte = min(self._timeouts.first_byte, remaining)
        if first_byte <= 0:
            raise _timeout(name, "before it was asked: the deadline had passed")
        try:
            check_literal(url)
            async with asyncio.timeout(first_byte):
                counted = {**headers, hops.HEADER: str(hops.passed())}
                return await self._session().ws_connect(
                    url, headers=counted, max_msg_size=LARGEST_ANSWER, heartbeat=_HEARTBEAT_S
                )
        except aiohttp.WSServerHandshakeError:
            raise
        except TimeoutError:
            raise _timeout(name, "to open a session") from None
        except (aiohttp.ClientError, OSError, ValueError) as problem:
            raise _unreachable(name, problem) from None

    def in_use(self) -> dict[str, float]:
        return {"provider_connections": self._pool.used if self._pool is not None else 0}

    def _lean(self) -> http1.Pool:
        if self._pool is None:
            self._pool = http1.Pool(self._addresses, self._tls, per_origin=self._per_host)
        return self._pool

    async def _addresses(self, host: str, port: int) -> list[str]:
        """Where ``host`` may be reached; connections are made to these and to nothing else."""
        if host == "localhost":
            return [host]
        if literal(host) is not None:
            if not permitted(host, host, ()):
                raise AddressRefused(f"{host} must not be called")
            return [host]
        return [found["host"] for found in await self._resolve().resolve(host, port, socket.AF_UNSPEC)]

    def _resolve(self) -> Checked:
        if self._names is None:
            self._names = Checked(LastGood(self._resolver or aiohttp.ThreadedResolver()), self._inside)
        return self._names

    def _session(self) -> aiohttp.ClientSession:
        if self._rare is None:
            connector = aiohttp.TCPConnector(
                limit=0, limit_per_host=self._per_host, ssl=self._tls, resolver=self._resolve()
            )
            self._rare = aiohttp.ClientSession(
                connector=connector,
                timeout=aiohttp.ClientTimeout(total=None),
                trust_env=False,
                cookie_jar=aiohttp.DummyCookieJar(),
                skip_auto_headers=("User-Agent",),
                headers={"user-agent": "understudy"},
            )
        return self._rare

    async def status(self, url: str, *, within: float) -> int:
        """The status of a plain GET without credentials; 0 when there was none ``within`` seconds."""
        timeout = aiohttp.ClientTimeout(total=within)
        try:
            check_literal(url)
            async with self._session().get(url, allow_redirects=False, timeout=timeout) as response:
                return response.status
        except (aiohttp.ClientError, OSError, ValueError):
            return 0

    def connections(self) -> tuple[int, int]:
        """(in use, idle): how many connections there are to providers."""
        used, idle = (self._pool.used, self._pool.idle) if self._pool is not None else (0, 0)
        if self._rare is not None and isinstance(connector := self._rare.connector, aiohttp.BaseConnector):
            used += len(connector._acquired)
            idle += sum(len(found) for found in connector._conns.values())
        return used, idle

    async def close(self) -> None:
        if self._pool is not None:
            self._pool.close()
        if self._rare is not None:
            await self._rare.close()
        self._pool = self._rare = None


class LastGood(AbstractResolver):
    """Remembers the last addresses of a name and uses them while it cannot be looked up."""

    def __init__(self, inner: AbstractResolver) -> None:
        self._inner = inner
        self._known: dict[tuple[str, int, int], list[ResolveResult]] = {}

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        key = host, port, int(family)
        try:
            found = await self._inner.resolve(host, port, family)
        except OSError:
            if key not in self._known:
                raise
            return self._known[key]
        self._known[key] = found
        return found

    async def close(self) -> None:
        await self._inner.close()


def _timeout(name: str, when: str) -> AttemptFailed:
    return failed("timeout", errors.UpstreamTimeout(f"The provider '{name}' took too long {when}."))


def _unreachable(name: str, problem: Exception) -> AttemptFailed:
    cause = getattr(problem, "os_error", problem)
    if isinstance(cause, AddressRefused):
        return failed(
            "failed",
            errors.UpstreamFailed(
                f"The name of the provider '{name}' leads to an address that the gateway must not call, so nothing was "
                "sent to it. This is for the gateway's operator to mend.",
                code="provider_address",
                detail=f"{cause}; 'upstreams: {{{name}: {{private_addresses: true}}}}' allows private ones",
            ),
        )
    if isinstance(problem, aiohttp.ClientConnectorCertificateError | aiohttp.ClientSSLError | ssl.SSLError):
        return failed(
            "failed",
            errors.UpstreamFailed(
                f"The TLS certificate of the provider '{name}' cannot be trusted, so nothing was sent to it. "
                "This is for the gateway's operator to mend.",
                code="provider_certificate",
                detail=type(problem).__name__,
            ),
        )
    return failed(
        "failed",
        errors.UpstreamFailed(
            f"The provider '{name}' cannot be reached.",
            code="provider_unreachable",
            detail=type(problem).__name__,
        ),
    )
