"""What routing remembers of finished calls: how fast each candidate was lately, how long a task's answers are, and
what the bandits' plays were worth. One per process, which also hears what other workers saw; read as frozen values."""

from __future__ import annotations

import time
from bisect import bisect_left, insort
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Sequence

from msgspec import Struct

from gateway.concurrency.telling import Ended
from gateway.config import CanaryRules
from gateway.context import Exchange
from gateway.metering.estimate import Estimator
from gateway.sharing.bus import ALONE, Bus
from gateway.storage.records import Attempt, CallRecord
from optimizer.bandits import Arm, BanditState, MemoryBanditState, Outcome, reward
from optimizer.rollout import Student
from optimizer.routing.plan import Candidate
from optimizer.routing.strategies import Bandit

_MOST_CALLS = 200
_MOST_CANDIDATES = 5_000
_OLD_S = 600.0
_BAD = ("failed", "timeout")
_Key = tuple[str, str, str, bool]
"""Provider, model, variant, streamed: as plain words they are found faster than as a Candidate."""


class Seen(Struct, frozen=True):
    """The last ten minutes of one candidate, at most 200 calls. Milliseconds; None before the first answer."""

    calls: int = 0
    success: float | None = None
    samples: int = 0
    p50_ms: float | None = None
    p95_ms: float | None = None


NOT_SEEN = Seen()


def _first_share(student: Student, rules: CanaryRules) -> float:
    return rules.share


def _nothing() -> None:
    """Whoever is told at once has nothing to catch up with."""


class _Window:
    """Calls in their order beside the latencies of the answered ones, sorted. Old calls leave, so that a
    candidate that was dropped for being slow is tried again."""

    __slots__ = ("calls", "sorted")

    def __init__(self) -> None:
        self.calls: deque[tuple[float, float | None]] = deque()
        self.sorted: list[float] = []

    def add(self, now: float, ms: float | None) -> None:
        if len(self.calls) >= _MOST_CALLS:
            self._forget()
        self.calls.append((now, ms))
        if ms is not None:
            insort(self.sorted, ms)

    def seen(self, now: float) -> Seen:
        while self.calls and now - self.calls[0][0] > _OLD_S:
            self._forget()
        calls, good = len(self.calls), len(self.sorted)
        if not calls:
            return NOT_SEEN
        if not good:
            return Seen(calls, 0.0)
        return Seen(calls, good / calls, good, self._quantile(0.5), self._quantile(0.95))

    def _quantile(self, share: float) -> float:
        """Nearest rank."""
        return self.sorted[min(len(self.sorted) - 1, int(share * len(self.sorted)))]

    def _forget(self) -> None:
        ms = self.calls.popleft()[1]
        if ms is not None:
            del self.sorted[bisect_left(self.sorted, ms)]


class Observations:
    """An observer of finished calls. ``clock`` is monotonic seconds."""

    def __init__(
        self,
        bandits: BanditState | None = None,
        clock: Callable[[], float] = time.monotonic,
        bus: Bus = ALONE,
        canary: Callable[[Student, CanaryRules], float] | None = None,
        catch_up: Callable[[], None] = _nothing,
    ) -> None:
        """``canary``: the share that a student in canary answers by now; None: what the policies begin with.
        ``catch_up``: call it before a decision, so that it knows of everything that has ended."""
        self.canary = canary if canary is not None else _first_share
        self.catch_up = catch_up
        self.bandits: BanditState = bandits if bandits is not None else MemoryBanditState()
        self.clock = clock
        self.estimator = Estimator()
        self._windows: OrderedDict[_Key, _Window] = OrderedDict()
        self._bus = bus
        bus.hear("attempt", self._told_attempt)
        bus.hear("play", self._told_play)
        bus.hear("arms", self._told_arms)
        bus.greet(self._introduce)

    def seen(self, candidate: Candidate, *, streamed: bool) -> Seen:
        """How a candidate fared lately: to the first byte of streams, or to the end of whole answers."""
        window = self._windows.get((candidate.provider, candidate.model, candidate.variant, streamed))
        return window.seen(self.clock()) if window is not None else NOT_SEEN

    def finished(self, calls: Sequence[Ended]) -> None:
        """Refused requests and clients that left say nothing about a candidate."""
        now, learn = self.clock(), self.estimator.learn
        for one in calls:
            exchange, record = one.exchange, one.record
            self.note(record.attempts, streamed=record.stream)
            if record.status == "ok" and record.provider and not record.student:
                name = record.task or record.model_asked
                learn(name, exchange.request, record.prompt_tokens, record.completion_tokens)
            if exchange.plan is not None and exchange.plan.scope:
                self._play(exchange, record, now)

    def note(self, attempts: Iterable[Attempt], *, streamed: bool) -> None:
        """How the candidates of one call fared, now."""
        now = self.clock()
        for attempt in attempts:
            if attempt.role != "student" and (attempt.outcome == "ok" or attempt.outcome in _BAD):
                ms = attempt.latency_ms if attempt.outcome == "ok" else None
                self._note((attempt.provider, attempt.model, attempt.variant, streamed), ms, now)
                self._bus.mention("attempt", attempt.provider, attempt.model, streamed, ms, attempt.variant)

    def _note(self, key: _Key, ms: float | None, now: float) -> None:
        window = self._windows.get(key)
        if window is None:
            window = self._windows[key] = _Window()
            if len(self._windows) > _MOST_CANDIDATES:
                self._windows.popitem(last=False)
        else:
            self._windows.move_to_end(key)
        window.add(now, ms)

    def _play(self, exchange: Exchange, record: CallRecord, now: float) -> None:
        """Rewards the candidate that was drawn, and only it: those after it saw only the calls it failed."""
        plan, task = exchange.plan, exchange.task
        assert plan is not None
        ways = exchange.runtime.ways.get(task.name) if task is not None else None
        if ways is None or not plan.rungs or record.status == "client_closed":
            return
        every = (ways.usual, *(way for _, way in ways.rules))
        strategy = next((way.strategy for way in every if way.scope == plan.scope), None)
        arm = plan.rungs[0].candidate
        tries = [one for one in record.attempts if Candidate(one.provider, one.model, one.variant) == arm]
        if not isinstance(strategy, Bandit) or not tries or tries[-1].outcome not in ("ok", *_BAD):
            return
        answered = tries[-1].outcome == "ok" and record.status == "ok"
        outcome = Outcome(answered, tries[-1].latency_ms, record.cost_usd if answered else None)
        value = reward(outcome, strategy.reward)
        self.bandits.play(plan.scope, arm.name, value, now=now, half_life_s=strategy.half_life_s)
        self._bus.mention("play", plan.scope, arm.name, value, strategy.half_life_s)

    # ------------------------------------------------------------------ what other workers tell
    def _told_attempt(
        self, provider: str, model: str, streamed: bool, ms: float | None, variant: str = ""
    ) -> None:
        self._note((provider, model, variant, streamed), ms, self.clock())

    def _told_play(self, scope: str, arm: str, value: float, half_life_s: float) -> None:
        self.bandits.play(scope, arm, value, now=self.clock(), half_life_s=half_life_s)

    def _introduce(self) -> None:
        now = self.clock()
        for scope, arms in self.bandits.known().items():
            told = {name: [arm.gained, arm.missed, now - arm.at] for name, arm in arms.items()}
            self._bus.tell("arms", scope, told)

    def _told_arms(self, scope: str, arms: dict[str, list[float]]) -> None:
        """For a worker that begins: what was played before it came. Ages instead of times, because clocks differ."""
        now = self.clock()
        self.bandits.adopt(
            scope, {name: Arm(gained, missed, now - age) for name, (gained, missed, age) in arms.items()}
        )
