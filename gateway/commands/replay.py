"""``understudy replay``: what another policy would have cost and brought, estimated from recorded calls."""

from __future__ import annotations

import time
from argparse import Namespace

import msgspec
from sqlalchemy.exc import SQLAlchemyError

from gateway.commands.common import fail, policies_of, prepared_home, read_policies, say, told
from gateway.routing.replaying import CannotReplay, Measured, replayed
from gateway.storage.reading.reader import open_reader
from gateway.storage.values import PastCall

_DAY_S = 86_400.0


def replay(options: Namespace) -> int:
    """Exit status 1 when nothing can be said."""
    if options.days <= 0 or options.limit <= 0:
        return fail("--days and --limit must be above zero.")
    loaded = read_policies(policies_of(options))
    if loaded is None:
        return 1
    try:
        calls = past_calls(options.task, options.days, options.limit)
        found = replayed(loaded.config, options.task, calls, policy=options.policy)
    except SQLAlchemyError as error:
        return fail(told(error))
    except CannotReplay as error:
        return fail(str(error))
    if options.json:
        say(msgspec.json.format(msgspec.json.encode(found)).decode())
    else:
        _tell(found, options)
    return 0


def past_calls(task: str, days: float, limit: int) -> list[PastCall]:
    """The task's recorded calls of the last ``days``, oldest first. Raises SQLAlchemyError."""
    reader = open_reader(prepared_home(), bulk=True)
    try:
        return reader.past_calls(task, since=time.time() - days * _DAY_S, limit=limit)
    finally:
        reader.close()


def _tell(found: list[Measured], options: Namespace) -> None:
    policy = f"policy '{options.policy}'" if options.policy else "the policies here"
    say(f"Task '{options.task}' under {policy}, from {found[0].result.n} recorded calls (95 % intervals):\n")
    say(f"{'':10}{'happened':>14}{'replayed':>14}{'from':>14}{'to':>14}{'worth calls':>14}")
    for one in found:
        result = one.result
        numbers = [_shown(value, one.unit) for value in (result.observed, result.dr, result.low, result.high)]
        say(f"{one.what:10}" + "".join(f"{text:>14}" for text in numbers) + f"{result.effective:>14.0f}")
    for reason in dict.fromkeys(one.result.reason for one in found if one.result.reason):
        say(f"\nNot to be relied on: {reason}.")


def _shown(value: float, unit: str) -> str:
    if unit == "usd":
        return f"${value:.6f}"
    return f"{value:.0f} ms" if unit == "ms" else f"{value:.4f}"
