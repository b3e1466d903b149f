"""What was told once already, kept over restarts: for a process that shares its counters with nobody."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

_log = logging.getLogger("understudy.alerts")


class Told:
    """Names with the unix second at which each is forgotten, in one small file. One process writes it."""

    def __init__(self, path: Path, clock: Callable[[], float] = time.time) -> None:
        self._path, self._clock = path, clock
        self._names: dict[str, float] | None = None

    async def once(self, name: str, ttl: float) -> bool:
        """True for the first who asks within ``ttl`` seconds, also after a restart. Not for two at a time."""
        return await asyncio.to_thread(self._once, name, ttl)

    def _once(self, name: str, ttl: float) -> bool:
        now = self._clock()
        if self._names is None:
            self._names = self._read()
        if self._names.get(name, 0.0) > now:
            return False
        self._names = {one: until for one, until in self._names.items() if until > now} | {name: now + ttl}
        self._write(self._names)
        return True

    def _read(self) -> dict[str, float]:
        try:
            return msgspec.json.decode(self._path.read_bytes(), type=dict[str, float])
        except FileNotFoundError:
            return {}
        except (OSError, msgspec.DecodeError) as problem:
            _log.warning("what was told of budgets cannot be read, and may be told again: %s", problem)
            return {}

    def _write(self, names: dict[str, float]) -> None:
        """Told all the same where it cannot be written: an alert that comes twice is better than none."""
        draft = self._path.with_suffix(".new")
        try:
            with draft.open("wb") as file:
                file.write(msgspec.json.encode(names))
                file.flush()
                os.fsync(file.fileno())
            draft.replace(self._path)
        except OSError as problem:
            _log.warning("what was told of budgets cannot be kept, and may be told again: %s", problem)
