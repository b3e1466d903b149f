"""What the ledger says was spent, for budgets: read in a thread, never on the path of a call that needs no seed."""

from __future__ import annotations

import asyncio

from gateway.metering.limits import nano
from gateway.storage.away import database_errors
from gateway.storage.counting.counters import Rule, SpendingUnknown
from gateway.storage.protocols import Reader

_PATIENCE_S = 5.0


class LedgerSpending:
    """Callable as ``gateway.storage.counting.counters.Ledger``."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    async def __call__(self, rule: Rule) -> int:
        """Billionths of a dollar since the rule's period began. Raises SpendingUnknown while the database is away."""
        query = asyncio.to_thread(self._reader.spent_usd, rule.who, rule.id, rule.since)
        try:
            return nano(await asyncio.wait_for(query, _PATIENCE_S))
        except database_errors(TimeoutError) as problem:
            raise SpendingUnknown(type(problem).__name__) from None
