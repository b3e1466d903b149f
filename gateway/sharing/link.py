"""Commands for Redis that never hold up serving: sent together over one connection, and given up after 50 ms.

After a failure Redis counts as away: commands are refused at once until a probe in the background is answered.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Sequence
from typing import Any

from gateway.concurrency.patience import Patience
from gateway.storage.counting.redis_client import COMMAND_S, connect, ended, why

_log = logging.getLogger("understudy.sharing")
_PROBE_S = 0.25
_BATCH = 200
_QUEUE = 20_000
_Asked = tuple[tuple[Any, ...], "asyncio.Future[Any] | None"]


class Away(Exception):
    """Redis cannot be asked just now, or refused the command."""


class Link:
    """``patience_s``: how long a batch of commands may take."""

    def __init__(self, url: str, *, patience_s: float | None = None) -> None:
        self.patience = patience_s or COMMAND_S
        self.redis, self.failures = connect(url, self.patience)
        self._queue: asyncio.Queue[_Asked] = asyncio.Queue(_QUEUE)
        self._tasks: list[asyncio.Task[None]] = []
        self._closed = False
        self.away = True
        self._why = ""

    async def start(self) -> None:
        """Asks once, so that the first call finds Redis if it is there."""
        await self._probe()
        if self.away:
            _log.warning("Redis cannot be used yet (%s): workers share nothing until it answers", self._why)
        self._tasks = [asyncio.create_task(self._send()), asyncio.create_task(self._watch())]

    async def close(self) -> None:
        """What was told before is sent, if Redis takes it at once."""
        if not self.away:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._queue.join(), self.patience)
        self._closed = True
        await ended(self._tasks)
        self._drop()
        with contextlib.suppress(*self.failures):
            await self.redis.aclose()

    async def ask(self, *words: Any) -> Any:
        """The reply to one command. Raises Away. Who is cancelled meanwhile breaks no connection."""
        found = self.send(*words)
        if found is None:
            raise Away
        try:
            async with Patience(self.patience * 2):
                return await found
        except TimeoutError:
            raise Away from None

    def tell(self, *words: Any) -> None:
        """Sends a command whose reply nobody needs; dropped while Redis is away."""
        if not self.away:
            self._put(words, None)

    def send(self, *words: Any) -> asyncio.Future[Any] | None:
        """Sends a command whose reply nobody waits for, but somebody counts. None: it was dropped, Redis is away."""
        found: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        return found if not self.away and self._put(words, found) else None

    def _put(self, words: tuple[Any, ...], found: asyncio.Future[Any] | None) -> bool:
        with contextlib.suppress(asyncio.QueueFull):
            self._queue.put_nowait((words, found))
            return True
        return False

    async def _send(self) -> None:
        while not self._closed:
            batch = [await self._queue.get()]
            while len(batch) < _BATCH and not self._queue.empty():
                batch.append(self._queue.get_nowait())
            replies = await self._together([words for words, _ in batch])
            for (_, found), reply in zip(batch, replies, strict=True):
                _answer(found, reply)
                self._queue.task_done()

    async def _together(self, commands: Sequence[tuple[Any, ...]]) -> list[Any]:
        if self.away:
            return [Away()] * len(commands)
        try:
            pipe = self.redis.pipeline(transaction=False)
            for words in commands:
                pipe.execute_command(*words)
            async with Patience(self.patience):
                return list(await pipe.execute(raise_on_error=False))
        except self.failures as problem:
            self._lost(problem)
            return [Away()] * len(commands)

    async def _watch(self) -> None:
        while not self._closed:
            await asyncio.sleep(_PROBE_S)
            await self._probe()

    async def _probe(self) -> None:
        try:
            async with Patience(self.patience * 2):
                await self.redis.ping()
        except self.failures as problem:
            self._lost(problem)
            return
        if self.away and self._tasks:
            _log.warning("Redis answers: workers share again what they know")
        self.away = False

    def _lost(self, problem: BaseException) -> None:
        self._why = why(problem)
        if not self.away:
            _log.warning("Redis is away (%s): workers share nothing", self._why)
        self.away = True
        self._drop()

    def _drop(self) -> None:
        while not self._queue.empty():
            _answer(self._queue.get_nowait()[1], Away())
            self._queue.task_done()


def _answer(found: asyncio.Future[Any] | None, reply: Any) -> None:
    if found is None or found.done():
        return
    if isinstance(reply, Exception):
        found.set_exception(reply if isinstance(reply, Away) else Away(type(reply).__name__))
    else:
        found.set_result(reply)
