from __future__ import annotations

import pytest
from small_fakes import Stream, chunk, exchange_of, read, runtime_of

from gateway.config import Config
from gateway.errors import BadRequest
from gateway.guardrails import Regex
from gateway.guardrails.guardrail import WHOLE
from gateway.stages.guard import Guard

CODES = Regex(patterns=[r"PRJ-\d{4}"])


def test_a_pattern_is_found_anywhere_in_both_directions() -> None:
    for direction in ("in", "out"):
        assert CODES.check("see PRJ-1234.", direction).action == "block"  # type: ignore[arg-type]
        assert CODES.check("see PRJ-12.", direction).action == "allow"  # type: ignore[arg-type]
    assert Regex(patterns=["x"], action="flag").check("xy", "in").action == "flag"


@pytest.mark.parametrize("pattern", [r"(a)\1", "(?=a)b", "(", "a{100000}"])
def test_what_the_engine_does_not_take_is_refused_with_the_reason(pattern: str) -> None:
    with pytest.raises(ValueError, match="is refused"):
        Regex(patterns=[pattern])


def test_a_hostile_pattern_costs_linear_time() -> None:
    assert Regex(patterns=["(a|aa)+$"]).check("a" * 5_000 + "b", "in").action == "allow"


def test_a_pattern_about_the_whole_text_waits_for_its_end() -> None:
    starts = Regex(patterns=["^No"])
    assert starts.reach == WHOLE
    assert starts.check("No", "out", final=False).action == "wait"
    assert starts.check("No", "out").action == "block" and starts.check("Oh No", "out").action == "allow"


async def test_a_find_that_is_split_over_chunks_stops_a_stream() -> None:
    exchange = exchange_of(runtime_of(Config(guardrails={"codes": CODES})))

    async def inner(_: object) -> Stream:
        return Stream(chunk({"content": "see PRJ-"}), chunk({"content": "12"}), chunk({"content": "34 now"}))

    stream = await Guard()(exchange, inner)  # type: ignore[arg-type]
    with pytest.raises(BadRequest, match="codes"):
        await read(stream)
    assert exchange.verdicts == ["codes:block"]
