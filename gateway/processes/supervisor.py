"""One process tree for ``understudy up``: starts the parts in order, restarts what dies, stops in order.

The supervisor does no work of its own, so that it does not die of it. Children run in sessions of their own:
Ctrl-C reaches the supervisor alone, which then stops them one after the other, the ingester last, so that the
spool is emptied. They are killed by the kernel when the supervisor is (:mod:`gateway.processes.child`).
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

from gateway.policy.withheld import without
from gateway.processes import child as child_module
from gateway.storage.home import Home

POLL_S = 0.1
SETTLED_S = 60.0
"""A child that lived this long counts as healthy: its next death is its first again."""
SAME_REQUEST_S = 2.0
"""Ctrl-C may arrive twice, from the terminal and from a parent process; a later one means "kill them now"."""
LOG_BYTES = 10 * 1024 * 1024
_DELAYS = (0.2, 1.0, 2.0, 5.0, 10.0, 30.0)
_DEATHS_BEFORE_READY = 3
CHILD = str(Path(child_module.__file__))

Say = Callable[[str], None]


class CannotStart(Exception):
    """The tree cannot be started here and now; the text says why and what to do."""


@dataclass(frozen=True, slots=True)
class Part:
    """One process of the tree. ``ready`` answers whether it can be used; it is polled after the start.

    ``stop_order``: the lower, the sooner it is stopped. ``grace_s``: seconds between SIGTERM and SIGKILL.
    ``withheld``: the variables of our own environment that it does not get.
    """

    name: str
    command: tuple[str, ...]
    ready: Callable[[], bool] | None = None
    ready_s: float = 60.0
    grace_s: float = 35.0
    stop_order: int = 0
    nice: int = 0
    env: Mapping[str, str] = field(default_factory=dict)
    withheld: frozenset[str] = frozenset()


def restart_delay(deaths: int) -> float:
    """Seconds to wait after the ``deaths``-th death in a row (from 1): at once, then slower and slower."""
    return _DELAYS[min(max(deaths, 1), len(_DELAYS)) - 1]


@contextlib.contextmanager
def only_one(home: Home) -> Iterator[None]:
    """Holds the data directory for one supervisor. Raises CannotStart when another one has it."""
    path = home.root / "supervisor.lock"
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(descriptor, 32).decode("ascii", "replace").strip() or "unknown"
            raise CannotStart(
                f"Another understudy (process {holder}) already runs on this data directory. "
                "Stop it, or choose another one with --home DIR."
            ) from None
        os.ftruncate(descriptor, 0)
        os.write(descriptor, str(os.getpid()).encode("ascii"))
        yield
    finally:
        os.close(descriptor)


def free_port(host: str, port: int) -> int:
    """The port to listen on, any free one for 0. Raises CannotStart when ``host:port`` cannot be had."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host.strip("[]"), port))
            return int(probe.getsockname()[1])
        except OSError as error:
            reason = {98: "is already in use", 13: "needs more rights"}.get(
                error.errno or 0, "cannot be used"
            )
            raise CannotStart(
                f"Port {port} on {host} {reason}. Stop what listens there, or choose another with --port N."
            ) from None


def answers_on(path: Path) -> bool:
    """Whether something accepts connections on a local socket."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(str(path))
        except OSError:
            return False
    return True


class _Process:
    """A part while the supervisor runs: its process, how often it died, when it may start again."""

    def __init__(self, part: Part, log: Path) -> None:
        self.part = part
        self.log = log
        self.process: subprocess.Popen[bytes] | None = None
        self.started = 0.0
        self.deaths = 0
        self.again_at = 0.0

    def start(self, now: float) -> None:
        _rotate(self.log)
        command = [
            sys.executable,
            "-I",
            "-S",
            CHILD,
            str(os.getpid()),
            str(self.part.nice),
            *self.part.command,
        ]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**without(os.environ, self.part.withheld), **self.part.env},
                start_new_session=True,
            )
        self.log.chmod(0o600)
        self.started = now

    def died(self, now: float) -> int | None:
        """The exit status of a process that has just ended, else None; notes when it may start again."""
        status = self.process.poll() if self.process is not None else None
        if status is None:
            return None
        self._signal(signal.SIGKILL)  # whatever it started must not outlive it
        self.process = None
        self.deaths = 1 if now - self.started > SETTLED_S else self.deaths + 1
        self.again_at = now + restart_delay(self.deaths)
        return status

    def stop(self, impatient: Callable[[], bool]) -> bool:
        """Asks, waits, kills. True when it ended by itself."""
        process = self.process
        if process is None:
            return True
        if process.poll() is None:
            process.terminate()
        deadline = time.monotonic() + self.part.grace_s
        while process.poll() is None and time.monotonic() < deadline and not impatient():
            time.sleep(POLL_S / 5)
        graceful = process.poll() is not None
        self._signal(signal.SIGKILL)
        process.wait()
        self.process = None
        return graceful

    def _signal(self, number: int) -> None:
        """To the whole session of the part, so that its own children go with it."""
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.process.pid, number)


class Supervisor:
    """Runs ``parts`` until SIGINT, SIGTERM or SIGHUP; ``say`` gets a line for what a person should know."""

    def __init__(self, parts: Sequence[Part], home: Home, say: Say) -> None:
        self._processes = [_Process(part, home.logs / f"{part.name}.log") for part in parts]
        self._say = say
        self._asked = 0.0
        self._impatient = False

    def run(self, on_ready: Callable[[], None] = lambda: None) -> int:
        """Exit status: 0 after an orderly stop, 1 when a part could not be started or had to be killed."""
        handlers = {number: signal.signal(number, self._ask) for number in _STOPPING}
        status = 0
        try:
            if self._start_all():
                on_ready()
                self._watch()
            elif not self._asked:
                status = 1
        finally:
            if not self._stop_all():
                status = 1
            for number, handler in handlers.items():
                signal.signal(number, handler)
        return status

    def _ask(self, _number: int, _frame: FrameType | None) -> None:
        now = time.monotonic()
        self._asked = self._asked or now
        self._impatient = self._impatient or now - self._asked > SAME_REQUEST_S

    def _start_all(self) -> bool:
        for process in self._processes:
            process.start(time.monotonic())
            if not self._wait_until_ready(process):
                return False
        return True

    def _wait_until_ready(self, process: _Process) -> bool:
        """False when the part gave up, took too long, or a person asked to stop meanwhile."""
        part = process.part
        deadline = time.monotonic() + part.ready_s
        while part.ready is not None and not (process.process is not None and part.ready()):
            now = time.monotonic()
            if self._asked:
                return False
            self._revive(now)
            if process.deaths >= _DEATHS_BEFORE_READY or now > deadline:
                what = (
                    "ended again and again" if process.deaths else f"was not ready after {part.ready_s:.0f} s"
                )
                self._say(f"{part.name} {what}. The end of {process.log}:\n{_tail(process.log)}")
                return False
            time.sleep(POLL_S / 2)
        return not self._asked

    def _watch(self) -> None:
        while not self._asked:
            self._revive(time.monotonic())
            time.sleep(POLL_S)

    def _revive(self, now: float) -> None:
        for process in self._processes:
            if process.started == 0.0:
                continue
            status = process.died(now)
            if status is not None:
                how = f"was killed by signal {-status}" if status < 0 else f"ended with status {status}"
                pause = process.again_at - now
                self._say(f"{process.part.name} {how}; it starts again in {pause:.1f} s. Log: {process.log}")
            if process.process is None and now >= process.again_at:
                process.start(now)

    def _stop_all(self) -> bool:
        graceful = True
        leaving = sorted(self._processes, key=lambda one: one.part.stop_order)
        self._say("Stopping: " + ", ".join(one.part.name for one in leaving if one.process is not None))
        for process in leaving:
            if not process.stop(lambda: self._impatient):
                self._say(
                    f"{process.part.name} did not stop in time and was killed; no answered call is lost."
                )
                graceful = False
        return graceful


_STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def _rotate(log: Path) -> None:
    """Keeps one older log: a part that restarts for weeks must not fill the disk."""
    with contextlib.suppress(FileNotFoundError):
        if log.stat().st_size > LOG_BYTES:
            log.replace(log.with_suffix(".log.1"))


def _tail(log: Path, lines: int = 15) -> str:
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - 8192))
            text = file.read().decode("utf-8", "replace")
    except OSError:
        return "(no log)"
    return "\n".join(f"  | {line}" for line in text.splitlines()[-lines:])
