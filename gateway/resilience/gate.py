"""What stands before every call to a provider, whoever makes it: a place in the provider's lane, the candidate's
breaker, and one budget of retries for all. Chat, embeddings, images, students and the learner pass the same gate."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Protocol

from gateway import errors
from gateway.config import UpstreamRules
from gateway.providers.codec import AttemptFailed, NobodyAsked
from gateway.resilience.breakers import Breakers
from gateway.resilience.lanes import Lane, Lanes
from optimizer.routing.attempts import RetryBudget
from optimizer.routing.plan import Candidate

_FAULTS = frozenset({"failed", "timeout", "throttled"})


class EndingStream(Protocol):
    def on_end(self, tell: Callable[[bool], None]) -> None: ...


class Gate:
    """Made once and shared, so that the bounds hold for all calls together."""

    def __init__(self, breakers: Breakers | None = None) -> None:
        self.breakers = breakers if breakers is not None else Breakers()
        self._lanes = Lanes()
        self._budget = RetryBudget()

    async def enter(
        self, candidate: Candidate, rules: Mapping[str, UpstreamRules], remaining: float, *,
        may_wait: bool = True, yields: bool = False,
    ) -> Passage:  # fmt: skip
        """A place, at the latest in ``remaining`` seconds; ``yields`` lets live calls go first. Raises AttemptFailed
        ``busy``. The caller enters the passage at once."""
        lane = self._lanes.of(candidate.provider, rules)
        if not lane.take(yields=yields):
            await lane.queue(remaining, may_wait=may_wait, yields=yields)
        return Passage(lane, self.breakers, candidate.name)

    def in_use(self) -> dict[str, float]:
        return self._lanes.in_use()

    def requested(self) -> None:
        """A client's request has come: it earns its share of a retry."""
        self._budget = self._budget.with_request(time.monotonic())

    def may_retry(self, share: float) -> bool:
        return self._budget.allows(share)

    def retried(self) -> None:
        self._budget = self._budget.with_retry()


class Passage:
    """One attempt, which holds a place in its lane: a context whose end tells the breaker how it went and gives the
    place back."""

    __slots__ = ("_breakers", "_kept", "_lane", "_name", "_since")

    def __init__(self, lane: Lane, breakers: Breakers, name: str) -> None:
        self._lane: Lane | None = lane
        self._since = time.monotonic()
        self._breakers, self._name, self._kept = breakers, name, False

    def __enter__(self) -> Passage:
        self._breakers.started(self._name)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._kept:
            self._leave()
        if problem is None:
            if not self._kept:
                self._breakers.succeeded(self._name)
        elif not isinstance(problem, AttemptFailed) or isinstance(problem, NobodyAsked):
            self._breakers.cancelled(self._name)  # nobody answered, which says nothing of its health
        elif problem.failure.kind == "unsupported":
            self._breakers.cancelled(self._name)
        elif problem.failure.kind in _FAULTS:
            self._breakers.failed(self._name)
        else:
            self._breakers.succeeded(self._name)

    def until_end(self, stream: EndingStream) -> None:
        """The place is kept until ``stream`` is over; one that breaks counts as a failure."""
        self._breakers.succeeded(self._name)
        self._kept = True
        stream.on_end(self._ended)

    def _ended(self, ok: bool) -> None:
        self._leave()
        if not ok:
            self._breakers.failed(self._name)

    def _leave(self) -> None:
        """Gives the place back once, whichever end of the call comes first."""
        lane, self._lane = self._lane, None
        if lane is not None:
            lane.leave(time.monotonic() - self._since)


def providers_failing(wait: float) -> errors.GatewayError:
    """Nobody of the plan is asked at the moment; one is in ``wait`` seconds."""
    return errors.Unavailable(
        "Every provider that may answer this is failing at the moment. Try again shortly.",
        code="providers_failing",
        headers={**errors.after(wait), "x-should-retry": "false"},
    )
