"""Policies and rows for the tests of fine-tuning."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from gateway_server import KEY

OTHER = "a-key-of-another-project-01"
_POLICIES = """
providers:
  teacher: {{type: openai, base_url: "http://127.0.0.1:9/v1", api_key: unused}}
  students: {{type: classifier}}
keys:
  - {{name: tests, key: {key}, project: default}}
  - {{name: other, key: {other}, project: elsewhere}}
tasks:
  - name: triage
    candidates: [{{provider: teacher, model: m}}]
    teacher: {{provider: teacher, model: m, may_train_on_outputs: true}}
    capture: {{rate: 1.0}}
  - name: private
    candidates: [{{provider: teacher, model: m}}]
    teacher: {{provider: teacher, model: m}}
    capture: {{rate: 1.0}}
{more}
"""
_QUEUES = {"printer": "hardware", "wifi": "network", "invoice": "billing", "password": "access"}


def policies(folder: Path, more: str = "") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "all.yaml").write_text(_POLICIES.format(key=KEY, other=OTHER, more=more))
    return folder


def tickets(count: int, seed: int = 0) -> list[tuple[str, str]]:
    rng = random.Random(seed)
    found = []
    for number in range(count):
        thing = rng.choice(list(_QUEUES))
        who = "".join(rng.choice("abcdefghijklmnop") for _ in range(6))
        found.append((f"{who}: the {thing} fails since {number}", _QUEUES[thing]))
    return found


async def until(
    look: Callable[[], Awaitable[Any]], wanted: Callable[[Any], bool], seconds: float = 600
) -> Any:
    """What ``look`` finds once it is wanted."""
    deadline = time.monotonic() + seconds
    while not wanted(found := await look()):
        assert time.monotonic() < deadline, found
        await asyncio.sleep(0.1)
    return found
