"""Keeps the process of the guard models running where policies need it and no supervisor has started it.

``understudy up`` starts it like the engines; ``understudy serve`` does so here, in each worker: the process holds a
lock in the data directory, so that there is one, and the kernel ends it with the gateway that started it.
"""

from __future__ import annotations

import asyncio
import logging
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import msgspec

from gateway.config import Config
from gateway.processes.supervisor import CHILD, answers_on, restart_delay
from gateway.storage.home import Home

_log = logging.getLogger("understudy.guards")
MODULE = "trainer.engines.guards.server"
READY_S = 180.0
"""Loading large models from a slow disk takes its time."""
_LOOK_S = 0.5
_OTHERS_S = 3.0


class GuardsCannotStart(Exception):
    """The policies need guard models, and their process does not start; the text says why."""


def models_of(config: Config) -> list[dict[str, Any]]:
    """What the guardrails of a configuration need loaded, each once."""
    found: dict[bytes, dict[str, Any]] = {}
    for guard in config.guardrails.values():
        for spec in guard.models:
            found[msgspec.json.encode(spec, order="sorted")] = spec
    return list(found.values())


def command(home: Home, models: Iterable[Mapping[str, Any]]) -> tuple[str, ...]:
    loads = msgspec.json.encode(list(models)).decode()
    return (sys.executable, "-m", MODULE, "--home", str(home.root), "--models", loads)


class GuardProcess:
    """``config`` gives the present policies."""

    def __init__(self, home: Home, config: Callable[[], Config]) -> None:
        self._home, self._config = home, config
        self._process: subprocess.Popen[bytes] | None = None
        self._deaths, self._again_at = 0, 0.0
        self._log_path = home.logs / "guards.log"

    async def start(self) -> None:
        """Returns once the process answers, at once when none is needed. Raises GuardsCannotStart."""
        if not models_of(self._config()):
            return
        deadline = time.monotonic() + READY_S
        while not await self._answers():
            if time.monotonic() > deadline:
                raise GuardsCannotStart(f"they were not ready after {READY_S:.0f} s. Log: {self._log_path}")
            status = self._process.poll() if self._process is not None else None
            if status:
                raise GuardsCannotStart(f"{self._last_words()} (status {status}). Log: {self._log_path}")
            if self._process is None:
                self._spawn()
            elif status == 0:  # another worker's has the lock, and answers before long
                self._process = None
                await asyncio.sleep(_OTHERS_S)
            await asyncio.sleep(_LOOK_S / 5)

    async def run(self) -> None:
        """Starts it again when it ended, slower and slower; also when new policies are the first to need it."""
        while True:
            await asyncio.sleep(_LOOK_S)
            if self._process is not None and self._process.poll() is not None:
                if self._process.returncode:
                    _log.error(
                        "the guard models ended (%d): %s", self._process.returncode, self._last_words()
                    )
                self._deaths += 1
                self._again_at = time.monotonic() + restart_delay(self._deaths)
                self._process = None
            wanted = self._process is None and time.monotonic() >= self._again_at
            if wanted and models_of(self._config()) and not await self._answers():
                self._spawn()

    async def stop(self) -> None:
        process, self._process = self._process, None
        if process is None or process.poll() is not None:
            return
        process.terminate()
        try:
            await asyncio.to_thread(process.wait, 5.0)
        except subprocess.TimeoutExpired:
            process.kill()
            await asyncio.to_thread(process.wait)

    async def _answers(self) -> bool:
        return await asyncio.to_thread(answers_on, self._home.guards_socket)

    def _spawn(self) -> None:
        line = [sys.executable, "-I", "-S", CHILD, str(os.getpid()), "0"]
        with self._log_path.open("ab") as log:
            self._process = subprocess.Popen(
                [*line, *command(self._home, models_of(self._config()))],
                stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip
        self._log_path.chmod(0o600)

    def _last_words(self) -> str:
        try:
            lines = self._log_path.read_bytes()[-4096:].decode("utf-8", "replace").strip().splitlines()
        except OSError:
            lines = []
        return lines[-1] if lines else "it said nothing"
