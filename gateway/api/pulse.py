"""Signs of life on a silent stream: an SSE comment now and then, which every client skips and no proxy cuts."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

COMMENT = b": ping\n\n"


class Pulse:
    """Calls ``beat`` when ``touched`` is ``every`` seconds old and ``alive`` says that the stream is agreed. One
    timer per stream, none per chunk. ``stop`` it before the last byte."""

    def __init__(self, every: float, alive: Callable[[], bool], beat: Callable[[], Awaitable[None]]) -> None:
        self._every, self._alive, self._beat = every, alive, beat
        self._loop = asyncio.get_running_loop()
        self._beating: asyncio.Task[None] | None = None
        self.touched = time.monotonic()
        self._timer = self._loop.call_later(every, self._tick)

    def _tick(self) -> None:
        left = self.touched + self._every - time.monotonic()
        idle = self._beating is None or self._beating.done()
        if left <= 0.001 and idle and self._alive():
            self._beating = asyncio.create_task(self._once())
            left = self._every
        self._timer = self._loop.call_later(left if left > 0.001 else self._every / 10, self._tick)

    async def _once(self) -> None:
        await self._beat()
        self.touched = time.monotonic()

    async def settled(self) -> None:
        """Returns when no beat is on its way."""
        if self._beating is not None and not self._beating.done():
            await asyncio.wait([self._beating])

    def stop(self) -> None:
        self._timer.cancel()
        if self._beating is not None:
            self._beating.cancel()
