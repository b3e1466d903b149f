"""The bounds around what guardrails ask of others."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, TypeVar

from gateway.context import Exchange
from gateway.guardrails import Guardrail, Rating, Scene
from gateway.guardrails.asking import Helpers, NoAnswer
from gateway.guardrails.verdict import Direction, Verdict
from gateway.judges.beside import Beside
from optimizer.routing.breaker import CLOSED, Breaker, admits, on_cancel, on_failure, on_start, on_success

T = TypeVar("T")


class Overloaded(Exception):
    """A guardrail's helper has failed so often that nobody asks it for a few seconds."""


class Alone:
    """Helpers where there are none: everything raises NoAnswer."""

    async def model(self, question: Mapping[str, Any]) -> Any:
        raise NoAnswer("no process of guard models belongs to this gateway")

    async def chat(self, provider: str, model: str, body: Mapping[str, Any]) -> str:
        raise NoAnswer("no provider can be asked here")

    async def post(self, provider: str, model: str, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        raise NoAnswer("no provider can be asked here")

    async def webhook(self, url: str, secret: str, body: Mapping[str, Any]) -> dict[str, Any]:
        raise NoAnswer("no webhook can be asked here")


def _alone(_exchange: Exchange) -> Helpers:
    return Alone()


class Judges:
    """Made once and shared, so that the bounds hold for all calls together. ``helpers``: who can be asked for a
    call. ``clock`` is monotonic seconds."""

    def __init__(
        self, helpers: Callable[[Exchange], Helpers] = _alone, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._helpers, self._clock = helpers, clock
        self._places: dict[tuple[str, int], asyncio.Semaphore] = {}
        self._breakers: dict[str, Breaker] = {}
        self.beside = Beside()

    async def ask(
        self, exchange: Exchange, name: str, guard: Guardrail, texts: Sequence[str], direction: Direction, scene: Scene
    ) -> list[Verdict]:  # fmt: skip
        """What ``guard`` says about each text. Raises TimeoutError, Overloaded, and whatever the guardrail raises."""

        async def work(helpers: Helpers) -> list[Verdict]:
            return await guard.ask(texts, direction, helpers, scene)

        return await self._bounded(exchange, name, guard, work)

    async def rated(
        self, exchange: Exchange, name: str, guard: Guardrail, texts: Sequence[str]
    ) -> list[dict[str, Rating]] | None:
        """Each text by category; None when ``guard`` does not tell. Raises as ``ask``."""

        async def work(helpers: Helpers) -> list[dict[str, Rating]] | None:
            return await guard.rated(texts, helpers)

        return await self._bounded(exchange, name, guard, work)

    async def _bounded(
        self, exchange: Exchange, name: str, guard: Guardrail, work: Callable[[Helpers], Awaitable[T]]
    ) -> T:
        if not admits(self._breakers.get(name, CLOSED), self._clock()):
            raise Overloaded(f"'{name}' has failed again and again and is not asked for some seconds")
        self._breakers[name] = on_start(self._breakers.get(name, CLOSED), self._clock())
        seconds = min(guard.timeout_ms / 1000, max(exchange.deadline - time.monotonic(), 0.0))
        try:
            async with asyncio.timeout(seconds), self._place(name, guard.parallel):
                found = await work(self._helpers(exchange))
        except asyncio.CancelledError:
            self._breakers[name] = on_cancel(self._breakers[name])
            raise
        except Exception:
            self._breakers[name] = on_failure(self._breakers[name], self._clock())
            raise
        self._breakers[name] = on_success(self._breakers[name])
        return found

    def _place(self, name: str, parallel: int) -> asyncio.Semaphore:
        """Another number begins another count; the old one ends with the calls that hold it."""
        key = name, parallel
        if key not in self._places:
            for old in [one for one in self._places if one[0] == name]:
                del self._places[old]
            self._places[key] = asyncio.Semaphore(parallel)
        return self._places[key]
