"""What must never happen, whatever the faults: looked at once a run is over. Pure but for reading its database."""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

from benchmarks.simulator.clients import Got, email
from benchmarks.simulator.policies import BUDGET_USD
from benchmarks.simulator.providers import INNER, mark, marks_in
from benchmarks.simulator.script import Script
from gateway.storage.home import Home

_PRIVATE = ("sk-upstream-secret", INNER, "Traceback", "a-key-of-the-project", "ak-us-simulator")
_REPEATED = "idempotent-replayed"


@dataclass
class Aftermath:
    """What a run leaves for its judge."""

    script: Script
    home: Home
    got: list[Got]
    heard: dict[str, list[str]]
    in_use: dict[str, float] = field(default_factory=dict)
    tasks: list[str] = field(default_factory=list)
    files: int = 0
    wrong: list[str] = field(default_factory=list)
    """What was found amiss while it ran."""


def judge(left: Aftermath) -> list[str]:
    """Every invariant that was broken, in words."""
    found = [*left.wrong, *(f"{what} was not given back: {count:g}" for what, count in left.in_use.items() if count)]
    found += [f"a task was left behind: {task}" for task in left.tasks]
    if left.files > 0:
        found.append(f"{left.files} file descriptors were left open")
    for got in left.got:
        wrong = told_wrong(got, left.script.stops_early)
        found += [f"request {got.step.number} ({got.step.route}): {what}" for what in wrong]
    found += _providers(left)
    found += _ledger(left)
    return found


# ---------------------------------------------------------------- what clients got
def told_wrong(got: Got, stopping: bool = False) -> Iterator[str]:
    """What no client may meet, whatever the faults. ``stopping``: the gateway may have gone before it was reached."""
    step = got.step
    if got.stuck:
        yield "no end in sight"
    foreign = marks_in(got.text) - {mark(step.twin, step.project)}
    if foreign:
        yield f"got the bytes of others: {sorted(foreign)}"
    for word in _PRIVATE:
        if word in got.text or word in str(got.headers):
            yield f"was told '{word}'"
    if got.left or got.stuck:
        return
    if not got.complete:
        if not (stopping and not got.status):
            yield f"was cut off (status {got.status}, {len(got.body)} bytes): {got.text[-80:]!r}"
        return
    if got.status >= 500 and "internal" in got.text:
        yield f"an error of our own: {got.text[:200]}"
    if got.status != 200:
        yield from _error(got)
    elif step.stream:
        yield from _stream(got)
    elif not (marks_in(got.text) or step.route == "embeddings"):
        yield f"an answer that is not its own: {got.text[:120]}"


def _error(got: Got) -> Iterator[str]:
    try:
        error = json.loads(got.body)["error"]
        told = isinstance(error["message"], str) and bool(error["message"])
        shaped = told and (got.step.route in ("messages", "gemini") or {"type", "param", "code"} <= set(error))
    except (ValueError, KeyError, TypeError):
        shaped = False
    if not shaped:
        yield f"an error {got.status} of no shape: {got.text[:120]!r}"
    if got.status in (401, 403):
        yield f"a good key was refused with {got.status}"
    own = got.status == 503 or (got.status == 429 and "Not like this" not in got.text)
    if own and "retry-after" not in got.headers:
        yield f"a {got.status} that does not say when to come again: {got.text[:160]}"


def _stream(got: Got) -> Iterator[str]:
    blocks = [block for block in got.text.replace("\r\n", "\n").split("\n\n") if block.strip()]
    data = [line[6:] for block in blocks for line in block.split("\n") if line.startswith("data: ")]
    last = data[-1] if data else ""
    failed = bool(last) and last != "[DONE]" and _is_failure(json.loads(last))
    ends = {
        "chat": last == "[DONE]", "completions": last == "[DONE]", "messages": '"message_stop"' in last,
        "responses": '"response.completed"' in last or '"response.incomplete"' in last,
        "gemini": '"finishReason"' in last,
    }  # fmt: skip
    if not failed and not ends[got.step.route]:
        yield f"a stream without an end: {got.text[-160:]!r}"
    if ends[got.step.route] and not failed and mark(got.step.twin, got.step.project) not in _joined(data):
        yield f"a stream that ended well and says something else: {_joined(data)[:160]!r}"


def _is_failure(event: dict[str, Any]) -> bool:
    return bool(event.get("error")) or event.get("type") in ("error", "response.failed")


def _joined(data: list[str]) -> str:
    """All text of a stream, whatever its dialect."""
    parts: list[str] = []
    for one in data:
        if one == "[DONE]":
            continue
        event = json.loads(one)
        choices = event.get("choices") or []
        parts += [(choice.get("delta") or {}).get("content") or choice.get("text") or "" for choice in choices]
        delta = event.get("delta")
        if isinstance(delta, str):
            parts.append(delta)
        elif isinstance(delta, dict):
            parts.append(delta.get("text") or "")
        for candidate in event.get("candidates") or []:
            parts += [part.get("text", "") for part in (candidate.get("content") or {}).get("parts", [])]
    return "".join(parts)


# ---------------------------------------------------------------- what providers heard
def _providers(left: Aftermath) -> Iterator[str]:
    for name, bodies in left.heard.items():
        for body in bodies:
            if left.script.masks and "@example.org" in body:
                yield f"provider {name} was sent a masked address"
            if len(marks_in(body)) > 1:
                yield f"provider {name} was sent two requests in one: {sorted(marks_in(body))}"
    for got in left.got:
        whole = got.complete and got.status == 200 and not got.step.stream
        if whole and got.step.route != "embeddings" and email(got.step) not in got.text:
            yield f"request {got.step.number}: its own address did not come back: {got.text[:200]}"


# ---------------------------------------------------------------- what was written down
def _ledger(left: Aftermath) -> Iterator[str]:
    with closing(sqlite3.connect(left.home.database)) as database:
        rows = database.execute("SELECT request_id, project, status, cost_usd FROM calls").fetchall()
        refused = database.execute("SELECT reason FROM journal WHERE actor = 'ingester'").fetchall()
    yield from (f"the ingester could not keep a record: {reason}" for (reason,) in refused)
    calls = Counter(row[0] for row in rows)
    if not left.script.cache:  # a stale answer is refreshed by a call of its own, under the same request
        yield from (f"call {name} was written down {count} times" for name, count in calls.items() if count > 1)
    for got in left.got:
        name = got.headers.get("x-request-id", "")
        acknowledged = got.complete and got.status == 200 and _REPEATED not in got.headers
        if acknowledged and name not in calls:
            yield f"request {got.step.number} was answered and is in no ledger"
    projects = {row[0]: row[1] for row in rows}
    for got in left.got:
        if projects.get(got.headers.get("x-request-id", ""), got.step.project) != got.step.project:
            yield f"request {got.step.number} was written down for another project"
    spent = sum(row[3] or 0.0 for row in rows if row[1] == "poor")
    if spent > BUDGET_USD + 1e-9:
        yield f"the project 'poor' spent {spent:.6f} of {BUDGET_USD}"
