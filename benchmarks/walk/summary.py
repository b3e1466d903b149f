"""What the demo says at its end, and what it remembers for the next start."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from benchmarks.simulation.prompt import TASK
from benchmarks.walk.admin import TaskSeen, Totals

_SIMULATED = (
    "The teacher is SIMULATED: no provider was called and no money was spent; prices are a real model's."
)


class Memory(Struct):
    """``demo.json`` in the demo's home. It holds keys, so its owner alone may read it."""

    admin_key: str
    key: str = ""
    walked: bool = False
    figures: dict[str, Any] = {}

    @classmethod
    def load(cls, home: Path) -> Memory | None:
        """None when there was no demo in this home, or its file cannot be read."""
        try:
            return msgspec.json.decode((home / "demo.json").read_bytes(), type=cls)
        except (OSError, msgspec.DecodeError):
            return None

    def save(self, home: Path) -> None:
        path = home / "demo.json"
        fresh = path.with_suffix(".new")
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(msgspec.json.format(msgspec.json.encode(self), indent=2))
        fresh.replace(path)


def results(figures: dict[str, Any], certificate: Path | None, verified: str) -> str:
    """The figures of a finished walk, as lines."""
    agreement = figures.get("live_agreement") or {}
    before, live = figures.get("before_usd_per_1000_calls"), figures.get("live_usd_per_1000_calls")
    lines = [
        "What the walk measured",
        f"  cost        {_usd(before)} → {_usd(live)} per 1,000 calls, re-asks included"
        f" ({_share(figures.get('live_saved_share'))} saved while the student was live)",
        f"  student     answered {_share(figures.get('live_student_share'))} of the calls, the teacher the rest",
        f"  agreement   {agreement.get('text', 'not measured')} (95 % interval; random re-asks of answered calls)",
        f"  teacher     agrees with itself: {figures.get('teacher_self_agreement') or 'not measured'}",
        f"  drift       noticed after {figures.get('drift_seconds', 0):.0f} s"
        f" and {figures.get('drift_calls', 0):,} calls; the student was taken back, retrain {figures.get('retrain')}",
    ]
    if certificate is not None:
        lines += [
            f"  certificate {certificate}",
            f"  verify it   understudy verify {certificate} --home {certificate.parents[1]}",
            *(f"              {line}" for line in _gist(verified)),
        ]
    return "\n".join([*lines, f"  {_SIMULATED}"])


def _gist(verified: str) -> list[str]:
    """What was tested, and the verdict: the first lines and the last one of ``understudy verify``."""
    lines = [line for line in verified.splitlines() if line.strip()]
    return lines[:6] + lines[6:][-1:]


def since_then(task: TaskSeen, totals: Totals) -> str:
    """What the gateway itself remembers, read from its API."""
    students = ", ".join(f"v{one.version} {one.stage}" for one in task.students) or "none"
    return "\n".join(
        [
            "What this home remembers",
            f"  calls       {totals.calls:,}, of which a student answered {_share(totals.student_share)}",
            f"  saved       {_usd(totals.saved_usd)} of {_usd(totals.teacher_cost_usd)} (simulated prices)",
            f"  students    {students}",
        ]
    )


def open_doors(origin: str, teacher_url: str, memory: Memory) -> str:
    """Where everything is, and three lines to try with any OpenAI client."""
    return "\n".join(
        [
            "Running now",
            f"  gateway      {origin}/v1",
            f"  admin page   {origin}/admin/   (admin key: {memory.admin_key})",
            f"  teacher      {teacher_url}/v1   (simulated)",
            f"  a key        {memory.key}",
            "",
            "Try it with any OpenAI client:",
            "  from openai import OpenAI",
            f'  client = OpenAI(base_url="{origin}/v1", api_key="{memory.key}")',
            f'  print(client.chat.completions.create(model="{TASK}", messages=[{{"role": "user", '
            '"content": "I was charged twice"}]).choices[0].message.content)',
        ]
    )


def _usd(value: float | None) -> str:
    return "unknown price" if value is None else f"${value:.3f}"


def _share(value: float | None) -> str:
    return "an unknown share" if value is None else f"{value:.0%}"
