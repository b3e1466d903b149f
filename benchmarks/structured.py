"""What it costs to hold an answer to a JSON schema: the same call to a vendor that guarantees the form (nothing is
checked), and to one that does not. One connection, one canned upstream, one run; CPU time of the gateway's process,
which a busy machine disturbs less than the clock.

    python -m benchmarks.structured [--calls 2000] [--rounds 5] [--properties 20]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import secrets
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import aiohttp

from benchmarks.overhead import KEY, child
from benchmarks.ports import free_ports

_WAYS = {
    "free": "no form asked for",
    "strict": "guaranteed by the vendor",
    "guided": "checked by the gateway",
}


def form(properties: int) -> dict[str, Any]:
    """A strict schema of ``properties`` texts, a closed set and a list of numbers."""
    fields: dict[str, Any] = {
        f"field_{at}": {"type": "string", "pattern": "^[a-z ]+$"} for at in range(properties)
    }
    fields["kind"] = {"enum": ["one", "two"]}
    fields["numbers"] = {"type": "array", "items": {"type": "integer"}}
    schema = {
        "type": "object", "properties": fields, "required": list(fields), "additionalProperties": False,
    }  # fmt: skip
    return {"type": "json_schema", "json_schema": {"name": "bench", "strict": True, "schema": schema}}


def answer(properties: int) -> bytes:
    value: dict[str, Any] = {f"field_{at}": "some words of text" for at in range(properties)}
    text = json.dumps({**value, "kind": "one", "numbers": list(range(20))})
    return json.dumps({
        "id": "x", "object": "chat.completion", "created": 1, "model": "m",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 200, "completion_tokens": 150, "total_tokens": 350},
    }).encode()  # fmt: skip


def policies(folder: Path, port: int, upstream: int) -> None:
    base = f'base_url: "http://127.0.0.1:{upstream}/v1", api_key: none-needed-here'
    (folder / "gateway.yaml").write_text(
        f"server: {{host: 127.0.0.1, port: {port}}}\nproviders:\n"
        f"  free: {{type: openai, {base}}}\n"
        f"  strict: {{type: openai, {base}, traits: {{structured: strict}}}}\n"
        f"  guided: {{type: openai, profile: together, {base}}}\n"
        f'keys: [{{name: bench, key: "{KEY}", project: default}}]\n'
    )


async def canned(port: int, body: bytes) -> asyncio.Server:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).lower()
                await reader.readexactly(int(head.split(b"content-length:")[1].split(b"\r\n")[0]))
                length = str(len(body)).encode()
                writer.write(
                    b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: " + length
                )
                writer.write(b"\r\n\r\n" + body)
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            writer.close()

    return await asyncio.start_server(serve, "127.0.0.1", port)


def spent(pid: int) -> float:
    """Microseconds of CPU that a process has used (Linux)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK") * 1e6


async def ask(session: aiohttp.ClientSession, url: str, body: bytes, calls: int) -> None:
    """Raises SystemExit when a call fails."""
    for _ in range(calls):
        async with session.post(url, data=body) as reply:
            await reply.read()
            if reply.status != 200:
                raise SystemExit(f"{url} answered {reply.status}")


async def run(calls: int, rounds: int, properties: int) -> dict[str, list[float]]:
    base = free_ports(8)
    found: dict[str, list[float]] = {name: [] for name in _WAYS}
    with tempfile.TemporaryDirectory() as folder:
        home, rules = Path(folder) / "home", Path(folder) / "policies"
        rules.mkdir()
        policies(rules, base + 1, base)
        server = await canned(base, answer(properties))
        serve = [sys.executable, "-m", "gateway.server", "--policies", str(rules), "--home", str(home)]
        secret = {"UNDERSTUDY_ADMIN_KEY": "ak-" + secrets.token_hex(24)}
        url = f"http://127.0.0.1:{base + 1}/v1/chat/completions"
        headers = {"authorization": f"Bearer {KEY}", "content-type": "application/json"}
        with child(serve, 0, **secret) as gateway:
            async with aiohttp.ClientSession(headers=headers) as session:
                await up(session, f"http://127.0.0.1:{base + 1}/healthz")
                bodies = {name: request(name, properties) for name in _WAYS}
                for turn in range(rounds + 1):
                    for name, body in bodies.items():
                        before = spent(gateway.pid)
                        await ask(session, url, body, calls if turn else 50)
                        if turn:  # the first turn warms up
                            found[name].append((spent(gateway.pid) - before) / calls)
        server.close()
    return found


def request(name: str, properties: int) -> bytes:
    asked: dict[str, Any] = {"model": f"{name}/m", "messages": [{"role": "user", "content": "Hello " * 60}]}
    return json.dumps(asked if name == "free" else {**asked, "response_format": form(properties)}).encode()


async def up(session: aiohttp.ClientSession, url: str) -> None:
    """Waits for the gateway. Raises SystemExit after a minute."""
    until = time.monotonic() + 60
    while time.monotonic() < until:
        try:
            async with session.get(url) as reply:
                if reply.status == 200:
                    return
        except aiohttp.ClientError:
            pass
        await asyncio.sleep(0.1)
    raise SystemExit(f"{url} did not answer within 60 seconds")


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--calls", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--properties", type=int, default=20)
    options = parser.parse_args()
    found = asyncio.run(run(options.calls, options.rounds, options.properties))
    print(
        f"n = {options.calls} calls a round, {options.rounds} rounds; CPU of the gateway, "
        "microseconds a call: median (lowest-highest round)"
    )
    for name, medians in found.items():
        print(f"{_WAYS[name]:28}{statistics.median(medians):>8.0f}  ({min(medians):.0f}-{max(medians):.0f})")
    return 0


if __name__ == "__main__":
    sys.exit(main())
