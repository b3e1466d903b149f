"""Questions that wait for one model: answered together, each with a failure of its own."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from trainer.engines.guards.pools import TOGETHER, Pools

SPEC = {"kind": "lengths"}


class Lengths:
    """Answers with a text's length once it may; the text "bad" is one that it cannot judge."""

    def __init__(self) -> None:
        self.batches: list[int] = []
        self.may = threading.Event()

    def answers(self, questions: Sequence[Any]) -> list[int]:
        self.may.wait(30)
        self.batches.append(len(questions))
        if "bad" in questions:
            raise ValueError("a text that cannot be judged")
        return [len(one) for one in questions]


@pytest.fixture
def lengths() -> Lengths:
    return Lengths()


@pytest.fixture
def pools(lengths: Lengths) -> Iterator[Pools]:
    made = Pools({"lengths": lambda _: lengths})
    yield made
    made.close()


async def test_what_waits_for_a_model_is_answered_together(pools: Pools, lengths: Lengths) -> None:
    asked = [asyncio.create_task(pools.ask(SPEC, ["x" * number])) for number in range(TOGETHER + 9)]
    await asyncio.sleep(0.05)
    lengths.may.set()
    assert await asyncio.gather(*asked) == [[number] for number in range(TOGETHER + 9)]
    assert sum(lengths.batches) == TOGETHER + 9
    assert max(lengths.batches) == TOGETHER and len(lengths.batches) <= 3


async def test_a_text_that_cannot_be_judged_fails_nobody_else(pools: Pools, lengths: Lengths) -> None:
    lengths.may.set()
    found = await asyncio.gather(
        *(pools.ask(SPEC, [text]) for text in ("good", "bad", "fine!")), return_exceptions=True
    )
    assert found[0] == [4] and found[2] == [5]
    assert isinstance(found[1], ValueError)
