"""Shared counters on a real Redis: exact between processes, and never unlimited when it is killed, hangs,
comes back empty or holds nonsense. Several ``RedisCounters`` stand in for as many processes: they share nothing."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from redis.asyncio import Redis
from small_fakes import exchange_of, runtime_of, whole
from stopwatch import Stopwatch

from gateway.config import Config, Price
from gateway.context import Principal, Used
from gateway.errors import RateLimited
from gateway.metering.limits import rules_of
from gateway.protocol.chat import Usage
from gateway.providers import OpenAIProvider
from gateway.stages.limit import Limit
from gateway.stages.record import record_of
from gateway.storage.counting.counters import Counters, Hold, MemoryCounters, Rule, SpendingUnknown
from gateway.storage.counting.counters_redis import RedisCounters
from optimizer.routing.plan import Candidate, Rung

DAY = time.time() // 86_400 * 86_400


class Ledger:
    """What the database would say."""

    def __init__(self) -> None:
        self.spent: dict[str, int] = {}
        self.away = False

    async def __call__(self, rule: Rule) -> int:
        if self.away:
            raise SpendingUnknown("away")
        return self.spent.get(rule.id, 0)

    def add(self, rule: Rule, amount: int) -> None:
        self.spent[rule.id] = self.spent.get(rule.id, 0) + amount


def requests(limit: int, name: str = "k") -> Rule:
    return Rule("key", name, "requests", limit, 1)


def money(limit: int, amount: int, name: str = "k") -> Rule:
    return Rule("key", name, "day", limit, amount, "today", DAY)


@asynccontextmanager
async def processes(
    url: str, ledger: Ledger, count: int, patience_s: float = 2.0
) -> AsyncIterator[list[RedisCounters]]:
    found = [RedisCounters(url, ledger, replicas=count, patience_s=patience_s) for _ in range(count)]
    for one in found:
        await one.start()
    try:
        await until(lambda: all(one._standby.replicas == count for one in found))  # each has heard of the others
        yield found
    finally:
        for one in found:
            await one.close()


async def until(condition: Callable[[], Any], seconds: float = 60.0) -> None:
    for _ in range(int(seconds / 0.02)):
        if condition():
            return
        await asyncio.sleep(0.02)
    pytest.fail("it did not happen")


@pytest.fixture(params=["memory", "redis"])
async def counters(request: pytest.FixtureRequest) -> AsyncIterator[Counters]:
    if request.param == "memory":
        yield MemoryCounters(time.monotonic, Ledger())
        return
    async with processes(request.getfixturevalue("redis_server").url, Ledger(), 1) as found:
        yield found[0]


async def test_both_backends_reserve_settle_and_refuse_alike(counters: Counters) -> None:
    rules = (
        Rule("key", "k", "requests", 3, 1), Rule("project", "p", "tokens", 100, 40),
        Rule("task", "t", "concurrency", 2, 1), money(1000, 300),
    )  # fmt: skip
    first = await counters.reserve("a", rules, ttl=60)
    second = await counters.reserve("b", rules, ttl=60)
    assert first.hold and second.hold
    assert [line.used for line in second.lines] == [2, 80, 2, 600]
    assert second.lines[0].reset == pytest.approx(60, abs=1)
    third = await counters.reserve("c", rules, ttl=60)
    assert third.hold is None and third.rules[third.refused].kind == "tokens"
    assert 59 < third.lines[1].wait <= 60.5
    counters.settle(first.hold, [1, 10, 1, 50])
    while not (fourth := await counters.reserve("d", rules, ttl=60)).hold:  # until it is settled
        await asyncio.sleep(0.02)
    assert fourth.hold is not None
    assert [line.used for line in fourth.lines] == [3, 90, 2, 50 + 600]
    fifth = await counters.reserve("e", rules, ttl=60)
    assert fifth.hold is None and fifth.rules[fifth.refused].kind == "requests"
    assert await counters.once("x", 60) and not await counters.once("x", 60)


async def test_four_processes_share_one_limit_and_one_budget_exactly(redis_server: Any) -> None:
    ledger = Ledger()
    async with processes(redis_server.url, ledger, 4) as found:
        asked = [
            found[number % 4].reserve(f"h{number}", (requests(120), money(50 * 7, 7)), ttl=60)
            for number in range(200)
        ]
        answers = await asyncio.gather(*asked)
        holds = [one.hold for one in answers if one.hold is not None]
        assert len(holds) == 50
        for index, hold in enumerate(holds):
            found[index % 4].settle(hold, [1, 3])
        async with Redis.from_url(redis_server.url) as direct:
            key = next(one for one in await direct.keys("*day*") if not one.endswith(b"holds"))
            while int(await direct.hget(key, "spent") or 0) < 50 * 3:
                await asyncio.sleep(0.02)
        again = await asyncio.gather(
            *(found[number % 4].reserve(f"i{number}", (money(50 * 7, 7),), ttl=60) for number in range(100))
        )
        assert sum(one.hold is not None for one in again) == (50 * 7 - 50 * 3) // 7


async def test_killed_under_load_each_keeps_to_its_share(redis_server: Any) -> None:
    ledger = Ledger()
    async with processes(redis_server.url, ledger, 2) as found:
        rule, budget = requests(40), money(100, 1)
        granted = 0
        for number in range(20):
            granted += (
                await found[number % 2].reserve(f"a{number}", (rule, budget), ttl=60)
            ).hold is not None
        assert granted == 20
        redis_server.stop()
        for number in range(200):
            watch = Stopwatch()
            decision = await found[number % 2].reserve(f"b{number}", (rule, budget), ttl=60)
            granted += decision.hold is not None
            assert watch.seconds < 0.3
        assert 20 < granted <= 40  # the sliding minute held 20 already
        redis_server.start()
        await until(lambda: not any(one.away for one in found))
        for number in range(100):
            granted += (await found[number % 2].reserve(f"c{number}", (rule,), ttl=60)).hold is not None
        assert granted <= 40


async def test_hung_costs_fifty_milliseconds_and_then_nothing(redis_server: Any) -> None:
    ledger = Ledger()
    async with processes(redis_server.url, ledger, 2, 0.05) as found:
        budget = money(10, 1)
        assert (await found[0].reserve("a", (budget,), ttl=60)).hold
        redis_server.signal(signal.SIGSTOP)
        try:
            for _ in range(3):
                watch = Stopwatch()
                await found[0].reserve("b", (requests(1000),), ttl=60)
                assert watch.seconds < 0.5  # twice fifty milliseconds, on a busy machine
            assert found[0].away
            watch = Stopwatch()
            held = [await found[0].reserve(f"c{number}", (budget,), ttl=60) for number in range(50)]
            assert watch.seconds / 50 < 0.005
            assert sum(one.hold is not None for one in held) == 4  # half of the nine that were left
        finally:
            redis_server.signal(signal.SIGCONT)
        await until(lambda: not found[0].away)
        assert (await found[0].reserve("d", (budget,), ttl=60)).hold


async def test_a_loop_that_stood_still_does_not_take_redis_for_away(redis_server: Any) -> None:
    """A burst may hold the loop up for longer than Redis is waited for; its limit holds all the same."""
    ledger = Ledger()
    async with processes(redis_server.url, ledger, 1, patience_s=0.05) as (one,):
        await one.reserve("first", (requests(5),), ttl=60)
        asked = [asyncio.create_task(one.reserve(f"hold{n}", (requests(5),), ttl=60)) for n in range(8)]
        await asyncio.sleep(0)
        time.sleep(0.4)  # noqa: ASYNC251 - it is what this is about
        decided = await asyncio.gather(*asked)
        assert [decision.hold is not None for decision in decided].count(True) == 4
        assert not one.away and not one._standby.used


async def test_flushed_under_load_budgets_come_back_from_the_ledger(redis_server: Any) -> None:
    ledger, budget = Ledger(), money(1000, 10)
    async with processes(redis_server.url, ledger, 4) as found:
        direct = Redis.from_url(redis_server.url)
        spent = 0
        for number in range(120):
            if number in (30, 60):
                await direct.flushall()
            counters = found[number % 4]
            decision = await counters.reserve(f"h{number}", (budget,), ttl=60)
            if decision.hold is not None:
                ledger.add(budget, 10)  # as record does: the ledger's line before the settlement
                spent += 10
                counters.settle(decision.hold, [10])
            await asyncio.sleep(0.005)
        assert spent == 1000
        key = next(one for one in await direct.keys("*day*") if not one.endswith(b"holds"))
        for _ in range(3000):  # until all of them have settled
            if int(await direct.hget(key, "spent")) >= 1000:
                break
            await asyncio.sleep(0.02)
        assert int(await direct.hget(key, "spent")) == ledger.spent["k"] == 1000
        await direct.aclose()


async def test_nonsense_is_rewritten(redis_server: Any) -> None:
    ledger = Ledger()
    ledger.spent["k"] = 95
    rules = (requests(5), Rule("key", "k", "concurrency", 5, 1), money(100, 5))
    async with processes(redis_server.url, ledger, 1) as found:
        direct = Redis.from_url(redis_server.url)
        assert (await found[0].reserve("a", rules, ttl=60)).hold
        assert (await found[0].reserve("b", rules, ttl=60)).hold is None
        for key in await direct.keys("*"):
            await direct.delete(key)
            await direct.rpush(key, "nonsense")
        assert (await found[0].reserve("c", rules, ttl=60)).hold
        for key in await direct.keys("*"):
            if await direct.type(key) == b"hash":
                for name in await direct.hkeys(key):
                    await direct.hset(key, name, b"\xff\x00")
        assert (await found[0].reserve("d", rules, ttl=60)).hold is not None
        assert not found[0].away
        await direct.aclose()


async def test_what_nobody_settles_is_given_back(redis_server: Any) -> None:
    rules = (Rule("key", "k", "concurrency", 1, 1), money(10, 10))
    async with processes(redis_server.url, Ledger(), 1) as found:
        began = time.monotonic()
        assert (await found[0].reserve("a", rules, ttl=1)).hold
        refused = (await found[0].reserve("b", rules, ttl=60)).hold is None
        assert refused or time.monotonic() - began > 1
        if refused:
            while (await found[0].reserve("c", rules, ttl=60)).hold is None:
                assert time.monotonic() - began < 60
                await asyncio.sleep(0.05)


async def test_a_reservation_that_was_cancelled_is_given_back(redis_server: Any) -> None:
    rules = (Rule("key", "k", "concurrency", 1, 1), money(10, 10))
    async with processes(redis_server.url, Ledger(), 1) as found:
        await found[0].reserve("warm", (money(10, 0),), ttl=60)
        asking = asyncio.create_task(found[0].reserve("a", rules, ttl=60))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
        for _ in range(1000):
            if (await found[0].reserve("b", rules, ttl=60)).hold is not None:
                return
            await asyncio.sleep(0.02)
        pytest.fail("the cancelled reservation is still held")


async def test_nobody_spends_what_nobody_can_count(redis_server: Any) -> None:
    ledger = Ledger()
    ledger.away = True
    async with processes(redis_server.url, ledger, 1) as found:
        with pytest.raises(SpendingUnknown):
            await found[0].reserve("a", (money(10, 1),), ttl=60)
        assert (await found[0].reserve("b", (requests(5),), ttl=60)).hold
        ledger.away = False
        assert (await found[0].reserve("c", (money(10, 1),), ttl=60)).hold


async def test_without_redis_from_the_start_limits_hold(redis_server: Any) -> None:
    redis_server.stop()
    async with processes(redis_server.url, Ledger(), 2) as found:
        for one in found:
            held = [await one.reserve(f"h{number}", (requests(10),), ttl=60) for number in range(20)]
            assert sum(decision.hold is not None for decision in held) == 5
            one.settle(Hold("", (money(10, 0),), -1), [3])  # a charge without a hold must not hurt


async def test_what_lasts_is_charged_once_while_it_lasts_and_at_its_end(counters: Counters) -> None:
    """By both backends: 1,000 tokens a day are allowed, and a realtime session uses 400, 900 and then 1,100."""
    provider = OpenAIProvider(base_url="http://127.0.0.1:1/v1")
    config = Config(providers={"first": provider}, prices={"first": {"m": Price(input=1.0, output=1.0, as_of="2026-01-01", source="test")}})
    who = Principal("k", "p", budget_usd_day=0.001)
    limit, exchange = Limit(counters), exchange_of(runtime_of(config), {"model": "first/m", "max_tokens": 1}, principal=who)
    exchange.received_at, exchange.lasts_s = time.time(), 3600.0
    exchange.answered_by = Rung(Candidate("first", "m"), "plain")

    async def inner(_: Any) -> Any:
        return whole("hi")

    await limit(exchange, inner)

    async def used(tokens: int) -> None:
        counted = sum(one.usage.total for one in exchange.used if one.usage is not None)
        if tokens > counted:
            exchange.used.append(Used(Usage(prompt=tokens - counted)))
        await limit.going_on(exchange, who, exchange.runtime)

    for tokens in (0, 400, 400, 900):
        await used(tokens)
    with pytest.raises(RateLimited) as told:
        await used(1100)
    assert told.value.code == "insufficient_quota"
    exchange.cost_usd = 0.0011
    limit.settle(exchange, record_of(exchange, "error", 200, "insufficient_quota", now=time.monotonic()))
    rule = rules_of([("key", "k", who)], tokens=0, least_tokens=0, cost=1, at=time.time())
    async with asyncio.timeout(30):
        while (asked := await counters.reserve("x", rule, ttl=60)).lines[0].used != 1_100_000:
            if asked.hold is not None:  # it came before the last settlement
                counters.settle(asked.hold, [0])
            await asyncio.sleep(0.02)
    assert asked.lines[0].used == 1_100_000


async def test_the_tokens_of_what_lasts_count_in_the_minute_they_are_used_in(counters: Counters) -> None:
    """By both backends: 1,000 a minute. A session counts 1 until it speaks; whoever goes beyond is ended, and others
    are refused meanwhile."""
    provider = OpenAIProvider(base_url="http://127.0.0.1:1/v1")
    runtime, who = runtime_of(Config(providers={"first": provider})), Principal("k", "p", tokens_per_minute=1000)
    limit = Limit(counters)

    async def inner(_: Any) -> Any:
        return whole("hi")

    def session(id_: str) -> Any:
        made = exchange_of(runtime, {"model": "first/m"}, principal=who)
        made.call_id = id_
        made.lasts_s, made.answered_by = 3600.0, Rung(Candidate("first", "m"), "plain")
        return made

    async def standing(at_least: int) -> int:
        rule = rules_of([("key", "k", who)], tokens=0, least_tokens=0, cost=0, at=time.time())
        async with asyncio.timeout(30):
            while (found := (await counters.reserve("x", rule, ttl=60)).lines[0].used) < at_least:
                await asyncio.sleep(0.02)
        return found

    first, second = session("a"), session("b")
    await limit(first, inner)
    await limit(second, inner)
    for exchange, tokens in ((first, 400), (second, 300)):
        exchange.used.append(Used(Usage(prompt=tokens)))
        await limit.going_on(exchange, who, runtime)
        await limit.going_on(exchange, who, runtime)
    assert await standing(702) == 702
    first.used.append(Used(Usage(prompt=500)))
    with pytest.raises(RateLimited, match="tokens per minute") as told:
        await limit.going_on(first, who, runtime)
    assert told.value.code == "rate_limit_exceeded"
    assert await standing(1202) == 1202, "it has used them all the same"
    await limit.going_on(second, who, runtime)  # says nothing, and may stay
    for exchange, rest in ((first, 0), (second, 50)):
        exchange.usage = Usage(prompt=sum(one.usage.prompt for one in exchange.used if one.usage is not None) + rest)
        limit.settle(exchange, record_of(exchange, "ok", 200, "", now=time.monotonic()))
    assert await standing(1250) == 1250, "what it said last counts now, and the places are given back"
    with pytest.raises(RateLimited):
        await limit(session("c"), inner)
