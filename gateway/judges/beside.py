"""What guardrails in shadow ask: beside the call, which waits for none of it. Bounded; what does not fit is counted."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Coroutine

_MOST = 256


class Beside:
    """``dropped``: by guardrail, questions that were not asked because ``most`` were on their way already."""

    def __init__(self, most: int = _MOST) -> None:
        self._most = most
        self._tasks: set[asyncio.Task[None]] = set()
        self.dropped: Counter[str] = Counter()

    def start(self, guardrail: str, work: Coroutine[object, object, None]) -> bool:
        """Whether ``work`` runs now; where it does not it never will."""
        if len(self._tasks) >= self._most:
            work.close()
            self.dropped[guardrail] += 1
            return False
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return True

    async def close(self) -> None:
        """Nobody waits for these answers: they end with the gateway."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
