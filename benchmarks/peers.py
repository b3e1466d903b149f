"""Understudy beside other gateways, in one run over one canned upstream: calls per second, latency percentiles, CPU
per call and memory, with one core for the gateway and the other for the load and the upstream.

    python -m benchmarks.peers [--litellm PATH] [--portkey PATH] [--seconds 5] [--json FILE]

Needs wrk. nginx is measured as the floor when it is installed. LiteLLM is measured when its ``litellm`` command is on
PATH or named, Portkey's gateway when its ``start-server.js`` is named. Every gateway runs one worker. Understudy has
authentication, limits, capture, pricing and metrics on, its ingester running; the others as their documents start them.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.overhead import BODY, KEY, child, nginx, policies, ready

CONNECTIONS = (1, 16, 64, 256)
CHAT = "/v1/chat/completions"
_UNITS = {"us": 0.001, "ms": 1.0, "s": 1000.0, "m": 60_000.0}
_CPU, _LOAD_CPU = 0, 1


class Way(NamedTuple):
    """One thing to measure; ``process`` None when its CPU and memory are not of interest."""

    name: str
    url: str
    headers: dict[str, str]
    process: subprocess.Popen[bytes] | None


@contextmanager
def ways(folder: Path, litellm: str, portkey: str) -> Iterator[list[Way]]:
    """Everything that is installed, running and answering."""
    base = 21000 + os.getpid() % 20000
    upstream = base
    home, rules = folder / "home", folder / "policies"
    rules.mkdir()
    policies(rules, base + 1, upstream)
    python = sys.executable
    auth = {"authorization": f"Bearer {KEY}"}
    with ExitStack() as stack:
        stack.enter_context(
            child([python, "-m", "benchmarks.overhead", "--canned", str(upstream)], _LOAD_CPU)
        )
        stack.enter_context(child([python, "-m", "gateway.storage.ingester", "--home", str(home)], _LOAD_CPU))
        serve = [python, "-m", "gateway.server", "--policies", str(rules), "--home", str(home)]
        admin = "ak-" + secrets.token_hex(24)
        ours = stack.enter_context(child(serve, _CPU, UNDERSTUDY_ADMIN_KEY=admin))
        found = [
            Way("direct", f"http://127.0.0.1:{upstream}{CHAT}", auth, None),
            Way("understudy", f"http://127.0.0.1:{base + 1}{CHAT}", auth, ours),
        ]
        if stack.enter_context(nginx(base + 2, upstream)):
            found.append(Way("nginx", f"http://127.0.0.1:{base + 2}{CHAT}", auth, None))
        if litellm:
            found.append(_litellm(stack, folder, litellm, base + 3, upstream))
        if portkey:
            found.append(_portkey(stack, portkey, base + 4, upstream))
        for way in found:
            asyncio.run(ready(way.url, way.headers))
        yield found


def _litellm(stack: ExitStack, folder: Path, binary: str, port: int, upstream: int) -> Way:
    config = folder / "litellm.yaml"
    config.write_text(f"""
model_list:
  - model_name: bench
    litellm_params: {{model: openai/m, api_base: "http://127.0.0.1:{upstream}/v1", api_key: none}}
general_settings: {{master_key: {KEY}}}
""")
    command = [binary, "--config", str(config), "--port", str(port), "--num_workers", "1"]
    quiet = {"LITELLM_LOG": "ERROR", "LITELLM_TELEMETRY": "False", "LITELLM_LOCAL_MODEL_COST_MAP": "True"}
    process = stack.enter_context(child(command, _CPU, **quiet))
    return Way("litellm", f"http://127.0.0.1:{port}{CHAT}", {"authorization": f"Bearer {KEY}"}, process)


def _portkey(stack: ExitStack, script: str, port: int, upstream: int) -> Way:
    node = shutil.which("node") or "node"
    process = stack.enter_context(child([node, script, f"--port={port}", "--headless"], _CPU))
    headers = {
        "authorization": f"Bearer {KEY}",
        "x-portkey-provider": "openai",
        "x-portkey-custom-host": f"http://127.0.0.1:{upstream}/v1",
    }
    return Way("portkey", f"http://127.0.0.1:{port}{CHAT}", headers, process)


def load(way: Way, connections: int, seconds: int, folder: Path) -> dict[str, float]:
    """One closed-loop run of wrk: calls per second, milliseconds, and what the gateway used."""
    script = folder / "post.lua"
    headers = "".join(f'wrk.headers["{name}"] = "{value}"\n' for name, value in way.headers.items())
    body = json.dumps(BODY).replace("\\", "\\\\").replace("'", "\\'")
    script.write_text(
        f"wrk.method = 'POST'\nwrk.body = '{body}'\nwrk.headers['content-type'] = 'application/json'\n{headers}"
    )
    before = _used(way)
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--latency", "-s", str(script), way.url]
    taskset = shutil.which("taskset")
    pinned = [taskset, "-c", str(_LOAD_CPU), *command] if taskset else command
    text = subprocess.run(pinned, capture_output=True, text=True, check=True).stdout
    per_s = float(_found(r"Requests/sec:\s+([\d.]+)", text))
    total = int(_found(r"(\d+) requests in", text))
    refused = re.search(r"Non-2xx or 3xx responses: (\d+)", text)
    found = {
        "per_s": per_s,
        "p50_ms": _milliseconds(_found(r"(?m)^\s+50%\s+(\S+)", text)),
        "p99_ms": _milliseconds(_found(r"(?m)^\s+99%\s+(\S+)", text)),
        "failed": float(refused.group(1)) if refused else 0.0,
    }
    if before is not None and (after := _used(way)) is not None:
        found["cpu_ms_per_call"] = (after[0] - before[0]) / max(1, total) * 1000
        found["rss_mb"] = after[1]
    return found


def _found(pattern: str, text: str) -> str:
    match = re.search(pattern, text)
    if match is None:
        raise SystemExit(f"wrk said something unexpected:\n{text}")
    return match.group(1)


def _milliseconds(text: str) -> float:
    number = re.match(r"([\d.]+)(us|ms|s|m)$", text)
    assert number is not None, text
    return float(number.group(1)) * _UNITS[number.group(2)]


def _used(way: Way) -> tuple[float, float] | None:
    """(CPU seconds, resident megabytes) of the gateway and its children."""
    if way.process is None:
        return None
    ticks, pages = 0, 0
    for pid in _family(way.process.pid):
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
        ticks += int(fields[11]) + int(fields[12])
        pages += int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return ticks / os.sysconf("SC_CLK_TCK"), pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def _family(pid: int) -> list[int]:
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *(one for child_pid in children for one in _family(int(child_pid)))]


def run(seconds: int, litellm: str, portkey: str) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with ways(folder, litellm, portkey) as found:
            for way in found:
                load(way, 16, 2, folder)  # warm
            table = {
                way.name: {str(count): load(way, count, seconds, folder) for count in CONNECTIONS}
                for way in found
            }
    return {"seconds": seconds, "at": time.strftime("%Y-%m-%d"), "ways": table}


def show(result: dict[str, Any]) -> None:
    table = result["ways"]
    print(f"calls per second by connections ({result['seconds']} s each), one core for the gateway")
    print(
        f"{'':12}"
        + "".join(f"{count:>9}" for count in CONNECTIONS)
        + "   p50 c=1  p99 c=16  CPU/call     RSS"
    )
    for name, runs in table.items():
        speeds = "".join(f"{runs[str(count)]['per_s']:>9.0f}" for count in CONNECTIONS)
        busy = runs["16"]
        used = f"{busy['cpu_ms_per_call']:>7.3f}ms{busy['rss_mb']:>6.0f}MB" if "rss_mb" in busy else ""
        print(f"{name:12}{speeds}{runs['1']['p50_ms']:>8.3f}ms{busy['p99_ms']:>8.2f}ms {used}")
    ours = table["understudy"]
    for name, runs in table.items():
        if name not in ("understudy", "direct"):
            ratios = ", ".join(f"{ours[c]['per_s'] / runs[c]['per_s']:.2f} at {c}" for c in runs)
            print(f"understudy / {name}: {ratios}")


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=int, default=5)
    parser.add_argument("--litellm", default=shutil.which("litellm") or "")
    parser.add_argument("--portkey", default="", help="path of Portkey's build/start-server.js")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    if shutil.which("wrk") is None:
        raise SystemExit("This benchmark needs wrk (on Debian and Ubuntu: apt-get install wrk).")
    result = run(options.seconds, options.litellm, options.portkey)
    show(result)
    if options.json:
        options.json.write_text(json.dumps(result, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
