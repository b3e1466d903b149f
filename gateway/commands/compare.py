"""``understudy compare``: which candidate of a task is best, from calls that were drawn at random."""

from __future__ import annotations

from argparse import Namespace

import msgspec
from sqlalchemy.exc import SQLAlchemyError

from gateway.commands.common import fail, policies_of, read_policies, say, told
from gateway.commands.replay import past_calls
from gateway.routing.replaying import CONTENT, CannotReplay, content_of, worth_of
from optimizer.comparison import Comparison, compare


def compare_candidates(options: Namespace) -> int:
    """Exit status 1 when nothing can be said. An undecided comparison is no failure."""
    if options.days <= 0 or not 0 < options.alpha < 1:
        return fail("--days must be above zero, --alpha between 0 and 1.")
    loaded = read_policies(policies_of(options))
    if loaded is None:
        return 1
    try:
        calls = past_calls(options.task, options.days, options.limit)
        worth = worth_of(loaded.config, options.task, calls)
    except SQLAlchemyError as error:
        return fail(told(error))
    except CannotReplay as error:
        return fail(str(error))
    guards = {CONTENT: content_of(calls)}
    found = compare(worth, alpha=options.alpha, min_calls=options.min_calls, guards=guards)
    if options.json:
        say(msgspec.json.format(msgspec.json.encode(found)).decode())
    else:
        _tell(found, options.task)
    return 0


def _tell(found: Comparison, task: str) -> None:
    say(
        f"Task '{task}': what a call is worth, in [0, 1]; the bounds hold at every look, all at {1 - found.alpha:.0%}\n"
    )
    width = max(len(one.name) for one in found.contenders)
    guards = "".join(f"{one.metric:>10}{'from':>9}{'to':>9}" for one in found.contenders[0].guards)
    say(f"{'':{width}}{'calls':>9}{'worth':>9}{'from':>9}{'to':>9}{'success':>10}{'from':>9}{'to':>9}{guards}")
    for one in found.contenders:
        numbers = "".join(f"{value:>9.3f}" for value in (one.mean, one.low, one.high))
        success = f"{one.success:>10.3f}{one.success_low:>9.3f}{one.success_high:>9.3f}"
        kept = "".join(f"{guard.mean:>10.3f}{guard.low:>9.3f}{guard.high:>9.3f}" for guard in one.guards)
        say(f"{one.name:{width}}{one.n:>9}{numbers}{success}{kept}")
    say(f"\n{'BEST' if found.winner else 'UNDECIDED'}: {found.reason}.")
