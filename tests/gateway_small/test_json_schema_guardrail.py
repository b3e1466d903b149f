from __future__ import annotations

import pytest
from small_fakes import Stream, chunk, exchange_of, read, runtime_of, whole

from gateway.config import Config
from gateway.errors import BadRequest
from gateway.guardrails import JsonSchema
from gateway.stages.guard import Guard

SCHEMA = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
GUARD = JsonSchema(schema=SCHEMA)


def test_answers_have_to_fit_and_requests_are_not_read() -> None:
    assert GUARD.check('{"n": 1}', "out").action == "allow"
    for wrong in ('{"n": "1"}', "{}", "n = 1", '{"n": 1', "[" * 5000):
        assert GUARD.check(wrong, "out").action == "block"
    assert not GUARD.reads("input") and not GUARD.reads("tool_arguments") and GUARD.reads("output")
    assert GUARD.check("", "out").action == "allow"  # an answer that calls a tool


def test_a_schema_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match="refused at #"):
        JsonSchema(schema={"type": "objekt"})


async def test_nothing_of_a_stream_that_does_not_fit_goes_out() -> None:
    config = Config(guardrails={"shape": GUARD})

    async def good(_: object) -> Stream:
        return Stream(chunk({"content": '{"n"'}), chunk({"content": ": 1}"}), chunk({}, "stop"))

    async def bad(_: object) -> Stream:
        return Stream(chunk({"content": '{"n"'}), chunk({"content": ": true}"}), chunk({}, "stop"))

    stream = await Guard()(exchange_of(runtime_of(config)), good)  # type: ignore[arg-type]
    assert await read(stream) == '{"n": 1}'
    stream = await Guard()(exchange_of(runtime_of(config)), bad)  # type: ignore[arg-type]
    with pytest.raises(BadRequest):
        await anext(aiter(stream))  # type: ignore[arg-type]


async def test_a_whole_answer_is_judged_too() -> None:
    async def inner(_: object) -> object:
        return whole("no JSON")

    with pytest.raises(BadRequest, match="shape"):
        await Guard()(exchange_of(runtime_of(Config(guardrails={"shape": GUARD}))), inner)  # type: ignore[arg-type]
