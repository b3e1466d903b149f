"""``python -m gateway.processes.workers``: several gateways behind one port (``understudy serve --workers N``).

Each worker listens for itself with SO_REUSEPORT, so the kernel spreads connections over those that are there, and
one that dies takes no others with it. This parent holds the port without listening, starts a worker again that
ended, and passes signals on: SIGTERM and SIGINT let every worker finish its calls, SIGHUP has the policies read
again. It does no other work, so that it does not die of it; workers are killed by the kernel when it is.
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from types import FrameType

from gateway.processes.supervisor import CHILD, SETTLED_S, restart_delay
from gateway.telemetry.logs import setup_logging

_log = logging.getLogger("understudy.workers")
REDIS = "UNDERSTUDY_REDIS_URL"
_POLL_S = 0.05
_SLACK_S = 10.0
_GIVE_UP = 3
_SAME_REQUEST_S = 2.0


def problem(workers: int, env: Mapping[str, str]) -> str:
    """Why so many workers cannot be started; "" when they can."""
    if workers < 2 or env.get(REDIS):
        return ""
    return (
        f"{workers} workers need Redis, through which they share limits, budgets, breakers, routing and cache. "
        f"Set {REDIS}, for example {REDIS}=redis://127.0.0.1:6379/0, or start one worker."
    )


def listening(host: str, port: int) -> socket.socket:
    """A socket bound to an address that others may be bound to as well. Raises OSError."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    bound = socket.socket(family, socket.SOCK_STREAM)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        bound.bind((host.strip("[]"), port))
    except OSError:
        bound.close()
        raise
    return bound


class _Worker:
    def __init__(self, number: int, command: Sequence[str], env: Mapping[str, str]) -> None:
        self.number = number
        self._command, self._env = command, env
        self.process: subprocess.Popen[bytes] | None = None
        self._started = 0.0
        self.deaths = 0
        self.again_at = 0.0

    def start(self, now: float) -> None:
        """In a session of its own: Ctrl-C reaches the parent alone."""
        command = [sys.executable, "-I", "-S", CHILD, str(os.getpid()), "0", *self._command]
        env = {**os.environ, **self._env, "UNDERSTUDY_WORKER": str(self.number)}
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, env=env, start_new_session=True)
        self._started = now

    def ended(self, now: float) -> int | None:
        """The status of a process that has just ended, else None; notes when it starts again."""
        status = self.process.poll() if self.process is not None else None
        if status is None:
            return None
        self.process = None
        self.deaths = 1 if now - self._started > SETTLED_S else self.deaths + 1
        self.again_at = now + restart_delay(self.deaths)
        return status

    def signal(self, number: int) -> None:
        if self.process is not None and self.process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                self.process.send_signal(number)


class Workers:
    """Runs ``count`` times ``command`` until told to stop. ``grace_s`` is between SIGTERM and SIGKILL."""

    def __init__(self, count: int, command: Sequence[str], grace_s: float) -> None:
        group = {"UNDERSTUDY_WORKERS": str(count), "UNDERSTUDY_WORKERS_OF": f"{os.getpid()}-{time.time_ns()}"}
        self._workers = [_Worker(number, command, group) for number in range(1, count + 1)]
        self._grace = grace_s
        self._asked = 0.0
        self._impatient = self._reload = False

    def run(self) -> int:
        """Exit status: 0 after an orderly stop, 1 when the workers cannot start or had to be killed."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._stop_asked)
        signal.signal(signal.SIGHUP, self._reload_asked)
        for worker in self._workers:
            worker.start(time.monotonic())
        while not self._asked:
            if self._reload:
                self._reload = False
                self._tell(signal.SIGHUP)
            if not self._revive(time.monotonic()):
                self._end()
                return 1
            time.sleep(_POLL_S)
        return 0 if self._end() else 1

    def _stop_asked(self, _number: int, _frame: FrameType | None) -> None:
        now = time.monotonic()
        self._asked = self._asked or now
        self._impatient = self._impatient or now - self._asked > _SAME_REQUEST_S

    def _reload_asked(self, _number: int, _frame: FrameType | None) -> None:
        self._reload = True

    def _revive(self, now: float) -> bool:
        """False when every worker ends again and again by itself: what is wrong is in the log."""
        for worker in self._workers:
            status = worker.ended(now)
            if status is not None:
                if status > 0 and all(one.deaths >= _GIVE_UP for one in self._workers):
                    return False
                how = f"was killed by signal {-status}" if status < 0 else f"ended with status {status}"
                _log.error(
                    "worker %d %s; it starts again in %.1f s", worker.number, how, worker.again_at - now
                )
            if worker.process is None and now >= worker.again_at:
                worker.start(now)
        return True

    def _end(self) -> bool:
        """Asks all at once, waits, kills. True when each ended by itself."""
        self._tell(signal.SIGTERM)
        deadline = time.monotonic() + self._grace
        while self._running() and time.monotonic() < deadline and not self._impatient:
            time.sleep(_POLL_S)
        left = self._running()
        for worker in left:
            worker.signal(signal.SIGKILL)
            _log.error("worker %d did not stop in time and was killed", worker.number)
        return not left

    def _running(self) -> list[_Worker]:
        return [one for one in self._workers if one.process is not None and one.process.poll() is None]

    def _tell(self, number: int) -> None:
        for worker in self._workers:
            worker.signal(number)


def main(argv: Sequence[str] | None = None) -> int:
    """What it does not know itself, ``gateway.server`` does: ``-- OPTIONS`` are passed on."""
    parser = argparse.ArgumentParser(prog="understudy serve", description="Several gateways behind one port.")
    parser.add_argument("--workers", type=int, required=True)
    parser.add_argument("--host", required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--grace", type=float, default=30.0, help="seconds that calls may take after SIGTERM")
    options, rest = parser.parse_known_args(argv)
    setup_logging()
    why = problem(options.workers, os.environ)
    if why:
        print(why, file=sys.stderr)
        return 1
    try:
        holder = listening(options.host, options.port)
    except OSError as error:
        print(f"{options.host}:{options.port} cannot be listened on: {error.strerror}.", file=sys.stderr)
        return 1
    with holder:
        address = ("--host", options.host, "--port", str(holder.getsockname()[1]), "--shared-port")
        command = (sys.executable, "-m", "gateway.server", *rest, *address)
        return Workers(options.workers, command, options.grace + _SLACK_S).run()


if __name__ == "__main__":
    sys.exit(main())
