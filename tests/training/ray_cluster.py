"""A Ray cluster of this machine alone, for the tests: its head, without pages, statistics or a reach outside."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_RAY = [sys.executable, "-W", "ignore", "-m", "ray.scripts.scripts"]
_PATIENCE_S = 120.0
_SETTINGS = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_worker_niceness": "0",
    "RAY_worker_register_timeout_seconds": "600",  # a machine that stands still is not a failure
    "RAY_memory_monitor_refresh_ms": "0",  # neither is one whose memory others use
}


@contextmanager
def cluster() -> Iterator[tuple[str, Path]]:
    """(its address, the folder that its processes name)."""
    with tempfile.TemporaryDirectory(prefix="ray", dir="/tmp", ignore_cleanup_errors=True) as folder:  # sockets want short paths
        about = ["--head", "--block", "--port=0", "--num-cpus=2", f"--temp-dir={folder}", "--include-dashboard=false"]
        bounds = ["--disable-usage-stats", "--object-store-memory=100000000", "--min-worker-port=0", "--max-worker-port=0",
                  "--dashboard-agent-listen-port=0"]  # fmt: skip
        environment = os.environ | _SETTINGS
        with (Path(folder) / "log").open("wb") as log:
            head = subprocess.Popen([*_RAY, "start", *about, *bounds], stdout=log, stderr=log, env=environment, start_new_session=True)
        try:
            yield _address(Path(folder), head), Path(folder)
        finally:
            os.killpg(head.pid, signal.SIGKILL)  # asked politely it waits half a minute for its own
            head.wait(_PATIENCE_S)
            while left := [*workers_of(folder), *processes_of(folder)]:
                for process in left:
                    with suppress(ProcessLookupError):
                        os.kill(process, signal.SIGKILL)
                time.sleep(0.05)


def processes_of(folder: str | Path) -> list[int]:
    """The cluster's own processes, by what their command lines name."""
    return [number for number, words, _ in _running() if str(folder) in words]


def workers_of(folder: str | Path) -> dict[int, str]:
    """What the processes at work in the cluster call themselves, by number."""
    heads = set(processes_of(folder))
    return {number: words for number, words, above in _running() if above in heads and words.startswith("ray::")}


def _running() -> Iterator[tuple[int, str, int]]:
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            words = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            state, above = (entry / "stat").read_text().rpartition(")")[2].split()[:2]
        except OSError:
            continue
        if state != "Z":
            yield int(entry.name), words, int(above)


def _address(folder: Path, head: subprocess.Popen[bytes]) -> str:
    until = time.monotonic() + _PATIENCE_S
    while time.monotonic() < until:
        if head.poll() is not None or "Ray runtime started" in (folder / "log").read_text():
            break
        time.sleep(0.1)
    found = folder / "ray_current_cluster"
    assert found.exists() and head.poll() is None, (folder / "log").read_text()
    return found.read_text().strip()
