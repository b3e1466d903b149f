"""Stopping: who is still being answered, and what happens to them when the time is up."""

from __future__ import annotations

import asyncio
from typing import Any

from gateway import errors

_LAST_WORDS_S = 1.0


class Drain:
    """``calls`` in flight register themselves. ``begun``: no new ones; ``over``: their time is up."""

    def __init__(self) -> None:
        self.begun = self.over = False
        self._calls: set[asyncio.Task[Any]] = set()

    def __len__(self) -> int:
        return len(self._calls)

    def in_use(self) -> dict[str, float]:
        return {"requests": len(self)}

    def begin(self) -> None:
        self.begun = True

    def enter(self, call: asyncio.Task[Any]) -> None:
        """Raises Unavailable once stopping has begun."""
        if self.begun:
            raise stopping()
        self._calls.add(call)

    def leave(self, call: asyncio.Task[Any]) -> None:
        self._calls.discard(call)

    async def finish(self, seconds: float) -> None:
        """Waits until every call has ended, at most ``seconds``; who is left then is cancelled, and ends with an
        error that says so."""
        self.begin()
        if self._calls:
            await asyncio.wait(set(self._calls), timeout=seconds)
        self.over = True
        left = set(self._calls)
        for call in left:
            call.cancel()
        if left:
            await asyncio.wait(left, timeout=_LAST_WORDS_S)


def stopping() -> errors.GatewayError:
    return errors.Unavailable(
        "The gateway is stopping. Send the request again.",
        code="shutting_down",
        headers={"retry-after": "1", "connection": "close"},
    )
