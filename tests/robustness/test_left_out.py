"""Who is left out is told: in the log when it begins, why, and when it is over; on /metrics while it lasts."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import httpx
import pytest
from rough import Start, ask
from scripted import Line, Provider

from gateway.config import HealthCheck
from gateway.resilience.breakers import Breakers
from gateway.resilience.health_checks import HealthChecks
from optimizer.routing.plan import Candidate


async def _shown(client: httpx.AsyncClient, series: str) -> str:
    lines = (await client.get("/metrics")).text.splitlines()
    return next(line.rpartition(" ")[2] for line in lines if line.startswith(series))


def _check(first: Provider) -> str:
    url = f"http://127.0.0.1:{first.port}/health"
    return f"upstreams: {{first: {{health: {{url: '{url}', every_s: 0.1, failures: 2}}}}}}"


async def test_a_failing_health_check_is_told(
    start: Start, first: Provider, spare: Provider, caplog: pytest.LogCaptureFixture
) -> None:
    status = 503

    async def health(line: Line) -> None:
        await line.answer(status if line.seen.path == "/health" else 200)

    first.behave = health
    caplog.set_level("INFO")
    async with start({"first": first.url, "spare": spare.url}, settings=_check(first)) as (_, client), asyncio.timeout(60):
        while await _shown(client, 'understudy_provider_unwell{provider="first"') != "1.0":
            await asyncio.sleep(0.05)
        assert await _shown(client, 'understudy_provider_unwell{provider="spare"') == "0.0"
        assert "the health check of first failed 2 times (it answered 503): others are asked" in caplog.messages
        status = 404
        while await _shown(client, 'understudy_provider_unwell{provider="first"') != "0.0":
            await asyncio.sleep(0.05)
    assert caplog.messages.count("the health check of first says that it is well again") == 1
    doubts = [said for said in caplog.messages if "upstreams.first.health.url" in said]
    assert len(doubts) == 1 and "answered 404" in doubts[0], "a wrong path finds everybody well, and that is said once"


async def test_an_open_breaker_is_told(
    start: Start, first: Provider, spare: Provider, caplog: pytest.LogCaptureFixture
) -> None:
    well = False

    async def now_and_then(line: Line) -> None:
        await line.answer(200 if well or line.seen.path == "/health" else 500)

    first.behave = now_and_then
    caplog.set_level("INFO")
    opened = 'understudy_provider_open_breakers{provider="first"'
    async with start({"first": first.url, "spare": spare.url}) as (_, client), asyncio.timeout(60):
        while await _shown(client, opened) != "1.0":
            assert (await ask(client)).status_code == 200
        assert "first/m: it failed 5 times in a row, so it is not asked for 5 s" in caplog.messages
        well = True
        while await _shown(client, opened) != "0.0":
            await ask(client)
            await asyncio.sleep(0.05)
    assert "first/m answers again" in caplog.messages


class _Upstream:
    """What a provider's health address says, in order."""

    def __init__(self, *statuses: int) -> None:
        self._statuses = iter(statuses)

    async def status(self, url: str, *, within: float) -> int:
        return next(self._statuses)


async def test_a_check_that_was_well_all_the_time_does_not_overrule_the_breaker() -> None:
    breakers, candidate = Breakers(clock=lambda: 100.0), Candidate("first", "m")
    checks = HealthChecks(cast(Any, _Upstream(200, 200, 503, 200)), breakers, dict)
    check = HealthCheck("http://first.example/health", failures=9)
    for _ in range(5):
        breakers.failed(candidate.name)
    for _ in range(2):
        await checks.check("first", check)
    assert not breakers.healthy(candidate), "its health address answers, its model does not: once in 10 s is enough"
    for _ in range(2):
        await checks.check("first", check)
    assert breakers.healthy(candidate), "it was unwell and is well again: it is probed at once"
