"""The gateway's side of a client's connection: deadlines that uvicorn does not have, and how many there may be."""

from __future__ import annotations

import asyncio
import ipaddress
from collections import Counter

from msgspec import Struct
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from gateway.errors import Unavailable

_PROGRESS_BYTES = 1024
"""A client that takes less than this in ``write_idle`` seconds is not reading."""


class Bounds(Struct, frozen=True):
    """Seconds and counts; see ``gateway.config.Server``."""

    header: float = 15.0
    write_idle: float = 60.0
    total: int = 1000
    per_address: int = 100


class Doors:
    """How many connections there are, altogether and by address."""

    def __init__(self) -> None:
        self.total = 0
        self.by_address: Counter[str] = Counter()

    def admit(self, address: str, bounds: Bounds) -> bool:
        """Counts one more connection, or refuses it. Loopback counts only towards the total."""
        if self.total >= bounds.total:
            return False
        if not _loopback(address):
            if self.by_address[address] >= bounds.per_address:
                return False
            self.by_address[address] += 1
        self.total += 1
        return True

    def leave(self, address: str) -> None:
        self.total -= 1
        if address in self.by_address:
            self.by_address[address] -= 1
            if not self.by_address[address]:
                del self.by_address[address]


def _loopback(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return True  # a unix socket: the machine's own


class PatientProtocol(HttpToolsProtocol):
    """uvicorn has no deadline for request headers nor for a client that does not read its answer."""

    bounds = Bounds()
    doors = Doors()
    _headers_due: asyncio.TimerHandle | None = None
    _reading_due: asyncio.TimerHandle | None = None
    _admitted = ""
    _turned_away = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        address = str((transport.get_extra_info("peername") or ("",))[0])
        if not self.doors.admit(address, self.bounds):
            self._turned_away = True
            self.transport = transport
            transport.write(_FULL)
            transport.close()
            return
        self._admitted = address or "-"
        super().connection_made(transport)
        self._headers_due = self.loop.call_later(self.bounds.header, self._too_slow)

    def data_received(self, data: bytes) -> None:
        if not self._turned_away:
            super().data_received(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self._disarm()
        self._read_again()
        if self._turned_away:
            return
        if self._admitted:
            self.doors.leave(self._admitted)
            self._admitted = ""
        super().connection_lost(exc)

    # ------------------------------------------------------------------ headers
    def on_message_begin(self) -> None:
        super().on_message_begin()
        if self._headers_due is None:
            self._headers_due = self.loop.call_later(self.bounds.header, self._too_slow)

    def on_headers_complete(self) -> None:
        self._disarm()
        super().on_headers_complete()

    def _too_slow(self) -> None:
        if not self.transport.is_closing():
            self.transport.write(_SLOW)
            self.transport.close()

    def _disarm(self) -> None:
        if self._headers_due is not None:
            self._headers_due.cancel()
            self._headers_due = None

    # ------------------------------------------------------------------ a client that does not read
    def pause_writing(self) -> None:
        super().pause_writing()
        self._watch_reader(self.transport.get_write_buffer_size())

    def _watch_reader(self, left: int) -> None:
        self._reading_due = self.loop.call_later(self.bounds.write_idle, self._check_reader, left)

    def _check_reader(self, before: int) -> None:
        now = self.transport.get_write_buffer_size()
        if before - now < _PROGRESS_BYTES:
            self.transport.abort()
        else:
            self._watch_reader(now)

    def resume_writing(self) -> None:
        self._read_again()
        super().resume_writing()

    def _read_again(self) -> None:
        if self._reading_due is not None:
            self._reading_due.cancel()
            self._reading_due = None


def protocol(bounds: Bounds) -> type[PatientProtocol]:
    """The protocol class of one server, with counts of its own."""
    return type("BoundProtocol", (PatientProtocol,), {"bounds": bounds, "doors": Doors()})


def _raw(line: str, body: bytes) -> bytes:
    head = f"HTTP/1.1 {line}\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n"
    return head.encode() + b"retry-after: 1\r\nconnection: close\r\n\r\n" + body


_FULL = _raw(
    "503 Service Unavailable",
    Unavailable(
        "The gateway has as many connections as it allows. Try again in a moment.",
        code="too_many_connections",
    ).body(),
)
_SLOW = _raw(
    "408 Request Timeout",
    Unavailable("The request's headers arrived too slowly. Send it again.", code="request_timeout").body(),
)
