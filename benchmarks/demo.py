"""The whole loop in front of you: ``python -m benchmarks.demo [--home DIR] [--fresh] [--plain] [--exit]``.

Starts the gateway, a *simulated* teacher and traffic, and shows how a student is trained, proven, let in,
watched and taken back; then leaves the gateway running until Ctrl-C. A second start remembers and shows the
results only.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import re
import secrets
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import msgspec
from rich.console import Console

from benchmarks.simulation.prompt import TASK
from benchmarks.walk.admin import AdminClient
from benchmarks.walk.phases import Walk, checklist
from benchmarks.walk.processes import (
    Children,
    TrafficReader,
    WalkFailed,
    clean_environment,
    free_port,
    interrupted_by_sigterm,
    undisturbed,
)
from benchmarks.walk.show import Board, Display, LiveDisplay, PlainDisplay
from benchmarks.walk.summary import Memory, open_doors, results, since_then

POLICIES = Path(__file__).resolve().parents[1] / "policies" / "demo"
START_LIMIT_S = 60.0
_KEY = re.compile(r"\bsk-us-[0-9A-Za-z]+\b")
_HEADER = (
    "Understudy demo: the teacher is SIMULATED (no provider, no money), and time is compressed "
    "{compression:.0f}x:\nit answers in about {latency:.0f} ms instead of 650 ms. Prices are a real model's."
)


@dataclass(slots=True)
class Demo:
    """One start of the demo: its processes, its memory and its display."""

    options: argparse.Namespace
    home: Path
    children: Children
    board: Board
    display: Display
    memory: Memory
    origin: str = ""
    teacher_url: str = ""
    figures: dict[str, Any] = field(default_factory=dict)

    def show(self) -> None:
        """The walk, or what is remembered of it. Raises WalkFailed."""
        remembered = self.memory.walked
        self.display.start()
        try:
            self._start()
            if not remembered:
                self._walk()
        finally:
            self.display.stop()
        self.display.say("")
        if remembered:
            self._remind()
        self.display.say(results(self.figures, *self._certificate()))
        if not self.options.exit:
            self.display.say("")
            self.display.say(open_doors(self.origin, self.teacher_url, self.memory))

    # ------------------------------------------------------------ start
    def _start(self) -> None:
        line = self.board.lines[0]
        line.state, line.began = "running", time.monotonic()
        self.display.changed(phase=line)
        try:
            self._start_teacher()
            self._start_gateway()
            if not self.memory.key:
                self.memory.key = self._new_key()
                self.memory.save(self.home)
        except WalkFailed as failure:
            line.state, line.result = "failed", str(failure)
            raise
        else:
            line.state, line.result = "done", f"gateway at {self.origin}, admin page at {self.origin}/admin/"
        finally:
            line.took_s = time.monotonic() - line.began
            self.display.changed(phase=line)

    def _start_teacher(self) -> None:
        port = free_port(9090)
        seed, compression = str(self.options.seed), str(self.options.compression)
        arguments = ["--port", str(port), "--seed", seed, "--compression", compression]
        self.children.start("simulated teacher", ["-m", "benchmarks.simulation.teacher", *arguments], {})
        self.teacher_url = f"http://127.0.0.1:{port}"
        self._await(f"{self.teacher_url}/healthz", "the simulated teacher")
        if self.memory.walked:  # a teacher does not forget its change of policy over a restart
            _post(f"{self.teacher_url}/simulation/behaviour", {"behaviour": "drifted"})

    def _start_gateway(self) -> None:
        port = free_port(self.options.port)
        env = {
            "UNDERSTUDY_SIMULATED_TEACHER_URL": f"{self.teacher_url}/v1",
            "UNDERSTUDY_ADMIN_KEY": self.memory.admin_key,
        }
        self.children.start(
            "understudy up", ["-m", "gateway.cli", "up", *self._places(), "--port", str(port)], env
        )
        self.origin = f"http://127.0.0.1:{port}"
        self._await(f"{self.origin}/readyz", "the gateway")

    def _places(self) -> list[str]:
        return ["--policies", str(self.options.policies), "--home", str(self.home)]

    def _await(self, url: str, name: str) -> None:
        """Until ``url`` answers 200. Raises WalkFailed when its process ends or the time is up."""
        deadline = time.monotonic() + START_LIMIT_S
        while time.monotonic() < deadline:
            for child in self.children.running:
                child.check()
            try:
                if httpx.get(url, timeout=2, trust_env=False).status_code == httpx.codes.OK:
                    return
            except httpx.HTTPError:
                pass
            self.display.changed()
            time.sleep(0.1)
        raise WalkFailed(f"{name[0].upper()}{name[1:]} was not ready within {START_LIMIT_S:.0f} s.")

    def _new_key(self) -> str:
        """A key for the demo's client; its text is shown by the CLI once."""
        limits = ["--rpm", "unlimited", "--expires", "never"]
        name = f"demo-{secrets.token_hex(3)}"
        made = self._understudy("keys", "create", "--name", name, *limits)
        found = _KEY.search(made.stdout)
        if made.returncode or found is None:
            raise WalkFailed(f"No key could be made: {(made.stderr or made.stdout).strip()[-400:]}")
        return found[0]

    def _understudy(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "gateway.cli", *arguments, "--home", str(self.home)]
        return subprocess.run(
            command, capture_output=True, text=True, timeout=60, check=False, env=clean_environment()
        )

    # ------------------------------------------------------------ walk
    def _walk(self) -> None:
        traffic, reader = self._start_traffic()
        admin = AdminClient(self.origin, self.memory.admin_key)
        walk = Walk(
            admin, self.teacher_url, TASK, self.children, reader, self.board, self.display, self.figures
        )
        began = time.monotonic()
        try:
            walk.go()
            self.figures["saved_usd"] = walk.totals.saved_usd
            self.figures["total_calls"] = walk.totals.calls
        finally:
            self.children.stop(traffic)
            reader.join(timeout=5)
            self.figures["walk_seconds"] = round(time.monotonic() - began, 1)
            self.figures["client_errors"] = reader.latest.errors
            admin.close()
        self.memory.walked, self.memory.figures = True, self.figures
        self.memory.save(self.home)

    def _start_traffic(self) -> tuple[Any, TrafficReader]:
        arguments = [
            *("-m", "benchmarks.simulation.traffic", "--base-url", f"{self.origin}/v1"),
            *("--rate", str(self.options.rate), "--seed", str(self.options.seed)),
        ]
        traffic = self.children.start(
            "traffic", arguments, {"OPENAI_API_KEY": self.memory.key}, stdout=subprocess.PIPE
        )
        assert traffic.process.stdout is not None
        reader = TrafficReader(traffic.process.stdout)
        reader.start()
        return traffic, reader

    # ------------------------------------------------------------ end
    def _remind(self) -> None:
        admin = AdminClient(self.origin, self.memory.admin_key)
        try:
            self.display.say(since_then(admin.task(TASK), admin.totals()))
        finally:
            admin.close()
        self.display.say(
            "\nThe walk was shown here already; these are its results. See it again: make demo\n"
        )

    def _certificate(self) -> tuple[Path | None, str]:
        """The live student's certificate and what ``understudy verify`` says about it."""
        named = self.figures.get("certificate")
        if not named:
            return None, ""
        path = self.home / named
        checked = self._understudy("verify", str(path))
        self.figures["certificate_verifies"] = checked.returncode == 0
        if checked.returncode:
            raise WalkFailed(
                f"The certificate {path} does not verify: {(checked.stderr or checked.stdout).strip()}"
            )
        return path, checked.stdout.strip()


def _post(url: str, body: dict[str, Any]) -> None:
    httpx.post(url, json=body, timeout=5, trust_env=False).raise_for_status()


def _prepared(home: Path, *, fresh: bool) -> Memory:
    """The demo's folder and memory. A walk that was not finished starts again from nothing."""
    memory = Memory.load(home)
    if home.exists() and (fresh or memory is None or not memory.walked):
        if memory is None and any(home.iterdir()) and not (home / "demo.json").exists():
            raise WalkFailed(f"{home} was not made by the demo, so it is left alone. Pass another --home.")
        shutil.rmtree(home)
        memory = None
    (home / "logs").mkdir(mode=0o700, parents=True, exist_ok=True)
    home.chmod(0o700)
    if memory is None:
        memory = Memory(admin_key=f"ak-us-demo-{secrets.token_urlsafe(24)}")
        memory.save(home)
    return memory


def _demo(options: argparse.Namespace) -> Demo:
    home = (options.home / "demo").resolve()
    memory = _prepared(home, fresh=options.fresh)
    header = _HEADER.format(compression=options.compression, latency=650 / options.compression)
    board = Board(header=header, lines=checklist()[:1] if memory.walked else checklist())
    console = Console()
    plain = options.plain or not console.is_terminal
    display: Display = PlainDisplay(board) if plain else LiveDisplay(board, console)
    return Demo(options, home, Children(home / "logs"), board, display, memory, figures=dict(memory.figures))


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Holds the demo's lock in ``folder``. Raises WalkFailed while another demo runs there."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with (folder / "demo.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise WalkFailed(
                f"A demo is running in {folder} already. Stop it, or pass another --home."
            ) from None
        yield


def main() -> int:
    options = _parsed()
    try:
        with interrupted_by_sigterm(), _alone(options.home):
            return _run(_demo(options))
    except BrokenPipeError:  # whoever read our lines is gone
        return 1
    except (WalkFailed, OSError) as problem:
        print(f"The demo cannot start: {problem}", file=sys.stderr)
        return 1


def _run(demo: Demo) -> int:
    """The demo from start to stop. → exit code."""
    options = demo.options
    try:
        demo.show()
        if not options.exit:
            demo.display.say("\nPress Ctrl-C to stop everything.")
            _stay(demo)
    except KeyboardInterrupt:
        demo.display.say("\nStopping.")
        return 0 if demo.memory.walked else 130
    except (WalkFailed, httpx.HTTPError, LookupError, subprocess.TimeoutExpired) as failure:
        demo.display.say(f"\nThe demo did not get through: {failure}\nLogs: {demo.home / 'logs'}")
        return 1
    finally:
        if options.json is not None:
            options.json.write_bytes(msgspec.json.format(msgspec.json.encode(demo.figures), indent=2))
        with undisturbed():
            demo.children.stop_all()
    return 0


def _stay(demo: Demo) -> None:
    """Until Ctrl-C, or until a process ends by itself (WalkFailed)."""
    while True:
        for child in demo.children.running:
            child.check()
        time.sleep(0.5)


def _parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="understudy demo", description="The whole loop with a simulated teacher, in under three minutes."
    )
    parser.add_argument(
        "--home", type=Path, default=Path(".understudy"), help="the demo keeps its data in HOME/demo"
    )
    parser.add_argument("--fresh", action="store_true", help="forget the last walk first")
    parser.add_argument("--plain", action="store_true", help="plain lines instead of a live display")
    parser.add_argument("--exit", action="store_true", help="stop everything after the walk")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there")
    parser.add_argument("--policies", type=Path, default=POLICIES)
    parser.add_argument("--port", type=int, default=8080, help="the gateway's; the next free one is taken")
    parser.add_argument("--rate", type=float, default=250.0, help="calls a second")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--compression", type=float, default=20.0, help="how much faster than a real teacher")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
