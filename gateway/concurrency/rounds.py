"""Looking for work again and again, for what works in the background of a gateway."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Collection, Hashable, Iterable
from typing import Generic, TypeVar

Place = TypeVar("Place", bound=Hashable)
GiveBack = Callable[[], None]


async def rounds(
    look: Callable[[], Awaitable[None]],
    wake: asyncio.Event,
    every_s: float,
    at_work: Callable[[], Iterable[asyncio.Task[None]]],
) -> None:
    """Calls ``look`` every ``every_s`` seconds, sooner when ``wake`` is set, until it is cancelled or ``look`` raises;
    then ends what is ``at_work``, which gives back what it had taken."""
    try:
        while True:
            await look()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(wake.wait(), every_s)
            wake.clear()
    finally:
        tasks = list(at_work())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class Crew(Generic[Place]):
    """Takes what waits, in its order, and works on at most ``most`` places at a time.

    ``in_turn`` says what is taken next of those that wait, beside what is at work by then; without it their order does.
    ``waiting`` and ``take`` block, and may raise OSError; ``take`` returns what gives a place back, None when somebody
    else has it. A place whose ``work`` raises is taken up again after a while.
    """

    def __init__(
        self, waiting: Callable[[], Iterable[Place]], take: Callable[[Place], GiveBack | None],
        work: Callable[[Place], Awaitable[None]], *, most: int, every_s: float, log: logging.Logger,
        in_turn: Callable[[Iterable[Place], Collection[Place]], Iterable[Place]] | None = None,
    ) -> None:  # fmt: skip
        self._in_turn = in_turn
        self._waiting, self._take, self._work = waiting, take, work
        self._most, self._every_s, self._log = most, every_s, log
        self._active: dict[Place, asyncio.Task[None]] = {}
        self._wake = asyncio.Event()

    def wake(self) -> None:
        """There is something new."""
        self._wake.set()

    async def run(self) -> None:
        """Until cancelled; what is at work then is given back."""
        await rounds(self._look, self._wake, self._every_s, self._active.values)

    async def _look(self) -> None:
        with contextlib.suppress(OSError):
            places = await asyncio.to_thread(self._waiting)
            for place in places if self._in_turn is None else self._in_turn(places, self._active.keys()):
                if len(self._active) >= self._most:
                    return
                give_back = None if place in self._active else await asyncio.to_thread(self._take, place)
                if give_back is not None:
                    self._active[place] = asyncio.create_task(self._worked(place, give_back))

    async def _worked(self, place: Place, give_back: GiveBack) -> None:
        try:
            await self._work(place)
        except Exception:
            self._log.exception("the work on %s stopped; it will be taken up again", place)
            await asyncio.sleep(self._every_s)
        finally:
            give_back()
            self._active.pop(place, None)
            self._wake.set()
