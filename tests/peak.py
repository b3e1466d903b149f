"""How much memory a process takes at most while something happens."""

from __future__ import annotations

import contextlib
from pathlib import Path

_RESET = "5"
"""Linux forgets the peak so far (proc(5), clear_refs); without it an earlier test's peak hides that of this one."""


class Peak:
    """Runs from its making. Both numbers are those of the process that asks."""

    def __init__(self) -> None:
        with contextlib.suppress(OSError):
            Path("/proc/self/clear_refs").write_text(_RESET)
        self._before = _most()

    @property
    def grown_mib(self) -> float:
        """MiB by which the peak since then exceeds what was taken at its beginning."""
        return (_most() - self._before) / 1024


def _most() -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))
