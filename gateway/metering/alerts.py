"""Tells a webhook when a share of a budget is spent. In the background, with a bounded queue: never in the way.

The message is signed as Standard Webhooks prescribes (standardwebhooks.com), which is what OpenAI's own webhooks
use: an ``openai`` client checks it with ``client.webhooks.verify_signature(body, headers, secret=...)``.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

import msgspec
from msgspec import Struct

from gateway.config import Alerts
from gateway.metering.limits import NANO
from gateway.storage.counting.counters import Rule
from gateway.webhooks import opened, post, sign

if TYPE_CHECKING:
    from aiohttp import ClientSession

_log = logging.getLogger("understudy.alerts")
_QUEUE = 100
_TRIES = 6
_WAIT_S, _LONGER = 1.0, 5.0
"""After the first refusal, and how many times as long after each one more: a quarter of an hour in all."""
_KEPT_S = 35 * 86_400.0
_MOST_TOLD = 100_000

Once = Callable[[str, float], Awaitable[bool]]


class Alert(Struct, frozen=True):
    """``share`` of a budget has been spent."""

    rule: Rule
    share: float
    spent: int

    @property
    def name(self) -> str:
        return f"{self.rule.name}:{self.rule.limit}:{self.share:g}"

    def body(self, message_id: str, at: float) -> bytes:
        rule = self.rule
        data = {
            "scope": rule.who, "id": rule.id, "period": rule.kind, "period_name": rule.period,
            "share": self.share, "budget_usd": rule.limit / NANO, "spent_usd": self.spent / NANO,
        }  # fmt: skip
        event = {"id": message_id, "object": "event", "created_at": int(at)}
        return msgspec.json.encode({**event, "type": "understudy.budget.share_spent", "data": data})


class BudgetAlerts:
    """``settings`` are read anew for each message, so that a reload takes effect. ``spent`` is what counters call."""

    def __init__(
        self,
        settings: Callable[[], Alerts],
        *,
        clock: Callable[[], float] = time.time,
        wait_s: float = _WAIT_S,
    ) -> None:
        self._settings, self._clock, self._wait = settings, clock, wait_s
        self._queue: asyncio.Queue[Alert] = asyncio.Queue(_QUEUE)
        self._told: dict[str, None] = {}
        self._task: asyncio.Task[None] | None = None
        self._under_way: set[asyncio.Task[None]] = set()
        self.dropped = 0

    def spent(self, rule: Rule, amount: int) -> None:
        """Queues an alert for the highest share that was passed and not told yet. Never blocks."""
        settings = self._settings()
        if not settings.webhook or rule.limit <= 0:
            return
        passed = [share for share in settings.at if amount >= share * rule.limit]
        alerts = [Alert(rule, share, amount) for share in sorted(passed)]
        fresh = [alert for alert in alerts if alert.name not in self._told]
        if not fresh:
            return
        for alert in fresh:
            self._told[alert.name] = None
        while len(self._told) > _MOST_TOLD:
            del self._told[next(iter(self._told))]
        try:
            self._queue.put_nowait(fresh[-1])
        except asyncio.QueueFull:
            self.dropped += 1
            _log.warning("a budget alert was dropped: too many are waiting")

    def start(self, once: Once) -> None:
        """``once`` says which of the processes that share the counters sends an alert."""
        self._task = asyncio.create_task(self._run(once))

    async def close(self) -> None:
        tasks = [*([self._task] if self._task is not None else []), *self._under_way]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _run(self, once: Once) -> None:
        """Each alert is on a way of its own: one that is not taken holds up no other."""
        alert = await self._queue.get()
        async with await opened() as session:
            while True:
                if len(self._under_way) >= _QUEUE:
                    await asyncio.wait(self._under_way, return_when=asyncio.FIRST_COMPLETED)
                if await once(f"alert:{alert.name}", _KEPT_S):
                    task = asyncio.create_task(self._deliver(session, alert))
                    self._under_way.add(task)
                    task.add_done_callback(self._under_way.discard)
                alert = await self._queue.get()

    async def _deliver(self, session: ClientSession, alert: Alert) -> None:
        """At least once, and the same id each time, so that a receiver can tell a repetition."""
        message_id = "evt_" + secrets.token_hex(16)
        body = alert.body(message_id, self._clock())
        for attempt in range(_TRIES):
            settings = self._settings()
            headers = sign(settings.secret, message_id, int(self._clock()), body)
            problem = await post(session, settings.webhook, body, headers)
            if not problem:
                return
            _log.warning("the budget webhook did not take an alert (%s), try %d", problem, attempt + 1)
            if attempt + 1 < _TRIES:
                await asyncio.sleep(self._wait * _LONGER**attempt)
        _log.error("a budget alert was given up: %s", alert.name)
        self.dropped += 1
