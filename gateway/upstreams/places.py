"""A bound on how many may be at it at once: asyncio's semaphore without a coroutine where there is room."""

from __future__ import annotations

import asyncio
from collections import deque


class Places:
    """``most`` places. Every ``take`` that is true and every ``wait`` that returns is followed by one ``leave``."""

    def __init__(self, most: int) -> None:
        self._free = most
        self._waiting: deque[asyncio.Future[None]] = deque()

    def take(self) -> bool:
        """Takes a place if there is one."""
        if self._free <= 0:
            return False
        self._free -= 1
        return True

    async def wait(self) -> None:
        """Takes the next place that is left, first come, first served."""
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            await turn
        except BaseException:
            if turn.done() and not turn.cancelled():
                self.leave()  # it was given to somebody who went away in the same moment
            raise

    def leave(self) -> None:
        """Hands the place to whoever has waited longest."""
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        self._free += 1
