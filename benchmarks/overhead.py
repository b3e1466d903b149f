"""What the gateway adds to a call: latency at one connection and throughput at sixteen, beside a direct call
and (when it is installed) nginx as a reverse proxy, measured in one run against one canned upstream.

    python -m benchmarks.overhead [--calls 2000] [--json FILE]

Everything a production call does is on: authentication, limits, capture, pricing, metrics.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import secrets
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import aiohttp

from benchmarks.ports import free_ports

KEY = "benchmark-key-" + secrets.token_hex(16)
BODY = {
    "model": "bench",
    "messages": [
        {"role": "system", "content": "Answer briefly. " * 20},
        {"role": "user", "content": "Hello " * 60},
    ],
}
ANSWER = json.dumps({
    "id": "chatcmpl-x", "object": "chat.completion", "created": 1, "model": "m",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "word " * 150, "refusal": None},
                 "logprobs": None, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 200, "completion_tokens": 150, "total_tokens": 350},
}).encode()  # fmt: skip
EVENTS = 200
"""Events of a streamed answer that carry text; an opening, a closing and a usage event stand around them."""


def _streamed() -> list[bytes]:
    """The events of a streamed answer as a provider sends them."""

    def event(delta: dict[str, str], finish: str | None = None, **more: Any) -> bytes:
        choices = [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}]
        data = {
            "id": "chatcmpl-x", "object": "chat.completion.chunk", "created": 1, "model": "m",
            "service_tier": "default", "system_fingerprint": "fp_1", "choices": choices, "usage": None, **more,
        }  # fmt: skip
        return b"data: " + json.dumps(data, separators=(",", ":")).encode() + b"\n\n"

    usage = {"prompt_tokens": 200, "completion_tokens": EVENTS, "total_tokens": 200 + EVENTS}
    events = [event({"role": "assistant", "content": ""})]
    events += [event({"content": f" word{number}"}) for number in range(EVENTS)]
    return [*events, event({}, "stop"), event({}, choices=[], usage=usage), b"data: [DONE]\n\n"]


def _chunked(events: list[bytes]) -> list[bytes]:
    """An answer of ``events``, each in an HTTP chunk of its own; the head is with the first, the end with the last."""
    head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n" + _AT_ONCE
    first, *more = (b"%x\r\n%b\r\n" % (len(one), one) for one in events)
    return [head + first, *more[:-1], more[-1] + b"0\r\n\r\n"]


def _anthropic_streamed() -> list[bytes]:
    """The same answer as Anthropic's API streams it, event by event."""

    def event(kind: str, **more: Any) -> bytes:
        return f"event: {kind}\ndata: {json.dumps({'type': kind, **more}, separators=(',', ':'))}\n\n".encode()

    message: dict[str, Any] = {
        "id": "msg_x", "type": "message", "role": "assistant", "content": [], "model": "m", "stop_reason": None,
        "stop_sequence": None, "usage": {"input_tokens": 200, "output_tokens": 1},
    }  # fmt: skip
    return [
        event("message_start", message=message),
        event("content_block_start", index=0, content_block={"type": "text", "text": ""}),
        *(
            event("content_block_delta", index=0, delta={"type": "text_delta", "text": f" word{number}"})
            for number in range(EVENTS)
        ),
        event("content_block_stop", index=0),
        event("message_delta", delta={"stop_reason": "end_turn", "stop_sequence": None},
              usage={"output_tokens": EVENTS}),
        event("message_stop"),
    ]  # fmt: skip


_AT_ONCE = b"x-accel-buffering: no\r\n\r\n"
"""nginx waits for no more than has come."""
_STREAM, _ANTHROPIC_STREAM = _chunked(_streamed()), _chunked(_anthropic_streamed())
_HEAD = f"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {len(ANSWER)}\r\n\r\n".encode()


class _Canned(asyncio.Protocol):
    """The fastest upstream in reach: answers every request with the same bytes, Anthropic's path in its dialect.
    ``gap``: seconds between two events of a stream; 0: all of them at once."""

    def __init__(self, gap: float) -> None:
        self._gap = gap

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self._buffer = b""

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while (end := self._buffer.find(b"\r\n\r\n")) >= 0:
            head = self._buffer[:end].lower()
            at = head.find(b"content-length:")
            length = int(head[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
            if len(self._buffer) < end + 4 + length:
                return
            body, self._buffer = self._buffer[end + 4 : end + 4 + length], self._buffer[end + 4 + length :]
            wants_stream = b'"stream": true' in body or b'"stream":true' in body
            stream = _ANTHROPIC_STREAM if b"/messages " in head[:100] else _STREAM
            if wants_stream and self._gap:
                self._say(stream, 0)
            else:
                self._transport.write(b"".join(stream) if wants_stream else _HEAD + ANSWER)  # type: ignore[attr-defined]

    def _say(self, stream: list[bytes], at: int) -> None:
        self._transport.write(stream[at])  # type: ignore[attr-defined]
        if at + 1 < len(stream):
            asyncio.get_running_loop().call_later(self._gap, self._say, stream, at + 1)


async def _canned(port: int, gap: float) -> None:
    server = await asyncio.get_running_loop().create_server(lambda: _Canned(gap), "127.0.0.1", port, backlog=1024)
    await server.serve_forever()


def policies(folder: Path, port: int, upstream: int) -> None:
    """A policies folder with one capturing task over the canned upstream."""
    (folder / "gateway.yaml").write_text(f"""
server: {{host: 127.0.0.1, port: {port}}}
providers:
  canned: {{type: openai, base_url: "http://127.0.0.1:{upstream}/v1", api_key: none-needed-here}}
keys: [{{name: bench, key: "{KEY}", project: default}}]
prices: {{canned: {{m: {{input: 1.0, output: 2.0, as_of: "2026-01-01", source: "invented for this benchmark"}}}}}}
""")
    (folder / "routing.yaml").write_text("""
tasks:
  - {name: bench, teacher: {provider: canned, model: m}, candidates: [{provider: canned, model: m}],
     capture: {rate: 1.0, mask: true, retention_days: 1}}
""")


@contextmanager
def child(command: list[str], cpu: int, **env: str) -> Iterator[subprocess.Popen[bytes]]:
    taskset = shutil.which("taskset")
    pinned = [taskset, "-c", str(cpu % (os.cpu_count() or 1)), *command] if taskset else command
    process = subprocess.Popen(
        pinned, env={**os.environ, **env}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:  # what was measured is worth more than how somebody ends
            process.kill()
            process.wait()


@contextmanager
def nginx(port: int, upstream: int) -> Iterator[subprocess.Popen[bytes] | None]:
    binary = shutil.which("nginx") or "/usr/sbin/nginx"
    if not Path(binary).exists():
        yield None
        return
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "nginx.conf"
        config.write_text(f"""
worker_processes 1; daemon off; pid {folder}/pid; error_log {folder}/log;
events {{ worker_connections 1024; }}
http {{ access_log off; client_body_temp_path {folder}; proxy_temp_path {folder};
  upstream u {{ server 127.0.0.1:{upstream}; keepalive 64; }}
  server {{ listen 127.0.0.1:{port};
    location / {{ proxy_pass http://u; proxy_http_version 1.1; proxy_set_header Connection ""; }} }} }}
""")
        with child([binary, "-c", str(config), "-p", folder], 0) as process:
            yield process


async def ready(url: str, headers: dict[str, str] | None = None, body: dict[str, Any] | None = None) -> None:
    """Waits until ``url`` answers a call. Raises SystemExit after three minutes."""
    until = time.monotonic() + 180
    auth = {"authorization": f"Bearer {KEY}"}
    async with aiohttp.ClientSession() as session:
        while time.monotonic() < until:
            try:
                async with session.post(url, json=body or BODY, headers=headers or auth) as answer:
                    if answer.status == 200:
                        return
            except aiohttp.ClientError:
                pass
            await asyncio.sleep(0.1)
    raise SystemExit(f"{url} did not answer within three minutes")


async def measure(url: str, calls: int, connections: int) -> dict[str, float]:
    """Latency in milliseconds and calls per second over ``connections`` closed loops."""
    headers = {"authorization": f"Bearer {KEY}", "content-type": "application/json"}
    raw, times = json.dumps(BODY).encode(), []
    connector = aiohttp.TCPConnector(limit=connections)
    async with aiohttp.ClientSession(connector=connector, headers=headers) as session:

        async def loop(count: int) -> None:
            for _ in range(count):
                began = time.perf_counter()
                async with session.post(url, data=raw) as answer:
                    await answer.read()
                    if answer.status != 200:
                        raise SystemExit(f"{url} answered {answer.status}")
                times.append((time.perf_counter() - began) * 1000)

        await asyncio.gather(*(loop(20) for _ in range(connections)))
        times.clear()
        began = time.perf_counter()
        await asyncio.gather(*(loop(calls // connections) for _ in range(connections)))
        took = time.perf_counter() - began
    times.sort()
    return {
        "p50_ms": statistics.median(times),
        "p99_ms": times[int(0.99 * (len(times) - 1))],
        "per_s": len(times) / took,
    }


async def run(calls: int, rounds: int) -> dict[str, Any]:
    base = free_ports(8)
    upstream, gateway, proxy = base, base + 1, base + 2
    chat = "/v1/chat/completions"
    with tempfile.TemporaryDirectory() as folder:
        home, rules = Path(folder) / "home", Path(folder) / "policies"
        rules.mkdir()
        policies(rules, gateway, upstream)
        canned = [sys.executable, "-m", "benchmarks.overhead", "--canned", str(upstream)]
        ingest = [sys.executable, "-m", "gateway.storage.spooling.ingester", "--home", str(home)]
        serve = [sys.executable, "-m", "gateway.server", "--policies", str(rules), "--home", str(home)]
        secret = {"UNDERSTUDY_ADMIN_KEY": "ak-" + secrets.token_hex(24)}
        with (
            child(canned, 1),
            child(ingest, 1),
            child(serve, 0, **secret),
            nginx(proxy, upstream) as has_nginx,
        ):
            ways = {
                "direct": f"http://127.0.0.1:{upstream}{chat}",
                "understudy": f"http://127.0.0.1:{gateway}{chat}",
            }
            if has_nginx:
                ways["nginx"] = f"http://127.0.0.1:{proxy}{chat}"
            for url in ways.values():
                await ready(url)
            one = await _rounds(ways, rounds, lambda url: measure(url, calls, 1))
            many = await _rounds(ways, rounds, lambda url: measure(url, calls * 2, 16))
    return {"calls": calls, "rounds": rounds, "c1": one, "c16": many}


async def _rounds(
    ways: dict[str, str], rounds: int, once: Callable[[str], Awaitable[dict[str, float]]]
) -> dict[str, dict[str, float]]:
    """Each way in turn, several times over; the median of each figure, so that a drifting machine is fair."""
    found: dict[str, list[dict[str, float]]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, url in ways.items():
            found[name].append(await once(url))
    return {
        name: {figure: statistics.median(one[figure] for one in runs) for figure in runs[0]}
        for name, runs in found.items()
    }


def show(result: dict[str, Any]) -> None:
    direct = result["c1"]["direct"]["p50_ms"]
    print(f"n = {result['calls']} calls a round, {result['rounds']} rounds, medians")
    print(f"{'':12}{'p50 c=1':>10}{'added':>9}{'p99 c=1':>10}{'calls/s c=16':>14}{'p99 c=16':>10}")
    for name, one in result["c1"].items():
        many = result["c16"][name]
        print(
            f"{name:12}{one['p50_ms']:>8.3f}ms{one['p50_ms'] - direct:>7.3f}ms{one['p99_ms']:>8.3f}ms"
            f"{many['per_s']:>14.0f}{many['p99_ms']:>8.2f}ms"
        )


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--calls", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--canned", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--gap", type=float, default=0.0, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.canned:
        asyncio.run(_canned(options.canned, options.gap))
        return 0
    result = asyncio.run(run(options.calls, options.rounds))
    show(result)
    if options.json:
        options.json.write_text(json.dumps(result, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
