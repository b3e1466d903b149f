"""How long `understudy serve` takes from its start until it can answer, its modules compiled as pip leaves them."""

from __future__ import annotations

import secrets
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.overhead import child, policies
from benchmarks.peers.load import used
from benchmarks.peers.ways import CPU, Way
from benchmarks.ports import free_ports

_ASK = b"GET /readyz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n"


def start(rounds: int = 5) -> dict[str, float]:
    """Medians of the seconds until /readyz says yes, on the clock and of CPU. The first start compiles what a source
    tree has not compiled, and does not count."""
    base = free_ports(8)
    clock, cpu = [], []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "policies").mkdir()
        policies(folder / "policies", base, base + 1)
        places = ["--policies", str(folder / "policies"), "--home", str(folder / "home")]
        _database(folder / "home")
        installed = {"PYTHONDONTWRITEBYTECODE": "", "PYTHONPYCACHEPREFIX": str(folder / "compiled")}
        for at in range(rounds + 1):
            began = time.perf_counter()
            command = [sys.executable, "-m", "gateway.cli", "serve", *places]
            key = "ak-" + secrets.token_hex(24)
            with child(command, CPU, UNDERSTUDY_ADMIN_KEY=key, **installed) as process:
                while not _ready(base):
                    if process.poll() is not None or time.perf_counter() - began > 60:
                        raise RuntimeError("understudy serve did not become ready")
                    time.sleep(0.005)
                if not at:
                    continue
                clock.append(time.perf_counter() - began)
                if (found := used(Way("", "", {}, process))) is not None:
                    cpu.append(found[0])
    return {"ready_s": statistics.median(clock), "cpu_s": statistics.median(cpu)}


def _database(home: Path) -> None:
    """A database as an ingester leaves it: without one the gateway is not ready."""
    ingest = [sys.executable, "-m", "gateway.storage.spooling.ingester", "--home", str(home)]
    with subprocess.Popen(ingest, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if line.rstrip().endswith("ready"):
                break
        process.terminate()


def _ready(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), 1.0) as line:
            line.sendall(_ASK)
            return line.recv(64).startswith(b"HTTP/1.1 200")
    except OSError:
        return False
