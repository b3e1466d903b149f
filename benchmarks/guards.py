"""What the guardrails of a running gateway catch, miss and wrongly stop, on any labelled JSONL. Speaks HTTP only.

    python -m benchmarks.guards DIR                       # starts a gateway of its own, in front of an echo
    python -m benchmarks.guards DIR --model FITTED        # the same, with a model of `understudy guards train`
    python -m benchmarks.guards DIR --fit                 # fits one on half of the attacks, and measures the other half
    python -m benchmarks.guards DIR --presidio            # the same, with Presidio beside the gateway's own patterns
    python -m benchmarks.guards DIR --as-data             # attacks and benign texts come out of a tool
    python -m benchmarks.guards DIR --latency             # what each guardrail adds to a call, p50 and p95
    python -m benchmarks.guards DIR --base-url http://127.0.0.1:8080/v1 --api-key KEY --task TASK

``DIR`` is a folder or a file of ``*.jsonl`` or ``*.jsonl.gz``. Rows have ``text`` and what is known of it: ``attack``
(0 or 1), or ``spans`` (``[{"type", "value"}]``, personal data), and may have ``source`` and ``family``. Each text is
sent as one user message. An answer with code ``guardrail_blocked`` is an alarm; a value that the provider was not sent
was masked (only the benchmark's own gateway can tell). Rows with ``toxic`` (0 or 1) go to ``/v1/moderations``; the
highest score of any of OpenAI's categories ranks them (AUC, Hanley & McNeil's interval). Rows with ``grounded`` (0 or
1), ``context`` and perhaps ``question`` are answered with their ``text``, which the groundedness guardrail stops or not
(in the benchmark's own gateway only). Point a task of your own at a
provider that costs nothing: whatever passes is asked. Intervals: Wilson, 95 %.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import httpx

from benchmarks.guarded.added import GUARDS, added
from benchmarks.guarded.house import DEFAULT, TASK, House, fitted, house, usual_guards
from benchmarks.guarded.marks import Entities, Outcome, attacks
from benchmarks.guarded.rows import halved, has_attack, has_context, has_spans, has_toxic, rows_of
from benchmarks.guarded.toxic import Ranked, moderated
from benchmarks.walk.processes import WalkFailed


def ask(
    client: httpx.Client, task: str, text: str, *, as_data: bool = False, context: str = ""
) -> tuple[bool, float]:
    """Whether a guardrail stopped it, and milliseconds. ``as_data``: sent as what a tool returned; ``context``: a
    document beside it. Raises RuntimeError when the gateway refuses it otherwise."""
    turns = returned(text) if as_data else [{"role": "user", "content": text}]
    body: dict[str, Any] = {"model": task, "messages": turns, "max_tokens": 1}
    if context:
        body["context"] = context
    started = time.perf_counter()
    reply = client.post("chat/completions", json=body)
    took = (time.perf_counter() - started) * 1000
    code = "" if reply.is_success else str((reply.json().get("error") or {}).get("code"))
    if code not in ("", "guardrail_blocked"):
        raise RuntimeError(f"the gateway answered {reply.status_code} ({code}); nothing can be measured so.")
    return bool(code), took


def returned(text: str) -> list[dict[str, Any]]:
    """A conversation in which a tool returned ``text``."""
    call = {"id": "call_1", "type": "function", "function": {"name": "look", "arguments": "{}"}}
    return [
        {"role": "user", "content": "What does it say?"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "call_1", "content": text},
    ]


def measured(
    client: httpx.Client, task: str, rows: list[dict[str, Any]], own: House | None, *, as_data: bool = False
) -> list[dict[str, Any]]:
    """The table's lines. ``own``: the benchmark's gateway, whose provider can be asked what it was sent."""
    outcomes: list[Outcome] = []
    entities = Entities()
    ranked = Ranked()
    for row in rows:
        if has_attack(row):
            stopped, took = ask(client, task, row["text"], as_data=as_data)
            outcomes.append(
                (str(row.get("source", "")), str(row.get("family", "")), row["attack"] == 1, stopped, took)
            )
        elif has_context(row) and own is not None:
            own.says.append(row["text"])
            stopped, took = ask(client, task, str(row.get("question", "")), context=row["context"])
            own.says.pop()
            kind = str(row.get("family", ""))
            outcomes.append((str(row.get("source", "")), kind, row["grounded"] == 0, stopped, took))
        elif has_spans(row) and own is not None:
            own.heard.clear()
            _, took = ask(client, task, row["text"])
            entities.add(row, own.heard[-1] if own.heard else "", took)
        elif has_toxic(row):
            ranked.add(str(row.get("source", "")), row["toxic"] == 1, *moderated(client, row["text"]))
    return [*attacks(outcomes), *entities.lines(), *ranked.lines()]


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="benchmarks.guards", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path, metavar="DIR")
    parser.add_argument(
        "--base-url", help="a gateway that runs already (default: one of the benchmark's own)"
    )
    parser.add_argument("--api-key", default="")
    parser.add_argument("--task", default=TASK, help="a task whose guardrails are measured")
    parser.add_argument(
        "--model", type=Path, metavar="FITTED", help="a fitted injection model for the own gateway"
    )
    parser.add_argument(
        "--fit", action="store_true",
        help="fit a model on half of the rows with 'attack', groups kept apart, and measure the other half",
    )  # fmt: skip
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="another way to halve (default: 0)")
    parser.add_argument(
        "--presidio", action="store_true", help="have Presidio look for personal data as well"
    )
    parser.add_argument(
        "--latency", action="store_true", help="what each guardrail adds to a call, and no rates"
    )
    parser.add_argument(
        "--as-data", action="store_true", help="texts with 'attack' are sent as what a tool returned"
    )
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    if options.base_url and (options.latency or options.presidio):
        parser.error("--latency and --presidio need the benchmark's own gateway: leave --base-url out.")
    if options.fit and (options.base_url or options.latency or options.model):
        parser.error("--fit brings its own gateway and model: leave --base-url, --latency and --model out.")
    try:
        rows = list(rows_of(options.data))
        lines = _run(options, rows)
    except (ValueError, OSError, RuntimeError, WalkFailed, httpx.HTTPError) as problem:
        print(f"error: {problem}", file=sys.stderr)
        return 1
    if not lines:
        print(
            "No row in there has a 'text' with an 'attack' or 'toxic' of 0 or 1, with 'spans', or with 'grounded' "
            "and a 'context'.",
            file=sys.stderr,
        )
        return 1
    print(json.dumps(lines, indent=1) if options.json else "\n".join(map(_shown, lines)))
    return 0


def _run(options: argparse.Namespace, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    if not options.latency and not any(
        has_attack(row) or has_spans(row) or has_toxic(row) or has_context(row) for row in rows
    ):
        return []
    with contextlib.ExitStack() as stack:
        own, base, key = None, options.base_url, options.api_key
        if base is None:
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="understudy-guards-"))
            model = options.model
            if options.fit:
                taught, rows = halved(filter(has_attack, rows), options.seed)
                model = fitted(Path(folder), taught)
            guards = usual_guards(model, presidio=options.presidio)
            if options.latency:
                guards = {**GUARDS, **guards} if options.presidio or options.model else GUARDS
            own = stack.enter_context(house(Path(folder), guards, alone=options.latency))
            base, key = own.base_url, own.key
        headers = {"authorization": f"Bearer {key}"}
        client = stack.enter_context(
            httpx.Client(base_url=base, headers=headers, timeout=60, trust_env=False)
        )
        if options.latency:
            return added(client, [*guards, DEFAULT], rows)
        return measured(client, options.task, rows, own, as_data=options.as_data)


def _shown(line: dict[str, Any]) -> str:
    if "added_p50_ms" in line:
        text = f"{line['guardrail']:20} n {line['n']:5}  p50 {line['p50_ms']:7.3f} ms, p95 {line['p95_ms']:7.3f} ms"
        return f"{text}  added {line['added_p50_ms']:+.3f} ms, {line['added_p95_ms']:+.3f} ms"
    text = f"{line['source']:20} {line['family']:22} {line['rate']:16}"
    if line["rate"] == "AUC":
        text += (
            f" {line['hits']:5}/{line['n']:<5} {line['share']:.3f} ({line['low']:.3f} to {line['high']:.3f})"
        )
    else:
        text += f" {line['hits']:5}/{line['n']:<5} {line['share']:6.1%}"
        if "low" in line:
            text += f" ({line['low']:.1%} to {line['high']:.1%})"
    if "p50_ms" in line:
        text += f"  p50 {line['p50_ms']:.1f} ms, p95 {line['p95_ms']:.1f} ms"
    return text


if __name__ == "__main__":
    raise SystemExit(main())
