"""Looks for tasks again every hour while the policies say so, in a process of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from gateway.config import Config
from gateway.storage.home import Home

EVERY_S = 3600.0


class Keeper:
    def __init__(self, home: Home, policies: Path) -> None:
        self._home, self._policies = home, policies
        self._process: subprocess.Popen[bytes] | None = None

    def tick(self, config: Config, now: float) -> None:
        """Starts a search when the last one's result is an hour old."""
        if config.discover is None or (self._process is not None and self._process.poll() is None):
            return
        if now - self._found_at() < EVERY_S:
            return
        command = [sys.executable, "-m", "trainer.discovery.find", "--home", str(self._home.root)]
        self._process = subprocess.Popen(
            [*command, "--policies", str(self._policies), "--nice", "19"],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def _found_at(self) -> float:
        try:
            return self._home.discovered.stat().st_mtime
        except FileNotFoundError:
            return 0.0
