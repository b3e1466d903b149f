"""Where deleted things stood in the lists that clients page through: who deletes what they list goes on behind it.

A hash and a time each, in ``gone/<day of the deletion>/<hash>`` under the data directory, for a week. Blocking.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from contextlib import suppress

import msgspec

from gateway.storage.home import Home

_KEPT_DAYS = 7
_DAY_S = 86_400
Place = tuple[float, str]
"""Of an item in a list: when it was created (unix seconds), and its id."""


class Tombstones:
    def __init__(self, home: Home, now: Callable[[], float] = time.time) -> None:
        self._root, self._now, self._plain = home.gone, now, home.plain

    def bury(self, project: str, name: str, created_at: float, *, within: str = "") -> None:
        """Remembers where ``name`` stands; call it before it goes. ``within``: what it is a part of. A full disk
        forgets it."""
        folder = self._root / str(self._today())
        with suppress(OSError):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            (folder / self._mark(project, name, within)).write_bytes(msgspec.json.encode(created_at))

    def place(self, project: str, name: str, *, within: str = "") -> Place | None:
        """Where it stood; None for what was never there, is another project's, or went more than a week ago."""
        today, mark = self._today(), self._mark(project, name, within)
        for day in range(today, today - _KEPT_DAYS - 1, -1):
            with suppress(OSError, msgspec.DecodeError):
                return msgspec.json.decode((self._root / str(day) / mark).read_bytes(), type=float), name
        return None

    def sweep(self) -> None:
        """Forgets what has been gone for more than a week."""
        if not self._root.is_dir():
            return
        for folder in self._root.iterdir():
            if folder.name.isdigit() and int(folder.name) < self._today() - _KEPT_DAYS:
                shutil.rmtree(folder, ignore_errors=True)

    def _mark(self, *names: str) -> str:
        return self._plain(msgspec.json.encode(names).decode())

    def _today(self) -> int:
        return int(self._now() // _DAY_S)
