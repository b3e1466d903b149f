"""Guardrails that ask others: at the same time, in time boxes, behind a breaker, and in streams with holding back."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from typing import Any, Literal

import msgspec
import pytest
from small_fakes import Asking, Stream, chunk, exchange_of, read, runtime_of, texts, whole

from gateway.config import Config
from gateway.errors import BadRequest, Unavailable
from gateway.guardrails import Guardrail, Pii, Scene
from gateway.guardrails.guardrail import WHOLE
from gateway.guardrails.verdict import ALLOW, BLOCK, FLAG, Verdict
from gateway.judges import Judges
from gateway.stages.guard import Guard

MAIL = "jane@example.org"


class Oracle(Asking, frozen=True, kw_only=True):
    """Finds ``word``, after a while; what it was asked is kept in ``heard``."""

    word: str = "bad"
    action: Literal["block", "flag", "rewrite"] = "block"
    slow: float = 0.0
    heard: list[str] = msgspec.field(default_factory=list)

    async def ask(self, texts: Sequence[str], direction: Any, helpers: Any, scene: Scene) -> list[Verdict]:
        self.heard.extend(texts)
        await asyncio.sleep(self.slow)
        if self.breaks:
            raise RuntimeError("broken")
        return [self._said(text) for text in texts]

    def _said(self, text: str) -> Verdict:
        found = tuple((*one.span(), "***") for one in re.finditer(self.word, text))
        if not found:
            return ALLOW
        if self.action == "rewrite":
            return Verdict("rewrite", found)
        return BLOCK if self.action == "block" else FLAG


async def through(
    answer: Any = None, text: str = "hello", judges: Judges | None = None, **guards: Guardrail
) -> Any:
    exchange = exchange_of(runtime_of(Config(guardrails=guards)), text=text)  # type: ignore[arg-type]

    async def inner(_: Any) -> Any:
        return answer if answer is not None else whole("fine")

    return exchange, await Guard(judges)(exchange, inner)


async def test_requests_are_asked_about_and_stopped() -> None:
    with pytest.raises(BadRequest) as refused:
        await through(text="a bad thing", oracle=Oracle())
    assert refused.value.code == "guardrail_blocked" and "bad thing" not in refused.value.message
    exchange, _ = await through(text="a bad thing", oracle=Oracle(action="flag"))
    assert exchange.verdicts == ["oracle:flag"]


async def test_all_are_asked_at_the_same_time() -> None:
    together = asyncio.Barrier(2)

    class Meeting(Oracle, frozen=True):
        async def ask(
            self, texts: Sequence[str], direction: Any, helpers: Any, scene: Scene
        ) -> list[Verdict]:
            await together.wait()
            return [ALLOW] * len(texts)

    await asyncio.wait_for(through(one=Meeting(window=0), two=Meeting(window=0)), 2)


async def test_who_is_late_has_failed() -> None:
    with pytest.raises(Unavailable) as refused:
        await through(oracle=Oracle(slow=30, timeout_ms=10))
    assert refused.value.code == "guardrail_failed"
    exchange, _ = await through(oracle=Oracle(slow=30, timeout_ms=10, on_error="allow", window=0))
    assert exchange.verdicts == ["oracle:error-allow"]
    exchange, _ = await through(oracle=Oracle(slow=30, timeout_ms=10, shadow=True, window=0))
    while not exchange.verdicts:  # nobody waits for a shadow
        await asyncio.sleep(0.005)
    assert exchange.verdicts == ["oracle:error-allow:shadow"]


async def test_who_fails_again_and_again_is_not_asked_for_a_while() -> None:
    now, oracle = [100.0], Oracle(breaks=True, on_error="allow", window=0)
    judges = Judges(clock=lambda: now[0])
    for _ in range(8):
        await through(oracle=oracle, judges=judges)
    assert len(oracle.heard) == 5
    now[0] += 60
    await through(oracle=oracle, judges=judges)
    assert len(oracle.heard) == 6


async def test_no_more_questions_at_once_than_allowed() -> None:
    running, most = 0, 0

    class Counting(Oracle, frozen=True):
        async def ask(
            self, texts: Sequence[str], direction: Any, helpers: Any, scene: Scene
        ) -> list[Verdict]:
            nonlocal running, most
            running += 1
            most = max(most, running)
            await asyncio.sleep(0.01)
            running -= 1
            return [ALLOW] * len(texts)

    judges = Judges()
    guard = Counting(parallel=2, window=0)
    await asyncio.gather(*(through(oracle=guard, judges=judges) for _ in range(8)))
    assert most == 2


async def test_who_asks_outside_is_shown_what_the_provider_sees() -> None:
    outside, inside = Oracle(outside=True), Oracle()
    _, answer = await through(
        whole("Hi [EMAIL_1]"), f"I am {MAIL}", privacy=Pii(), outside=outside, inside=inside
    )
    assert outside.heard == ["I am [EMAIL_1]", "Hi [EMAIL_1]"]
    assert inside.heard == [f"I am {MAIL}", "Hi [EMAIL_1]"]
    assert answer.text == f"Hi {MAIL}"


async def test_a_rewrite_from_outside_keeps_the_masks() -> None:
    outside = Oracle(outside=True, action="rewrite")
    exchange, answer = await through(
        whole("[EMAIL_1] is bad"), f"{MAIL} is bad", privacy=Pii(), outside=outside
    )
    assert exchange.body["messages"][0]["content"] == "[EMAIL_1] is ***"
    assert answer.text == f"{MAIL} is ***"


async def test_whole_answers_are_asked_about() -> None:
    with pytest.raises(BadRequest):
        await through(whole("so bad"), oracle=Oracle())
    await through(whole("so bad"), oracle=Oracle(window=0))  # it does not read answers


async def test_a_stream_that_is_judged_as_a_whole_waits_for_its_end() -> None:
    oracle = Oracle()
    _, stream = await through(texts("so ", "good"), oracle=oracle)
    assert await read(stream) == "so good" and oracle.heard[-1] == "so good"
    _, stream = await through(texts("so b", "ad"), oracle=Oracle())
    with pytest.raises(BadRequest):
        await anext(stream)


async def test_a_window_is_judged_before_it_leaves() -> None:
    pieces = ["word "] * 20 + ["ba", "d"] + [" more"] * 20
    _, stream = await through(texts(*pieces), oracle=Oracle(window=40))
    said = ""
    with pytest.raises(BadRequest):
        async for one in stream:
            said += one.text
    assert "bad" not in said and 60 <= len(said) <= 100


async def test_a_stream_is_rewritten_before_it_leaves() -> None:
    for window in (WHOLE, 20):
        _, stream = await through(
            texts("this is ba", "d and", " that is bad too"), oracle=Oracle(window=window, action="rewrite")
        )
        said = await read(stream)
        assert "***" in said and "bad" not in said, said


async def test_who_only_watches_holds_nothing_back() -> None:
    inner = texts("so ", "bad", " it is")
    exchange, stream = await through(inner, oracle=Oracle(action="flag"))
    first = await anext(stream)
    second = await anext(stream)
    assert (first.text, second.text) == ("", "so ") and len(inner.items) >= 3
    assert await read(stream) == "bad it is"
    assert exchange.verdicts == ["oracle:flag"]


async def test_a_stream_whose_judge_fails_is_stopped() -> None:
    _, stream = await through(texts("so good"), text=" ", oracle=Oracle(breaks=True))
    with pytest.raises(Unavailable):
        await read(stream)


async def test_tool_arguments_are_asked_about_where_they_are_read() -> None:
    call = {"index": 0, "id": "1", "type": "function", "function": {"name": "f", "arguments": '{"a":"bad"}'}}

    def answer() -> Stream:
        return Stream(chunk({"tool_calls": [call]}), chunk({}, "tool_calls"))

    _, stream = await through(answer(), oracle=Oracle(directions=["output"]))
    assert [one async for one in stream]
    _, stream = await through(answer(), oracle=Oracle(directions=["tool_arguments"]))
    with pytest.raises(BadRequest):
        [one async for one in stream]
