"""The simulated teacher: a server of its own that speaks OpenAI's protocol, clearly labelled as simulated.

    python -m benchmarks.simulation.teacher --port 9100 --seed 7 --compression 20

Its latency is a real teacher's (log-normal, median 650 ms for a whole answer, 350 ms to a stream's first
chunk) divided by ``--compression``. ``POST /simulation/behaviour {"behaviour": "drifted"}`` changes its
labelling policy for one slice of tickets, as a provider's silent update would; ``"normal"`` changes it back.
"""

from __future__ import annotations

import argparse
import asyncio
import math
import random
import time
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import uvicorn

from benchmarks.simulation import answers
from benchmarks.simulation.labelling import Behaviour, label

MEDIAN_WHOLE_S = 0.650
MEDIAN_FIRST_CHUNK_S = 0.350
SPREAD = 0.35
"""Sigma of the log-normal: the 95th percentile is 1.8 times the median."""
_LARGEST_BODY = 16 * 1024 * 1024

Message = dict[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


class BehaviourChange(msgspec.Struct, forbid_unknown_fields=True):
    behaviour: Behaviour


class SimulatedTeacher:
    """The ASGI application. All noise (labels, latency) comes from ``seed``, in the order of requests."""

    def __init__(self, seed: int, compression: float) -> None:
        self.behaviour: Behaviour = "normal"
        self._compression = compression
        self._noise = random.Random(f"labels/{seed}")
        self._pace = random.Random(f"latency/{seed}")
        self._seen: set[int] = set()
        self._served = 0

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        began = time.monotonic()
        try:
            await self._answer(scope["method"], scope["path"], receive, send, began)
        except answers.Refusal as refusal:
            await self._send_json(send, refusal.payload, refusal.status)

    async def _answer(self, method: str, path: str, receive: Receive, send: Send, began: float) -> None:
        match method, path.removeprefix("/v1"):
            case "POST", "/chat/completions":
                await self._complete(answers.read(await _body(receive)), send, began)
            case "GET", "/models":
                await self._send_json(send, {"object": "list", "data": [answers.model_card()]})
            case "GET", other if other == f"/models/{answers.MODEL}":
                await self._send_json(send, answers.model_card())
            case "POST", "/simulation/behaviour":
                self.behaviour = _behaviour(await _body(receive))
                await self._send_json(send, {"behaviour": self.behaviour, "simulated": True})
            case "GET", "/simulation/behaviour" | "/healthz":
                state = {"behaviour": self.behaviour, "served": self._served, "simulated": True}
                await self._send_json(send, state)
            case _:
                raise answers.Refusal(404, f"There is no {method} {path} at the simulated teacher.")

    async def _complete(self, request: answers.Request, send: Send, began: float) -> None:
        self._served += 1
        answer = label(request.ticket, self._noise, self.behaviour)
        shared = hash(request.author_text)
        used = answers.usage(request, answer, cached=shared in self._seen)
        self._seen.add(shared)
        completion_id = f"chatcmpl-simulated{self._pace.getrandbits(80):020x}"
        created = int(time.time())
        if request.stream:
            include = request.stream_options is not None and request.stream_options.include_usage
            await self._stream(
                send, list(answers.events(completion_id, created, answer, used, include_usage=include)), began
            )
            return
        await self._until(began, self._drawn(MEDIAN_WHOLE_S))
        await _send(
            send, 200, b"application/json", answers.whole(completion_id, created, answer, used), completion_id
        )

    async def _stream(self, send: Send, events: list[bytes], began: float) -> None:
        """First chunk after the time to first token, the rest when a whole answer would be there."""
        first = self._drawn(MEDIAN_FIRST_CHUNK_S)
        rest = self._drawn(MEDIAN_WHOLE_S - MEDIAN_FIRST_CHUNK_S)
        await self._until(began, first)
        await send(_start(200, b"text/event-stream; charset=utf-8", f"simulated-{self._served}"))
        half = len(events) // 2
        await send({"type": "http.response.body", "body": b"".join(events[:half]), "more_body": True})
        await self._until(began, first + rest)
        await send({"type": "http.response.body", "body": b"".join(events[half:]), "more_body": False})

    def _drawn(self, median_s: float) -> float:
        return median_s * math.exp(self._pace.gauss(0.0, SPREAD)) / self._compression

    @staticmethod
    async def _until(began: float, seconds: float) -> None:
        left = began + seconds - time.monotonic()
        if left > 0:
            await asyncio.sleep(left)

    async def _send_json(self, send: Send, payload: Message, status: int = 200) -> None:
        await _send(
            send, status, b"application/json", msgspec.json.encode(payload), f"simulated-{self._served}"
        )


def _behaviour(body: bytes) -> Behaviour:
    try:
        return msgspec.json.decode(body, type=BehaviourChange).behaviour
    except msgspec.DecodeError:
        raise answers.Refusal(400, 'Send {"behaviour": "drifted"} or {"behaviour": "normal"}.') from None


async def _body(receive: Receive) -> bytes:
    parts: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise answers.Refusal(400, "The client left before its request was complete.")
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if size > _LARGEST_BODY:
            raise answers.Refusal(413, "The body is larger than 16 MiB.")
        if not message.get("more_body"):
            return b"".join(parts)


def _start(status: int, content_type: bytes, request_id: str) -> Message:
    headers = [
        (b"content-type", content_type),
        (b"x-simulated", b"true"),
        (b"x-request-id", request_id.encode()),
    ]
    return {"type": "http.response.start", "status": status, "headers": headers}


async def _send(send: Send, status: int, content_type: bytes, body: bytes, request_id: str) -> None:
    start = _start(status, content_type, request_id)
    start["headers"].append((b"content-length", str(len(body)).encode()))
    await send(start)
    await send({"type": "http.response.body", "body": body})


def main() -> None:
    parser = argparse.ArgumentParser(description="A simulated teacher that speaks OpenAI's protocol.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--compression", type=float, default=1.0, help="divides the latency; 1 is real time")
    chosen = parser.parse_args()
    if chosen.compression <= 0:
        parser.error("--compression must be above 0")
    app = SimulatedTeacher(chosen.seed, chosen.compression)
    uvicorn.run(
        app,
        host=chosen.host,
        port=chosen.port,
        access_log=False,
        log_level="warning",
        lifespan="off",
        ws="none",
        timeout_graceful_shutdown=2,
    )


if __name__ == "__main__":
    main()
