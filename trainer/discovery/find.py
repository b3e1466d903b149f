"""Finds tasks in untagged traffic: ``python -m trainer.discovery.find --home DIR --policies DIR``.

What it finds is kept in the data directory for the admin page and printed; nothing is trained that stays.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections import Counter
from pathlib import Path

import msgspec
from msgspec import Struct

from gateway.config import Discover
from gateway.policy import files as policy_files
from gateway.policy.withheld import stood_in
from gateway.protocol.visible import visible
from gateway.storage.home import Home
from gateway.storage.reading.discovery import UntaggedCall, UntaggedTotal
from gateway.storage.reading.reader import open_reader
from trainer import bounds
from trainer.discovery.forecast import Forecast, Interval, Probe, forecast, probe
from trainer.discovery.templates import Group, groups_of

_LEAST = 5
"""Calls of a group that is worth a line."""
_MOST_READ, _MOST_SHOWN = 20_000, 50
_SHORTEST_PREFIX, _LONGEST_PREFIX = 12, 200
_SEED = 0


class Found(Struct, frozen=True):
    """A task nobody has named yet."""

    name: str
    project: str
    model: str
    template: str
    tools: tuple[str, ...]
    json: bool
    captured: int
    shapes: int
    """Exact shapes its calls have; a student serves one of them."""
    probe: Probe
    forecast: Forecast
    yaml: str


class Discovery(Struct, frozen=True):
    at: float
    captured: int
    tasks: list[Found]


def discover(
    calls: list[UntaggedCall], totals: list[UntaggedTotal], *, now: float, seed: int = _SEED
) -> Discovery:
    """The groups, what saves most first; those whose savings are unknown behind them, dearest first. Pure."""
    captured = Counter((call.project, call.model) for call in calls)
    found = []
    for group in groups_of(calls)[:_MOST_SHOWN]:
        if len(group.calls) < _LEAST:
            continue
        probed = probe(group, seed=seed)
        ahead = forecast(group, probed, totals, captured[group.project, group.model])
        found.append(
            Found(
                name=group.name, project=group.project, model=group.model, template=group.template,
                tools=group.tools, json=group.json, captured=len(group.calls), shapes=len(group.fingerprints()),
                probe=probed, forecast=ahead, yaml=snippet(group),
            )
        )  # fmt: skip
    found.sort(key=_rank, reverse=True)
    return Discovery(now, len(calls), found)


def _rank(found: Found) -> tuple[float, float]:
    saved = found.forecast.saved_usd
    return (saved.value if saved else -1.0, found.forecast.calls.value * (found.forecast.cost_usd or 0.0))


def snippet(group: Group) -> str:
    """The YAML to paste for this task."""
    shapes, newest = group.fingerprints(), group.calls[-1].call
    quoted = json.dumps(group.prefix[:_LONGEST_PREFIX], ensure_ascii=False)
    if len(shapes) > 1 and len(group.prefix) >= _SHORTEST_PREFIX:
        match = f"system_prefix: {quoted}"
    else:
        match = f"fingerprint: {json.dumps(shapes.most_common(1)[0][0])}"
    teacher = f"provider: {newest.provider}, model: {json.dumps(newest.served_by)}"
    return (
        f"policies:\n  - {{name: {group.name}-first, strategy: cascade}}\n"
        f"tasks:\n"
        f"  - name: {group.name}\n"
        f"    match: [{{model: {json.dumps(group.model)}, {match}}}]\n"
        f"    policy: {group.name}-first\n"
        f"    # true says that the provider's terms allow training on its answers; only you can know\n"
        f"    teacher: {{{teacher}, may_train_on_outputs: false}}\n"
        f"    capture: {{rate: 1.0}}\n"
        f"    learn: {{approval: manual}}\n"
    )


def run(home: Home, rules: Discover, now: float) -> Discovery:
    """Reads, finds and keeps. Raises SQLAlchemyError and OSError."""
    reader = open_reader(home, bulk=True)
    try:
        since = now - rules.retention_days * 86_400.0
        calls = reader.untagged_calls(since=since, limit=_MOST_READ)
        totals = reader.untagged_totals(since=calls[0].created_at if calls else since)
    finally:
        reader.close()
    found = discover(calls, totals, now=now)
    draft = home.discovered.with_suffix(f".{os.getpid()}")
    draft.write_bytes(msgspec.json.encode(found))
    draft.rename(home.discovered)
    return found


def told(found: Discovery) -> str:
    """For a person at a terminal."""
    lines = [f"{found.captured:,} captured calls without a task, {len(found.tasks)} kinds of prompts.", ""]
    for task in found.tasks:
        lines += [*_told(task), "", *(f"    {line}" for line in task.yaml.splitlines()), ""]
    return visible("\n".join(lines))


def _told(task: Found) -> list[str]:
    ahead, probed = task.forecast, task.probe
    calls, seen = _range(ahead.calls, "{:,.0f}"), f"{task.captured:,} captured over {_time(ahead.seen_s)}"
    cheap = f"unknown: {probed.why}"
    if probed.served is not None:
        share = _range(probed.served, "{:.0%}")
        cheap = f"{share} could be served by a student ({probed.recipe}, n = {probed.n:,})"
    saved = f"{_range(ahead.saved_usd, '${:,.2f}')} a month" if ahead.saved_usd else "unknown"
    return [
        f"{task.name}  ({task.model}, project {task.project})",
        f"  prompt   {task.template[:300] or '(no system text)'}",
        f"  calls    {calls} a month, from {seen}",
        f"  cheap    {cheap}",
        f"  savings  {saved}",
    ]


def _range(interval: Interval, form: str) -> str:
    low, high = form.format(interval.low), form.format(interval.high)
    return f"{form.format(interval.value)} (95 % interval {low} to {high})"


def _time(seconds: float) -> str:
    return f"{seconds / 86_400:.1f} days" if seconds >= 86_400 else f"{seconds / 3600:.1f} hours"


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="trainer.discovery.find", description="Finds tasks in untagged traffic."
    )
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--policies", type=Path, required=True)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--nice", type=int, default=0, help="how far to stand back for other processes")
    options = parser.parse_args()
    os.nice(options.nice)
    try:
        config = policy_files.read(options.policies, stood_in(os.environ)).config  # its warnings are for `check`
    except policy_files.PolicyError as problem:
        sys.exit(visible(str(problem)))
    bounds.hold(bounds.most(config.trainer))
    rules = config.discover
    if rules is None:
        sys.exit("understudy: the policies do not say `discover: {rate: 0.1}`, so no call without a task is captured.")
    found = run(Home(options.home.resolve()), rules, time.time())
    sys.stdout.write(msgspec.json.encode(found).decode() + "\n" if options.json else told(found))


if __name__ == "__main__":
    main()
