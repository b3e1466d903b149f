from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_fakes import ALICE, Stream, chunk, exchange_of, read, runtime_of, texts, whole

from gateway.errors import RateLimited, Unavailable
from gateway.stages.limit import Limit, gcra, wire_duration
from gateway.storage.counters import MemoryCounters

LIMITED = msgspec.structs.replace(ALICE, requests_per_minute=3)


async def ok(exchange: Any) -> Any:
    return whole("ok")


def test_gcra_allows_a_burst_then_its_rate() -> None:
    tat = 0.0
    for expected in (True, True, False):
        allowed, tat, wait = gcra(tat, 100.0, 2.0, 2)
        assert allowed is expected
    assert wait == pytest.approx(0.5)
    assert gcra(tat, 100.5, 2.0, 2).allowed


@given(st.lists(st.floats(0, 5), min_size=1, max_size=60), st.integers(1, 20), st.floats(0.5, 10))
def test_gcra_never_gives_more_than_burst_plus_rate(gaps: list[float], burst: int, rate: float) -> None:
    now, tat, given_out = 1000.0, 0.0, 0
    started = now
    for gap in gaps:
        now += gap
        allowed, tat, wait = gcra(tat, now, rate, burst)
        given_out += allowed
        assert given_out <= burst + rate * (now - started) + 1e-6
        assert allowed or gcra(tat, now + wait + 1e-6, rate, burst).allowed


def test_a_clock_set_back_does_not_lock_anybody_out() -> None:
    _, tat, _ = gcra(0.0, 1_000_000.0, 1.0, 5)
    assert gcra(tat, 10.0, 1.0, 5).retry_after <= 1.0


async def test_the_limit_speaks_openais_headers() -> None:
    stage = Limit(now=lambda: 50.0)
    runtime = runtime_of()
    exchange = exchange_of(runtime, principal=LIMITED)
    await stage(exchange, ok)
    assert exchange.response_headers["x-ratelimit-limit-requests"] == "3"
    assert exchange.response_headers["x-ratelimit-remaining-requests"] == "2"
    assert exchange.response_headers["x-ratelimit-reset-requests"] == "20s"
    await stage(exchange, ok)
    await stage(exchange, ok)
    with pytest.raises(RateLimited) as caught:
        await stage(exchange, ok)
    error = caught.value
    assert (error.status, error.kind, error.code) == (429, "requests", "rate_limit_exceeded")
    assert error.headers["retry-after"] == "20" and error.headers["retry-after-ms"] == "20000"
    assert error.headers["x-ratelimit-remaining-requests"] == "0"
    assert stage.in_flight == 0


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
    counters = MemoryCounters(max_keys=10)
    for number in range(50):
        await counters.take(f"k{number}", 1.0, 1.0, 1)
    assert len(counters) == 10


def test_durations() -> None:
    assert [wire_duration(one) for one in (0.0, 0.0055, 1.0, 59.2, 360.0)] == [
        "0ms",
        "6ms",
        "1s",
        "1m0s",
        "6m0s",
    ]
