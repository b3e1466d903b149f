from __future__ import annotations

import asyncio
import json

import openai
from aiohttp import web

from gateway.config import Alerts
from gateway.metering.alerts import BudgetAlerts
from gateway.storage.counting.counters import Rule


async def test_each_share_is_told_once_signed_and_tried_again() -> None:
    got: list[tuple[bytes, dict[str, str]]] = []

    async def take(request: web.Request) -> web.Response:
        got.append((await request.read(), dict(request.headers)))
        return web.Response(status=500 if len(got) == 1 else 204)

    app = web.Application()
    app.router.add_post("/hook", take)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = site._server.sockets[0].getsockname()[1]  # type: ignore[union-attr]
    secret = "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODk="
    settings = Alerts(webhook=f"http://127.0.0.1:{port}/hook", secret=secret)

    async def first(name: str, ttl: float) -> bool:
        return True

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
    await runner.cleanup()
    told = [json.loads(body) for body, _ in got]
    assert sorted(one["data"]["share"] for one in told) == [0.5, 0.5, 1.0] and told[0]["data"]["share"] == 0.5
    assert len({one["id"] for one in told}) == 2, "the one that was tried again is known by its id"
    client = openai.OpenAI(api_key="x")
    for body, headers in got:
        client.webhooks.verify_signature(body, headers, secret=secret)
    client.close()


async def test_an_alert_that_is_not_taken_holds_up_no_other() -> None:
    got: list[str] = []
    taken = asyncio.Event()

    async def take(request: web.Request) -> web.Response:
        who = (await request.json())["data"]["id"]
        got.append(who)
        if who == "stuck" and not taken.is_set():
            return web.Response(status=503)
        return web.Response(status=204)

    app = web.Application()
    app.router.add_post("/hook", take)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = site._server.sockets[0].getsockname()[1]  # type: ignore[union-attr]
    settings = Alerts(webhook=f"http://127.0.0.1:{port}/hook", secret="whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODk=")

    async def first(name: str, ttl: float) -> bool:
        return True

    alerts = BudgetAlerts(lambda: settings, wait_s=0.2)
    alerts.start(first)
    for who in ("stuck", "well"):
        alerts.spent(Rule("key", who, "day", 1000, 1, "2026-11-21", 0.0), 600)
    async with asyncio.timeout(30):
        while "well" not in got:
            await asyncio.sleep(0.01)
        taken.set()
        while got.count("stuck") < 2:
            await asyncio.sleep(0.01)
    await alerts.close()
    await runner.cleanup()
    assert got.count("well") == 1 and alerts.dropped == 0
