"""The gateway's side of a client's connection: deadlines that uvicorn does not have, how many there may be, and the
fast lane, where a request goes straight to its handler."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from msgspec import Struct

from gateway.access.origins import Origins
from gateway.concurrency.awake import ASLEEP
from gateway.errors import GatewayError, Refused, Unavailable
from gateway.resilience.known_head import KnownHead, learn
from gateway.resilience.lane_cycle import LaneCycle
from gateway.resilience.pressure import Pressure, large, short_of_memory
from gateway.resilience.strict_http import StrictProtocol, raw_answer

_TOO_MANY = Refused("connections")
WEBSOCKET_PATHS = frozenset({b"/v1/realtime", b"/openai/v1/realtime", b"/openai/realtime"})
"""OpenAI's and Azure's."""
_PROGRESS_BYTES = 1024
"""A client that takes less than this in ``write_idle`` seconds is not reading."""
_TRIES = 8
"""After so many heads in a row that were not those before them a connection is not looked at any more."""


class Bounds(Struct, frozen=True):
    """Seconds and counts; see ``gateway.config.Server``."""

    header: float = 10.0
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


Lane = Callable[[LaneCycle], Awaitable[None]]


class PatientProtocol(StrictProtocol):
    """uvicorn has no deadline for request headers nor for a client that does not read its answer. Timers are armed
    only when a read has ended in the middle of something, so that an ordinary call needs none."""

    bounds = Bounds()
    doors = Doors()
    lanes: Mapping[bytes, Lane] = {}
    """Handlers of POST requests by their path."""
    origins = Origins()
    awake = ASLEEP
    pressure = Pressure()

    _headers_due: asyncio.TimerHandle | None = None
    _reading_due: asyncio.TimerHandle | None = None
    _admitted = ""
    _turned_away = False
    _unstarted: tuple[LaneCycle, Lane] | None = None
    _running: Any = None
    _idle_since = 0.0
    _defaults: tuple[Any, str] = (None, "")
    _known: tuple[KnownHead, Lane] | None = None
    _tries = _TRIES

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        address = str((transport.get_extra_info("peername") or ("",))[0])
        if not self.doors.admit(address, self.bounds):
            self._turned_away = True
            if (refusals := getattr(self.app, "refusals", None)) is not None:
                refusals.note(_TOO_MANY, address or "unknown")
            self.transport = transport
            transport.write(_FULL)
            transport.close()
            return
        self._admitted = address or "-"
        self.lanes = getattr(self.app, "lanes", self.lanes)
        self.origins = getattr(self.app, "origins", self.origins)
        self.awake = getattr(self.app, "awake", self.awake)
        self.pressure = getattr(self.app, "pressure", self.pressure)
        super().connection_made(transport)
        self._await_headers()

    def data_received(self, data: bytes) -> None:
        if self._turned_away:
            return
        self.awake.come()
        between = self._between()
        if between and self._known is not None and not self.pressure.short and self._as_before(data, *self._known):
            return
        super().data_received(data)
        if self._unstarted is not None:
            (cycle, lane), self._unstarted = self._unstarted, None
            if not self.refused and not self.transport.is_closing():
                if between and self._tries and not cycle.more_body and cycle.keep_alive:
                    self._remember(data, cycle, lane)
                self._start_asgi_task(cycle, lane)
        if self._in_headers and self._headers_due is None:
            self._await_headers()

    def _between(self) -> bool:
        """Whether the next byte begins a request: everything before it was read and answered."""
        cycle = self.cycle
        done = cycle is None or (cycle.response_complete and not cycle.more_body)
        return done and not self._in_headers and not self.refused

    def _remember(self, data: bytes, cycle: LaneCycle, lane: Lane) -> None:
        """The head of ``data``, if the next request may look the same."""
        self._tries -= 1
        head = learn(data, cycle.headers) if not self.expect_100_continue else None
        self._known = (head, lane) if head is not None else None

    def _as_before(self, data: bytes, head: KnownHead, lane: Lane) -> bool:
        """Begins the call when ``data`` is one more request with the last one's head; else nothing has happened."""
        found = head.again(data)
        if found is None or self.transport.is_closing():
            return False
        cycle = LaneCycle(
            self.transport, self.flow, found[0], self._default_lines(found[0]), self.on_response_complete,
            keep_alive=True, expects_continue=False,
        )  # fmt: skip
        cycle.body, cycle.more_body, self._tries = found[1], False, _TRIES
        self.cycle = cycle  # type: ignore[assignment]
        self._start_asgi_task(cycle, lane)
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        self._disarm()
        self._read_again()
        if self._turned_away:
            return
        if self._admitted:
            self.doors.leave(self._admitted)
            self._admitted = ""
        running = self._running
        super().connection_lost(exc)
        if running is not None and running is not self.cycle and not running.response_complete:
            running.disconnected = True  # a pipelined request came after it: uvicorn tells only that one
            running.message_event.set()

    # ------------------------------------------------------------------ headers
    def on_headers_complete(self) -> None:
        self._disarm()
        super().on_headers_complete()

    def _unwanted(self) -> GatewayError | None:
        answering = self.cycle is not None and not self.cycle.response_complete
        if not self.pressure.short or answering or not large(self.headers):
            return None
        return short_of_memory()

    def accepted(self) -> None:
        lane = self.lanes.get(self.url)
        plain = lane is not None and self.parser.get_method() == b"POST" and not self.parser.should_upgrade()
        if lane is None or not plain or self.parser.get_http_version() != "1.1":
            super().accepted()
            return
        before = self.cycle
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in self.headers}
        cycle = LaneCycle(
            self.transport, self.flow, headers, self._default_lines(headers), self.on_response_complete,
            keep_alive=self.parser.should_keep_alive(), expects_continue=self.expect_100_continue,
        )  # fmt: skip
        self.cycle = cycle  # type: ignore[assignment]
        if before is None or before.response_complete:
            self._unstarted = (cycle, lane)  # begun once this read's share of the body is here
        else:
            self.flow.pause_reading()
            self.pipeline.appendleft((cycle, lane))  # type: ignore[arg-type]

    def _start_asgi_task(self, cycle: Any, app: Any) -> None:
        self._running = cycle
        if type(cycle) is LaneCycle:
            cycle.start(app, self.loop, self.tasks)
        else:
            super()._start_asgi_task(cycle, app)

    # ------------------------------------------------------------------ a WebSocket
    def _should_upgrade_to_ws(self) -> bool:
        """Only where one is spoken; elsewhere the offer is ignored."""
        return self.ws_protocol_class is not None and self.url.partition(b"?")[0] in WEBSOCKET_PATHS

    def handle_websocket_upgrade(self) -> None:
        """The connection goes on under another protocol, and counts until that one has lost it."""
        self._disarm()
        if self.timeout_keep_alive_task is not None:
            self.timeout_keep_alive_task.cancel()
            self.timeout_keep_alive_task = None
        super().handle_websocket_upgrade()
        address, self._admitted = self._admitted, ""
        successor: Any = self.transport.get_protocol()
        successor.when_lost = lambda: self.doors.leave(address)

    def _default_lines(self, headers: Mapping[str, str]) -> str:
        """uvicorn's own headers (the date), written out once per change, and those for pages of other origins."""
        known = PatientProtocol._defaults
        if known[0] is not self.server_state.default_headers:
            pairs = self.server_state.default_headers
            lines = "".join(f"{name.decode()}: {value.decode()}\r\n" for name, value in pairs)
            known = PatientProtocol._defaults = (pairs, lines)
        return known[1] + self.origins.lines(headers.get("origin", "")) if self.origins.on else known[1]

    def _await_headers(self) -> None:
        self._headers_due = self.loop.call_later(self.bounds.header, self._too_slow)

    def _too_slow(self) -> None:
        if self.transport.is_closing():
            return
        with contextlib.suppress(RuntimeError):  # it was refused before, and our side of it is shut already
            self.transport.write(_SLOW)
        self.transport.close()

    def _disarm(self) -> None:
        if self._headers_due is not None:
            self._headers_due.cancel()
            self._headers_due = None

    # ------------------------------------------------------------------ a connection without a request
    def on_response_complete(self) -> None:
        """As uvicorn's, but one timer serves a whole connection instead of one per request."""
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        if self.flow.read_paused:
            self.flow.resume_reading()
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())
            return
        self.awake.waiting()
        self._idle_since = self.loop.time()
        if self.timeout_keep_alive_task is None:
            self._await_request(self.timeout_keep_alive)

    def _await_request(self, seconds: float) -> None:
        self.timeout_keep_alive_task = self.loop.call_later(seconds, self.timeout_keep_alive_handler)

    def timeout_keep_alive_handler(self) -> None:
        self.timeout_keep_alive_task = None
        if self.transport.is_closing() or self._in_headers or not self.cycle.response_complete:
            return  # busy: the end of that answer begins anew
        left = self._idle_since + self.timeout_keep_alive - self.loop.time()
        if left > 0:
            self._await_request(left)
        else:
            self.transport.close()

    def _unset_keepalive_if_required(self) -> None:
        """uvicorn's cue that data has come, or that the connection has gone: only the latter needs doing."""
        if self.transport.is_closing():
            super()._unset_keepalive_if_required()

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


def websocket_protocol(**settings: Any) -> asyncio.Protocol:
    """uvicorn's WebSocket protocol, imported by the first client that wants one."""
    from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

    class Counted(WebSocketsSansIOProtocol):
        when_lost: Callable[[], None] = staticmethod(lambda: None)

        def connection_lost(self, exc: Exception | None) -> None:
            super().connection_lost(exc)
            self.when_lost()

    return Counted(**settings)


def protocol(bounds: Bounds) -> type[PatientProtocol]:
    """The protocol class of one server, with counts of its own."""
    return type("BoundProtocol", (PatientProtocol,), {"bounds": bounds, "doors": Doors()})


_FULL = raw_answer(
    "503 Service Unavailable",
    Unavailable(
        "The gateway has as many connections as it allows. Try again in a moment.",
        code="too_many_connections",
    ).body(),
    b"retry-after: 1\r\n",
)
_SLOW = raw_answer(
    "408 Request Timeout",
    Unavailable("The request's headers arrived too slowly. Send it again.", code="request_timeout").body(),
    b"retry-after: 1\r\n",
)
