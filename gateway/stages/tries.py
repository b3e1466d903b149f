"""How often one call may ask, over its candidates and over the choices that are asked for side by side."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Collection
from typing import TypeVar

from msgspec import structs

from gateway.context import Exchange
from gateway.providers.codec import AttemptFailed
from gateway.resilience.gate import Gate
from optimizer.routing.attempts import Failure, Next, Retry, after_failure
from optimizer.routing.plan import Candidate

T = TypeVar("T")


class Tries:
    """One call's. ``used`` counts its attempts; several choices that are asked for at once are one."""

    def __init__(self, exchange: Exchange, gate: Gate, rng: random.Random, chosen: Collection[str]) -> None:
        """``chosen``: the kinds of failures after which another candidate is asked."""
        self._exchange, self._gate, self._rng, self._chosen = exchange, gate, rng, chosen
        self.used = 0

    def after(self, failure: Failure, *, attempt: int, more: bool) -> Next:
        """The step after attempt number ``attempt`` at a candidate; ``more``: whether another one is left."""
        retries = self._exchange.runtime.config.retries
        return after_failure(
            failure, attempt=attempt, attempts_left=retries.attempts - self.used, more_candidates=more,
            may_retry=self._gate.may_retry(retries.budget_share),
            remaining=self._exchange.deadline - time.monotonic(),
            base=retries.base_s, cap=retries.cap_s, draw=self._rng.random(), fallback_on=self._chosen,
        )  # fmt: skip

    async def rest(self, step: Retry) -> None:
        self._gate.retried()
        await asyncio.sleep(step.delay)


def spoiled(exchange: Exchange, candidate: Candidate, outcome: str) -> None:
    """The last attempt at ``candidate`` that seemed to be good was not, as only its answer told."""
    attempts = exchange.attempts
    for at in reversed(range(len(attempts))):
        one = attempts[at]
        if (one.provider, one.model, one.outcome) == (candidate.provider, candidate.model, "ok"):
            attempts[at] = structs.replace(one, outcome=outcome)
            return


class Together:
    """Asks of one candidate side by side: one that fails is tried again alone, once another was answered.

    Until then nobody knows whether the candidate fails or this one ask does. When all have failed it was the
    candidate: the first failure stands at once, and the call goes on as after any other.
    """

    def __init__(self, tries: Tries, count: int) -> None:
        self._tries, self._asking = tries, count
        self._known, self._well = asyncio.Event(), False

    async def insist(self, ask: Callable[[], Awaitable[T]]) -> T:
        """The answer of ``ask``, within the call's tries. Raises the last AttemptFailed."""
        attempt = 0
        while True:
            attempt += 1
            try:
                answer = await ask()
            except AttemptFailed as problem:
                await self._wait_to_repeat(problem, attempt)
            else:
                self._well = True
                self._known.set()
                return answer

    async def _wait_to_repeat(self, problem: AttemptFailed, attempt: int) -> None:
        """Returns when the ask may be tried again. Raises ``problem`` when it may not."""
        if not isinstance(self._tries.after(problem.failure, attempt=attempt, more=False), Retry):
            raise problem
        self._asking -= 1
        if not self._asking:
            self._known.set()
        await self._known.wait()
        step = self._tries.after(problem.failure, attempt=attempt, more=False)
        if not self._well or not isinstance(step, Retry):
            raise problem
        self._asking += 1
        self._tries.used += 1
        await self._tries.rest(step)
