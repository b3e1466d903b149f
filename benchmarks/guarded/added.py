"""What each guardrail adds to a call, from outside: the same texts with it alone and with none, in turn."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import httpx

from benchmarks.guarded.house import ALONE

GUARDS = {
    "pii": "type: pii",
    "pii-countries": "type: pii, countries: [au, br, ca, de, es, fr, gb, in, it, nl, pl, se]",
    "injection": "type: injection, action: flag",
    "secrets": "type: secrets, action: flag",
    "urls": "type: urls, allow: [example.org], action: flag",
    "length": "type: length, characters: 1000000, action: flag",
    "blocklist": "type: blocklist, phrases: [project falcon], action: flag",
    "toxicity": "type: toxicity, action: flag",
    "topics": "type: topics, deny: {orders: [where is my order], returns: [send the shoes back]}, action: flag",
    "language": "type: language, allow: [en], action: flag",
    "regex": 'type: regex, patterns: ["PRJ-[0-9]{4}"], action: flag',
}
"""By name, with actions that let every text pass."""
_MOST = 400


def added(client: httpx.Client, names: Sequence[str], rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """One line a guardrail: milliseconds of a call at the median and the 95th percentile, and how much that is beyond
    a call without guardrails. Each text takes its turn under all of them, so that a busy moment hits all alike."""
    texts = [row["text"] for row in rows if isinstance(row.get("text"), str) and row["text"].strip()][:_MOST]
    took: dict[str, list[float]] = {name: [] for name in ("nothing", *names)}
    for text in (*texts[:5], *texts):  # the first five warm up
        for name, times in took.items():
            body = {"model": ALONE + name, "messages": [{"role": "user", "content": text}], "max_tokens": 1}
            started = time.perf_counter()
            client.post("chat/completions", json=body)
            times.append((time.perf_counter() - started) * 1000)
    spread = {name: sorted(times[5:]) for name, times in took.items()}
    if not texts:
        return []
    base = spread["nothing"]
    return [
        {
            "guardrail": name, "n": len(times), "p50_ms": _at(times, 0.5), "p95_ms": _at(times, 0.95),
            "added_p50_ms": _at(times, 0.5) - _at(base, 0.5), "added_p95_ms": _at(times, 0.95) - _at(base, 0.95),
        }
        for name, times in spread.items()
    ]  # fmt: skip


def _at(times: Sequence[float], share: float) -> float:
    return times[int(len(times) * share)]
