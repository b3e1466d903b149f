"""The providers of a run: each looks up in the script how to behave towards the request at hand."""

from __future__ import annotations

import asyncio
import json
import re
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from benchmarks.scripted import COMPLETION, Behaviour, Line, chunk, sse

USAGE = {"prompt_tokens": 10, "completion_tokens": 50, "total_tokens": 60}
MOST_OUTPUT = 100
"""What requests allow; a provider never uses more of it than ``USAGE`` says."""
INNER = "secret inner words"
"""What a provider says of itself when it fails, which is no client's business."""
_MARK = re.compile(r"mark-(\d+)-(\w+?)-end")


def mark(number: int, project: str) -> str:
    """What stands in a request, and in its answer, and nowhere else."""
    return f"mark-{number}-{project}-end"


def marks_in(text: str) -> set[str]:
    return {one.group() for one in _MARK.finditer(text)}


class Actor:
    """One provider's behaviour. ``plan``: what it does at each try of the request with this number; ``heard`` hears
    every body that reaches it."""

    def __init__(self, plan: Callable[[int], Sequence[str]], heard: Callable[[str], None]) -> None:
        self._plan, self._heard = plan, heard
        self._tries: Counter[int] = Counter()

    async def __call__(self, line: Line) -> None:
        text = json.dumps(line.seen.body)
        self._heard(text)
        found = _MARK.search(text)
        number = int(found.group(1)) if found is not None else -1
        planned = self._plan(number)
        at, self._tries[number] = self._tries[number], self._tries[number] + 1
        act = _ACTS[planned[at] if at < len(planned) else "usual"]
        body = line.seen.body if isinstance(line.seen.body, dict) else {}
        line.seen.body = {**body, "said": _said(text)}
        try:
            await act(line)
        except ConnectionError:
            line.writer.close()


def _said(text: str) -> str:
    """An answer that repeats the request's mark and whatever stands where its e-mail address stood."""
    found = _MARK.search(text)
    written = re.search(r"write to (\S+?) please", text)
    return f"It is {found.group() if found else 'nothing'}, and {written.group(1) if written else 'nobody'} is told."


def _whole(line: Line) -> dict[str, Any]:
    body: dict[str, Any] = line.seen.body
    if "embeddings" in line.seen.path:
        inputs = body["input"] if isinstance(body["input"], list) else [body["input"]]
        rows = [{"object": "embedding", "index": i, "embedding": [0.5, 0.25]} for i in range(len(inputs))]
        return {"object": "list", "data": rows, "model": "m", "usage": {"prompt_tokens": 10, "total_tokens": 10}}
    message = {"role": "assistant", "content": body["said"], "refusal": None}
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}
    return {**COMPLETION, "choices": [choice], "usage": USAGE}


def _frames(line: Line, *, done: bool = True) -> bytes:
    words = line.seen.body["said"].split(" ")
    parts = [chunk({"content": word + " " * (word != words[-1])}) for word in words]
    last = [chunk({}, "stop"), {**chunk({}), "choices": [], "usage": USAGE}]
    return sse([chunk({"role": "assistant", "content": ""}), *parts, *(last if done else [])], done=done)


def _streams(line: Line) -> bool:
    return bool(line.seen.body.get("stream"))


# ---------------------------------------------------------------- ways to behave
async def _usual(line: Line) -> None:
    if _streams(line):
        await line.stream(_frames(line))
    else:
        await line.answer(body=_whole(line))


async def _slow(line: Line) -> None:
    await asyncio.sleep(0.12)
    await _usual(line)


async def _thinks(line: Line) -> None:
    if not _streams(line):
        await _slow(line)
        return
    raw = _frames(line)
    half = raw.index(b"\n\n") + 2
    await line.start(200, {"content-type": "text/event-stream", "connection": "close"})
    for part in (raw[:half], raw[half:]):
        line.writer.write(part)
        await line.writer.drain()
        await asyncio.sleep(0.1)
    line.writer.close()


async def _bytes(line: Line) -> None:
    if _streams(line):
        await line.stream(_frames(line), piece=7)
    else:
        await _usual(line)


async def _crlf(line: Line) -> None:
    if _streams(line):
        await line.stream(b": hello\r\n\r\n" + _frames(line).replace(b"\n", b"\r\n"))
    else:
        await _usual(line)


def _fails(status: int, headers: dict[str, str] | None = None) -> Behaviour:
    async def act(line: Line) -> None:
        words = "Not like this." if status in (400, 429) else INNER  # what clients may read of a provider
        text = {"error": {"message": words, "type": "server_error", "param": None, "code": None}}
        await line.answer(status, text, headers)

    return act


def _says(raw: bytes, headers: dict[str, str] | None = None, *, cut: int = 0) -> Behaviour:
    async def act(line: Line) -> None:
        head = {"content-type": "application/json", "content-length": str(len(raw) + cut), **(headers or {})}
        await line.start(200, head)
        line.writer.write(raw)
        await line.writer.drain()
        if cut:
            line.writer.close()

    return act


async def _hangs(line: Line) -> None:
    await line.hang()


async def _resets(line: Line) -> None:
    line.writer.transport.abort()


async def _cut(line: Line) -> None:
    if _streams(line):
        raw = _frames(line)
        await line.stream(raw[: len(raw) // 2], cut=True)
    else:
        await _says(b'{"id": "x"', cut=20)(line)


async def _says_an_error(line: Line) -> None:
    if not _streams(line):
        await _fails(500)(line)
        return
    at = _frames(line).index(b"\n\n") + 2
    event = json.dumps({"error": {"message": "Overloaded.", "type": "x"}}).encode()  # passed on: it is an answer
    await line.stream(_frames(line)[:at] + b"data: " + event + b"\n\n")


async def _never_ends(line: Line) -> None:
    """Everything is said but the end: no finish reason, no mark of the end, and the connection stays open."""
    if not _streams(line):
        await line.hang()
        return
    await line.start(200, {"content-type": "text/event-stream"})
    line.writer.write(_frames(line, done=False))
    await line.writer.drain()
    await line.hang()


async def _falls_silent(line: Line) -> None:
    if not _streams(line):
        await line.hang()
        return
    await line.start(200, {"content-type": "text/event-stream"})
    raw = _frames(line)
    line.writer.write(raw[: raw.index(b"\n\n") + 2])
    await line.writer.drain()
    await line.hang()


_ACTS: dict[str, Behaviour] = {
    "usual": _usual, "slow": _slow, "bytes": _bytes, "crlf": _crlf, "thinks": _thinks,
    "500": _fails(500), "503": _fails(503), "429": _fails(429), "401": _fails(401), "400": _fails(400),
    "429 after 1 s": _fails(429, {"retry-after": "1"}), "429 after junk": _fails(429, {"retry-after": "soon"}),
    "hangs": _hangs, "resets": _resets, "is cut short": _says(b'{"id": "x", "cho', cut=500),
    "html": _says(b"<html>Bad gateway</html>", {"content-type": "text/html"}), "nothing": _says(b""),
    "wrong json": _says(b'{"id": 3, "choices": "none"}'),
    "redirects": _fails(302, {"location": "http://169.254.169.254/latest"}),
    "cut": _cut, "says an error": _says_an_error, "never ends": _never_ends, "falls silent": _falls_silent,
}  # fmt: skip
