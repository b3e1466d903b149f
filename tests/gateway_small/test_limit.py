from __future__ import annotations

import asyncio
import time
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_fakes import ALICE, BOB, Stream, chunk, exchange_of, read, runtime_of, texts, whole

from gateway.config import Config, LimitRules, Limits, Price
from gateway.errors import BadRequest, RateLimited, Unavailable
from gateway.metering.estimate import Estimator
from gateway.providers import OpenAIProvider
from gateway.stages.limit import Limit, wire_duration
from gateway.stages.record import record_of
from gateway.storage.counting.counters import Decision, MemoryCounters, Rule

LIMITED = msgspec.structs.replace(ALICE, requests_per_minute=3, tokens_per_minute=100_000)


async def ok(exchange: Any) -> Any:
    return whole("ok")


class Clock:
    def __init__(self, now: float = 1000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


def rule(kind: str, limit: int, amount: int = 1, **more: Any) -> Rule:
    return Rule(more.pop("who", "key"), more.pop("id", "k"), kind, limit, amount, **more)


@given(
    st.lists(st.tuples(st.floats(0, 30), st.integers(1, 5)), min_size=1, max_size=80),
    st.integers(5, 20),
)
def test_no_sliding_minute_ever_holds_more_than_the_limit(steps: list[tuple[float, int]], limit: int) -> None:
    """Any minute that ends at a granted request, measured with exact times, not with the counter's buckets."""

    async def walk() -> None:
        clock = Clock()
        counters = MemoryCounters(clock)
        granted: list[tuple[float, int]] = []
        for gap, amount in steps:
            clock.now += gap
            asked = rule("tokens", limit, amount)
            decision = await counters.reserve("h", (asked,), ttl=60)
            if decision.hold is not None:
                granted.append((clock.now, amount))
                assert sum(much for at, much in granted if at > clock.now - 60.0) <= limit
            else:
                wait = decision.lines[0].wait
                assert 0 < wait <= 60.5
                used = sum(much for at, much in granted if at > clock.now - 60.5)
                assert used + amount > limit  # nobody is refused who fits, but for half a second of rounding
                clock.now += wait
                assert (await counters.reserve("h", (asked,), ttl=60)).hold is not None
                granted.append((clock.now, amount))

    asyncio.run(walk())


async def test_a_burst_at_the_edge_of_a_minute_is_not_let_through_twice() -> None:
    clock = Clock(1000.4)
    counters = MemoryCounters(clock)

    async def burst() -> int:
        found = [await counters.reserve("h", (rule("requests", 10),), ttl=60) for _ in range(30)]
        return sum(one.hold is not None for one in found)

    assert await burst() == 10
    clock.now += 59.9
    assert await burst() == 0
    clock.now += 1.0
    assert await burst() == 10


async def test_all_rules_or_none() -> None:
    counters = MemoryCounters(Clock())
    wide, narrow = rule("requests", 10), rule("requests", 1, who="project", id="p")
    assert (await counters.reserve("a", (wide, narrow), ttl=60)).hold
    refused = await counters.reserve("b", (wide, narrow), ttl=60)
    assert refused.hold is None and refused.rules[refused.refused] == narrow
    assert refused.lines[0].used == 1  # the wide one was not charged for the refused call


async def test_what_was_not_used_is_given_back_and_what_was_used_stays() -> None:
    counters = MemoryCounters(Clock())
    tokens, money = rule("tokens", 100, 80), rule("day", 1000, 800)
    hold = (await counters.reserve("a", (tokens, money), ttl=60)).hold
    assert hold is not None
    assert (await counters.reserve("b", (tokens,), ttl=60)).hold is None
    counters.settle(hold, [20, 900])
    again = await counters.reserve("c", (tokens,), ttl=60)
    assert again.hold is not None and again.lines[0].used == 100
    assert (await counters.reserve("d", (money,), ttl=60)).hold is None
    small = rule("day", 1000, 100)
    assert (await counters.reserve("e", (small,), ttl=60)).hold is not None


async def test_a_hold_that_nobody_settles_expires() -> None:
    clock = Clock()
    counters = MemoryCounters(clock)
    one = rule("concurrency", 1)
    assert (await counters.reserve("a", (one,), ttl=60)).hold
    assert (await counters.reserve("b", (one,), ttl=60)).hold is None
    clock.now += 61
    assert (await counters.reserve("c", (one,), ttl=60)).hold


async def test_a_budget_begins_with_what_the_ledger_says_and_is_raised_to_it() -> None:
    said = 700

    async def ledger(_: Rule) -> int:
        return said

    counters = MemoryCounters(Clock(), ledger)
    money = rule("day", 1000, 400, since=time.time())
    assert (await counters.reserve("a", (money,), ttl=60)).hold is None
    small = rule("day", 1000, 100, since=time.time())
    hold = (await counters.reserve("b", (small,), ttl=60)).hold
    assert hold is not None
    counters.settle(hold, [0])
    said = 950
    await counters.catch_up()
    assert (await counters.reserve("c", (small,), ttl=60)).hold is None
    said = 0
    await counters.catch_up()  # never lowered
    assert (await counters.reserve("d", (small,), ttl=60)).hold is None


async def test_the_limit_speaks_openais_headers() -> None:
    clock = Clock(50.0)
    stage = Limit(MemoryCounters(clock))
    runtime = runtime_of()
    exchange = exchange_of(runtime, principal=LIMITED)
    await stage(exchange, ok)
    headers = exchange.response_headers
    assert headers["x-ratelimit-limit-requests"] == "3"
    assert headers["x-ratelimit-remaining-requests"] == "2"
    assert headers["x-ratelimit-reset-requests"] == "1m0s"
    assert headers["x-ratelimit-limit-tokens"] == "100000"
    assert 0 < int(headers["x-ratelimit-remaining-tokens"]) < 100_000
    await stage(exchange, ok)
    await stage(exchange, ok)
    clock.now += 30
    with pytest.raises(RateLimited) as caught:
        await stage(exchange, ok)
    error = caught.value
    assert (error.status, error.kind, error.code) == (429, "requests", "rate_limit_exceeded")
    assert error.headers["retry-after"] == "31" and error.headers["retry-after-ms"] == "30500"
    assert error.headers["x-ratelimit-remaining-requests"] == "0"
    assert stage.in_flight == 0


async def test_too_many_tokens_for_a_minute_are_told_as_such() -> None:
    stage = Limit(MemoryCounters(Clock()))
    principal = msgspec.structs.replace(ALICE, tokens_per_minute=50)
    with pytest.raises(RateLimited) as caught:
        await stage(exchange_of(runtime_of(), text="x" * 1000, principal=principal), ok)
    assert caught.value.kind == "tokens" and "Request too large" in caught.value.message
    await stage(exchange_of(runtime_of(), text="x", principal=principal), ok)  # takes the minute's rest
    with pytest.raises(RateLimited, match="tokens per minute"):
        await stage(exchange_of(runtime_of(), text="x", principal=principal), ok)


async def test_an_unknown_price_is_refused_where_money_is_limited() -> None:
    provider = OpenAIProvider(base_url="http://localhost:1/v1")
    config = Config(
        providers={"o": provider}, prices={"o": {"m": Price(input=1.0, output=2.0)}},
        limits=LimitRules(projects={"p1": Limits(budget_usd_month=0.01)}),
    )  # fmt: skip
    runtime = runtime_of(config)
    stage = Limit(MemoryCounters(Clock()))
    with pytest.raises(BadRequest) as caught:
        await stage(exchange_of(runtime, {"model": "o/unknown"}), ok)
    assert caught.value.code == "unknown_price"
    exchange = exchange_of(runtime, {"model": "o/m", "max_tokens": 4000})
    await stage(exchange, ok)  # may cost 0.008
    with pytest.raises(RateLimited) as refused:
        await stage(exchange_of(runtime, {"model": "o/m", "max_tokens": 4000}), ok)
    assert (refused.value.kind, refused.value.code) == ("insufficient_quota", "insufficient_quota")
    assert (
        refused.value.headers["x-should-retry"] == "false" and int(refused.value.headers["retry-after"]) > 0
    )
    assert (await stage(exchange_of(runtime, {"model": "o/unknown"}, principal=BOB), ok)).text == "ok"


SERVED_THERE = {"at": 0, "tool": {"type": "file_search", "vector_store_ids": ["vs_1"]}}


@pytest.mark.parametrize(
    ("asked", "usd"),
    [
        ({}, 0.0),
        ({"web_search_options": {}}, 0.01),
        ({"web_search_options": {"max_uses": 3}, "n": 2}, 0.06),
        ({"web_search_options": {"max_uses": "many"}}, 0.01),
        ({"tools": [{"type": "web_search"}]}, 0.01),
        ({"tools": [{"type": "function", "function": {"name": "f"}}]}, 0.0),
        ({"google": {"tools": [{"googleSearch": {}}]}}, 0.01),
        ({"web_search_options": {}, "openai": {"max_tool_calls": 3}}, 0.03),
        ({"openai": {"server_tools": [SERVED_THERE]}}, 0.0025),
        ({"openai": {"server_tools": [SERVED_THERE], "max_tool_calls": 4}}, 0.01),
    ],
)
async def test_what_searches_may_cost_is_reserved(asked: dict[str, Any], usd: float) -> None:
    class Watching(MemoryCounters):
        async def reserve(self, hold: str, rules: tuple[Rule, ...], *, ttl: float) -> Decision:
            reserved.extend(rule.amount for rule in rules if rule.kind == "month")
            return await super().reserve(hold, rules, ttl=ttl)

    provider = OpenAIProvider(base_url="http://localhost:1/v1")
    price = Price(input=0.0, output=0.0, search=10.0, file_search=2.5)
    config = Config(
        providers={"o": provider}, prices={"o": {"m": price}},
        limits=LimitRules(projects={"p1": Limits(budget_usd_month=0.1)}),
    )  # fmt: skip
    reserved: list[int] = []
    stage = Limit(Watching(Clock()))
    exchange = exchange_of(runtime_of(config), {"model": "o/m", **asked})
    await stage(exchange, ok)
    assert reserved == [pytest.approx(usd * 1e9)]


SPOKEN = {"modalities": ["text", "audio"], "audio": {"voice": "alloy", "format": "wav"}}


@pytest.mark.parametrize("sound_first", [True, False])
async def test_what_sound_may_cost_is_reserved_whichever_call_came_first(sound_first: bool) -> None:
    class Watching(MemoryCounters):
        async def reserve(self, hold: str, rules: tuple[Rule, ...], *, ttl: float) -> Decision:
            reserved.extend(rule.amount for rule in rules if rule.kind == "month")
            return await super().reserve(hold, rules, ttl=ttl)

    provider = OpenAIProvider(base_url="http://localhost:1/v1")
    price = Price(input=0.0, output=2.0, audio_output=80.0)
    config = Config(
        providers={"o": provider}, prices={"o": {"m": price}},
        limits=LimitRules(projects={"p1": Limits(budget_usd_month=1.0)}),
    )  # fmt: skip
    reserved: list[int] = []
    stage, runtime = Limit(Watching(Clock())), runtime_of(config)
    words = {"model": "o/m", "max_tokens": 1000}
    for at, asked in enumerate([{**words, **SPOKEN}, words] if sound_first else [words, {**words, **SPOKEN}]):
        exchange = exchange_of(runtime, asked)
        exchange.call_id = f"call-{at}"
        await stage(exchange, ok)
    expected = [0.08e9, 0.002e9] if sound_first else [0.002e9, 0.08e9]
    assert reserved == [pytest.approx(one) for one in expected]


async def test_a_budget_stops_searches_that_would_overrun_it() -> None:
    provider = OpenAIProvider(base_url="http://localhost:1/v1")
    price = Price(input=0.0, output=0.0, search=10.0)
    config = Config(
        providers={"o": provider}, prices={"o": {"m": price}},
        limits=LimitRules(projects={"p1": Limits(budget_usd_month=0.025)}),
    )  # fmt: skip
    stage, runtime = Limit(MemoryCounters(Clock())), runtime_of(config)
    asked = [exchange_of(runtime, {"model": "o/m", "web_search_options": {}}) for _ in range(2)]
    for at, one in enumerate(asked):
        one.call_id = f"call-{at}"
        await stage(one, ok)
    with pytest.raises(RateLimited) as refused:
        await stage(exchange_of(runtime, {"model": "o/m", "web_search_options": {}}), ok)
    assert refused.value.code == "insufficient_quota"
    await stage(exchange_of(runtime, {"model": "o/m"}), ok)
    stage.settle(asked[0], record_of(asked[0], "ok", 200, "", now=time.monotonic()))  # nothing was searched
    await stage(exchange_of(runtime, {"model": "o/m", "web_search_options": {}}), ok)


def test_output_is_learnt() -> None:
    estimator = Estimator()
    request = exchange_of(runtime_of(), {"max_tokens": 5000}, text="word " * 100).request
    assert estimator.tokens("t", request)[1] == 5000
    for used in [*range(10, 109), 4000]:
        estimator.learn("t", request, 250, used)
    given, made = estimator.tokens("t", request)
    assert made == 108 and given >= 250  # nearest rank of a hundred: the one outlier is the hundredth
    small = exchange_of(runtime_of(), {"max_tokens": 7, "n": 2}, text="word").request
    assert estimator.tokens("t", small)[1] == 14


async def test_too_many_at_once_are_shed_and_streams_count_until_their_end() -> None:
    stage = Limit(max_concurrent=1)
    exchange = exchange_of(runtime_of())
    for finish in ("read", "close", "fail"):
        inner = texts("a") if finish != "fail" else Stream(chunk({}), ValueError("cut"))

        async def answer(_: Any, stream: Stream = inner) -> Any:
            return stream

        stream: Any = await stage(exchange, answer)
        with pytest.raises(Unavailable) as caught:
            await stage(exchange, ok)
        assert caught.value.headers["retry-after"] == "1"
        if finish == "read":
            assert await read(stream) == "a"
        elif finish == "fail":
            with pytest.raises(ValueError, match="cut"):
                await read(stream)
        await stream.aclose()
        await stream.aclose()
        assert stage.in_flight == 0 and inner.closed
    await stage(exchange, ok)


async def test_a_failing_call_gives_its_place_back() -> None:
    stage = Limit(max_concurrent=1)

    async def fail(_: Any) -> Any:
        raise ValueError("no")

    for _ in range(2):
        with pytest.raises(ValueError, match="no"):
            await stage(exchange_of(runtime_of()), fail)


async def test_counters_are_bounded() -> None:
    counters = MemoryCounters(Clock(), max_scopes=10)
    for number in range(50):
        await counters.reserve("h", (rule("requests", 5, id=f"k{number}"),), ttl=60)
    assert len(counters) == 10


def test_durations() -> None:
    assert [wire_duration(one) for one in (0.0, 0.0055, 1.0, 59.2, 360.0)] == [
        "0ms",
        "6ms",
        "1s",
        "1m0s",
        "6m0s",
    ]
