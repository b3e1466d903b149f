"""What calls rarely need of providers, over aiohttp: bodies that are streamed up, WebSockets, and health checks."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import aiohttp
from aiohttp.abc import AbstractResolver

from gateway.config import Timeouts
from gateway.providers.codec import AttemptFailed
from gateway.upstreams import hops
from gateway.upstreams.addresses import Resolver, check_literal
from gateway.upstreams.reply import (
    LARGEST_ANSWER,
    HandshakeRefused,
    Reply,
    StreamedRequest,
    broken,
    unreachable,
)

_HEARTBEAT_S = 20.0


class RareReply(Reply):
    """The answer to a request whose body was streamed up."""

    def __init__(self, response: aiohttp.ClientResponse, name: str) -> None:
        self._response, self._name = response, name
        self.status = response.status
        self.headers = response.headers
        self.lease = None

    async def _piece(self) -> bytes:
        content = self._response.content
        try:
            while True:
                part = await content.readany()
                if part or content.at_eof():
                    return part
        except TimeoutError:
            raise
        except aiohttp.ClientError as problem:
            raise broken(self._name, problem) from None

    def rest(self) -> bytes | None:
        return None

    def release(self) -> None:
        if self._response.content.at_eof():
            self._response.release()
        else:
            self._response.close()
        if self.lease is not None:
            self.lease.leave()


class Rare:
    """Made once, inside the event loop; ``close`` at shutdown. Raises TimeoutError, OSError and ValueError as they
    come, AttemptFailed for what is aiohttp's own."""

    def __init__(self, timeouts: Timeouts, per_host: int, tls: Any, names: Resolver) -> None:
        self._timeouts = timeouts
        self._connector = aiohttp.TCPConnector(
            limit=0, limit_per_host=per_host, ssl=tls, resolver=cast(AbstractResolver, names)
        )
        stays = aiohttp.TraceConfig()
        stays.on_request_redirect.append(_stay)
        self._session = aiohttp.ClientSession(
            connector=self._connector,
            trace_configs=[stays],
            timeout=aiohttp.ClientTimeout(total=None),
            trust_env=False,
            cookie_jar=aiohttp.DummyCookieJar(),
            skip_auto_headers=("User-Agent",),
            headers={"user-agent": "understudy"},
        )

    async def send(
        self, request: StreamedRequest, name: str, first_byte: float, remaining: float
    ) -> RareReply:
        """Raises AttemptFailed."""
        limits = self._timeouts
        timeout = aiohttp.ClientTimeout(
            total=remaining, sock_connect=min(limits.connect, remaining), sock_read=limits.chunk_gap
        )
        check_literal(request.url)
        options: dict[str, Any] = {"allow_redirects": False, "timeout": timeout}
        headers = {**request.headers, hops.HEADER: str(hops.passed())}
        try:
            async with asyncio.timeout(first_byte):
                return RareReply(
                    await self._session.post(request.url, data=request.pieces(), headers=headers, **options), name
                )
        except TimeoutError:
            raise
        except aiohttp.ClientError as problem:
            raise _unreachable(name, problem) from None

    async def websocket(
        self, url: str, headers: dict[str, str], name: str, first_byte: float
    ) -> aiohttp.ClientWebSocketResponse:
        """Raises HandshakeRefused, AttemptFailed."""
        check_literal(url)
        counted = {**headers, hops.HEADER: str(hops.passed())}
        try:
            async with asyncio.timeout(first_byte):
                return await self._session.ws_connect(
                    url, headers=counted, max_msg_size=LARGEST_ANSWER, heartbeat=_HEARTBEAT_S
                )
        except aiohttp.WSServerHandshakeError as problem:
            raise HandshakeRefused(problem.status, dict(problem.headers or {})) from None
        except TimeoutError:
            raise
        except aiohttp.ClientError as problem:
            raise _unreachable(name, problem) from None

    async def status(self, url: str, within: float) -> int:
        """The status of a plain GET without credentials; 0 when there was none ``within`` seconds."""
        timeout = aiohttp.ClientTimeout(total=within)
        try:
            check_literal(url)
            async with self._session.get(url, allow_redirects=False, timeout=timeout) as response:
                return response.status
        except (aiohttp.ClientError, OSError, ValueError):
            return 0

    def connections(self) -> tuple[int, int]:
        """(in use, idle)"""
        return len(self._connector._acquired), sum(map(len, self._connector._conns.values()))

    async def close(self) -> None:
        await self._session.close()


async def _stay(_session: object, _context: object, told: aiohttp.TraceRequestRedirectParams) -> None:
    """``ws_connect`` cannot be told not to follow redirects, which would take the provider's key along, to addresses
    that nobody has checked. Raises HandshakeRefused before anything is asked there."""
    told.response.close()
    raise HandshakeRefused(told.response.status, dict(told.response.headers))


def _unreachable(name: str, problem: Exception) -> AttemptFailed:
    certificate = isinstance(problem, aiohttp.ClientConnectorCertificateError | aiohttp.ClientSSLError)
    return unreachable(name, problem, untrusted=certificate)
