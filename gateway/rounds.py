"""Looking for work again and again, for what works in the background of a gateway."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterable


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
