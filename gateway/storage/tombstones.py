"""Where deleted things stood in the lists that clients page through: who deletes what they list goes on behind it.

An id and two numbers each, in ``gone/<day of the deletion>/<id>`` under the data directory, for a week. Blocking.
"""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Callable
from contextlib import suppress

import msgspec

from gateway.storage.home import Home

_KEPT_DAYS = 7
_DAY_S = 86_400
_NAME = re.compile(r"[a-z]{1,16}[-_][0-9a-f]{16,64}")
Place = tuple[float, str]
"""Of an item in a list: when it was created (unix seconds), and its id."""


class Tombstones:
    def __init__(self, home: Home, now: Callable[[], float] = time.time) -> None:
        self._root, self._now, self._of = home.gone, now, home.plain

    def bury(self, project: str, name: str, created_at: float) -> None:
        """Remembers where ``name`` stands; call it before it goes. A disk that is full forgets it."""
        if _NAME.fullmatch(name) is None:
            return
        folder = self._root / str(self._today())
        with suppress(OSError):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            (folder / name).write_bytes(msgspec.json.encode((self._of(project), created_at)))

    def place(self, project: str, name: str) -> Place | None:
        """Where it stood; None for what was never there, is another project's, or went more than a week ago."""
        if _NAME.fullmatch(name) is None:
            return None
        today = self._today()
        for day in range(today, today - _KEPT_DAYS - 1, -1):
            with suppress(OSError, msgspec.DecodeError):
                told = (self._root / str(day) / name).read_bytes()
                owner, created_at = msgspec.json.decode(told, type=tuple[str, float])
                return (created_at, name) if owner == self._of(project) else None
        return None

    def sweep(self) -> None:
        """Forgets what has been gone for more than a week."""
        if not self._root.is_dir():
            return
        for folder in self._root.iterdir():
            if folder.name.isdigit() and int(folder.name) < self._today() - _KEPT_DAYS:
                shutil.rmtree(folder, ignore_errors=True)

    def _today(self) -> int:
        return int(self._now() // _DAY_S)
