"""The seam between workers: telling the others, and asking them. ``Alone`` is the bus of a single process."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

Handler = Callable[..., Any]


class Bus(Protocol):
    """Values are what msgpack knows: numbers, texts, bytes, lists, maps. Nothing here raises or waits for long."""

    def tell(self, topic: str, *values: Any) -> None:
        """Every other worker hears of it within milliseconds, in this worker's order; lost while Redis is away."""

    def mention(self, topic: str, *values: Any) -> None:
        """The same within a tenth of a second, many together: for what happens on every call."""

    async def ask(self, topic: str, *values: Any) -> list[Any]:
        """What the handlers of all other workers return, None left out; at the latest after a quarter of a
        second. So it also returns when all of them have heard."""

    def hear(self, topic: str, handler: Handler) -> None:
        """``handler(*values)`` is called in the event loop for what the others tell and ask."""

    def greet(self, introduce: Callable[[], None]) -> None:
        """``introduce`` tells what a worker that has just come needs to know."""


class Alone:
    """Nobody else is there."""

    def tell(self, topic: str, *values: Any) -> None:
        """Nobody hears it."""

    def mention(self, topic: str, *values: Any) -> None:
        """Nobody hears it."""

    async def ask(self, topic: str, *values: Any) -> list[Any]:
        return []

    def hear(self, topic: str, handler: Handler) -> None:
        """Nobody tells anything."""

    def greet(self, introduce: Callable[[], None]) -> None:
        """Nobody comes."""


ALONE = Alone()
