"""How providers are reached; ``gateway.upstreams.http1`` beside it moves the bytes.

Calls with a known body go over the lean client. aiohttp carries what is rare (``gateway.upstreams.rare``), and
is loaded when that is first wanted. Neither follows redirects or reads proxies from the
environment, and TLS is always verified.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import time
from collections.abc import Callable, Collection
from importlib import import_module
from typing import TYPE_CHECKING

from gateway.concurrency.awake import ASLEEP, Awake
from gateway.config import Timeouts
from gateway.providers.codec import UpstreamRequest
from gateway.upstreams import hops, http1
from gateway.upstreams.addresses import (
    AddressRefused,
    Checked,
    Resolver,
    SystemNames,
    literal,
    permitted,
)
from gateway.upstreams.reply import Reply, StreamedRequest, took_too_long, unreachable

if TYPE_CHECKING:
    import aiohttp
    from aiohttp.abc import ResolveResult

    from gateway.upstreams.rare import Rare

_MOST_WRITTEN = 256


class Upstream:
    """Connection pools to every provider. Made once, inside the event loop; ``close`` at shutdown."""

    def __init__(
        self,
        timeouts: Timeouts,
        *,
        per_host: int = 512,
        tls: ssl.SSLContext | None = None,
        resolver: Resolver | None = None,
        inside: Callable[[], Collection[str]] = frozenset,
        awake: Awake = ASLEEP,
    ) -> None:
        """``tls`` replaces the system's trust, ``resolver`` its look-ups of names; ``inside`` gives the names that may
        lead to private addresses."""
        self._awake = awake
        self._timeouts = timeouts
        self._per_host = per_host
        self._tls = tls if tls is not None else ssl.create_default_context()
        self._resolver, self._inside = resolver, inside
        self._names: Checked | None = None
        self._written: dict[int, tuple[dict[str, str], bytes]] = {}
        self._pool: http1.Pool | None = None
        self._rare: Rare | None = None

    async def send(self, request: UpstreamRequest, *, name: str, remaining: float) -> Reply:
        """Sends and waits for the headers. ``remaining`` seconds are left of the call's deadline.

        Raises AttemptFailed: timeout, or failed when there is no connection.
        """
        first_byte = min(self._timeouts.first_byte, remaining)
        if first_byte <= 0:
            raise took_too_long(name, "before it was asked: the deadline had passed")
        try:
            if isinstance(request, StreamedRequest):
                rare = await self._rarely()
                return await rare.send(request, name, first_byte, remaining)
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
            raise took_too_long(name, "to connect or to send its first byte") from None
        except (OSError, ValueError) as problem:
            raise unreachable(name, problem) from None

    def _lines(self, headers: dict[str, str]) -> bytes:
        """``headers`` as they go on the wire; most codecs send the same ones with every request."""
        known = self._written.get(id(headers))
        if known is None or known[0] is not headers:
            if len(self._written) >= _MOST_WRITTEN:
                self._written.clear()
            known = self._written[id(headers)] = headers, http1.header_lines(headers)
        return known[1]

    async def websocket(
        self, url: str, headers: dict[str, str], *, name: str, remaining: float
    ) -> aiohttp.ClientWebSocketResponse:
        """An open WebSocket. Raises AttemptFailed, and HandshakeRefused."""
        first_byte = min(self._timeouts.first_byte, remaining)
        if first_byte <= 0:
            raise took_too_long(name, "before it was asked: the deadline had passed")
        rare = await self._rarely()
        try:
            return await rare.websocket(url, headers, name, first_byte)
        except TimeoutError:
            raise took_too_long(name, "to open a session") from None
        except (OSError, ValueError) as problem:
            raise unreachable(name, problem) from None

    def in_use(self) -> dict[str, float]:
        return {"provider_connections": self._pool.used if self._pool is not None else 0}

    def _lean(self) -> http1.Pool:
        if self._pool is None:
            self._pool = http1.Pool(self._addresses, self._tls, per_origin=self._per_host, awake=self._awake)
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
            self._names = Checked(LastGood(self._resolver or SystemNames()), self._inside)
        return self._names

    async def _rarely(self) -> Rare:
        """Loaded when it is needed, in a thread: aiohttp takes longer to load than a call may wait."""
        module = await asyncio.to_thread(import_module, "gateway.upstreams.rare")
        if self._rare is None:
            rare: Rare = module.Rare(self._timeouts, self._per_host, self._tls, self._resolve())
            self._rare = rare
        return self._rare

    async def status(self, url: str, *, within: float) -> int:
        """The status of a plain GET without credentials; 0 when there was none ``within`` seconds."""
        return await (await self._rarely()).status(url, within)

    def connections(self) -> tuple[int, int]:
        """(in use, idle): how many connections there are to providers."""
        used, idle = (self._pool.used, self._pool.idle) if self._pool is not None else (0, 0)
        rarely = self._rare.connections() if self._rare is not None else (0, 0)
        return used + rarely[0], idle + rarely[1]

    async def close(self) -> None:
        if self._pool is not None:
            self._pool.close()
        if self._rare is not None:
            await self._rare.close()
        self._pool = self._rare = None


class LastGood:
    """Remembers the last addresses of a name and uses them while it cannot be looked up."""

    def __init__(self, inner: Resolver) -> None:
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
