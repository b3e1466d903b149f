from __future__ import annotations

import asyncio
from collections.abc import Sequence

import msgspec
import pytest
from small_fakes import exchange_of, runtime_of
from test_telemetry import RECORD

from gateway.concurrency.telling import Ended, Telling
from gateway.config import Config
from gateway.context import Finding
from gateway.storage.records import CallRecord

RUNTIME = runtime_of(Config())


class Hearing:
    def __init__(self) -> None:
        self.heard: list[list[str]] = []
        self.late: list[tuple[str, str]] = []

    def finished(self, calls: Sequence[Ended]) -> None:
        self.heard.append([one.record.id for one in calls])

    def found_late(self, record: CallRecord, finding: Finding) -> None:
        self.late.append((record.id, finding.guardrail))


class Failing:
    def finished(self, calls: Sequence[Ended]) -> None:
        raise RuntimeError("out of order")


def ended(name: str) -> Ended:
    return Ended(exchange_of(RUNTIME), msgspec.structs.replace(RECORD, id=name), "")


async def until_heard(hearing: Hearing) -> None:
    async with asyncio.timeout(30):
        while not hearing.heard:
            await asyncio.sleep(0.001)


async def test_calls_that_ended_together_are_told_together_in_their_order() -> None:
    telling, hearing = Telling(), Hearing()
    telling.observers = [hearing]
    for name in "abc":
        telling.later(ended(name))
    assert hearing.heard == []
    await until_heard(hearing)
    assert hearing.heard == [["a", "b", "c"]]


async def test_who_asks_hears_of_everything_once() -> None:
    telling, hearing = Telling(), Hearing()
    telling.observers = [hearing]
    telling.now()
    telling.later(ended("a"))
    telling.now()
    telling.now()
    assert hearing.heard == [["a"]]


async def test_what_a_guardrail_found_is_told_as_soon_as_the_answer_has_left() -> None:
    telling, hearing = Telling(), Hearing()
    telling.observers = [hearing]
    telling.later(ended("a"))
    telling.later(ended("b"), soon=True)
    await asyncio.sleep(0)
    assert hearing.heard == [["a", "b"]]


async def test_a_flood_is_not_kept_for_long() -> None:
    telling, hearing = Telling(), Hearing()
    telling.observers = [hearing]
    for number in range(256):
        telling.later(ended(str(number)))
    await asyncio.sleep(0)
    assert [len(calls) for calls in hearing.heard] == [256]


async def test_an_observer_that_fails_keeps_nothing_from_the_others(caplog: pytest.LogCaptureFixture) -> None:
    telling, hearing = Telling(), Hearing()
    telling.observers = [Failing(), hearing]
    telling.later(ended("a"))
    telling.now()
    assert hearing.heard == [["a"]]
    assert "Failing" in caplog.text


async def test_what_is_found_after_a_call_was_told_follows_it() -> None:
    telling, hearing = Telling(), Hearing()
    telling.observers, telling.late = [hearing], [hearing]
    watched, plain = ended("a"), ended("b")
    watched.exchange.watched = True
    telling.later(watched)
    telling.later(plain)
    assert watched.exchange.late is None
    telling.now()
    assert plain.exchange.late is None and watched.exchange.late is not None
    watched.exchange.late(Finding("judge", "flag", "output", True, ""))
    assert hearing.late == [("a", "judge")]
