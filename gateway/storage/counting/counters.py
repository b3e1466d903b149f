"""Limits and budgets behind one narrow seam: reserve before the call, settle after it.

A call takes part in several rules at once (its key's requests, its project's tokens, its task's money …); a
reservation is granted by all of them or by none. ``MemoryCounters`` serves a single process; the Redis backend
(``counters_redis.py``) shares the counters of many.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Literal, NamedTuple, Protocol

from msgspec import Struct

WINDOW_S = 60.0
BUCKET_S = 0.5
"""A sliding minute is counted in buckets; one leaves the window when all of it has, at most this much late."""

REFRESH_S = 2.0
"""How often budgets in use are raised to what the ledger says."""

Kind = Literal["requests", "tokens", "concurrency", "day", "month"]
Who = Literal["key", "project", "task"]
WINDOWED = ("requests", "tokens")
MONEY = ("day", "month")


class Rule(Struct, frozen=True):
    """One limit of one scope and what a call takes of it. Money is counted in billionths of a US dollar.

    ``period`` names the calendar day or month (UTC) of a budget and ``since`` is its start in unix seconds.
    """

    who: Who
    id: str
    kind: Kind
    limit: int
    amount: int
    period: str = ""
    since: float = 0.0

    @property
    def name(self) -> str:
        return f"{self.kind}:{self.period}:{self.who}:{self.id}"


class Line(NamedTuple):
    """How a rule stands. ``wait``: seconds until ``amount`` fits, ``reset``: until nothing counts any more."""

    used: int
    wait: float
    reset: float


class Hold(Struct, frozen=True):
    """What was reserved, to be settled once. ``bucket``: where a window counted it (-1: nowhere, it is counted now);
    ``place``: by which counter."""

    id: str
    rules: tuple[Rule, ...]
    bucket: int
    place: int = 0


class Decision(Struct, frozen=True):
    """``hold`` when every rule allows the call, else None and ``refused``, the index of the rule that does not.

    ``lines`` stand beside ``rules``, which are the rules as they were applied (a share of them, while the
    shared counters are away).
    """

    hold: Hold | None
    rules: tuple[Rule, ...]
    lines: tuple[Line, ...]
    refused: int = -1


def over(rule: Rule, at: float) -> bool:
    """Whether a budget's period ended long enough before ``at`` (unix seconds) for its last calls to be settled."""
    return at - rule.since > (33 if rule.kind == "month" else 2) * 86_400.0


class SpendingUnknown(Exception):
    """A budget cannot be checked: neither the counters nor the ledger can tell what was spent."""


Ledger = Callable[[Rule], Awaitable[int]]
"""What the ledger says was spent under a money rule. Raises SpendingUnknown."""
Spent = Callable[[Rule, int], None]
"""Hears what was spent under a money rule after each settlement."""


class Counters(Protocol):
    async def start(self) -> None: ...

    async def reserve(self, hold: str, rules: tuple[Rule, ...], *, ttl: float) -> Decision:
        """All rules or none. An unsettled hold is given back after ``ttl`` seconds. Raises SpendingUnknown."""

    def settle(self, hold: Hold, amounts: Sequence[int]) -> None:
        """Replaces what was reserved by what it was, rule by rule. Never blocks, never raises."""

    async def once(self, name: str, ttl: float) -> bool:
        """True for the first who asks, over all processes that share the counters."""

    async def close(self) -> None: ...


async def nothing_spent(_: Rule) -> int:
    return 0


class _Window:
    """A sliding minute: amounts by bucket, oldest first, and their sum."""

    __slots__ = ("buckets", "total")

    def __init__(self) -> None:
        self.buckets: deque[list[int]] = deque()
        self.total = 0

    def forget(self, now: float) -> None:
        newest = int(now // BUCKET_S)
        while self.buckets and (
            leaves(self.buckets[0][0]) <= now or self.buckets[0][0] > newest  # the latter: a clock set back
        ):
            self.total -= self.buckets.popleft()[1]

    def line(self, rule: Rule, now: float) -> Line:
        over = self.total + rule.amount - rule.limit
        wait = 0.0
        if over > 0:
            wait = WINDOW_S + BUCKET_S
            for bucket, amount in self.buckets:
                over -= amount
                if over <= 0:
                    wait = leaves(bucket) - now
                    break
        reset = leaves(self.buckets[-1][0]) - now if self.buckets else 0.0
        return Line(self.total, wait, reset)

    def add(self, bucket: int, amount: int) -> None:
        if self.buckets and self.buckets[-1][0] == bucket:
            self.buckets[-1][1] += amount
        else:
            self.buckets.append([bucket, amount])
        self.total += amount

    def correct(self, bucket: int, change: int) -> None:
        for one in reversed(self.buckets):
            if one[0] == bucket:
                change = max(change, -one[1])
                one[1] += change
                self.total += change
                return


def leaves(bucket: int) -> float:
    """When the whole of a bucket has left the window."""
    return (bucket + 1) * BUCKET_S + WINDOW_S


class _Places:
    """Calls in flight, or money held, by hold; each is given back by itself at its expiry."""

    __slots__ = ("holds", "spent", "total")

    def __init__(self, spent: int = 0) -> None:
        self.holds: dict[str, tuple[float, int]] = {}
        self.total = 0
        self.spent = spent

    def forget(self, now: float) -> None:
        while self.holds:
            oldest = next(iter(self.holds))
            if self.holds[oldest][0] > now:
                return
            self.give_back(oldest)

    def take(self, hold: str, expiry: float, amount: int) -> None:
        self.holds[hold] = (expiry, amount)
        self.total += amount

    def give_back(self, hold: str) -> None:
        self.total -= self.holds.pop(hold, (0.0, 0))[1]


class MemoryCounters:
    """Counts in this process. At most ``max_scopes`` windows are kept: those idle longest go first, and an
    idle window has nothing to remember. Budgets are seeded from the ledger when they are first asked for."""

    def __init__(
        self,
        now: Callable[[], float],
        ledger: Ledger = nothing_spent,
        spent: Spent = lambda rule, amount: None,
        max_scopes: int = 200_000,
        place: int = 0,
    ) -> None:
        self._now, self._ledger, self._spent, self._max = now, ledger, spent, max_scopes
        self._place = place
        self._windows: OrderedDict[str, _Window] = OrderedDict()
        self._places: dict[str, _Places] = {}
        self._once: dict[str, float] = {}
        self._follower: asyncio.Task[None] | None = None
        self.money: dict[str, Rule] = {}

    async def start(self) -> None:
        self._follower = asyncio.create_task(self._follow())

    async def close(self) -> None:
        if self._follower is not None:
            self._follower.cancel()
            await asyncio.gather(self._follower, return_exceptions=True)

    async def _follow(self) -> None:
        while True:
            await asyncio.sleep(REFRESH_S)
            with contextlib.suppress(SpendingUnknown):
                await self.catch_up()

    async def reserve(self, hold: str, rules: tuple[Rule, ...], *, ttl: float) -> Decision:
        for rule in rules:
            if rule.kind in MONEY and rule.name not in self._places:
                seed = await self._ledger(rule)
                self._places.setdefault(rule.name, _Places(seed))
                self.money[rule.name] = rule
        return self._decide(hold, rules, ttl)  # no await from here on: exact under parallel requests

    def _decide(self, hold: str, rules: tuple[Rule, ...], ttl: float) -> Decision:
        now = self._now()
        bucket = int(now // BUCKET_S)
        lines = tuple(self._line(rule, now) for rule in rules)
        for index, (rule, line) in enumerate(zip(rules, lines, strict=True)):
            if line.used + rule.amount > rule.limit:
                return Decision(None, rules, lines, index)
        for rule in rules:
            if rule.kind in WINDOWED:
                self._window(rule.name).add(bucket, rule.amount)
            else:
                self._places[rule.name].take(hold, now + ttl, rule.amount)
        taken = tuple(
            Line(line.used + rule.amount, 0.0, WINDOW_S if rule.kind in WINDOWED else line.reset)
            for rule, line in zip(rules, lines, strict=True)
        )
        return Decision(Hold(hold, rules, bucket, self._place), rules, taken)

    def _line(self, rule: Rule, now: float) -> Line:
        if rule.kind in WINDOWED:
            window = self._window(rule.name)
            window.forget(now)
            return window.line(rule, now)
        places = self._places.get(rule.name)
        if places is None:
            places = self._places[rule.name] = _Places()
        places.forget(now)
        return Line(places.spent + places.total, 1.0, 0.0)

    def _window(self, name: str) -> _Window:
        window = self._windows.get(name)
        if window is None:
            window = self._windows[name] = _Window()
            if len(self._windows) > self._max:
                self._windows.popitem(last=False)
        else:
            self._windows.move_to_end(name)
        return window

    def settle(self, hold: Hold, amounts: Sequence[int]) -> None:
        for rule, amount in zip(hold.rules, amounts, strict=True):
            if rule.kind in WINDOWED:
                self._settle_window(rule, hold.bucket, amount - rule.amount)
                continue
            places = self._places.get(rule.name)
            if places is None:
                continue
            places.give_back(hold.id)
            if rule.kind in MONEY:
                places.spent += amount
                self._spent(rule, places.spent)
            elif not places.holds:
                del self._places[rule.name]

    def _settle_window(self, rule: Rule, bucket: int, change: int) -> None:
        if bucket < 0 and change > 0:
            self._window(rule.name).add(int(self._now() // BUCKET_S), change)
        elif change and rule.name in self._windows:
            self._windows[rule.name].correct(bucket, change)

    def preset(self, rule: Rule, used: int) -> None:
        """Counts what others have seen of a window; used when this process begins to count by itself."""
        window = self._window(rule.name)
        if not window.buckets and used > 0:
            window.add(int(self._now() // BUCKET_S), used)

    def totals(self) -> dict[str, int]:
        """What each window holds now."""
        now = self._now()
        for window in self._windows.values():
            window.forget(now)
        return {name: window.total for name, window in self._windows.items() if window.total}

    async def catch_up(self) -> None:
        """Raises what was spent to what the ledger says: calls of an earlier process may arrive late."""
        for name, rule in list(self.money.items()):
            if over(rule, time.time()):
                del self.money[name]
                self._places.pop(name, None)
                continue
            found = await self._ledger(rule)
            places = self._places.get(name)
            if places is not None:
                places.spent = max(places.spent, found)

    async def once(self, name: str, ttl: float) -> bool:
        now = self._now()
        self._once = {one: until for one, until in self._once.items() if until > now}
        if name in self._once:
            return False
        self._once[name] = now + ttl
        return True

    def __len__(self) -> int:
        return len(self._windows)
