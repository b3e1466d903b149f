"""Traffic for the demo and the benchmarks: tickets through the unmodified official ``openai`` client.

    OPENAI_API_KEY=... python -m benchmarks.simulation.traffic --base-url http://127.0.0.1:8080/v1 --rate 250

A process of its own. Twice a second it writes one JSON line (:class:`Progress`) to standard output; it stops
cleanly on SIGTERM or SIGINT, or after ``--calls``.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import os
import signal
import sys
import time
from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, cast

import msgspec
from openai import APIStatusError, AsyncOpenAI, OpenAIError

from benchmarks.simulation.prompt import TASK, messages
from benchmarks.simulation.tickets import Ticket, tickets

REPORT_EVERY_S = 0.5
_RATE_OVER_S = 3.0
_LATENCIES_KEPT = 2_000


class Progress(msgspec.Struct, frozen=True):
    """Counts since the start; ``calls_per_s`` over the last three seconds, latencies of the last 2,000 calls.

    ``by``: answers by the ``x-understudy-candidate`` header ("" when the server does not send it).
    """

    answers: int
    streamed: int
    errors: int
    by: dict[str, int]
    calls_per_s: float
    p50_ms: float
    p95_ms: float
    last_error: str


@dataclass(slots=True)
class Tally:
    """What has happened so far; :meth:`progress` makes a value of it."""

    answers: int = 0
    streamed: int = 0
    errors: int = 0
    by: Counter[str] = field(default_factory=Counter)
    latencies: deque[float] = field(default_factory=lambda: deque(maxlen=_LATENCIES_KEPT))
    window: deque[tuple[float, int]] = field(default_factory=deque)
    last_error: str = ""

    def progress(self, now: float) -> Progress:
        self.window.append((now, self.answers))
        while now - self.window[0][0] > _RATE_OVER_S:
            self.window.popleft()
        then, before = self.window[0]
        ordered = sorted(self.latencies) or [0.0]
        return Progress(
            answers=self.answers,
            streamed=self.streamed,
            errors=self.errors,
            by=dict(self.by),
            calls_per_s=round((self.answers - before) / (now - then), 1) if now > then else 0.0,
            p50_ms=round(1000 * ordered[len(ordered) // 2], 1),
            p95_ms=round(1000 * ordered[int(len(ordered) * 0.95)], 1),
            last_error=self.last_error,
        )


@dataclass(slots=True)
class Traffic:
    """``concurrency`` workers share one client, its pool, one stream of tickets and one pace."""

    client: AsyncOpenAI
    model: str
    source: Iterator[Ticket]
    rate: float
    streamed_share: float
    calls: int
    tally: Tally = field(default_factory=Tally)
    stopping: asyncio.Event = field(default_factory=asyncio.Event)
    _numbers: Iterator[int] = field(default_factory=itertools.count)
    _next_at: float = 0.0

    async def run(self, concurrency: int) -> None:
        """Until :attr:`stopping` is set or ``calls`` were sent; calls under way are finished."""
        self._next_at = time.monotonic()
        reporter = asyncio.create_task(self._report())
        try:
            await asyncio.gather(*(self._work() for _ in range(concurrency)))
        finally:
            reporter.cancel()
            self._write()

    async def _work(self) -> None:
        while not self.stopping.is_set():
            number = next(self._numbers)
            if self.calls and number >= self.calls:
                return
            await self._pace()
            await self._call(next(self.source).text, streamed=_is_streamed(number, self.streamed_share))

    async def _pace(self) -> None:
        """Sleeps until this call's turn. A server that cannot keep up is not punished with a burst later."""
        if not self.rate:
            return
        now = time.monotonic()
        self._next_at = max(self._next_at + 1 / self.rate, now - 0.25)
        if self._next_at > now:
            await asyncio.sleep(self._next_at - now)

    async def _call(self, text: str, *, streamed: bool) -> None:
        began = time.monotonic()
        try:
            candidate, answer = await (self._streamed(text) if streamed else self._whole(text))
        except OpenAIError as problem:
            self.tally.errors += 1
            self.tally.last_error = _told(problem)
            await asyncio.sleep(0.05)
            return
        if not answer:
            self.tally.errors += 1
            self.tally.last_error = "an empty answer"
            return
        self.tally.answers += 1
        self.tally.streamed += streamed
        self.tally.by[candidate] += 1
        self.tally.latencies.append(time.monotonic() - began)

    async def _whole(self, text: str) -> tuple[str, str]:
        raw = await self.client.chat.completions.with_raw_response.create(
            model=self.model, messages=cast(Any, messages(text))
        )
        completion = raw.parse()
        return raw.headers.get("x-understudy-candidate", ""), completion.choices[0].message.content or ""

    async def _streamed(self, text: str) -> tuple[str, str]:
        stream = await self.client.chat.completions.create(
            model=self.model,
            messages=cast(Any, messages(text)),
            stream=True,
            stream_options={"include_usage": True},
        )
        parts: list[str] = []
        async with stream:
            async for chunk in stream:
                parts.extend(choice.delta.content or "" for choice in chunk.choices)
        return stream.response.headers.get("x-understudy-candidate", ""), "".join(parts)

    async def _report(self) -> None:
        while True:
            self._write()
            await asyncio.sleep(REPORT_EVERY_S)

    def _write(self) -> None:
        line = msgspec.json.encode(self.tally.progress(time.monotonic()))
        try:
            sys.stdout.buffer.write(line + b"\n")
            sys.stdout.buffer.flush()
        except BrokenPipeError:  # whoever listened is gone
            self.stopping.set()


def _is_streamed(number: int, share: float) -> bool:
    """Spread evenly: of any ``1/share`` calls in a row, one."""
    return int((number + 1) * share) > int(number * share)


def _told(problem: OpenAIError) -> str:
    status = f"{problem.status_code} " if isinstance(problem, APIStatusError) else ""
    return (status + str(problem))[:300]


async def _main(chosen: argparse.Namespace) -> int:
    async with AsyncOpenAI(base_url=chosen.base_url, api_key=chosen.key, timeout=30, max_retries=1) as client:
        traffic = Traffic(
            client=client,
            model=chosen.model,
            source=tickets(chosen.seed, chosen.start),
            rate=chosen.rate,
            streamed_share=chosen.streamed,
            calls=chosen.calls,
        )
        loop = asyncio.get_running_loop()
        for name in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(name, traffic.stopping.set)
        await traffic.run(chosen.concurrency)
    return 0 if traffic.tally.answers else 1


def main() -> int:
    parser = argparse.ArgumentParser(description="Sends support tickets with the official openai client.")
    parser.add_argument("--base-url", required=True, help="for example http://127.0.0.1:8080/v1")
    parser.add_argument("--key", default=os.environ.get("OPENAI_API_KEY", ""), help="default: OPENAI_API_KEY")
    parser.add_argument("--model", default=TASK)
    parser.add_argument(
        "--rate", type=float, default=0.0, help="calls a second; 0: as fast as they are answered"
    )
    parser.add_argument("--concurrency", type=int, default=24)
    parser.add_argument("--streamed", type=float, default=0.25, help="share of the calls that are streamed")
    parser.add_argument(
        "--calls", type=int, default=0, help="stop after so many calls; 0: until told to stop"
    )
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--start", type=int, default=0, help="number of the first ticket")
    chosen = parser.parse_args()
    if not chosen.key:
        parser.error("no key: set OPENAI_API_KEY or pass --key")
    return asyncio.run(_main(chosen))


if __name__ == "__main__":
    sys.exit(main())
