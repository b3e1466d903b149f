"""The simulated teacher of a labelled set: it looks its answers up in the file. No model, no latency.

python -m benchmarks.replayed.teacher DATASET --port 9200
"""

from __future__ import annotations

import argparse
import time
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import uvicorn

from benchmarks.replayed.rows import Row, read
from benchmarks.simulation import answers

Message = dict[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


class LabelTeacher:
    """The ASGI application. A text that the file labels in several ways is answered with its labels in turn."""

    def __init__(self, rows: Sequence[Row]) -> None:
        self._answers: dict[str, list[Row]] = defaultdict(list)
        for row in rows:
            self._answers[row.text].append(row)
        self._asked: Counter[str] = Counter()
        self._served = 0

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        try:
            if scope["method"] == "GET":
                body = msgspec.json.encode({"simulated": True, "served": self._served})
            else:
                body = self._complete(await _body(receive))
            await _send(send, 200, body)
        except answers.Refusal as refusal:
            await _send(send, refusal.status, msgspec.json.encode(refusal.payload))

    def _complete(self, data: bytes) -> bytes:
        request = answers.read(data)
        known = self._answers.get(request.ticket)
        if known is None:
            raise answers.Refusal(404, "The simulated teacher has no label for this text.")
        row = known[self._asked[request.ticket] % len(known)]
        self._asked[request.ticket] += 1
        self._served += 1
        said = row.answer or "".join(name + arguments for name, arguments in row.calls)
        used, name = answers.usage(request, said, cached=False), f"chatcmpl-simulated{self._served:012x}"
        return answers.whole(name, int(time.time()), row.answer, used, row.calls)


async def _body(receive: Receive) -> bytes:
    parts: list[bytes] = []
    while True:
        message = await receive()
        parts.append(message.get("body", b""))
        if not message.get("more_body"):
            return b"".join(parts)


async def _send(send: Send, status: int, body: bytes) -> None:
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", b"%d" % len(body)),
        (b"x-simulated", b"true"),
    ]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def main() -> None:
    parser = argparse.ArgumentParser(description="A simulated teacher that answers from a labelled set.")
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--port", type=int, required=True)
    chosen = parser.parse_args()
    app = LabelTeacher(read(chosen.dataset))
    uvicorn.run(app, port=chosen.port, access_log=False, log_level="warning", lifespan="off", ws="none")


if __name__ == "__main__":
    main()
