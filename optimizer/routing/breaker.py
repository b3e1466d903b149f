"""A circuit breaker per candidate (Nygard, "Release It!", 2007): values in, values out."""

from __future__ import annotations

from msgspec import Struct, structs

WINDOW_S = 10.0
FAILURES = 5
"""So many in a row open it."""


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
    breaker: Breaker, now: float, *, limit: int = FAILURES, base_s: float = 5.0, cap_s: float = 10.0
) -> Breaker:
    """Opens after ``limit`` failures in a row; each further opening lasts twice as long, up to ``cap_s``."""
    failures = breaker.failures + 1
    late = now < breaker.open_until  # a call that began before the opening says nothing new
    if late or (failures < limit and not breaker.probing):
        return structs.replace(breaker, failures=failures)
    pause = min(cap_s, base_s * 2**breaker.opened)
    return Breaker(failures=failures, open_until=now + pause, opened=breaker.opened + 1)


def on_cancel(breaker: Breaker) -> Breaker:
    """The attempt was called off (the client left): it says nothing about the candidate."""
    return structs.replace(breaker, probing=False) if breaker.probing else breaker


def eject(breaker: Breaker, now: float, *, base_s: float = 5.0) -> Breaker:
    """Open although some calls still succeed: too large a share of the recent ones failed."""
    if breaker.open_until:
        return breaker
    return Breaker(failures=breaker.failures, open_until=now + base_s, opened=breaker.opened + 1)


class Outcomes(Struct, frozen=True):
    """Recent successes and failures; counts are halved every ten seconds, so that an old success fades."""

    since: float = 0.0
    good: float = 0.0
    bad: float = 0.0

    def counted(self, now: float, *, ok: bool) -> Outcomes:
        faded = self if now - self.since < WINDOW_S else self.at(now)
        return Outcomes(faded.since, faded.good + ok, faded.bad + (not ok))

    def at(self, now: float) -> Outcomes:
        windows = int((now - self.since) / WINDOW_S)
        if windows <= 0:
            return self
        return Outcomes(now, self.good / 2**windows, self.bad / 2**windows) if windows < 30 else Outcomes(now)


def outlier(outcomes: Outcomes, *, least: int = 20, share: float = 0.5) -> bool:
    """Whether so much of at least ``least`` recent calls failed that others should be asked instead."""
    total = outcomes.good + outcomes.bad
    return total >= least and outcomes.bad >= share * total


def flaky(breaker: Breaker, outcomes: Outcomes, *, dead_after: int = 20, share: float = 0.2) -> bool:
    """Failing often, but not dead: still worth asking when nobody healthier is left (the panic rule).

    A candidate with ``dead_after`` failures in a row is dead, whatever it did before.
    """
    total = outcomes.good + outcomes.bad
    alive = outcomes.good >= share * total or total < dead_after  # too few calls to speak of a share
    return breaker.failures < dead_after and outcomes.good > 0.1 and alive


CLOSED = Breaker()
UNKNOWN = Outcomes()
