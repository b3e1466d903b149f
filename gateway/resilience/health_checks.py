"""Asks providers whether they are well, where the policies name an address for it; the breakers listen."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Mapping

from gateway.config import HealthCheck, UpstreamRules
from gateway.resilience.breakers import Breakers
from gateway.upstreams.upstream import Upstream

_TICK_S = 0.25


class HealthChecks:
    """``rules`` gives the present bounds by provider, so that a change of policies takes effect at once."""

    def __init__(
        self, upstream: Upstream, breakers: Breakers, rules: Callable[[], Mapping[str, UpstreamRules]]
    ) -> None:
        self._upstream, self._breakers, self._rules = upstream, breakers, rules
        self._due: dict[str, float] = {}
        self._failures: Counter[str] = Counter()
        self._asking: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Until cancelled."""
        try:
            while True:
                self._start_due(time.monotonic())
                await asyncio.sleep(_TICK_S)
        finally:
            for task in self._asking:
                task.cancel()

    def _start_due(self, now: float) -> None:
        checks = {name: one.health for name, one in self._rules().items() if one.health is not None}
        for name in set(self._due) - set(checks):
            del self._due[name]
            self._breakers.checked(name, well=True)  # nobody asks any more: calls decide again
        for name, check in checks.items():
            if now >= self._due.get(name, 0.0):
                self._due[name] = now + check.every_s
                task = asyncio.create_task(self.check(name, check))
                self._asking.add(task)
                task.add_done_callback(self._asking.discard)

    async def check(self, name: str, check: HealthCheck) -> None:
        status = await self._upstream.status(check.url, within=check.timeout_s)
        if 0 < status < 500:
            self._failures[name] = 0
            self._breakers.checked(name, well=True)
            return
        self._failures[name] += 1
        if self._failures[name] >= check.failures:
            self._breakers.checked(name, well=False)
