"""Who was not let in, for the operator: a line about the first of a kind from an address, then a count per window.

A flood of guesses costs a look-up in a small table each, and lines that its size does not change: the log is told of
:data:`_MOST` pairs of reason and address at a time, the journal, which is kept for ever, of each reason once an hour.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from gateway.errors import Refused

TOLD = "understudy.refused"
"""Where a message of ASGI that begins an answer says why somebody was refused; servers do not look at it."""
WINDOW_S = 300.0
JOURNAL_S = 3600.0
OTHERS = "other addresses"
_MOST = 64
_LOOK_S = 5.0
_NOT_IN_THE_JOURNAL = frozenset({"key_missing", "connections", "admin_login", "admin_code"})
"""What anybody on the network can bring about, and logins, whose lines the journal has already."""
_log = logging.getLogger("understudy.refusals")
K = TypeVar("K")
Audit = Callable[[str, str, str, str], None]


class _Window:
    """One kind of refusal: since when it is counted, and how often it came again."""

    __slots__ = ("again", "since")

    def __init__(self, since: float) -> None:
        self.since, self.again = since, 0


class Refusals:
    """``audit(actor, action, subject, reason)`` writes a line of the journal."""

    def __init__(self, clock: Callable[[], float], audit: Audit) -> None:
        self._clock, self._audit = clock, audit
        self.counts: dict[str, int] = {}
        """By reason, since the start."""
        self._lines: dict[tuple[str, str], _Window] = {}
        self._journal: dict[str, _Window] = {}

    def note(self, refused: Refused, address: str) -> None:
        """Somebody at ``address`` was refused just now."""
        reason = refused.reason
        self.counts[reason] = self.counts.get(reason, 0) + 1
        place = (reason, address)
        if place not in self._lines and len(self._lines) >= _MOST:
            place = (reason, OTHERS)
        if _first(self._lines, place, self._clock()):
            _say(reason, place[1], refused.what)
        if reason not in _NOT_IN_THE_JOURNAL and _first(self._journal, reason, self._clock()):
            self._audit("gateway", "refused", address, f"{reason}: {refused.what}" if refused.what else reason)

    def tell(self, now: float) -> None:
        """Writes how often what was told of came again, for the windows that are over."""
        for (reason, address), again in _over(self._lines, now, WINDOW_S):
            _say(reason, address, "", again)
        for reason, again in _over(self._journal, now, JOURNAL_S):
            self._audit("gateway", "refused", "any address", f"{reason}: {again} more within an hour")

    async def run(self) -> None:
        try:
            while True:
                await asyncio.sleep(_LOOK_S)
                self.tell(self._clock())
        finally:
            self.tell(math.inf)


def address_of(scope: Mapping[str, Any]) -> str:
    """Who is connected. No forwarded header is believed: behind a proxy it is the proxy."""
    client = scope.get("client")
    return str(client[0]) if client and client[0] else "unknown"


def _first(windows: dict[K, _Window], key: K, now: float) -> bool:
    """Whether nothing was told of ``key`` in its present window; counts it otherwise."""
    window = windows.get(key)
    if window is None:
        windows[key] = _Window(now)
        return True
    window.again += 1
    return False


def _over(windows: dict[K, _Window], now: float, lasts: float) -> list[tuple[K, int]]:
    """What came again in windows that have ended. One in which nothing did is forgotten."""
    ended = [(key, window) for key, window in windows.items() if now - window.since >= lasts]
    for key, window in ended:
        if window.again and math.isfinite(now):
            windows[key] = _Window(now)
        else:
            del windows[key]
    return [(key, window.again) for key, window in ended if window.again]


def _say(reason: str, address: str, what: str, again: int = 0) -> None:
    more = f", {again} more" if again else ""
    event = {"kind": "refused", "reason": reason, "address": address, "what": what, "again": again}
    text = f"refused: {reason} from {address}{more}" + (f" ({what})" if what else "")
    _log.warning("%s", text, extra={"event": event})
