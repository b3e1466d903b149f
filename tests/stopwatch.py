"""Bounds in time, told apart from a machine that stands still.

A test that says "within 250 ms" speaks of the product. On a shared machine the process may wait for a core, or for a
whole pause of the machine, and nobody is to blame for that time. ``Stopwatch`` leaves it out: the time the thread
waited for a core (Linux tells it), and the time a watcher that only sleeps was woken too late. Code of ours that
blocks the event loop is not forgiven: it holds no other thread up for longer than the interpreter's switch interval.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import cache
from pathlib import Path

_NAP_S = 0.01
_USUAL_S = 0.005
"""So much too late a sleeper is woken on any machine."""

_LONGEST_S = 60.0


class Stopwatch:
    """Runs from its making."""

    def __init__(self) -> None:
        self._began, self._lost = time.monotonic(), _lost()

    @property
    def seconds(self) -> float:
        """Seconds since then that this process could have used."""
        return max(0.0, time.monotonic() - self._began - (_lost() - self._lost))


@asynccontextmanager
async def within(seconds: float) -> AsyncIterator[None]:
    """What stands in it is done within ``seconds`` that the process had. Raises TimeoutError otherwise."""
    watch = Stopwatch()
    async with asyncio.timeout(_LONGEST_S):
        yield
    if watch.seconds > seconds:
        raise TimeoutError(f"It took {watch.seconds:.3f} s, {seconds} s are allowed.")


def _lost() -> float:
    return _watcher().late + _waited_for_a_core()


def _waited_for_a_core() -> float:
    try:
        return int(Path("/proc/thread-self/schedstat").read_bytes().split()[1]) / 1e9
    except (OSError, IndexError, ValueError):
        return 0.0


class _Watcher(threading.Thread):
    def __init__(self) -> None:
        super().__init__(name="stopwatch", daemon=True)
        self.late = 0.0

    def run(self) -> None:
        while True:
            began = time.monotonic()
            time.sleep(_NAP_S)
            late = time.monotonic() - began - _NAP_S
            if late > _USUAL_S:
                self.late += late


@cache
def _watcher() -> _Watcher:
    watcher = _Watcher()
    watcher.start()
    return watcher
