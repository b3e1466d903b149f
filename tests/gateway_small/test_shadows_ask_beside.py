"""Guardrails in shadow that ask others: no call waits for them, and what they say is recorded even when it is late."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import msgspec
from small_fakes import Asking, exchange_of, read, runtime_of, texts, whole

from gateway.config import Config
from gateway.context import Exchange, Finding
from gateway.guardrails import Guardrail, Pii, Scene
from gateway.guardrails.verdict import ALLOW, BLOCK, Verdict
from gateway.judges import Beside, Judges
from gateway.stages.guard import Guard

MAIL = "jane@example.org"


class Gate(msgspec.Struct):
    """Answers only once it is opened."""

    opened: asyncio.Event
    heard: list[str] = []


class Slow(Asking, frozen=True, kw_only=True):
    gate: Any

    async def ask(self, texts: Sequence[str], direction: Any, helpers: Any, scene: Scene) -> list[Verdict]:
        self.gate.heard.extend(texts)
        await self.gate.opened.wait()
        if self.breaks:
            raise RuntimeError("broken")
        return [BLOCK if "bad" in text else ALLOW for text in texts]


def shadow(gate: Gate, **more: Any) -> Slow:
    return Slow(gate=gate, shadow=True, timeout_ms=30_000, **more)


async def through(
    judges: Judges, answer: Any = None, text: str = "a bad thing", **guards: Guardrail
) -> tuple[Exchange, Any]:
    exchange = exchange_of(runtime_of(Config(guardrails=guards)), text=text)  # type: ignore[arg-type]

    async def inner(_: Any) -> Any:
        return answer if answer is not None else whole("fine")

    return exchange, await Guard(judges)(exchange, inner)


async def settled(gate: Gate) -> None:
    gate.opened.set()
    while len(asyncio.all_tasks()) > 1:
        await asyncio.sleep(0)


async def test_no_call_waits_for_a_shadow() -> None:
    gate, judges = Gate(asyncio.Event()), Judges()
    exchange, answer = await through(judges, whole("so bad"), watcher=shadow(gate))
    assert answer.text == "so bad" and exchange.verdicts == [] and exchange.watched
    await settled(gate)
    assert exchange.verdicts == ["watcher:block:shadow"] * 2
    assert [one.place for one in exchange.findings] == ["input", "output"]
    assert gate.heard == ["a bad thing", "so bad"]


async def test_no_stream_waits_for_a_shadow_not_even_its_end() -> None:
    gate, judges = Gate(asyncio.Event()), Judges()
    exchange, stream = await through(judges, texts("so ", "bad"), "hello", watcher=shadow(gate))
    assert await read(stream) == "so bad" and exchange.verdicts == []
    await settled(gate)
    assert gate.heard == ["hello", "so bad"] and exchange.verdicts == ["watcher:block:shadow"]


async def test_beside_one_that_acts_a_shadow_hears_the_whole() -> None:
    gate, judges = Gate(asyncio.Event()), Judges()
    quick = Gate(asyncio.Event())
    quick.opened.set()
    acting = Slow(gate=quick, window=4)
    _, stream = await through(
        judges, texts("one ", "two ", "three"), "hello", acting=acting, watcher=shadow(gate)
    )
    assert await read(stream) == "one two three"
    await settled(gate)
    assert gate.heard == ["hello", "one two three"]


async def test_what_comes_late_follows_the_call() -> None:
    gate, judges = Gate(asyncio.Event()), Judges()
    exchange, _ = await through(judges, watcher=shadow(gate))
    late: list[Finding] = []
    exchange.late = late.append  # what the record does once the call is written
    await settled(gate)
    assert exchange.verdicts == [] and [one.guardrail for one in late] == ["watcher"]


async def test_a_shadow_that_fails_is_noted_and_nothing_else() -> None:
    gate, judges = Gate(asyncio.Event()), Judges()
    exchange, answer = await through(judges, watcher=shadow(gate, breaks=True, window=0))
    assert answer.text == "fine"
    await settled(gate)
    assert exchange.verdicts == ["watcher:error-allow:shadow"]


async def test_a_shadow_on_another_machine_sees_what_the_provider_sees() -> None:
    gate, judges = Gate(asyncio.Event()), Judges()
    await through(
        judges, text=f"I am {MAIL}", privacy=Pii(), watcher=shadow(gate, outside=True, window=0)
    )
    await settled(gate)
    assert gate.heard == ["I am [EMAIL_1]"]


async def test_more_than_fit_are_dropped_and_counted() -> None:
    gate, judges = Gate(asyncio.Event()), Judges()
    judges.beside = Beside(most=2)
    for _ in range(5):
        await through(judges, watcher=shadow(gate, window=0))
    assert judges.beside.dropped == {"watcher": 3}
    await settled(gate)
    assert gate.heard == ["a bad thing"] * 2


async def test_what_is_asked_beside_ends_with_the_gateway() -> None:
    beside = Beside()
    assert beside.start("watcher", asyncio.sleep(3600))
    await beside.close()
    assert len(asyncio.all_tasks()) == 1
