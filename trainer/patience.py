"""A writer that waits while the writing process is away (it restarts within seconds)."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from gateway.storage.commands import Command, WriterAway
from gateway.storage.protocols import Writer


class Patient:
    """Tries a command again every half second for ``patience_s``; every command is idempotent."""

    def __init__(
        self, writer: Writer, patience_s: float = 120.0, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        self._writer = writer
        self._tries = max(1, int(patience_s / 0.5))
        self._sleep = sleep

    def execute(self, command: Command) -> Any:
        """Raises Refused, and WriterAway once patience is spent."""
        for _ in range(self._tries - 1):
            try:
                return self._writer.execute(command)
            except WriterAway:
                self._sleep(0.5)
        return self._writer.execute(command)

    def close(self) -> None:
        self._writer.close()
