"""Whose document is read next."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest

from gateway.retrieval.turns import Turns, next_in_turn


@pytest.mark.parametrize(
    ("waiting", "reading", "last", "expected"),
    [
        ([], {}, {}, None),
        (["a"], {}, {}, 0),
        (["a", "a"], {"a": 2}, {}, None),  # the third place is for somebody else
        (["a", "a", "b"], {"a": 2}, {}, 2),
        (["b"], {"a": 2, "c": 1}, {}, None),
        (["a", "b"], {"a": 1}, {}, 1),  # who has fewer
        (["a", "b"], {}, {"a": 7, "b": 3}, 1),  # who was let in longest ago
        (["a", "b"], {}, {"a": 7}, 1),
        (["b", "a", "b"], {"c": 2}, {"a": 1, "b": 1}, 0),  # who came first
    ],
)
def test_who_is_next(waiting: list[str], reading: dict[str, int], last: dict[str, int], expected: int | None) -> None:
    assert next_in_turn(waiting, reading, last, places=3, each=2) == expected


async def settled() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


class Readers:
    """Documents that are read until somebody says that they are."""

    def __init__(self) -> None:
        self.turns, self.let_in = Turns(3, 2), list[str]()
        self.ends: dict[str, asyncio.Event] = {}
        self.tasks: dict[str, asyncio.Task[None]] = {}

    async def start(self, *names: str) -> None:
        for name in names:
            self.ends[name] = asyncio.Event()
            self.tasks[name] = asyncio.create_task(self._read(name))
        await settled()

    async def _read(self, name: str) -> None:
        async with self.turns.taken(name[0]):
            self.let_in.append(name)
            await self.ends[name].wait()

    async def end(self, name: str) -> None:
        self.ends[name].set()
        await settled()


async def test_nobodys_slow_documents_delay_another_project() -> None:
    readers = Readers()
    await readers.start("a1", "a2", "a3", "a4")
    assert readers.let_in == ["a1", "a2"]
    await readers.start("b1")
    assert readers.let_in == ["a1", "a2", "b1"], "at once, though a's documents came first"
    await readers.start("b2", "c1")
    await readers.end("a1")
    assert readers.let_in[3:] == ["c1"], "who has none is before who has one"
    await readers.end("b1")
    assert readers.let_in[4:] == ["b2"]
    await readers.end("c1")
    assert readers.let_in[5:] == ["a3"]
    for name in ("a2", "a3", "b2", "a4"):
        await readers.end(name)
    await asyncio.wait_for(asyncio.gather(*readers.tasks.values()), 30)
    assert len(readers.let_in) == 7


async def test_who_leaves_gives_the_place_back_whether_it_was_let_in_or_not() -> None:
    readers = Readers()
    await readers.start("a1", "a2", "a3", "b1")
    await readers.start("b2", "c1")
    for name in ("b2", "a1"):  # one waits, one reads
        readers.tasks[name].cancel()
    await settled()
    assert readers.let_in == ["a1", "a2", "b1", "c1"]
    readers.tasks["a3"].cancel()
    readers.ends["c1"].set()  # it is let in, and leaves before it runs
    await settled()
    for name in ("a2", "b1"):
        await readers.end(name)
    await readers.start("d1", "d2", "e1")
    assert Counter(name[0] for name in readers.let_in[-3:]) == {"d": 2, "e": 1}
