"""The supervisor with tiny real processes instead of the parts."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from stopwatch import Stopwatch

from gateway.processes.supervisor import (
    CannotStart,
    Part,
    Supervisor,
    answers_on,
    free_port,
    only_one,
    restart_delay,
)
from gateway.storage.home import Home

SCRIPT = """
import os, signal, sys, time
name, folder, mode = sys.argv[1:4]
def note(what):
    with open(os.path.join(folder, "events"), "a") as file:
        file.write(f"{name} {what} {os.getpid()} {os.nice(0)}\\n")
def stop(*_):
    note("stopped")
    sys.exit(0)
signal.signal(signal.SIGTERM, signal.SIG_IGN if mode == "stubborn" else stop)
note("started")
print("hello from", name, flush=True)
if mode == "broken":
    print("no luck", flush=True)
    sys.exit(3)
open(os.path.join(folder, name + ".ready"), "w").close()
while True:
    time.sleep(0.02)
"""


class Yard:
    """A data directory with parts that write down what happens to them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.home = Home(folder / "home").prepare()
        (folder / "part.py").write_text(SCRIPT)
        self.said: list[str] = []

    def part(self, name: str, order: int, mode: str = "good", *, nice: int = 0, grace: float = 5.0) -> Part:
        ready = (self.folder / f"{name}.ready").exists
        command = (sys.executable, "-S", str(self.folder / "part.py"), name, str(self.folder), mode)
        return Part(name=name, command=command, ready=ready, stop_order=order, nice=nice, grace_s=grace)

    def events(self) -> list[list[str]]:
        try:
            return [line.split() for line in (self.folder / "events").read_text().splitlines()]
        except FileNotFoundError:
            return []

    def run(self, *parts: Part, on_ready: Callable[[], None]) -> int:
        return Supervisor(parts, self.home, self.said.append).run(on_ready)


@pytest.fixture
def yard(tmp_path: Path) -> Yard:
    return Yard(tmp_path)


def _ask_to_stop() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


def _gone(pid: int, within: float = 60.0) -> bool:
    deadline = time.monotonic() + within
    while time.monotonic() < deadline:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
        except (FileNotFoundError, ProcessLookupError):
            return True
        if state == "Z":
            return True
        time.sleep(0.02)
    return False


def test_starts_in_order_and_stops_in_the_other_order(yard: Yard) -> None:
    status = yard.run(
        yard.part("ingester", 4), yard.part("engine", 3), yard.part("gateway", 1), on_ready=_ask_to_stop
    )
    assert status == 0
    happened = [(name, what) for name, what, _, _ in yard.events()]
    assert happened == [
        ("ingester", "started"), ("engine", "started"), ("gateway", "started"),
        ("gateway", "stopped"), ("engine", "stopped"), ("ingester", "stopped"),
    ]  # fmt: skip
    assert (yard.home.logs / "engine.log").read_text() == "hello from engine\n"
    assert (yard.home.logs / "engine.log").stat().st_mode & 0o077 == 0


def test_a_killed_part_is_back_within_a_second(yard: Yard) -> None:
    supervisor = subprocess.Popen([sys.executable, "-c", _program(yard)], start_new_session=True)
    try:
        pid = _wait_for_start(yard, 1)
        watch = Stopwatch()
        os.kill(pid, signal.SIGKILL)
        _wait_for_start(yard, 2)
        assert watch.seconds < 1.0
        supervisor.send_signal(signal.SIGINT)
        assert supervisor.wait(timeout=60) == 0
        assert yard.events()[-1][1] == "stopped"
    finally:
        supervisor.kill()
        supervisor.wait()


@pytest.mark.skipif(sys.platform != "linux", reason="the parent-death signal is Linux's")
def test_parts_die_with_a_supervisor_that_is_killed(yard: Yard) -> None:
    supervisor = subprocess.Popen(
        [sys.executable, "-c", _program(yard, mode="stubborn")], start_new_session=True
    )
    pid = _wait_for_start(yard, 1)
    supervisor.kill()
    supervisor.wait()
    assert _gone(pid)


def test_a_part_that_ignores_the_request_is_killed_after_its_grace(yard: Yard) -> None:
    watch = Stopwatch()
    status = yard.run(yard.part("gateway", 1, "stubborn", grace=0.3), on_ready=_ask_to_stop)
    assert status == 1
    assert watch.seconds < 4.0
    assert _gone(int(yard.events()[0][2]))
    assert "did not stop in time" in yard.said[-1]


def test_a_part_that_cannot_start_ends_the_start_and_shows_its_log(yard: Yard) -> None:
    reached = []
    status = yard.run(
        yard.part("ingester", 4), yard.part("gateway", 1, "broken"), on_ready=lambda: reached.append(1)
    )
    assert status == 1
    assert not reached
    told = "\n".join(yard.said)
    assert "gateway ended again and again" in told
    assert "  | no luck" in told
    assert yard.events()[-1][:2] == ["ingester", "stopped"]


def test_background_work_is_nice(yard: Yard) -> None:
    yard.run(yard.part("trainer", 2, nice=19), on_ready=_ask_to_stop)
    assert yard.events()[0][3] == "19"


def test_one_supervisor_for_a_data_directory(yard: Yard) -> None:
    refused = pytest.raises(CannotStart, match=f"process {os.getpid()}.*--home")
    with only_one(yard.home), refused, only_one(yard.home):
        pass
    with only_one(yard.home):
        pass


def test_a_taken_port_is_told() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(CannotStart, match=f"Port {port} on 127.0.0.1 is already in use.*--port"):
            free_port("127.0.0.1", port)
    assert free_port("127.0.0.1", 0) > 0


def test_a_socket_answers_only_while_somebody_listens(tmp_path: Path) -> None:
    path = tmp_path / "x.sock"
    assert not answers_on(path)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        server.listen()
        assert answers_on(path)
    assert path.exists()
    assert not answers_on(path)


def test_restarts_slow_down() -> None:
    delays = [restart_delay(deaths) for deaths in range(1, 12)]
    assert delays[0] < 1.0
    assert delays == sorted(delays)
    assert delays[-1] == delays[-2] == 30.0


def _program(yard: Yard, mode: str = "good") -> str:
    return textwrap.dedent(f"""
        import sys
        from pathlib import Path
        from gateway.storage.home import Home
        from gateway.processes.supervisor import Part, Supervisor
        folder = Path({str(yard.folder)!r})
        command = (sys.executable, "-S", str(folder / "part.py"), "gateway", str(folder), {mode!r})
        sys.exit(Supervisor([Part(name="gateway", command=command)], Home(folder / "home"), print).run())
    """)


def _wait_for_start(yard: Yard, count: int) -> int:
    """The process id of the ``count``-th start of a part."""
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline:
        started = [event for event in yard.events() if event[1] == "started"]
        if len(started) >= count:
            return int(started[count - 1][2])
        time.sleep(0.01)
    raise AssertionError("the part did not start")
