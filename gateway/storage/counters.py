"""Rate counters behind one narrow seam. ``MemoryCounters`` is the backend of a single process."""

from __future__ import annotations

from collections import OrderedDict
from typing import NamedTuple, Protocol


class Decision(NamedTuple):
    """``tat``: the theoretical arrival time after this request; ``retry_after``: seconds, 0 when allowed."""

    allowed: bool
    tat: float
    retry_after: float


def gcra(tat: float, now: float, rate: float, burst: int) -> Decision:
    """The generic cell rate algorithm (ITU-T I.371, virtual scheduling): one number of state per key.

    ``tat``: the state so far (0 for a new key), ``rate``: requests per second, ``burst``: requests that may
    come at once. Over any span of s seconds at most ``burst + rate * s`` requests are allowed. A refused
    request costs nothing.
    """
    interval = 1.0 / rate
    # The schedule can never be more than a burst ahead; further ahead means the clock was set back.
    ahead = min(max(tat - now, 0.0), burst * interval)
    after = ahead + interval
    excess = after - burst * interval
    if excess > 1e-9:
        return Decision(allowed=False, tat=now + ahead, retry_after=excess)
    return Decision(allowed=True, tat=now + after, retry_after=0.0)


class Counter(Protocol):
    """Where limits are counted. A backend that fails must not stop traffic: it counts by itself then."""

    async def take(self, key: str, now: float, rate: float, burst: int) -> Decision:
        """One request of ``key`` against :func:`gcra`; ``now`` in seconds of the caller's clock."""


class MemoryCounters:
    """Counts in this process. At most ``max_keys`` keys: those idle longest go first, and an idle key has
    nothing to remember."""

    def __init__(self, max_keys: int = 100_000) -> None:
        self._tats: OrderedDict[str, float] = OrderedDict()
        self._max_keys = max_keys

    async def take(self, key: str, now: float, rate: float, burst: int) -> Decision:
        decision = gcra(self._tats.get(key, 0.0), now, rate, burst)
        self._tats[key] = decision.tat
        self._tats.move_to_end(key)
        if len(self._tats) > self._max_keys:
            self._tats.popitem(last=False)
        return decision

    def __len__(self) -> int:
        return len(self._tats)
