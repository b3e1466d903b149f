"""``understudy savings``: whether students have paid for themselves, and what was expected beforehand."""

from __future__ import annotations

import math
import time
from argparse import Namespace

import msgspec
from sqlalchemy.exc import SQLAlchemyError

from gateway.commands.common import fail, policies_of, prepared_home, read_policies, say, told
from gateway.money.paybacks import TaskPayback, paybacks
from gateway.money.shown import shown
from gateway.protocol.counted import counted
from gateway.storage.reading.reader import open_reader
from optimizer.payback import Estimate


def savings(options: Namespace) -> int:
    """Exit status 1 when the database or the policies cannot be read."""
    if not options.days > 0:
        return fail("--days must be above zero.")
    loaded = read_policies(policies_of(options))
    if loaded is None:
        return 1
    reader = open_reader(prepared_home(), bulk=True)
    try:
        found = paybacks(loaded.config, reader, days=options.days, now=time.time())
    except SQLAlchemyError as error:
        return fail(told(error))
    finally:
        reader.close()
    if options.json:
        say(msgspec.json.format(msgspec.json.encode(shown(found))).decode())
    elif not found:
        say(f"No task that learns by these policies was called in the last {counted(options.days, 'day')}.")
    for one in found if not options.json else ():
        _tell(one)
    return 0


def _tell(one: TaskPayback) -> None:
    balance = one.payback
    say(f"{one.project}/{one.task}: {balance.student_calls:,} of {counted(balance.calls, 'call')} answered by students")
    parts = f"training {_usd(balance.training)}, learning {_usd(balance.learning)}"
    say(f"  invested    {_usd(balance.invested)} ({parts})")
    say(f"  brought     {_usd(balance.brought)}, net {_usd(balance.net)}")
    say(
        f"  per call    {_estimate(balance.per_call)} (95 % interval), expected {_estimate(balance.forecast)}"
    )
    if balance.paid_at is not None:
        say(f"  paid off    since {time.strftime('%Y-%m-%d %H:%M:%SZ', time.gmtime(balance.paid_at))}")
    elif balance.calls_left is not None:
        left = balance.calls_left
        noun = "call" if _calls(left.value) == "1" else "calls"
        say(f"  paid off    in {_calls(left.value)} more {noun} ({_calls(left.low)} to {_calls(left.high)})")
    else:
        say("  paid off    not yet; there is too little to say when")


def _usd(value: float | None) -> str:
    return "unknown" if value is None else f"${value:.4f}"


def _calls(value: float) -> str:
    return "never" if math.isinf(value) else f"{value:,.0f}"


def _estimate(found: Estimate | None) -> str:
    if found is None:
        return "unknown"
    return f"${found.value:.6f} (${found.low:.6f} to ${found.high:.6f})"
