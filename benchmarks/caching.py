"""How fast a cached answer is at a steady rate, what it costs, and how much memory a flood of unique prompts takes.

    python -m benchmarks.caching [--rate 2000] [--seconds 20] [--connections 32] [--prompts 500] [--flood 20000]
                                 [--stream] [--json FILE]

The load is open: request number i is due at ``start + i / rate`` whether or not earlier ones were answered, and its
latency counts from when it was *due*, so that a gateway that falls behind cannot hide it (no coordinated omission).
The gateway has one core to itself, the client and the ingester share the other. ``lateness`` is how long after its due
time a request was written by the client, ``gateway`` the latency without what of it was the client's own: a request
that was due while a connection was free and that the client wrote later counts from when it was written, one that had
to wait for a connection counts the wait. ``machine`` is the same load on a server that says the same bytes to every
request, in the gateway's place: what the two cores let through of their own accord. ``--flood`` asks so many different
prompts of a gateway whose cache may take 16 MiB, and tells its memory before, midway and after.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import select
import socket
import sys
import tempfile
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from benchmarks import machine
from benchmarks.overhead import BODY, KEY, policies, ready
from benchmarks.peers.load import used
from benchmarks.peers.ways import CPU, Way, canned, ourselves
from benchmarks.ports import free_ports

_CACHE_BYTES = 16 * 1024 * 1024
_WARM_S = 2.0


class Figures(dict[str, float]):
    """Milliseconds unless the name says otherwise."""


class Pace:
    """Sends ``payloads`` in turn at a fixed rate over so many connections, and notes when each was answered."""

    def __init__(self, port: int, payloads: Sequence[bytes], connections: int) -> None:
        self._payloads = payloads
        self._idle = deque((_connected(port), 0.0) for _ in range(connections))
        self._busy: dict[socket.socket, tuple[float, float, bytearray]] = {}
        self._waiting: deque[float] = deque()
        self._sent = 0
        self.latencies: list[float] = []
        self.gateways: list[float] = []
        self.lateness: list[float] = []
        self.headers: dict[bytes, int] = {}

    def run(self, rate: float, seconds: float) -> float:
        """Seconds until the last answer. Raises SystemExit for an answer that is no 200."""
        self.latencies, self.gateways, self.lateness, self.headers = [], [], [], {}
        began, count, issued = time.perf_counter(), int(rate * seconds), 0
        while len(self.latencies) < count:
            now = time.perf_counter() - began
            while issued < count and issued / rate <= now:
                self._waiting.append(began + issued / rate)
                issued += 1
            self._send()
            due = issued / rate - (time.perf_counter() - began) if issued < count else 1.0
            ready, _, _ = select.select(list(self._busy), (), (), max(0.0, due))
            for one in ready:
                self._receive(one)
        return time.perf_counter() - began

    def _send(self) -> None:
        while self._waiting and self._idle:
            due, (connection, free_at) = self._waiting.popleft(), self._idle.popleft()
            now = time.perf_counter()
            self.lateness.append(now - due)
            connection.sendall(self._payloads[self._sent % len(self._payloads)])
            self._sent += 1
            self._busy[connection] = due, now - max(0.0, free_at - due), bytearray()

    def _receive(self, connection: socket.socket) -> None:
        due, counted_from, got = self._busy[connection]
        got += connection.recv(1 << 18)
        if not _complete(got):
            return
        now = time.perf_counter()
        self.latencies.append(now - due)
        self.gateways.append(now - counted_from)
        if not got.startswith(b"HTTP/1.1 200"):
            raise SystemExit(f"the gateway answered {bytes(got[:300])!r}")
        at = got.find(b"x-understudy-cache: ")
        how = bytes(got[at + 20 : got.find(b"\r", at)]) if at >= 0 else b"none"
        self.headers[how] = self.headers.get(how, 0) + 1
        del self._busy[connection]
        self._idle.append((connection, now))

    def close(self) -> None:
        for one in (*(free for free, _ in self._idle), *self._busy):
            one.close()


def _connected(port: int) -> socket.socket:
    made = socket.create_connection(("127.0.0.1", port))
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return made


def _complete(got: bytearray) -> bool:
    end = got.find(b"\r\n\r\n")
    if end < 0:
        return False
    at = got.find(b"content-length: ", 0, end)
    if at < 0:
        return got.endswith(b"0\r\n\r\n")
    return len(got) >= end + 4 + int(got[at + 16 : got.find(b"\r", at)])


def payload(prompt: str, *, stream: bool = False) -> bytes:
    """One chat request as bytes; ``prompt`` is its last user text."""
    turns = [*BODY["messages"][:-1], {"role": "user", "content": prompt}]
    body = json.dumps({**BODY, "messages": turns, "temperature": 0, "stream": stream}).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1\r\nauthorization: Bearer {KEY}\r\n"
    return f"{head}content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n".encode() + body


def hits(port: int, way: Way, options: argparse.Namespace) -> Figures:
    """Latency and CPU of answers that are all in the cache."""
    texts = (f"Question {number}? {'word ' * 60}" for number in range(options.prompts))
    payloads = [payload(text, stream=options.stream) for text in texts]
    pace = Pace(port, payloads, options.connections)
    pace.run(min(options.rate, 500), options.prompts / min(options.rate, 500))  # fills the cache
    pace.run(options.rate, _WARM_S)
    before = used(way)
    took = pace.run(options.rate, options.seconds)
    after = used(way)
    pace.close()
    assert before is not None and after is not None
    count = len(pace.latencies)
    return Figures(
        answers=count, rate_per_s=count / took, hit_share=pace.headers.get(b"hit", 0) / count,
        cpu_us_per_hit=(after[0] - before[0]) / count * 1e6, rss_mb=after[1],
        **_percentiles("latency", pace.latencies), **_percentiles("gateway", pace.gateways),
        **_percentiles("lateness", pace.lateness),
    )  # fmt: skip


def control(options: argparse.Namespace) -> Figures:
    """The same load on a server that does nothing but answer."""
    port = free_ports(1)
    with canned(port, cpu=CPU):
        asyncio.run(ready(f"http://127.0.0.1:{port}/"))
        pace = Pace(port, [payload(f"Question {number}?") for number in range(options.prompts)], options.connections)
        pace.run(options.rate, _WARM_S)
        pace.run(options.rate, options.seconds)
        pace.close()
    return Figures(**_percentiles("gateway", pace.gateways), **_percentiles("lateness", pace.lateness))


def flood(port: int, way: Way, count: int, connections: int) -> Figures:
    """Memory while ``count`` different prompts arrive, each a miss."""
    found = Figures()
    for name, many in (("first", count // 10), ("half", count // 2), ("all", count - count // 2 - count // 10)):
        payloads = [payload(f"{name} {number} {os.urandom(8).hex()} {'word ' * 60}") for number in range(many)]
        pace = Pace(port, payloads, connections)
        took = pace.run(800.0, many / 800.0)
        pace.close()
        told = used(way)
        assert told is not None
        found[f"rss_mb_after_{name}"], found[f"per_s_{name}"] = told[1], many / took
    found["prompts"] = count
    return found


def _percentiles(name: str, seconds: list[float]) -> dict[str, float]:
    ordered = sorted(seconds)
    return {
        f"{name}_p{share:g}_ms": ordered[int(share / 100 * (len(ordered) - 1))] * 1000
        for share in (50, 95, 99, 99.9)
    }


@contextmanager
def gateway(cache: str) -> Iterator[tuple[int, Way]]:
    """A gateway with ``cache`` as that section of its gateway.yaml, over one task without capture."""
    base = free_ports(8)
    with tempfile.TemporaryDirectory() as name, canned(base):
        folder = Path(name)
        (folder / "policies").mkdir()
        policies(folder / "policies", base + 1, base)
        with (folder / "policies" / "gateway.yaml").open("a") as settings:
            settings.write(f"cache: {cache}\n")
        with ourselves(folder, base + 1) as way:
            asyncio.run(ready(way.url, way.headers))
            yield base + 1, way


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rate", type=float, default=2000.0, help="requests per second")
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--connections", type=int, default=32)
    parser.add_argument("--prompts", type=int, default=500, help="different ones, all in the cache")
    parser.add_argument("--flood", type=int, default=20_000, help="different prompts, none in the cache; 0: none")
    parser.add_argument("--stream", action="store_true", help="ask for streamed answers")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args(arguments)
    told: dict[str, Figures] = {}
    before = machine.turn_ns()
    with gateway("{enabled: true}") as (port, way):
        told["hits"] = hits(port, way, options)
    told["machine"] = control(options)
    if options.flood:
        with gateway(f"{{enabled: true, max_bytes: {_CACHE_BYTES}}}") as (port, way):
            told["flood"] = flood(port, way, options.flood, options.connections)
    for name, figures in told.items():
        sys.stdout.write(f"{name}\n" + "".join(f"  {key:20} {value:12.3f}\n" for key, value in figures.items()))
    after = machine.turn_ns()
    sys.stdout.write(f"{machine.told(before, after)}\n")
    if options.json:
        options.json.write_text(json.dumps({**told, "turn_ns": [before, after]}, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
