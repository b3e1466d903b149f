"""A scripted provider: a real HTTP/1.1 server on loopback whose every answer a test decides.

It stands in for paid providers only. It logs each request, and whether the gateway hung up on it.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

COMPLETION: dict[str, Any] = {
    "id": "chatcmpl-upstream", "object": "chat.completion", "created": 1, "model": "upstream-model",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "hello", "refusal": None},
                 "logprobs": None, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 1000, "completion_tokens": 100, "total_tokens": 1100,
              "prompt_tokens_details": {"cached_tokens": 400}},
}  # fmt: skip


def chunk(delta: dict[str, Any], finish: str | None = None, **more: Any) -> dict[str, Any]:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return {
        "id": "c",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": "m",
        "choices": [choice],
        **more,
    }


CHUNKS = [
    chunk({"role": "assistant", "content": ""}, usage=None),
    chunk({"content": "hel"}, usage=None),
    chunk({"content": "lo"}, usage=None),
    chunk({}, "stop", usage=None),
    {**chunk({}), "choices": [], "usage": COMPLETION["usage"]},
]


def sse(chunks: list[dict[str, Any]] = CHUNKS, *, done: bool = True) -> bytes:
    frames = b"".join(b"data: " + json.dumps(one).encode() + b"\n\n" for one in chunks)
    return frames + (b"data: [DONE]\n\n" if done else b"")


@dataclass
class Seen:
    path: str
    headers: dict[str, str]
    body: Any
    peer_left: asyncio.Event = field(default_factory=asyncio.Event)


@dataclass
class Line:
    """What a behaviour writes with."""

    writer: asyncio.StreamWriter
    seen: Seen

    async def answer(
        self, status: int = 200, body: Any = COMPLETION, headers: dict[str, str] | None = None
    ) -> None:
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        head = {"content-type": "application/json", "content-length": str(len(raw)), **(headers or {})}
        await self.start(status, head)
        self.writer.write(raw)
        await self.writer.drain()

    async def start(self, status: int, headers: dict[str, str]) -> None:
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        self.writer.write(f"HTTP/1.1 {status} X\r\n{lines}\r\n".encode())
        await self.writer.drain()

    async def stream(self, raw: bytes, *, cut: bool = False, pause: float = 0.0, piece: int = 0) -> None:
        await self.start(200, {"content-type": "text/event-stream", "transfer-encoding": "chunked"})
        for at in range(0, len(raw), piece or len(raw)):
            part = raw[at : at + (piece or len(raw))]
            self.writer.write(f"{len(part):x}\r\n".encode() + part + b"\r\n")
            await self.writer.drain()
            if pause:
                await asyncio.sleep(pause)
        if cut:
            self.writer.transport.abort()
            return
        self.writer.write(b"0\r\n\r\n")
        await self.writer.drain()

    async def hang(self) -> None:
        """Says nothing until the other side leaves."""
        await self.seen.peer_left.wait()


Behaviour = Callable[[Line], Awaitable[None]]


async def usual(line: Line) -> None:
    """What a healthy provider does."""
    if line.seen.body and line.seen.body.get("stream"):
        await line.stream(sse())
    else:
        await line.answer()


def body_of(headers: dict[str, str], raw: bytes) -> Any:
    """JSON decoded, anything else as its bytes."""
    if not raw:
        return None
    return json.loads(raw) if "json" in headers.get("content-type", "json") else raw


class Provider:
    """``behave`` is replaced by tests; ``script`` answers the next requests first, in order."""

    def __init__(self) -> None:
        self.behave: Behaviour = usual
        self.script: list[Behaviour] = []
        self.seen: list[Seen] = []
        self.port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while await self._one(reader, writer):
                pass
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = await reader.readuntil(b"\r\n\r\n")
        first, *rest = head.decode("latin-1").split("\r\n")
        headers = {k.lower(): v for k, v in (line.split(": ", 1) for line in rest if line)}
        raw = await reader.readexactly(int(headers.get("content-length", "0")))
        seen = Seen(first.split(" ")[1], headers, body_of(headers, raw))
        self.seen.append(seen)
        watch = asyncio.create_task(self._watch(reader, seen))
        behaviour = self.script.pop(0) if self.script else self.behave
        try:
            await behaviour(Line(writer, seen))
        finally:
            watch.cancel()
            await asyncio.gather(watch, return_exceptions=True)
        return not writer.is_closing() and not seen.peer_left.is_set()

    @staticmethod
    async def _watch(reader: asyncio.StreamReader, seen: Seen) -> None:
        while not reader.at_eof() and reader.exception() is None:  # noqa: ASYNC110 - a reader tells nobody else
            await asyncio.sleep(0.01)
        seen.peer_left.set()


@asynccontextmanager
async def provider() -> AsyncIterator[Provider]:
    """A running scripted provider."""
    made = Provider()
    server = await asyncio.start_server(made._serve, "127.0.0.1", 0)
    made.port = server.sockets[0].getsockname()[1]
    try:
        yield made
    finally:
        server.close()
