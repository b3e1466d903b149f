"""What a running gateway's guardrails catch, miss and wrongly stop, on any labelled JSONL. Speaks HTTP only.

    python -m benchmarks.guards DIR --base-url http://127.0.0.1:8080/v1 --api-key KEY --model TASK

``DIR`` is a folder or a file of ``*.jsonl`` or ``*.jsonl.gz``; rows have ``text`` and ``attack`` (0 or 1), and may have
``source`` and ``family``. Each text is sent as one user message; an answer with code ``guardrail_blocked`` is an alarm.
Point the task at a provider that costs nothing: whatever passes is asked. Intervals are Wilson's at 95 %.
"""

from __future__ import annotations

import argparse
import gzip
import json
import math
import sys
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import httpx

Outcome = tuple[str, str, bool, bool, float]
"""Source, family, whether it is an attack, whether it was stopped, milliseconds."""


def rows_of(place: Path) -> Iterator[dict[str, Any]]:
    """The rows that can be measured, of a file or of every file in a folder."""
    files = [place] if place.is_file() else sorted([*place.glob("*.jsonl"), *place.glob("*.jsonl.gz")])
    for file in files:
        text = gzip.decompress(file.read_bytes()) if file.suffix == ".gz" else file.read_bytes()
        for line in text.decode().split("\n"):
            row = json.loads(line) if line.strip() else {}
            if isinstance(row.get("text"), str) and row.get("attack") in (0, 1):
                yield row


def ask(client: httpx.Client, model: str, row: dict[str, Any]) -> Outcome:
    """Sends one text. Raises RuntimeError when the gateway refuses it for any other reason than a guardrail."""
    body = {"model": model, "messages": [{"role": "user", "content": row["text"]}], "max_tokens": 1}
    started = time.perf_counter()
    reply = client.post("chat/completions", json=body)
    took = (time.perf_counter() - started) * 1000
    code = "" if reply.is_success else str((reply.json().get("error") or {}).get("code"))
    if code not in ("", "guardrail_blocked"):
        raise RuntimeError(f"the gateway answered {reply.status_code} ({code}); nothing can be measured so.")
    return str(row.get("source", "")), str(row.get("family", "")), row["attack"] == 1, bool(code), took


def wilson(hits: int, count: int, z: float = 1.96) -> tuple[float, float]:
    """Wilson's score interval for a share (Wilson 1927). ``count`` > 0."""
    share, grown = hits / count, 1 + z * z / count
    middle = (share + z * z / (2 * count)) / grown
    half = z * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count)) / grown
    return max(0.0, middle - half), min(1.0, middle + half)


def summary(outcomes: Iterable[Outcome]) -> list[dict[str, Any]]:
    """One line per source, family and label, and one for each label over all."""
    kept: dict[tuple[str, str, bool], list[tuple[bool, float]]] = defaultdict(list)
    for source, family, attack, stopped, took in outcomes:
        kept[source, family, attack].append((stopped, took))
        kept["all", "", attack].append((stopped, took))
    lines = []
    for (source, family, attack), found in sorted(kept.items()):
        hits = sum(one for one, _ in found)
        low, high = wilson(hits, len(found))
        times = sorted(took for _, took in found)
        lines.append({
            "source": source, "family": family, "rate": "recall" if attack else "false positives",
            "n": len(found), "stopped": hits, "share": hits / len(found), "low": low, "high": high,
            "p50_ms": times[len(times) // 2], "p95_ms": times[int(len(times) * 0.95)],
        })  # fmt: skip
    return lines


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path, metavar="DIR")
    parser.add_argument("--base-url", default="http://127.0.0.1:8080/v1")
    parser.add_argument("--api-key", required=True)
    parser.add_argument("--model", required=True, help="a task whose guardrails are measured")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    rows = list(rows_of(options.data))
    if not rows:
        print("No row in there has a 'text' and an 'attack' of 0 or 1.", file=sys.stderr)
        return 1
    headers = {"authorization": f"Bearer {options.api_key}"}
    with httpx.Client(base_url=options.base_url, headers=headers, timeout=60) as client:
        try:
            lines = summary([ask(client, options.model, row) for row in rows])
        except (RuntimeError, httpx.HTTPError) as problem:
            print(f"error: {problem}", file=sys.stderr)
            return 1
    if options.json:
        print(json.dumps(lines, indent=1))
        return 0
    for line in lines:
        print(
            f"{line['source']:20} {line['family']:22} {line['rate']:16} {line['stopped']:5}/{line['n']:<5}"
            f" {line['share']:6.1%} ({line['low']:.1%} to {line['high']:.1%})"
            f"  p50 {line['p50_ms']:.1f} ms, p95 {line['p95_ms']:.1f} ms"
        )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
