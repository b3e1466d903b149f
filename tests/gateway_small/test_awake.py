from __future__ import annotations

import asyncio

from gateway.concurrency.awake import Awake


class Clock:
    def __init__(self) -> None:
        self.now = 1.0

    def __call__(self) -> float:
        return self.now


async def waits(awake: Awake, clock: Clock, count: int, seconds: float) -> None:
    for _ in range(count):
        awake.waiting()
        clock.now += seconds
        awake.come()
        await asyncio.sleep(0)


async def looks(awake: Awake, clock: Clock, each: float) -> int:
    """How many turns of the loop a wait takes up, where a turn takes ``each`` seconds and nothing comes."""
    awake.waiting()
    turns = 0
    while awake.looking:
        await asyncio.sleep(0)
        clock.now += each
        turns += 1
    return turns


async def test_it_looks_around_while_most_waits_are_short_and_no_longer_than_it_may() -> None:
    clock = Clock()
    awake = Awake(100e-6, clock)
    assert await looks(awake, clock, 10e-6) == 0
    await waits(awake, clock, 20, 30e-6)
    assert 10 <= await looks(awake, clock, 10e-6) <= 13


async def test_it_sleeps_where_providers_take_their_time() -> None:
    clock = Clock()
    awake = Awake(100e-6, clock)
    await waits(awake, clock, 50, 30e-6)
    await waits(awake, clock, 20, 0.3)
    assert await looks(awake, clock, 10e-6) == 0


async def test_it_stops_looking_when_something_has_come() -> None:
    clock = Clock()
    awake = Awake(100e-6, clock)
    await waits(awake, clock, 20, 30e-6)
    awake.waiting()
    await asyncio.sleep(0)
    assert awake.looking
    awake.come()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert not awake.looking


async def test_an_idle_gateway_looks_once_and_then_sleeps() -> None:
    clock = Clock()
    awake = Awake(100e-6, clock)
    await waits(awake, clock, 20, 30e-6)
    assert await looks(awake, clock, 60e-6) <= 3
    clock.now += 3600
    awake.come()
    assert not awake.looking


async def test_nothing_is_looked_for_where_it_is_turned_off() -> None:
    clock = Clock()
    awake = Awake(0.0, clock)
    await waits(awake, clock, 50, 0.0)
    assert await looks(awake, clock, 10e-6) == 0
