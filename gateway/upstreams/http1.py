"""A lean HTTP/1.1 client for the hot path: pooled connections, one write per request, a C parser (httptools).

It does what a gateway needs of a client and nothing else: POST with a known body, answers by length, by chunks or
by end of connection, gzip and deflate undone within bounds. No redirects, no proxies, no cookies. A connection
whose answer was not read to its end is closed, never reused; cancelling a request can therefore not spoil the pool.
"""

from __future__ import annotations

import asyncio
import ssl
import time
import zlib
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from functools import lru_cache
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import httptools

from gateway.concurrency.awake import ASLEEP, Awake
from gateway.upstreams.places import Places

_MOST_HEADERS = 200
_LONGEST_HEADERS = 64 * 1024
_HIGH_WATER = 256 * 1024
_PIECE = 1024 * 1024
IDLE_S = 50.0
_TICK_S = 0.001
"""What the event loop's timers round to."""

Resolve = Callable[[str, int], Awaitable[list[str]]]
"""Addresses of a name; raises OSError when there are none."""


class Http1Error(OSError):
    """The connection failed or the other side broke the protocol."""


class Origin(NamedTuple):
    """Where a connection leads; ``socket`` names a unix socket, else ""."""

    secure: bool
    host: str
    port: int
    socket: str


class Destination(NamedTuple):
    """A URL, taken apart once."""

    origin: Origin
    head: bytes  # request line and host header


@lru_cache(maxsize=1024)
def destination(url: str, socket: str = "") -> Destination:
    """Raises ValueError for a URL that is not plain http or https."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"not an http address: {url}")
    secure = parts.scheme == "https"
    origin = Origin(secure, parts.hostname, parts.port or (443 if secure else 80), socket)
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    head = f"POST {target} HTTP/1.1\r\nhost: {parts.netloc.rpartition('@')[2]}\r\nuser-agent: understudy\r\n"
    return Destination(origin, head.encode("ascii"))


class Connection(asyncio.Protocol):
    """One connection, one request at a time."""

    def __init__(self, loop: asyncio.AbstractEventLoop, awake: Awake = ASLEEP) -> None:
        self._loop, self._awake = loop, awake
        self._transport: asyncio.Transport | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._due = self._until = 0.0
        self._problem: Http1Error | None = None
        self.idle_since = 0.0
        self._pieces: deque[bytes] = deque()
        self.on_body = self._pieces.append  # a chunked answer has many: what else is to be done is done for all at once
        self._parser = httptools.HttpResponseParser(self)  # serves every answer: only clean connections are used again
        self._begin()

    def _begin(self) -> None:
        self._pieces.clear()
        self._buffered = self._header_bytes = 0
        self._paused = False
        self.status = 0
        self.headers: dict[str, str] = {}
        self.complete = self._reusable = False

    # ------------------------------------------------------------------ asyncio
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport) or hasattr(transport, "write")
        self._transport = transport  # type: ignore[assignment]

    def data_received(self, data: bytes) -> None:
        self._awake.come()
        if self.idle_since or self.complete:
            self.close()  # nobody asked: whatever this is, it is no answer to the next request
            return
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, Http1Error):
            self._fail("the answer is not HTTP")
            return
        if self._pieces:
            self._body(len(data))

    def _body(self, size: int) -> None:
        """Some of the body is here; ``size`` bytes arrived with it."""
        self._buffered += size
        if self._buffered > _HIGH_WATER and not self._paused and self._transport is not None:
            self._paused = True
            self._transport.pause_reading()
        if self._waiter is not None:
            self._wake()

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self.complete:
            return
        if self.status and self._problem is None and not self._framed():
            self.complete = True  # an answer without a length ends with its connection
            self._wake()
        else:
            self._fail(
                "the connection was closed in the middle" if self.status else "the connection was closed"
            )

    def _framed(self) -> bool:
        return "content-length" in self.headers or "chunked" in self.headers.get("transfer-encoding", "")

    # ------------------------------------------------------------------ httptools
    def on_message_begin(self) -> None:
        if self.complete:  # not one byte of it may stay in the parser for the next request
            raise Http1Error("a second answer to one request")

    def on_header(self, name: bytes, value: bytes) -> None:
        self._header_bytes += len(name) + len(value) + 4
        if self._header_bytes > _LONGEST_HEADERS or len(self.headers) >= _MOST_HEADERS:
            raise Http1Error("too many headers")
        self.headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        status = self._parser.get_status_code()
        if status < 200:  # an interim answer; the real one follows
            self.headers, self._header_bytes = {}, 0
            return
        self.status = status
        self._wake()

    def on_message_complete(self) -> None:
        if self.status:
            self.complete, self._reusable = True, self._parser.should_keep_alive()
            if self._waiter is not None:
                self._wake()

    # ------------------------------------------------------------------ use
    @property
    def usable(self) -> bool:
        return self._transport is not None and not self._transport.is_closing()

    def send(self, data: bytes) -> None:
        """Writes a whole request. Raises Http1Error when the connection is gone."""
        if self._transport is None:
            raise Http1Error("the connection was closed")
        self._begin()
        self.idle_since = 0.0
        self._transport.write(data)
        self._awake.waiting()

    def change(self, until: float) -> asyncio.Future[None]:
        """Done when something has happened; its TimeoutError comes at ``until`` (monotonic). Raises Http1Error."""
        if self._problem is not None:
            raise self._problem
        self._until = until
        if self._timer is None or until < self._due:
            self._arm()
        self._waiter = waiter = self._loop.create_future()
        return waiter

    async def piece(self, until: float) -> bytes:
        """The next bytes of the body; b"" at its end. Raises TimeoutError and Http1Error."""
        while not self._pieces:
            if self.complete:
                return b""
            await self.change(until)
        return self._taken()

    def rest(self) -> bytes | None:
        """All that is left of the body when its end is here, else None."""
        if not self.complete:
            return None
        return self._taken() if self._pieces else b""

    def _taken(self) -> bytes:
        if len(self._pieces) == 1:
            data = self._pieces.popleft()
        else:  # what has arrived together is looked at together
            data = b"".join(self._pieces)
            self._pieces.clear()
        self._buffered = 0
        if self._paused and self._transport is not None:
            self._paused = False
            self._transport.resume_reading()
        return data

    def rest_is_clean(self) -> bool:
        """Whether the answer was read to its end and the connection may carry another request."""
        return self.complete and not self._pieces and self._reusable and self.usable

    def close(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def _fail(self, why: str) -> None:
        self._problem = self._problem or Http1Error(why)
        self._wake()
        self.close()

    def _wake(self) -> None:
        waiter, self._waiter = self._waiter, None
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    def _arm(self) -> None:
        """One timer stays for many waits and is set anew only when it fires too early: most answers need none."""
        if self._timer is not None:
            self._timer.cancel()
        self._due = self._until
        self._timer = self._loop.call_later(max(0.0, self._until - time.monotonic()), self._expire)

    def _expire(self) -> None:
        self._timer, waiter = None, self._waiter
        if waiter is None or waiter.done():
            return
        if self._until - time.monotonic() > _TICK_S:
            self._arm()
        else:
            waiter.set_exception(TimeoutError())


class Answer:
    """An answer whose headers have arrived. ``release`` whatever happens; twice is fine."""

    def __init__(self, pool: Pool, site: _Site, connection: Connection) -> None:
        self._pool, self._site, self._connection = pool, site, connection
        self.status = connection.status
        self.headers: Mapping[str, str] = connection.headers
        encoding = connection.headers.get("content-encoding", "identity").lower()
        if encoding not in ("identity", "", "gzip", "x-gzip", "deflate"):
            raise Http1Error("the answer is encoded in a way nobody asked for")
        self._inflate = zlib.decompressobj(47) if encoding not in ("identity", "") else None
        self._released = False

    def piece(self, until: float) -> Awaitable[bytes]:
        """The next decoded bytes, at most a mebibyte when they were compressed; b"" at the end."""
        return self._connection.piece(until) if self._inflate is None else self._inflated(self._inflate, until)

    async def _inflated(self, inflate: Any, until: float) -> bytes:
        while True:
            data = inflate.unconsumed_tail or await self._connection.piece(until)
            if not data:
                return b""
            try:
                found: bytes = inflate.decompress(data, _PIECE)
            except zlib.error:
                raise Http1Error("the answer's compression is broken") from None
            if found:
                return found

    def rest(self) -> bytes | None:
        """The rest of the body when all of it is here and was not compressed; None: ask for it by pieces."""
        return self._connection.rest() if self._inflate is None else None

    @property
    def ended(self) -> bool:
        return self._connection.complete

    def release(self) -> None:
        if not self._released:
            self._released = True
            self._pool.give_back(self._site, self._connection)


class _Site(Places):
    """What a pool keeps of one origin: idle connections, and places for those in use."""

    def __init__(self, most: int) -> None:
        super().__init__(most)
        self.idle: deque[Connection] = deque()


class Pool:
    """Connections by origin. Made inside the event loop."""

    def __init__(
        self, resolve: Resolve, tls: ssl.SSLContext, *, per_origin: int = 512, awake: Awake = ASLEEP
    ) -> None:
        self._resolve, self._tls, self._per_origin = resolve, tls, per_origin
        self._awake = awake
        self._sites: dict[Origin, _Site] = {}
        self.used = 0

    async def post(
        self, where: Destination, headers: bytes, body: bytes, *, connect_until: float, until: float
    ) -> Answer:
        """Sends and waits for the answer's headers. ``headers`` are complete lines without the final empty one;
        times are monotonic. Raises TimeoutError and OSError (Http1Error, ssl.SSLError among them)."""
        site = self._sites.get(where.origin)
        if site is None:
            site = self._sites[where.origin] = _Site(self._per_origin)
        if not site.take():
            await site.wait()
        self.used += 1
        connection: Connection | None = None
        try:
            connection = self._take(site.idle) or await self._connect(where.origin, connect_until)
            connection.send(b"%b%bcontent-length: %d\r\n\r\n%b" % (where.head, headers, len(body), body))
            while not connection.status:
                await connection.change(until)
            return Answer(self, site, connection)
        except BaseException:
            self._forget(site, connection)
            raise

    @staticmethod
    def _take(idle: deque[Connection]) -> Connection | None:
        """The idle connection used last, if it is fresh."""
        while idle:
            connection = idle.pop()
            if connection.usable and time.monotonic() - connection.idle_since < IDLE_S:
                return connection
            connection.close()
        return None

    async def _connect(self, origin: Origin, until: float) -> Connection:
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(max(0.0, until - time.monotonic())):
            if origin.socket:
                _, made = await loop.create_unix_connection(lambda: Connection(loop, self._awake), origin.socket)
                return made
            tls, name = (self._tls, origin.host) if origin.secure else (None, None)
            problem: OSError = Http1Error("the name has no address")
            for address in await self._resolve(origin.host, origin.port):
                try:
                    _, made = await loop.create_connection(
                        lambda: Connection(loop, self._awake), address, origin.port, ssl=tls, server_hostname=name
                    )
                except ssl.SSLError:
                    raise
                except OSError as found:
                    problem = found
                else:
                    return made
            raise problem

    def give_back(self, site: _Site, connection: Connection) -> None:
        """Keeps a clean connection for the next request and closes any other."""
        if not connection.rest_is_clean():
            self._forget(site, connection)
            return
        connection.idle_since = time.monotonic()
        site.idle.append(connection)
        self.used -= 1
        site.leave()

    def _forget(self, site: _Site, connection: Connection | None) -> None:
        if connection is not None:
            connection.close()
        self.used -= 1
        site.leave()

    @property
    def idle(self) -> int:
        return sum(len(site.idle) for site in self._sites.values())

    def close(self) -> None:
        for site in self._sites.values():
            while site.idle:
                site.idle.pop().close()


def header_lines(headers: Mapping[str, str]) -> bytes:
    """Header lines as they go on the wire. Raises ValueError for a line break in a value."""
    text = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    if text.count("\n") != len(headers) or text.count("\r") != len(headers):
        raise ValueError("a header holds a line break")
    return text.encode("latin-1")
