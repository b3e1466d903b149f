from __future__ import annotations

import pytest
from small_fakes import Stream, chunk, exchange_of, runtime_of

from gateway.config import Config
from gateway.errors import BadRequest
from gateway.guardrails.length import Length
from gateway.stages.guarding.stream import GuardedStream


def test_a_text_of_the_limit_passes_and_one_character_more_does_not() -> None:
    guard = Length(characters=5)
    assert guard.check("12345", "in").action == "allow"
    assert guard.check("123456", "in").action == "block"
    assert Length(characters=5, action="flag").check("123456", "out").action == "flag"
    assert guard.reads("input")
    assert not guard.reads("system")


async def test_a_stream_is_stopped_when_it_grows_too_long() -> None:
    guards = {"short": Length(characters=9)}
    exchange = exchange_of(runtime_of(Config()))
    stream = GuardedStream(Stream(*[chunk({"content": "1234"}) for _ in range(4)]), exchange, guards)
    seen = []
    with pytest.raises(BadRequest, match="short"):
        async for one in stream:
            seen.append(one.text)  # noqa: PERF401 (what came before the error counts)
    assert seen == ["1234", "1234"]
    assert exchange.verdicts == ["short:block"]
