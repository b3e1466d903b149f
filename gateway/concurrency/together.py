"""One piece of work for all who want it at the same time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")


class Together(Generic[K, V]):
    """Work that is under way, by what it is about. Who leaves ends it for nobody, and what it raises reaches all who
    wait; once it has ended, the next one begins anew. Made and used inside one event loop."""

    def __init__(self) -> None:
        self._under_way: dict[K, asyncio.Task[V]] = {}

    async def once(self, key: K, work: Callable[[], Coroutine[Any, Any, V]]) -> V:
        """What ``work`` gives, which is only called when nothing is under way for ``key``."""
        return await asyncio.shield(self.begin(key, work))

    def begin(self, key: K, work: Callable[[], Coroutine[Any, Any, V]]) -> asyncio.Task[V]:
        """The same for who does not wait; others may, so it is theirs too."""
        task = self._under_way.get(key)
        if task is None:
            task = self._under_way[key] = asyncio.create_task(work())
            task.add_done_callback(partial(self._ended, key))
        return task

    def tasks(self) -> list[asyncio.Task[V]]:
        return list(self._under_way.values())

    def _ended(self, key: K, done: asyncio.Task[V]) -> None:
        self._under_way.pop(key, None)
        if not done.cancelled():
            done.exception()  # all who waited may have left by now; nobody needs to hear it then
