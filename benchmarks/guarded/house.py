"""A gateway of the benchmark's own, in front of a provider that notes what it was sent."""

from __future__ import annotations

import contextlib
import http.server
import json
import secrets
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx

from benchmarks.walk.processes import Children, WalkFailed, free_port

TASK = "guarded"
_START_S = 240.0
_POLICIES = """\
server: {{host: 127.0.0.1, port: {port}}}
surface: {{moderations: local}}
providers:
  echo: {{type: openai, base_url: "http://127.0.0.1:{upstream}/v1", api_key: nobody, simulated: true}}
keys: [{{name: bench, key: {key}, project: default}}]
tasks:
{tasks}
guardrails:
{guards}
"""
ALONE = "alone-"
"""How the tasks are called that have one guardrail alone; "alone-nothing" has none."""
DEFAULT, TOGETHER = "default", ("pii", "injection")
"""A task beside those, with the guardrails of the template ``default`` together."""


def usual_guards(model: Path | None = None, *, presidio: bool = False) -> dict[str, str]:
    """The guardrails whose finds are measured, as YAML by name."""
    fitted = f", model: {json.dumps(str(model.resolve()))}" if model else ""
    asked = ", presidio: {}, timeout_ms: 10000" if presidio else ""
    return {
        "personal": f"type: pii, directions: [input]{asked}",
        "injection": f"type: injection, action: block{fitted}",
        "toxicity": "type: toxicity, action: flag",
        "grounds": "type: groundedness, action: block",
    }


def _policies(port: int, upstream: int, key: str, guards: Mapping[str, str], *, alone: bool) -> str:
    names = [TASK] if not alone else [ALONE + name for name in ("nothing", DEFAULT, *guards)]
    tasks = [f"  - {{name: {name}, candidates: [{{provider: echo, model: m}}]}}" for name in names]
    where = {name: [name, DEFAULT] if name in TOGETHER else [name] for name in guards}
    scoped = {
        name: f"{settings}, tasks: [{', '.join(ALONE + one for one in where[name])}]" if alone else settings
        for name, settings in guards.items()
    }
    lines = [f"  {name}: {{{settings}}}" for name, settings in scoped.items()]
    return _POLICIES.format(
        port=port, upstream=upstream, key=key, tasks="\n".join(tasks), guards="\n".join(lines)
    )


class _Echo(http.server.BaseHTTPRequestHandler):
    """Notes the user's text as it came (what a guardrail masked is seen by its absence) and answers as it is told."""

    protocol_version = "HTTP/1.1"
    wbufsize = 65536
    """Headers and body leave in one packet, or the kernel would wait 40 ms between them."""

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        said = body["messages"][-1]["content"]
        text = said if isinstance(said, str) else json.dumps(said)
        self.server.heard.append(text)  # type: ignore[attr-defined]
        says = self.server.says[-1]  # type: ignore[attr-defined]
        answer: dict[str, Any] = {
            "id": "x", "object": "chat.completion", "created": 0, "model": "m",
            "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": says}}],
            "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
        }  # fmt: skip
        payload = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(payload)))
        self.end_headers()
        self.wfile.write(payload)

    def log_message(self, *_: object) -> None:
        pass


def fitted(folder: Path, rows: Iterable[Mapping[str, Any]]) -> Path:
    """A model that ``understudy guards train`` makes of ``rows``, as anybody would have it: without options. Raises
    WalkFailed with what the command said."""
    data, model = folder / "taught.jsonl", folder / "fitted"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    command = [sys.executable, "-m", "gateway.cli", "guards", "train", str(data), "--out", str(model)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise WalkFailed(done.stderr.strip() or "understudy guards train failed.")
    return model


class House:
    """``base_url`` and ``key`` of the gateway; ``heard`` is what the provider was sent, newest last, and the last of
    ``says`` what it answers."""

    def __init__(self, base_url: str, key: str, heard: list[str], says: list[str]) -> None:
        self.base_url, self.key, self.heard, self.says = base_url, key, heard, says


@contextlib.contextmanager
def house(folder: Path, guards: Mapping[str, str], *, alone: bool = False) -> Iterator[House]:
    """A running gateway with ``guards`` (YAML settings by name) on one task, or each ``alone`` on a task of its own.
    Raises WalkFailed when it does not start."""
    heard: list[str] = []
    says = ["ok"]
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Echo) as provider:
        provider.heard, provider.says = heard, says  # type: ignore[attr-defined]
        threading.Thread(target=provider.serve_forever, daemon=True).start()
        key, port = "bench-" + secrets.token_hex(16), free_port(8280)
        policies = folder / "policies"
        policies.mkdir(parents=True)
        text = _policies(port, provider.server_port, key, guards, alone=alone)
        (policies / "gateway.yaml").write_text(text)
        (folder / "logs").mkdir()
        children = Children(folder / "logs")
        try:
            arguments = [
                "-m",
                "gateway.cli",
                "serve",
                "--policies",
                str(policies),
                "--home",
                str(folder / "home"),
            ]
            child = children.start(
                "understudy serve", arguments, {"UNDERSTUDY_ADMIN_KEY": secrets.token_urlsafe(24)}
            )
            deadline = time.monotonic() + _START_S
            while not _alive(port):
                child.check()
                if time.monotonic() > deadline:
                    raise WalkFailed(f"The gateway was not ready within {_START_S:.0f} s.")
                time.sleep(0.05)
            yield House(f"http://127.0.0.1:{port}/v1", key, heard, says)
        finally:
            children.stop_all()
            provider.shutdown()


def _alive(port: int) -> bool:
    with contextlib.suppress(httpx.HTTPError):
        return (
            httpx.get(f"http://127.0.0.1:{port}/healthz", timeout=2, trust_env=False).status_code
            == httpx.codes.OK
        )
    return False
