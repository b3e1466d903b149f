"""Who may be asked at the moment: a breaker per candidate, what health checks say of their providers, and the rule
that the last one standing is never ejected. The decisions are ``optimizer.routing.breaker``'s. What opens or closes in
one worker does so in all; each counts failures for itself. The log says who is left out, and when that is over."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Sequence

from gateway.sharing.bus import ALONE, Bus
from optimizer.routing.breaker import (
    CLOSED,
    FAILURES,
    UNKNOWN,
    Breaker,
    Outcomes,
    admits,
    eject,
    flaky,
    on_cancel,
    on_failure,
    on_start,
    on_success,
    outlier,
)
from optimizer.routing.plan import Candidate, Rung

_log = logging.getLogger("understudy.breakers")
_PROBE_S = 2.0
"""So long the other workers leave a probe to the one that makes it."""


class Breakers:
    """``clock`` is monotonic seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic, bus: Bus = ALONE) -> None:
        self._clock, self._bus = clock, bus
        bus.hear("breaker", self._told)
        bus.greet(self._introduce)
        self._breakers: dict[str, Breaker] = {}
        self._outcomes: dict[str, Outcomes] = {}
        self._sick: set[str] = set()

    def healthy(self, candidate: Candidate) -> bool:
        """Whether ``candidate`` may be asked for itself, others aside."""
        breaker = self._breakers.get(candidate.name)
        if breaker is not None and breaker.open_until and not admits(breaker, self._clock()):
            return False
        return candidate.provider not in self._sick

    def usable(self, rungs: Sequence[Rung]) -> Sequence[Rung]:
        """The rungs that may be asked now. When none is healthy, those that still answer now and then, and those
        that only a health check finds sick; empty when all are down."""
        if len(rungs) == 1 and self.healthy(rungs[0].candidate):
            return rungs
        healthy = [rung for rung in rungs if self.healthy(rung.candidate)]
        if healthy:
            return rungs if len(healthy) == len(rungs) else healthy
        now = self._clock()
        return [rung for rung in rungs if self._last_hope(rung.candidate, now)]

    def _last_hope(self, candidate: Candidate, now: float) -> bool:
        breaker = self._breakers.get(candidate.name, CLOSED)
        if candidate.provider in self._sick and admits(breaker, now):
            return True
        return flaky(breaker, self._outcomes.get(candidate.name, UNKNOWN).at(now))

    def wait(self, rungs: Sequence[Rung]) -> float:
        """Seconds until one of ``rungs`` is probed again; at least one."""
        now = self._clock()
        opens = [self._breakers.get(rung.candidate.name, CLOSED).open_until - now for rung in rungs]
        return max(1.0, min(opens, default=1.0))

    # ------------------------------------------------------------------ what attempts tell
    def started(self, name: str) -> None:
        breaker = self._breakers.get(name)
        if breaker is not None and breaker.open_until:
            started = self._breakers[name] = on_start(breaker, self._clock())
            if started.probing and not breaker.probing:
                self._bus.tell("breaker", name, breaker.failures, breaker.opened, _PROBE_S)

    def succeeded(self, name: str) -> None:
        breaker = self._breakers.get(name)
        if breaker is not None and breaker != CLOSED:
            self._breakers[name] = on_success(breaker)
            if breaker.open_until:
                _log.info("%s answers again", name)
                self._bus.tell("breaker", name, 0, 0, 0.0)
        self._count(name, ok=True)

    def failed(self, name: str) -> None:
        now = self._clock()
        before = self._breakers.get(name, CLOSED)
        breaker = on_failure(before, now)
        if outlier(self._count(name, ok=False)):
            breaker = eject(breaker, now)
        self._breakers[name] = breaker
        if breaker.open_until != before.open_until:
            pause = breaker.open_until - now
            _log.warning("%s: %s, so it is not asked for %.0f s", name, _why(before, breaker), pause)
            self._announce(name, breaker, now)

    def open_by_provider(self) -> Counter[str]:
        """How many candidates of each provider are not asked, but for a probe."""
        opened = [name for name, breaker in self._breakers.items() if breaker.open_until]
        return Counter(name.partition("/")[0] for name in opened)

    def cancelled(self, name: str) -> None:
        breaker = self._breakers.get(name)
        if breaker is not None:
            self._breakers[name] = on_cancel(breaker)

    def _count(self, name: str, *, ok: bool) -> Outcomes:
        found = self._outcomes.get(name, UNKNOWN).counted(self._clock(), ok=ok)
        self._outcomes[name] = found
        return found

    # ------------------------------------------------------------------ what other workers tell
    def _announce(self, name: str, breaker: Breaker, now: float) -> None:
        self._bus.tell("breaker", name, breaker.failures, breaker.opened, breaker.open_until - now)

    def _introduce(self) -> None:
        now = self._clock()
        for name, breaker in self._breakers.items():
            if breaker.open_until > now:
                self._announce(name, breaker, now)

    def _told(self, name: str, failures: int, opened: int, seconds: float) -> None:
        """``seconds`` from now it stays open; 0: it has closed. Durations, because clocks differ."""
        mine = self._breakers.get(name, CLOSED)
        if seconds <= 0.0:
            self._breakers[name] = CLOSED
        elif not mine.probing:
            until = max(mine.open_until, self._clock() + seconds)
            self._breakers[name] = Breaker(max(mine.failures, failures), until, max(mine.opened, opened))

    # ------------------------------------------------------------------ what health checks tell
    def unwell(self, provider: str) -> bool:
        return provider in self._sick

    def checked(self, provider: str, *, well: bool) -> None:
        """A provider that is well again is probed at once, without waiting for its breakers."""
        if not well:
            self._sick.add(provider)
            return
        self._sick.discard(provider)
        now = self._clock()
        for name, breaker in self._breakers.items():
            if breaker.open_until > now and name.startswith(f"{provider}/"):
                self._breakers[name] = Breaker(breaker.failures, now, breaker.opened, breaker.probing)


def _why(before: Breaker, after: Breaker) -> str:
    if before.open_until:
        return "it failed when it was probed"
    if after.failures >= FAILURES:
        return f"it failed {after.failures} times in a row"
    return "half of its recent calls failed"
