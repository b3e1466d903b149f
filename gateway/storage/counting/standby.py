"""Counting alone while the shared counters are away: each process keeps to its share, and nobody is unlimited.

A minute's limit is divided by the number of processes, and what the shared window last held counts against the
share. A budget's share is a part of what is left of it, by the ledger and by what was last seen: whichever is more.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Sequence

import msgspec

from gateway.storage.counting.counters import (
    MONEY,
    WINDOWED,
    Decision,
    Hold,
    Ledger,
    MemoryCounters,
    Rule,
    SpendingUnknown,
)

_MOST_SEEN = 100_000
_FRESH_S = 61.0


class Standby:
    def __init__(self, ledger: Ledger, replicas: int) -> None:
        self._ledger = ledger
        self._seen: OrderedDict[str, tuple[int, float]] = OrderedDict()
        self._outage = 1
        self._base: dict[str, int] = {}
        self.used = False
        self.replicas = replicas
        self._alone = self._fresh()

    def _fresh(self) -> MemoryCounters:
        return MemoryCounters(time.monotonic, self._known, place=self._outage)

    @property
    def money(self) -> dict[str, Rule]:
        return self._alone.money

    def seen(self, rule: Rule, used: int) -> None:
        """Notes what the shared counter of a rule held."""
        self._seen[rule.name] = used, time.monotonic()
        self._seen.move_to_end(rule.name)
        if len(self._seen) > _MOST_SEEN:
            self._seen.popitem(last=False)

    def begin(self) -> None:
        """An outage begins: a share of its own for each."""
        self._outage += 1
        self._base, self.used = {}, False
        self._alone = self._fresh()

    def end(self) -> dict[str, int]:
        """What the windows hold, for the shared ones to take over."""
        totals = self._alone.totals()
        self.begin()
        return totals

    async def reserve(self, hold: str, rules: tuple[Rule, ...], *, ttl: float) -> Decision:
        alone, self.used = self._alone, True
        shares = tuple([await self._share(rule) for rule in rules])
        for rule in shares:
            if rule.kind in WINDOWED:
                used, at = self._seen.get(rule.name, (0, 0.0))
                if time.monotonic() - at < _FRESH_S:
                    alone.preset(rule, -(-used // self.replicas))
        return await alone.reserve(hold, shares, ttl=ttl)

    async def _share(self, rule: Rule) -> Rule:
        if rule.kind in MONEY:
            base = await self._known(rule)
            left = max(0, rule.limit - base)
            return msgspec.structs.replace(rule, limit=base + left // self.replicas)
        return msgspec.structs.replace(rule, limit=max(1, rule.limit // self.replicas))

    async def _known(self, rule: Rule) -> int:
        """What was spent when this outage began. Raises SpendingUnknown when nobody can tell."""
        if rule.name in self._base:
            return self._base[rule.name]
        seen = self._seen.get(rule.name)
        try:
            found = await self._ledger(rule)
        except SpendingUnknown:
            if seen is None:
                raise
            found = 0
        return self._base.setdefault(rule.name, max(found, seen[0] if seen is not None else 0))

    def settle(self, hold: Hold, amounts: Sequence[int]) -> None:
        if hold.place == self._outage:
            self._alone.settle(hold, amounts)

    async def once(self, name: str, ttl: float) -> bool:
        return await self._alone.once(name, ttl)
