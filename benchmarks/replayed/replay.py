"""The replay itself: calls over HTTP through the running gateway, in small bursts, with compressed time.

Real traffic is slow beside a training that takes seconds. So between two bursts the replay lets the product
settle: captured calls are ingested, a run that is due is trained and examined. It decides nothing for the product.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import httpx
import msgspec

from benchmarks.replayed.figures import Answered
from benchmarks.replayed.policies import TASK
from benchmarks.replayed.rows import Row
from benchmarks.walk.admin import AdminClient, Totals
from benchmarks.walk.processes import WalkFailed

SYSTEM = "Answer with the label or the JSON value for the user's text, and with nothing else."
BURST = 25
_CLIENTS = 4
_PATIENCE_S, _COPIES_S = 900.0, 5.0


@dataclass(slots=True)
class Replay:
    """``tools``: what each call offers, if anything. ``due``: numbers of captured calls at which a run is
    expected to appear.
    ``rate``: calls a second at most. ``say`` hears what happens."""

    admin: AdminClient
    origin: str
    key: str
    due: list[int]
    capture: int
    rate: float
    tools: list[dict[str, Any]]
    check: Callable[[], None]
    say: Callable[[str], None]
    calls: list[Answered] = field(default_factory=list)
    errors: int = 0
    captured: int = 0
    first_savings: int | None = None
    capture_ended: int | None = None
    totals_then: Totals = field(default_factory=Totals)
    live_from: dict[str, int] = field(default_factory=dict)
    _stages: dict[str, str] = field(default_factory=dict)
    _runs: int = 0

    async def go(self, rows: Sequence[Row]) -> None:
        """Sends every row once. Raises WalkFailed when the product stops."""
        headers = {"authorization": f"Bearer {self.key}"}
        async with aiohttp.ClientSession(headers=headers) as session:
            for start in range(0, len(rows), BURST):
                began = time.monotonic()
                await self._burst(session, rows[start : start + BURST])
                await asyncio.to_thread(self._settle)
                await asyncio.to_thread(self._copies)
                await asyncio.sleep(max(0.0, BURST / self.rate - (time.monotonic() - began)))

    async def _burst(self, session: aiohttp.ClientSession, rows: Sequence[Row]) -> None:
        gate = asyncio.Semaphore(_CLIENTS)
        answered = await asyncio.gather(*(self._ask(session, gate, row) for row in rows))
        self.calls.extend(one for one in answered if one is not None)
        self.captured += sum(one is not None and not one.student for one in answered)

    async def _ask(
        self, session: aiohttp.ClientSession, gate: asyncio.Semaphore, row: Row
    ) -> Answered | None:
        messages = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": row.text}]
        asked = {"model": TASK, "messages": messages} | ({"tools": self.tools} if self.tools else {})
        body = msgspec.json.encode(asked)
        async with gate, session.post(f"{self.origin}/v1/chat/completions", data=body) as response:
            data = await response.read()
            if response.status != httpx.codes.OK:
                self.errors += 1
                return None
            message = msgspec.json.decode(data)["choices"][0]["message"]
            functions = [call["function"] for call in message.get("tool_calls") or ()]
            calls = tuple((one["name"], one["arguments"]) for one in functions)
            agreed = calls == row.calls and (message["content"] or "") == row.answer
            provider, _, model = response.headers["x-understudy-candidate"].partition("/")
            return Answered(model if provider == "students" else "", agreed)

    # ------------------------------------------------------------ between bursts
    def _settle(self) -> None:
        deadline = time.monotonic() + _PATIENCE_S
        while True:
            self.check()
            with contextlib.suppress(httpx.HTTPError):
                task = self.admin.task(TASK)
                ingested = task.captured_calls >= self.captured
                is_open = any(run.state in {"queued", "running"} for run in task.runs)
                proving = any(one.stage in {"shadow", "canary"} for one in task.students)
                while self.due and len(task.runs) > self._runs:
                    self.due.pop(0)
                    self._runs += 1
                # no successor is trained while a student is being proven
                expects_run = bool(self.due) and self.captured >= self.due[0] and not proving
                if ingested and not is_open and not expects_run:
                    self._note(task.students)
                    return
            if time.monotonic() > deadline:
                raise WalkFailed("The product did not settle between two bursts of the replay.")
            time.sleep(0.05)

    def _copies(self) -> None:
        """Lets a shadow student finish the copies of the last burst: an encoder on a busy machine takes longer over
        them than the burst took, and the product drops what it cannot keep up with."""
        seen, deadline = -1, time.monotonic() + _COPIES_S
        while time.monotonic() < deadline:
            with contextlib.suppress(httpx.HTTPError):
                shadow = [one for one in self.admin.task(TASK).students if one.stage == "shadow"]
                pairs = sum(one.evidence.n for one in shadow)
                if not shadow or pairs == seen:
                    return
                seen = pairs
            time.sleep(0.5)

    def _note(self, students: Sequence[object]) -> None:
        for student in students:
            name, stage = getattr(student, "id", ""), getattr(student, "stage", "")
            if self._stages.get(name) != stage:
                self.say(f"call {len(self.calls):>6,}: {name} is {stage} ({self.captured:,} captured)")
                self._stages[name] = stage
                if stage == "live":
                    self.live_from[name] = len(self.calls)
        totals = self.admin.totals()
        if self.first_savings is None and totals.saved_usd > 0:
            self.first_savings = len(self.calls)
            self.say(f"call {len(self.calls):>6,}: net savings are above zero")
        if self.capture_ended is None and self.captured >= self.capture:
            self.capture_ended, self.totals_then = len(self.calls), totals
