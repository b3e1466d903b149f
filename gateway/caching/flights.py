"""Kept answers, and who is asking for one just now, so that identical requests are asked once.

The request that asks is a flight. Others wait for it; also those at other workers, where a claim in the shared store
tells that somebody asks. A flight lands when its answer has entered the cache, or when it brings none; those who
wait here get it from its hands, so that nobody asks twice where the store is away or the answer is too large for it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from msgspec import Struct

from gateway.caching.entries import Entry, Purge, packed, unpacked
from gateway.storage.answers import Answers

PATIENCE_S = 10.0
"""A request waits this long for an identical one before it goes its own way: that client may read slowly."""
_LOOK_S = 0.025
"""How often a request looks for the answer that another worker asks for."""

_ASKED_S = 900.0
"""An answer that was asked for before a purge comes within this time: a call's deadline is shorter."""
_PURGES = 100

Good = Callable[[Entry], bool]


class Landed(Struct, frozen=True):
    """``handed_over``: it was given up without having failed, and one of those who wait may ask instead. ``entry``:
    the answer that it brought."""

    handed_over: bool
    entry: Entry | None = None


class Exact:
    """The exact cache's memory. ``now`` in seconds of a clock that never goes back."""

    def __init__(self, answers: Answers, now: Callable[[], float]) -> None:
        self._answers, self._now = answers, now
        self._flights: dict[str, asyncio.Future[Landed]] = {}
        self._purges: list[tuple[float, Purge]] = []

    async def find(
        self, key: str, deadline: float, good: Good | None = None, *, only_once: bool = False
    ) -> Entry | None:
        """The kept answer, once an identical request in flight has brought it; None: ask for it. One that is not
        ``good`` enough for who asks is as good as none.

        A leader that fails sends everybody their own way; one that is cancelled hands over to a follower.
        ``only_once``: no two may ask at a time. Who waits in vain until ``deadline`` gets a TimeoutError.
        """
        entry = await self._kept(key, good)
        if entry is not None:
            return entry
        until = deadline if only_once else min(self._now() + PATIENCE_S, deadline)
        while True:
            flight = self._flights.get(key)
            if flight is None:
                claimed = await self._answers.claim(key, PATIENCE_S)
                if not claimed and self._now() < until:
                    await asyncio.sleep(_LOOK_S)
                elif not claimed and only_once:
                    raise TimeoutError
                elif (entry := await self._kept(key, good)) is not None:
                    self._answers.release(key)  # it came between the look and the claim
                    return entry
                elif key not in self._flights:
                    return None
            else:
                landed = await self._landed(flight, until)
                if landed is None and only_once:
                    raise TimeoutError
                if landed is None or _is_good(landed.entry, good):
                    return landed.entry if landed is not None else None
                if not landed.handed_over:
                    return await self._kept(key, good)
            entry = await self._kept(key, good)
            if entry is not None:
                return entry

    async def _landed(self, flight: asyncio.Future[Landed], until: float) -> Landed | None:
        """None: it is still on its way by then."""
        try:
            async with asyncio.timeout(max(0.0, until - self._now())):
                return await asyncio.shield(flight)
        except TimeoutError:
            return None

    async def _kept(self, key: str, good: Good | None) -> Entry | None:
        found = await self._answers.get(key, self._now())
        entry = unpacked(found) if found is not None else None
        return entry if _is_good(entry, good) else None

    async def claim(self, key: str) -> bool:
        """Whether nobody is asking for this answer just now, here or elsewhere."""
        return key not in self._flights and await self._answers.claim(key, PATIENCE_S)

    def hold(self, key: str) -> None:
        """The claim of this process goes on."""
        self._answers.hold(key, PATIENCE_S)

    def put(self, key: str, entry: Entry, *, life: float, max_bytes: int) -> None:
        """``life``: seconds until it is forgotten."""
        self._answers.put(key, packed(entry), now=self._now(), ttl=life, max_bytes=max_bytes)

    async def purge(self, which: Purge) -> int:
        """Forgets; returns how many."""

        def fits(key: str, raw: bytes) -> bool:
            entry = unpacked(raw)
            return entry is None or which.fits(key, entry)

        return await self._answers.purge(fits, which.entry)

    def remember(self, which: Purge) -> None:
        """Also what is being asked for just now does not enter, if it fits. ``which.before``: until when."""
        now = self._now()
        recent = [(until, one) for until, one in self._purges if until > now]
        self._purges = [*recent, (now + _ASKED_S, which)][-_PURGES:]

    def purged(self, key: str, entry: Entry) -> bool:
        """Whether somebody has had such answers forgotten since this one was asked for."""
        return any(which.fits(key, entry) for _, which in self._purges)

    def stats(self) -> dict[str, int]:
        return self._answers.stats()

    @property
    def in_flight(self) -> int:
        """How many answers are being asked for, that others may wait for."""
        return len(self._flights)

    def take_off(self, key: str) -> Flight:
        return Flight(self, key)


def _is_good(entry: Entry | None, good: Good | None) -> bool:
    return entry is not None and (good is None or good(entry))


class Flight:
    """The request that others may wait for. Landing twice, or without followers, does no harm."""

    def __init__(self, exact: Exact, key: str) -> None:
        self._flights, self._answers, self._key = exact._flights, exact._answers, key
        self._leads = key not in self._flights
        self._future: asyncio.Future[Landed] = asyncio.get_running_loop().create_future()
        if self._leads:
            self._flights[key] = self._future

    def land(self, *, handed_over: bool = False, entry: Entry | None = None) -> None:
        """As :class:`Landed` has them."""
        if self._leads and self._flights.get(self._key) is self._future:
            del self._flights[self._key]
            self._answers.release(self._key)
        if not self._future.done():
            self._future.set_result(Landed(handed_over, entry))
