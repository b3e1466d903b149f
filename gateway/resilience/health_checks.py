"""Asks providers whether they are well, where the policies name an address for it; the breakers listen."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Callable, Mapping

from gateway.config import HealthCheck, UpstreamRules
from gateway.resilience.breakers import Breakers
from gateway.upstreams.upstream import Upstream

_log = logging.getLogger("understudy.health")
_TICK_S = 0.25
_DOUBTED = "the health check of %s was answered %d, which counts as well: see whether upstreams.%s.health.url is right"


class HealthChecks:
    """``rules`` gives the present bounds by provider, so that a change of policies takes effect at once."""

    def __init__(
        self, upstream: Upstream, breakers: Breakers, rules: Callable[[], Mapping[str, UpstreamRules]]
    ) -> None:
        self._upstream, self._breakers, self._rules = upstream, breakers, rules
        self._due: dict[str, float] = {}
        self._failures: Counter[str] = Counter()
        self._doubted: set[str] = set()
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
            del self._due[name], self._failures[name]
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
            self._well(name, check, status)
        else:
            self._ill(name, check, status)

    def _well(self, name: str, check: HealthCheck, status: int) -> None:
        if self._breakers.unwell(name):
            _log.info("the health check of %s says that it is well again", name)
        if status >= 400 and check.url not in self._doubted:
            self._doubted.add(check.url)  # a wrong path would find every provider well, for ever
            _log.warning(_DOUBTED, name, status, name)
        if self._failures.pop(name, 0):  # else calls opened the breaker, and know better
            self._breakers.checked(name, well=True)

    def _ill(self, name: str, check: HealthCheck, status: int) -> None:
        self._failures[name] += 1
        if self._failures[name] < check.failures:
            return
        if not self._breakers.unwell(name):
            said = f"it answered {status}" if status else f"there was no answer within {check.timeout_s:g} s"
            _log.warning("the health check of %s failed %d times (%s): others are asked", name, check.failures, said)
        self._breakers.checked(name, well=False)
