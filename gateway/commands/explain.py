"""``understudy explain``: how a request would be routed by the policies here, without asking anybody."""

from __future__ import annotations

import asyncio
import contextlib
import random
import sys
import time
from argparse import Namespace
from pathlib import Path
from typing import Any

import msgspec
from sqlalchemy.exc import SQLAlchemyError

from gateway.commands.common import fail, policies_of, read_policies, say
from gateway.config import Config
from gateway.errors import GatewayError
from gateway.metering.spending import LedgerSpending
from gateway.money.shown import shown
from gateway.protocol.body import decode_object
from gateway.protocol.counted import counted
from gateway.routing.explain import CandidateShown, Explanation, explain
from gateway.routing.observations import Observations
from gateway.runtime import build_runtime
from gateway.stages.limit import Limit
from gateway.storage.counting.counters import Ledger, MemoryCounters, nothing_spent
from gateway.storage.home import Home
from gateway.storage.reading.reader import open_reader
from gateway.storage.values import Snapshot

_NOBODY = Snapshot(generation=0, keys=(), students=(), students_off=False)


def explain_request(options: Namespace) -> int:
    """Exit status 0 when somebody would be asked, 1 when the client would get an error."""
    loaded = read_policies(policies_of(options))
    if loaded is None:
        return 1
    try:
        found = asyncio.run(_explained(options, loaded.config, decode_object(_read(options.body))))
    except OSError as error:
        return fail(f"{options.body} cannot be read: {error.strerror}.")
    except ValueError as error:
        return fail(str(error))
    except GatewayError as error:
        return fail(f"{error.message} (HTTP {error.status})")
    if options.json:
        say(msgspec.json.format(msgspec.json.encode(shown(found))).decode())
    else:
        _tell(found)
    return 1 if found.error else 0


def _read(name: str) -> bytes:
    return sys.stdin.buffer.read() if name == "-" else Path(name).read_bytes()


def _headers(pairs: list[str]) -> dict[str, str]:
    found = {}
    for pair in pairs:
        name, sign, value = pair.partition("=")
        if not sign or not name.strip():
            raise ValueError(f"--header '{pair}' is not NAME=VALUE.")
        found[name.strip().lower()] = value
    return found


async def _explained(options: Namespace, config: Config, body: dict[str, Any]) -> Explanation:
    """With the keys, students and spending of this installation; none while it has no database."""
    reader = None
    with contextlib.suppress(SQLAlchemyError, OSError):
        reader = open_reader(Home.from_env())
    try:
        snapshot = _NOBODY
        ledger: Ledger = nothing_spent
        with contextlib.suppress(SQLAlchemyError, OSError):
            if reader is not None:
                snapshot, ledger = reader.snapshot(), LedgerSpending(reader)
        return await explain(
            build_runtime(config, snapshot),
            Observations(),
            body,
            key=options.key,
            project=options.project,
            headers=_headers(options.header),
            now=time.time(),
            rng=random.Random(),  # noqa: S311 - one draw of a plan, guards nothing
            refused=Limit(MemoryCounters(time.monotonic, ledger)).foreseen,
        )
    finally:
        if reader is not None:
            reader.close()


def _tell(found: Explanation) -> None:
    where = f"task {found.task}, policy {found.policy}" if found.task else "named directly, no policy"
    say(
        f"{found.model}: {where}; strategy {found.strategy}"
        + (f", {found.objective}" * bool(found.objective))
    )
    say(f"  estimated  {counted(found.input_tokens, 'token')} of input, {found.output_tokens:,} of output")
    for rule in found.rules:
        say(f"  rule       {rule.policy}: {'fits' if rule.fits else rule.reason}")
    for name, value in found.defaults.items():
        say(f"  default    {name}: {value}")
    if found.students:
        say(f"  students   may not answer: {found.students}")
    for one in found.candidates:
        say(f"  {'kept   ' if one.kept else 'dropped'}    {one.candidate}: {_facts(one)}")
    if found.error:
        say(f"  error      {found.error}")
        return
    say(f"  plan       {' -> '.join(f'{rung.candidate} ({rung.role})' for rung in found.plan)}")
    for rung in found.plan:
        if rung.passed_over:
            say(f"  passed over {rung.candidate}: {rung.passed_over}")
    say(f"             {found.reason}; this one is first with probability {found.propensity:.4g}")


def _facts(one: CandidateShown) -> str:
    parts: list[Any] = [one.reason] if one.reason else []
    price = one.estimated_cost_usd
    parts.append("price unknown" if price is None else f"about ${price:.6f}")
    if one.p50_ms is not None and one.p95_ms is not None:
        parts.append(f"p50 {one.p50_ms:.0f} ms, p95 {one.p95_ms:.0f} ms of {counted(one.samples, 'call')}")
    if one.quality is not None:
        parts.append(f"quality {one.quality:g}")
    if one.region:
        parts.append(f"region {one.region}")
    return "; ".join(parts)
