"""The demo's child processes: started with a log each, watched, and stopped cleanly."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import msgspec

from benchmarks.simulation.traffic import Progress

_CHILD = str(Path(__file__).resolve().parents[2] / "gateway" / "processes" / "child.py")
"""Run as a file: it asks the kernel for that and becomes the command."""


class WalkFailed(Exception):
    """Something the walk waited for did not happen; the text says what, for a person."""


@dataclass(slots=True)
class Child:
    name: str
    process: subprocess.Popen[bytes]
    log: Path

    @property
    def alive(self) -> bool:
        return self.process.poll() is None

    def check(self) -> None:
        """Raises WalkFailed when the process has ended by itself."""
        if not self.alive:
            raise WalkFailed(
                f"The process '{self.name}' ended by itself (exit code {self.process.returncode}). Its last words:\n"
                f"{self.last_words()}"
            )

    def last_words(self) -> str:
        """The end of its log, at most twelve lines."""
        with contextlib.suppress(OSError):
            return "\n".join(self.log.read_text(errors="replace").splitlines()[-12:])
        return ""


@dataclass(slots=True)
class Children:
    """Each child leads its own process group: Ctrl-C reaches the demo alone, which stops them in order. When the
    demo itself is killed, the kernel kills them."""

    logs: Path
    running: list[Child] = field(default_factory=list)

    def start(
        self, name: str, arguments: list[str], env: Mapping[str, str], *, stdout: int | None = None
    ) -> Child:
        """``arguments`` follow the Python interpreter. ``stdout`` None: into the log, like the errors."""
        log = self.logs / f"{name.replace(' ', '-')}.log"
        with log.open("ab") as out:
            process = subprocess.Popen(
                [sys.executable, "-I", "-S", _CHILD, str(os.getpid()), "0", sys.executable, *arguments],
                env={**clean_environment(), **env},
                stdin=subprocess.DEVNULL,
                stdout=out if stdout is None else stdout,
                stderr=out,
                start_new_session=True,
            )
        child = Child(name, process, log)
        self.running.append(child)
        return child

    def stop(self, child: Child, patience_s: float = 45.0) -> None:
        """Asks it to end; what is left of its group after ``patience_s`` is killed."""
        if child.alive:
            child.process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.process.wait(patience_s)
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(child.process.pid, signal.SIGKILL)
        child.process.wait()
        if child in self.running:
            self.running.remove(child)

    def stop_all(self) -> None:
        """Last started, first stopped: traffic, then the gateway, then the simulated teacher."""
        while self.running:
            self.stop(self.running[-1])


class TrafficReader(threading.Thread):
    """Keeps the newest progress of the traffic process, and how many answers came from whom of late."""

    def __init__(self, out: IO[bytes]) -> None:
        super().__init__(daemon=True, name="traffic-reader")
        self._out = out
        self._history: list[tuple[float, Progress]] = []
        self.latest = Progress(0, 0, 0, {}, 0.0, 0.0, 0.0, "")

    def run(self) -> None:
        for line in self._out:
            try:
                self.latest = msgspec.json.decode(line, type=Progress)
            except msgspec.DecodeError:
                continue
            now = time.monotonic()
            self._history = [(at, old) for at, old in self._history if now - at < 4.0]
            self._history.append((now, self.latest))

    def student_share(self, teacher: str) -> float | None:
        """Share of the last few seconds' answers that did not come from ``teacher`` (``provider/model``)."""
        history = list(self._history)
        if not history:
            return None
        before, now = history[0][1].by, history[-1][1].by
        recent = {name: count - before.get(name, 0) for name, count in now.items() if name}
        total = sum(recent.values())
        return 1 - recent.get(teacher, 0) / total if total else None


def clean_environment() -> dict[str, str]:
    """Ours without what would lead the demo to somebody's real data, or its loopback calls to a proxy."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("UNDERSTUDY_")}
    return {**kept, "NO_PROXY": "127.0.0.1,localhost", "no_proxy": "127.0.0.1,localhost"}


def free_port(first: int) -> int:
    """``first`` when it is free on loopback, else the next free one of twenty, else any."""
    for port in (*range(first, first + 20), 0):
        with contextlib.closing(socket.socket()) as probe, contextlib.suppress(OSError):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", port))
            return int(probe.getsockname()[1])
    raise WalkFailed("There is no free port on 127.0.0.1.")


@contextlib.contextmanager
def interrupted_by_sigterm() -> Iterator[None]:
    """SIGTERM, and a terminal that is closed, end the demo as Ctrl-C does."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    names = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)  # a background shell would have us ignore Ctrl-C
    before = {name: signal.signal(name, interrupt) for name in names}
    try:
        yield
    finally:
        for name, handler in before.items():
            signal.signal(name, handler)


@contextlib.contextmanager
def undisturbed() -> Iterator[None]:
    """No signal that asks us to stop is heard: we are stopping already, and nothing may be left running."""
    names = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {name: signal.signal(name, signal.SIG_IGN) for name in names}
    try:
        yield
    finally:
        for name, handler in before.items():
            signal.signal(name, handler)
