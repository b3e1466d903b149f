"""How many calls one provider gets at a time, and the bounded queue before it.

A slow provider fills its own lane and nobody else's. Who could not be served before its deadline does not wait, and
who waited too long is dropped unserved: no work is done for a client that has given up. What nobody waits for (the
learner's questions, batches) takes half of the places at most, and only while no live call waits.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Mapping

from gateway import errors
from gateway.config import UpstreamRules
from gateway.providers.codec import AttemptFailed, failed

_WEIGHT = 0.1
"""How much the newest call counts in the running mean of how long a call holds its place."""


class Lane:
    """First come, first served. Every ``enter`` that returns, and every ``take`` that is true, is followed by one
    ``leave``."""

    def __init__(self, name: str, rules: UpstreamRules) -> None:
        self.name, self.rules = name, rules
        self.active = 0
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._yielding: deque[asyncio.Future[None]] = deque()
        self._mean = 0.0

    @property
    def waiting(self) -> int:
        return len(self._waiting) + len(self._yielding)

    @property
    def _background(self) -> int:
        """How many places may be taken while a call that yields takes one."""
        return max(1, self.rules.max_concurrent // 2)

    async def enter(self, remaining: float, *, may_wait: bool, yields: bool = False) -> None:
        """Takes a place, at the latest in ``remaining`` seconds. Raises AttemptFailed ``busy``."""
        if not self.take(yields=yields):
            await self.queue(remaining, may_wait=may_wait, yields=yields)

    def take(self, *, yields: bool = False) -> bool:
        """Takes a place when one is free and nobody was there before."""
        most = self._background if yields else self.rules.max_concurrent
        if self.active >= most or self._waiting or (yields and self._yielding):
            return False
        self.active += 1
        return True

    async def queue(self, remaining: float, *, may_wait: bool, yields: bool) -> None:
        """What ``enter`` does when there is no place."""
        most, queue = self.rules.max_concurrent, self._waiting
        if yields:
            most, queue = self._background, self._yielding
        ahead = (len(queue) + 1) * self._mean / most
        patience = remaining - self._mean
        if not may_wait or len(queue) >= self.rules.max_queue or ahead > patience:
            raise self._busy()
        await self._wait(queue, patience)

    async def _wait(self, queue: deque[asyncio.Future[None]], patience: float) -> None:
        place = asyncio.get_running_loop().create_future()
        queue.append(place)
        try:
            async with asyncio.timeout(patience):
                await place
        except BaseException as problem:
            if place.done() and not place.cancelled():
                self._pass_on()
            else:
                with contextlib.suppress(ValueError):  # who handed places over in this moment has passed it by already
                    queue.remove(place)
            if isinstance(problem, TimeoutError):
                raise self._busy() from None
            raise

    def leave(self, took: float) -> None:
        """Gives the place back after ``took`` seconds."""
        self._mean += _WEIGHT * (took - self._mean)
        if self._waiting or self._yielding:
            self._pass_on()
        else:
            self.active -= 1

    def _pass_on(self) -> None:
        """Hands a place that is still counted to the next call, live ones first, or gives it up."""
        if self.active <= self.rules.max_concurrent and _hand_over(self._waiting):
            return
        if self.active <= self._background and not self._waiting and _hand_over(self._yielding):
            return
        self.active -= 1

    def _busy(self) -> AttemptFailed:
        wait = max(1, min(60, round(self._mean)))
        return failed(
            "busy",
            errors.Unavailable(
                f"As many calls as the gateway allows are waiting for the provider '{self.name}'. "
                "Try again in a moment.",
                code="overloaded",
                headers={"retry-after": str(wait)},
            ),
        )


def _hand_over(queue: deque[asyncio.Future[None]]) -> bool:
    while queue:
        place = queue.popleft()
        if not place.done():
            place.set_result(None)
            return True
    return False


class Lanes:
    """The lanes by provider; a changed configuration takes effect on the next call."""

    def __init__(self) -> None:
        self._lanes: dict[str, Lane] = {}
        self._usual = UpstreamRules()

    def of(self, provider: str, rules: Mapping[str, UpstreamRules]) -> Lane:
        lane = self._lanes.get(provider)
        wanted = rules.get(provider, self._usual)
        if lane is None:
            lane = self._lanes[provider] = Lane(provider, wanted)
        elif lane.rules is not wanted:
            lane.rules = wanted
        return lane

    def in_use(self) -> dict[str, float]:
        lanes = self._lanes.values()
        return {
            "provider_places": sum(lane.active for lane in lanes),
            "provider_queue": sum(lane.waiting for lane in lanes),
        }
