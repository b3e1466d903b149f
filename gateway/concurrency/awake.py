"""Waiting awake for what is about to come.

A core that sleeps between two events of a call wakes with cold caches, colder still in a virtual machine, and pays for
it in everything that it does next. So a loop whose waits are short looks around a little longer before it sleeps
(spin-then-block: Karlin, Li, Manasse and Owicki, "Empirical Studies of Competitive Spinning for a Shared-Memory
Multiprocessor", SOSP 1991). It does so only while most waits have been that short: a provider that thinks for
milliseconds is waited for asleep, and an idle gateway sleeps.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

_WEIGHT = 1 / 16
"""How much the newest wait counts in the running share of short ones."""
_WORTH = 0.5
"""To look in vain costs about what waking up does, so it is worth it where it succeeds more often than not."""


class Awake:
    """One per event loop. ``most_s``: how long it looks around, 0 not at all; ``clock`` in seconds, never back."""

    def __init__(self, most_s: float = 0.0, clock: Callable[[], float] = time.monotonic) -> None:
        self._most, self._clock = most_s, clock
        self._since, self._short = 0.0, 0.0
        self.looking = False

    def waiting(self) -> None:
        """A call has nothing left to do until something comes."""
        if self._most:
            self._since = self._clock()
            if self._short > _WORTH and not self.looking:
                self.looking = True
                asyncio.get_running_loop().call_soon(self._look)

    def come(self) -> None:
        """Something has."""
        if self._since:
            short = self._clock() - self._since <= self._most
            self._short += _WEIGHT * (short - self._short)
            self._since = 0.0

    def _look(self) -> None:
        if self._since and self._clock() - self._since <= self._most:
            asyncio.get_running_loop().call_soon(self._look)
        else:
            self.looking = False


ASLEEP = Awake()
"""For who never waits awake."""
