"""Observers hear of ended calls a few milliseconds later and many at once: what only counts neither holds up an answer
nor stands between two of them, and costs less when it is done for many calls in a row (docs/experiments.md)."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from functools import partial
from typing import Protocol

from msgspec import Struct

from gateway.context import Exchange, Finding
from gateway.storage.records import CallRecord

_log = logging.getLogger("understudy.telling")
_WITHIN_S = 0.005
_MOST = 256


class Ended(Struct, frozen=True):
    """A call that is on its record; ``text`` is what its answer said."""

    exchange: Exchange
    record: CallRecord
    text: str


class Observer(Protocol):
    """Hears of ended calls, oldest first."""

    def finished(self, calls: Sequence[Ended]) -> None: ...


class LateObserver(Protocol):
    """Hears of what guardrails in shadow found after their call had ended."""

    def found_late(self, record: CallRecord, finding: Finding) -> None: ...


class Telling:
    """One per gateway. Who answers by what an observer knows calls ``now`` first, so that nobody reads less than what
    has ended."""

    def __init__(self) -> None:
        self.observers: Sequence[Observer] = ()
        self.late: Sequence[LateObserver] = ()
        self._untold: list[Ended] = []

    def later(self, call: Ended, *, soon: bool = False) -> None:
        """``call`` is told within some milliseconds; ``soon``: when its answer has left."""
        untold = self._untold
        untold.append(call)
        if soon or len(untold) == _MOST:
            asyncio.get_running_loop().call_soon(self.now)
        elif len(untold) == 1:
            asyncio.get_running_loop().call_later(_WITHIN_S, self.now)

    def now(self) -> None:
        """Tells everything that has ended so far."""
        if not self._untold:
            return
        calls, self._untold = self._untold, []
        for observer in self.observers:
            try:
                observer.finished(calls)
            except Exception:
                _log.exception("%d ended calls are not known to %s", len(calls), type(observer).__name__)
        for call in calls:
            if call.exchange.watched:
                call.exchange.late = partial(self._found_late, call.record)

    def _found_late(self, record: CallRecord, finding: Finding) -> None:
        for observer in self.late:
            observer.found_late(record, finding)
