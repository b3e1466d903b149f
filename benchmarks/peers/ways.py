"""The gateways that are measured, each with one worker on one core, before one canned upstream."""

from __future__ import annotations

import asyncio
import re
import secrets
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

from benchmarks.overhead import BODY, KEY, child, nginx, policies, ready
from benchmarks.ports import free_ports

CHAT = "/v1/chat/completions"
CPU, LOAD_CPU = 0, 1
_LATER = ["nice", "-n", "10"]
"""As `understudy up` starts the ingester."""
DIRECT, ACROSS = "direct", "direct across"
"""The upstream on the core of the load, where it stands behind every gateway; and on the gateways' core, where a call
has to wake another core and be woken by it, as any call to a gateway or a provider has."""
_AUTH = {"authorization": f"Bearer {KEY}"}

# TensorZero's wheel has no program of its own: its gateway runs inside the interpreter that starts it.
_TENSORZERO = """
import sys, time
from tensorzero.tensorzero import _start_http_gateway
running = _start_http_gateway(
    config_file=sys.argv[1], clickhouse_url=None, postgres_url=None, valkey_url=None, async_setup=False
)
open(sys.argv[2], "w").write(running.base_url)
time.sleep(86400)
"""


class Way(NamedTuple):
    """One thing to measure; ``process`` None when its CPU and memory are not of interest."""

    name: str
    url: str
    headers: dict[str, str]
    process: subprocess.Popen[bytes] | None
    model: str = "bench"


class Installed(NamedTuple):
    """Where peers are: LiteLLM's command, Portkey's ``start-server.js``, a Python that has tensorzero; "" for none."""

    litellm: str = ""
    portkey: str = ""
    tensorzero: str = ""


@contextmanager
def canned(port: int, gap: float = 0.0, cpu: int = LOAD_CPU) -> Iterator[None]:
    """``gap``: seconds between two events of a stream; 0: all of them at once."""
    with child([sys.executable, "-m", "benchmarks.overhead", "--canned", str(port), "--gap", str(gap)], cpu):
        yield


@contextmanager
def ourselves(folder: Path, port: int, name: str = "understudy") -> Iterator[Way]:
    """Our gateway and its ingester over the policies in ``folder``/policies."""
    home, rules = folder / "home", folder / "policies"
    ingest = [*_LATER, sys.executable, "-m", "gateway.storage.spooling.ingester", "--home", str(home)]
    serve = [sys.executable, "-m", "gateway.server", "--policies", str(rules), "--home", str(home)]
    with (
        child(ingest, LOAD_CPU),
        child(serve, CPU, UNDERSTUDY_ADMIN_KEY="ak-" + secrets.token_hex(24)) as process,
    ):
        yield Way(name, f"http://127.0.0.1:{port}{CHAT}", _AUTH, process)


@contextmanager
def ways(folder: Path, installed: Installed, gap: float = 0.0) -> Iterator[list[Way]]:
    """Everything that is installed, running and answering; ``gap`` as for :func:`canned`."""
    base = free_ports(8)
    upstream = base
    (folder / "policies").mkdir()
    policies(folder / "policies", base + 1, upstream)
    with ExitStack() as stack:
        stack.enter_context(canned(upstream, gap))
        stack.enter_context(canned(base + 5, gap, CPU))
        found = [
            Way(DIRECT, f"http://127.0.0.1:{upstream}{CHAT}", _AUTH, None),
            Way(ACROSS, f"http://127.0.0.1:{base + 5}{CHAT}", _AUTH, None),
            stack.enter_context(ourselves(folder, base + 1)),
        ]
        if (proxy := stack.enter_context(nginx(base + 2, upstream))) is not None:
            found.append(Way("nginx", f"http://127.0.0.1:{base + 2}{CHAT}", _AUTH, proxy))
        if installed.tensorzero:
            found.append(_tensorzero(stack, folder, installed.tensorzero, upstream))
        if installed.portkey:
            found.append(_portkey(stack, installed.portkey, base + 4, upstream))
        if installed.litellm:
            found.append(_litellm(stack, folder, installed.litellm, base + 3, upstream))
        for way in found:
            asyncio.run(ready(way.url, way.headers, {**BODY, "model": way.model}))
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
    process = stack.enter_context(child(command, CPU, **quiet))
    return Way("litellm", f"http://127.0.0.1:{port}{CHAT}", _AUTH, process)


def _portkey(stack: ExitStack, script: str, port: int, upstream: int) -> Way:
    node = shutil.which("node") or "node"
    process = stack.enter_context(child([node, script, f"--port={port}", "--headless"], CPU))
    headers = {
        **_AUTH,
        "x-portkey-provider": "openai",
        "x-portkey-custom-host": f"http://127.0.0.1:{upstream}/v1",
    }
    return Way("portkey", f"http://127.0.0.1:{port}{CHAT}", headers, process)


def _tensorzero(stack: ExitStack, folder: Path, python: str, upstream: int) -> Way:
    config, told = folder / "tensorzero.toml", folder / "tensorzero.url"
    config.write_text(f"""
[gateway]
observability.enabled = false
[models.bench]
routing = ["canned"]
[models.bench.providers.canned]
type = "openai"
model_name = "m"
api_base = "http://127.0.0.1:{upstream}/v1/"
api_key_location = "none"
""")
    process = stack.enter_context(child([python, "-c", _TENSORZERO, str(config), str(told)], CPU))
    until = time.monotonic() + 60
    while not (told.exists() and re.match(r"http://.+", told.read_text())):
        if time.monotonic() > until or process.poll() is not None:
            raise SystemExit("TensorZero's gateway did not start.")
        time.sleep(0.05)
    url = told.read_text() + "/chat/completions"
    return Way("tensorzero", url, _AUTH, process, "tensorzero::model_name::bench")
