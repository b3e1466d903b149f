"""A circuit breaker per candidate (Nygard, "Release It!", 2007): values in, values out."""

from __future__ import annotations

from msgspec import Struct, structs


class Breaker(Struct, frozen=True):
    """``open_until`` is monotonic seconds; 0 means closed. ``probing``: one trial call is on its way."""

    failures: int = 0
    open_until: float = 0.0
    opened: int = 0
    probing: bool = False


def admits(breaker: Breaker, now: float) -> bool:
    """Closed, or open for long enough that one probe may go."""
    return breaker.open_until == 0.0 or (now >= breaker.open_until and not breaker.probing)


def on_start(breaker: Breaker, now: float) -> Breaker:
    if breaker.open_until and now >= breaker.open_until:
        return structs.replace(breaker, probing=True)
    return breaker


def on_success(breaker: Breaker) -> Breaker:
    return CLOSED


def on_failure(
    breaker: Breaker, now: float, *, limit: int = 5, base_s: float = 5.0, cap_s: float = 60.0
) -> Breaker:
    """Opens after ``limit`` failures in a row; each further opening lasts twice as long, up to ``cap_s``."""
    failures = breaker.failures + 1
    if failures < limit and not breaker.probing:
        return structs.replace(breaker, failures=failures)
    pause = min(cap_s, base_s * 2**breaker.opened)
    return Breaker(failures=failures, open_until=now + pause, opened=breaker.opened + 1)


def on_cancel(breaker: Breaker) -> Breaker:
    """The attempt was called off (the client left): it says nothing about the candidate."""
    return structs.replace(breaker, probing=False) if breaker.probing else breaker


CLOSED = Breaker()
