"""How many gateways a call has passed. A provider that leads back to the gateway itself would ask for ever; a count
that travels along ends it, whoever stands in between."""

from __future__ import annotations

from collections.abc import Mapping
from contextvars import ContextVar

from gateway.errors import GatewayError

HEADER = "x-understudy-hops"
MOST = 4
_LINES = [f"{HEADER}: {count}\r\n".encode() for count in range(MOST + 2)]
_passed: ContextVar[int] = ContextVar("hops", default=0)


class LoopDetected(GatewayError):
    status, kind, code = 508, "invalid_request_error", "loop_detected"


def arrived(headers: Mapping[str, str]) -> None:
    """Notes how far the call has come, for the requests that it leads to. Raises LoopDetected after ``MOST``."""
    told = headers.get(HEADER)
    if told is None:
        _passed.set(0)
        return
    count = int(told) if told.isdigit() and len(told) < 4 else MOST
    if count >= MOST:
        raise LoopDetected(
            f"This call has passed {MOST} gateways: one of their providers leads back here. "
            "The gateway's operator has to correct that provider's address.",
            headers={"x-should-retry": "false"},
        )
    _passed.set(count)


def line() -> bytes:
    """The header of a request that goes out now, as it goes on the wire."""
    return _LINES[_passed.get() + 1]


def passed() -> int:
    """The count that goes out now."""
    return _passed.get() + 1
