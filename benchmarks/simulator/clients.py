"""The clients of a run: each sends one request over a connection of its own, behaves as the script says, and keeps
what it got."""

from __future__ import annotations

import asyncio
import json
import socket
from dataclasses import dataclass, field
from typing import Any

import httptools

from benchmarks.simulator.providers import MOST_OUTPUT, mark
from benchmarks.simulator.script import Step

PATIENCE_S = 120.0
"""A client that has no answer after so long is stuck: far more than all time-outs of a run together."""


@dataclass
class Got:
    """What became of one request. ``left``: its client went away by itself."""

    step: Step
    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    complete: bool = False
    left: bool = False
    stuck: bool = False

    def on_status(self, _: bytes) -> None:
        pass

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers[name.decode().lower()] = value.decode()

    def on_body(self, body: bytes) -> None:
        self.body += body

    def on_message_complete(self) -> None:
        self.complete = True

    @property
    def text(self) -> str:
        return self.body.decode("utf-8", "replace")


def email(step: Step) -> str:
    return f"person{step.twin}@example.org"


def key_of(project: str) -> str:
    return f"a-key-of-the-project-{project}-0001"


def _prompt(step: Step) -> str:
    return f"This is {mark(step.twin, step.project)}: write to {email(step)} please."


def request_of(step: Step) -> tuple[str, dict[str, Any]]:
    """Path and body."""
    said, model = _prompt(step), "work"
    turns = [{"role": "user", "content": said}]
    streamed = {"stream": True} if step.stream else {}
    usual = {"model": model, **streamed, "temperature": 0}
    if step.route == "responses":
        return "/v1/responses", {**usual, "input": said, "max_output_tokens": MOST_OUTPUT}
    if step.route == "messages":
        return "/v1/messages", {**usual, "messages": turns, "max_tokens": MOST_OUTPUT}
    if step.route == "completions":
        return "/v1/completions", {**usual, "prompt": said, "max_tokens": MOST_OUTPUT}
    if step.route == "embeddings":
        return "/v1/embeddings", {"model": "a/m", "input": said}
    if step.route == "gemini":
        verb = "streamGenerateContent?alt=sse" if step.stream else "generateContent"
        config = {"maxOutputTokens": MOST_OUTPUT, "temperature": 0}
        contents = [{"role": "user", "parts": [{"text": said}]}]
        return f"/v1beta/models/{model}:{verb}", {"contents": contents, "generationConfig": config}
    return "/v1/chat/completions", {**usual, "messages": turns, "max_tokens": MOST_OUTPUT}


def raw_request(path: str, body: bytes, headers: dict[str, str]) -> bytes:
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    head = f"POST {path} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n"
    return f"{head}content-length: {len(body)}\r\n{lines}\r\n".encode() + body


async def ask(port: int, step: Step) -> Got:
    """Sends the request of ``step`` and behaves as it says."""
    path, body = request_of(step)
    headers = {"authorization": f"Bearer {key_of(step.project)}"}
    if step.again or step.number % 5 == 0:
        headers["idempotency-key"] = f"step-{step.twin}"
    got = Got(step)
    try:
        async with asyncio.timeout(PATIENCE_S):
            await _talk(port, raw_request(path, json.dumps(body).encode(), headers), got)
    except TimeoutError:
        got.stuck = True
    except (ConnectionError, OSError):
        pass
    return got


async def _talk(port: int, raw: bytes, got: Got) -> None:
    line = socket.socket()
    line.setblocking(False)
    if got.step.manner == "reads slowly":
        line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    try:
        await asyncio.get_running_loop().sock_connect(line, ("127.0.0.1", port))
        reader, writer = await asyncio.open_connection(sock=line)
    except BaseException:
        line.close()
        raise
    try:
        writer.write(raw)
        await writer.drain()
        await _read(reader, got)
    finally:
        writer.transport.abort() if got.left else writer.close()


async def _read(reader: asyncio.StreamReader, got: Got) -> None:
    parser, step = httptools.HttpResponseParser(got), got.step
    leaves = asyncio.get_running_loop().time() + step.leaves_after
    while not got.complete:
        part = await _part(reader, got, leaves)
        if not part:
            return
        parser.feed_data(part)
        got.status = parser.get_status_code()


async def _part(reader: asyncio.StreamReader, got: Got, leaves: float) -> bytes:
    """The next bytes; b"" at the end, or when the client goes."""
    manner = got.step.manner
    if manner == "reads slowly":
        await asyncio.sleep(0.005)
        return await reader.read(64)
    if manner == "leaves at once" or (manner == "leaves within" and got.body):
        try:
            async with asyncio.timeout_at(leaves):
                return await reader.read(64 if manner == "leaves within" else 65536)
        except TimeoutError:
            got.left = True
            return b""
    return await reader.read(65536)
