"""The only file that owns sockets to providers.

aiohttp rather than httpx: it is faster, and it does not lose its connection pool when requests are cancelled
while the pool is full. No redirects, no proxies from the environment, TLS always verified.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

from gateway import errors
from gateway.config import Timeouts
from gateway.providers.codec import AttemptFailed, UpstreamRequest, failed

LARGEST_ANSWER = 32 * 1024 * 1024


class StreamedRequest(UpstreamRequest, frozen=True, kw_only=True):
    """A request whose body is read as it is sent; ``pieces`` begins anew for each attempt."""

    pieces: Callable[[], AsyncIterator[bytes]]


class Reply:
    """An upstream answer whose headers have arrived. Close it, whatever happens; closing twice is fine."""

    def __init__(self, response: aiohttp.ClientResponse, name: str) -> None:
        self._response, self._name = response, name
        self.status = response.status
        self.headers: Mapping[str, str] = response.headers

    async def read(self) -> bytes:
        """The whole body. Raises AttemptFailed when it is cut, too slow or too large."""
        parts: list[bytes] = []
        size = 0
        while part := await self.piece():
            size += len(part)
            if size > LARGEST_ANSWER:
                raise failed("failed", errors.UpstreamFailed(f"The provider '{self._name}' sent too much."))
            parts.append(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    async def piece(self) -> bytes:
        """The next bytes of the body, b"" at its end; a gap longer than ``chunk_gap`` is a failure."""
        content = self._response.content
        try:
            while True:
                part = await content.readany()
                if part or content.at_eof():
                    return part
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

    def release(self) -> None:
        """Gives the connection back to the pool when the body was read to its end, else closes it."""
        if self._response.content.at_eof():
            self._response.release()
        else:
            self._response.close()


class Upstream:
    """Connection pools to every provider. Made once, inside the event loop; ``close`` at shutdown."""

    def __init__(
        self,
        timeouts: Timeouts,
        *,
        per_host: int = 512,
        tls: ssl.SSLContext | None = None,
        resolver: AbstractResolver | None = None,
    ) -> None:
        """``tls`` replaces the system's trust, ``resolver`` its look-ups of names."""
        self._timeouts = timeouts
        self._per_host = per_host
        self._tls: ssl.SSLContext | bool = tls if tls is not None else True
        self._resolver = resolver
        self._sessions: dict[str, aiohttp.ClientSession] = {}

    def _session(self, socket: str) -> aiohttp.ClientSession:
        session = self._sessions.get(socket)
        if session is None:
            connector: aiohttp.BaseConnector = (
                aiohttp.UnixConnector(path=socket, limit=self._per_host)
                if socket
                else aiohttp.TCPConnector(
                    limit=0,
                    limit_per_host=self._per_host,
                    keepalive_timeout=75,
                    ssl=self._tls,
                    resolver=LastGood(self._resolver or aiohttp.ThreadedResolver()),
                )
            )
            session = self._sessions[socket] = aiohttp.ClientSession(
                connector=connector,
                timeout=aiohttp.ClientTimeout(total=None),
                trust_env=False,
                cookie_jar=aiohttp.DummyCookieJar(),
                skip_auto_headers=("User-Agent",),
                headers={"user-agent": "understudy"},
            )
        return session

    async def send(self, request: UpstreamRequest, *, name: str, remaining: float) -> Reply:
        """Sends and waits for the headers. ``remaining`` seconds are left of the call's deadline.

        Raises AttemptFailed: timeout, or failed when there is no connection.
        """
        limits = self._timeouts
        first_byte = min(limits.first_byte, remaining)
        if first_byte <= 0:
            raise _timeout(name, "before it was asked: the deadline had passed")
        timeout = aiohttp.ClientTimeout(
            total=remaining, sock_connect=min(limits.connect, remaining), sock_read=limits.chunk_gap
        )
        options: dict[str, Any] = {"allow_redirects": False, "timeout": timeout}
        body = request.pieces() if isinstance(request, StreamedRequest) else request.body
        try:
            async with asyncio.timeout(first_byte):
                response = await self._session(request.socket).post(
                    request.url, data=body, headers=request.headers, **options
                )
        except aiohttp.ServerTimeoutError:
            raise _timeout(name, "to connect or to answer") from None
        except TimeoutError:
            raise _timeout(name, "for the first byte") from None
        except (aiohttp.ClientError, OSError, ValueError) as problem:
            raise _unreachable(name, problem) from None
        return Reply(response, name)

    async def status(self, url: str, *, within: float) -> int:
        """The status of a plain GET without credentials; 0 when there was none ``within`` seconds."""
        timeout = aiohttp.ClientTimeout(total=within)
        try:
            async with self._session("").get(url, allow_redirects=False, timeout=timeout) as response:
                return response.status
        except (aiohttp.ClientError, OSError, ValueError):
            return 0

    def connections(self) -> tuple[int, int]:
        """(in use, idle): how many connections there are to providers."""
        used = idle = 0
        for session in self._sessions.values():
            if isinstance(connector := session.connector, aiohttp.BaseConnector):
                used += len(connector._acquired)
                idle += sum(len(found) for found in connector._conns.values())
        return used, idle

    async def close(self) -> None:
        for session in self._sessions.values():
            await session.close()
        self._sessions.clear()


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
    if isinstance(problem, aiohttp.ClientConnectorCertificateError | aiohttp.ClientSSLError):
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
