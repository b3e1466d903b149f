"""The limit stage together with what it counts by and whom it tells: made once, started and closed with the server."""

from __future__ import annotations

import time
from collections.abc import Mapping

from gateway.control import Control
from gateway.metering.alerts import BudgetAlerts
from gateway.metering.spending import LedgerSpending
from gateway.metering.told import Told
from gateway.stages.limit import Limit
from gateway.storage.counting.counters import Counters, MemoryCounters
from gateway.storage.counting.counters_redis import RedisCounters
from gateway.storage.counting.redis_client import patience_of
from gateway.storage.home import Home
from gateway.storage.records import CallRecord, PairRecord


class Meter:
    """``UNDERSTUDY_REDIS_URL`` in ``env`` shares limits and budgets with every process of that Redis."""

    def __init__(self, env: Mapping[str, str], control: Control, home: Home) -> None:
        self._control = control
        self._alerts = BudgetAlerts(lambda: control.runtime().config.limits.alerts)
        ledger, url = LedgerSpending(control.reader), env.get("UNDERSTUDY_REDIS_URL", "")
        self._counters: Counters
        if url:
            replicas = max(1, int(env.get("UNDERSTUDY_WORKERS") or 1))
            self._counters = RedisCounters(
                url, ledger, self._alerts.spent, replicas=replicas, patience_s=patience_of(env)
            )
            self._once = self._counters.once
        else:
            self._counters = MemoryCounters(time.monotonic, ledger, self._alerts.spent)
            self._once = Told(home.alerts_told).once
        self.stage = Limit(self._counters)

    def pair(self, pair: PairRecord) -> None:
        """What learning spent counts against the project's and the task's budgets."""
        self._learned(pair.project, pair.task, pair.extra_cost_usd, pair.created_at)

    def synthetic(self, call: CallRecord) -> None:
        """So does what a synthetic call cost."""
        self._learned(call.project, call.task, call.cost_usd, call.created_at)

    def _learned(self, project: str, task: str, usd: float | None, at: float) -> None:
        self.stage.learned(project, task, usd, at, self._control.runtime())

    async def start(self) -> None:
        await self._counters.start()
        self._alerts.start(self._once)

    async def close(self) -> None:
        await self._counters.close()
        await self._alerts.close()
