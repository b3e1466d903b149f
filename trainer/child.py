"""A job's process as its worker holds it: start, hear, kill."""

from __future__ import annotations

import contextlib
import os
import queue
import subprocess
import sys
import threading
from pathlib import Path
from typing import IO

import msgspec

from gateway.storage.home import Home
from trainer.messages import Message, decode

_ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


class Child:
    """Messages are read by a thread, so a silent job never blocks the worker."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process
        self._messages: queue.SimpleQueue[Message] = queue.SimpleQueue()
        assert process.stdout is not None
        self._reading = threading.Thread(target=self._read, args=(process.stdout,), daemon=True)
        self._reading.start()

    @classmethod
    def of(cls, run: str, home: Home, policies: Path) -> Child:
        """Starts ``python -m trainer.job`` for a run. Raises OSError."""
        arguments = ["--home", str(home.root), "--policies", str(policies), "--parent", str(os.getpid())]
        command = [sys.executable, "-m", "trainer.job", run, *arguments]
        environment = os.environ | _ONE_THREAD
        return cls(
            subprocess.Popen(command, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, env=environment)
        )

    @property
    def pid(self) -> int:
        return self._process.pid

    def messages(self) -> list[Message]:
        """What it said since the last look."""
        found: list[Message] = []
        with contextlib.suppress(queue.Empty):
            while True:
                found.append(self._messages.get_nowait())
        return found

    def has_more(self) -> bool:
        """Whether something it said may not have been heard yet."""
        return self._reading.is_alive() or not self._messages.empty()

    def exit_code(self) -> int | None:
        """None while it runs; negative when a signal ended it."""
        return self._process.poll()

    def kill(self) -> None:
        """Ends it at once, if it still runs. Its half-written files have names nobody reads."""
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        self._reading.join(timeout=5.0)
        if self._process.stdout is not None:
            self._process.stdout.close()

    def _read(self, pipe: IO[bytes]) -> None:
        for line in pipe:
            with contextlib.suppress(msgspec.MsgspecError):
                self._messages.put(decode(line))
