"""Models that know people by their sentences are not asked about names of functions, in force or in shadow; about the
transcript of what was spoken they are."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
from small_fakes import Asking, Stream, chunk, exchange_of, read, runtime_of, whole

from gateway.config import Config
from gateway.context import Exchange
from gateway.errors import BadRequest
from gateway.guardrails import Scene
from gateway.guardrails.guardrail import WHOLE
from gateway.guardrails.verdict import ALLOW, Verdict
from gateway.judges import Judges
from gateway.stages.guard import Guard

CALL = {"id": "1", "type": "function", "function": {"name": "call_jane", "arguments": '{"who": "the boss"}'}}
TOOLS = [{"type": "function", "function": {"name": "call_jane", "description": "Calls the boss", "parameters": {}}}]


class Namer(Asking, frozen=True, kw_only=True):
    """Masks ``jane`` wherever it is asked."""

    heard: list[str]

    @property
    def reads_names(self) -> bool:
        return False

    async def ask(self, texts: Sequence[str], direction: Any, helpers: Any, scene: Scene) -> list[Verdict]:
        self.heard.extend(texts)
        found = [text.find("jane") for text in texts]
        return [ALLOW if at < 0 else Verdict("rewrite", ((at, at + 4, "***"),)) for at in found]


async def through(guard: Namer, answer: Any, body: dict[str, Any]) -> Exchange:
    exchange = exchange_of(runtime_of(Config(guardrails={"names": guard})), body)  # type: ignore[dict-item]

    async def inner(_: Any) -> Any:
        return answer

    got = await Guard(Judges())(exchange, inner)
    if not hasattr(got, "data"):
        await read(got)
    while len(asyncio.all_tasks()) > 1:
        await asyncio.sleep(0)
    return exchange


def answer_of(message: dict[str, Any], streamed: bool) -> Any:
    return Stream(chunk(message), chunk({}, "stop")) if streamed else whole("fine", **message)


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("outside", [False, True])
@pytest.mark.parametrize("window", [40, WHOLE])
@pytest.mark.parametrize("shadow", [False, True])
async def test_nobody_asks_about_names(shadow: bool, window: int, outside: bool, streamed: bool) -> None:
    guard = Namer(shadow=shadow, window=window, outside=outside, heard=[])
    exchange = await through(guard, answer_of({"tool_calls": [{"index": 0, **CALL}]}, streamed), {"tools": TOOLS})
    assert not [text for text in guard.heard if "jane" in text] and exchange.verdicts == []
    assert {"hello", "Calls the boss", '{"who": "the boss"}'} <= set(guard.heard)


@pytest.mark.parametrize("streamed", [False, True])
async def test_what_was_spoken_is_heard(streamed: bool) -> None:
    spoken = {"audio": {"id": "a", "data": "UklGRg==", "transcript": "ask jane"}}
    with pytest.raises(BadRequest):
        await through(Namer(heard=[]), answer_of(spoken, streamed), {})
    exchange = await through(Namer(shadow=True, heard=[]), answer_of(spoken, streamed), {})
    assert exchange.verdicts == ["names:rewrite:shadow"]
