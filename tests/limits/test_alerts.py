from __future__ import annotations

import asyncio
import json

import openai
from webhook_receiver import Got, receiver

from gateway.config import Alerts
from gateway.metering.alerts import BudgetAlerts
from gateway.storage.counting.counters import Rule

SECRET = "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODk="


async def first(name: str, ttl: float) -> bool:
    return True


def whose(got: Got) -> list[str]:
    return [json.loads(body)["data"]["id"] for body, _ in got]


async def test_each_share_is_told_once_signed_and_tried_again() -> None:
    async with receiver(lambda got: 500 if len(got) == 1 else 204) as (hook, got):
        settings = Alerts(webhook=hook, secret=SECRET)
        alerts = BudgetAlerts(lambda: settings, wait_s=0.01)
        alerts.start(first)
        rule = Rule("key", "k", "day", 1000, 1, "2026-11-21", 0.0)
        for spent in (100, 600, 700, 1000):
            alerts.spent(rule, spent)
        for _ in range(3000):
            if len(got) >= 3:
                break
            await asyncio.sleep(0.02)
        await alerts.close()
    told = [json.loads(body) for body, _ in got]
    assert sorted(one["data"]["share"] for one in told) == [0.5, 0.5, 1.0] and told[0]["data"]["share"] == 0.5
    assert len({one["id"] for one in told}) == 2, "the one that was tried again is known by its id"
    client = openai.OpenAI(api_key="x")
    for body, headers in got:
        client.webhooks.verify_signature(body, headers, secret=SECRET)
    client.close()


async def test_an_alert_that_is_not_taken_holds_up_no_other() -> None:
    taken = asyncio.Event()

    def status(got: Got) -> int:
        return 503 if whose(got)[-1] == "stuck" and not taken.is_set() else 204

    async with receiver(status) as (hook, got):
        settings = Alerts(webhook=hook, secret=SECRET)
        alerts = BudgetAlerts(lambda: settings, wait_s=0.2)
        alerts.start(first)
        for who in ("stuck", "well"):
            alerts.spent(Rule("key", who, "day", 1000, 1, "2026-11-21", 0.0), 600)
        async with asyncio.timeout(30):
            while "well" not in whose(got):
                await asyncio.sleep(0.01)
            taken.set()
            while whose(got).count("stuck") < 2:
                await asyncio.sleep(0.01)
        await alerts.close()
    assert whose(got).count("well") == 1 and alerts.dropped == 0
