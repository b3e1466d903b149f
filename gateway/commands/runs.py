"""``understudy runs``: what the trainer did, is doing and will do; a run can be cancelled here."""

from __future__ import annotations

import time
from argparse import Namespace

from sqlalchemy.exc import SQLAlchemyError

from gateway.commands.common import execute, fail, prepared_home, say, told
from gateway.storage.commands import CancelRun, Refused, WriterAway
from gateway.storage.sql_reader import open_reader
from gateway.storage.values import Run

_ACTOR = "cli"


def list_runs(options: Namespace) -> int:
    """The newest runs, one line each."""
    reader = open_reader(prepared_home())
    try:
        runs = reader.runs(limit=options.limit)
    except SQLAlchemyError as error:
        return fail(told(error))
    finally:
        reader.close()
    if not runs:
        say("There are no runs. A task with `learn:` starts one when enough of its calls were captured.")
    for run in runs:
        say(_line(run))
    return 0


def events(options: Namespace) -> int:
    """What a run said, oldest first."""
    reader = open_reader(prepared_home())
    try:
        run = reader.run(options.run_id)
        said = reader.run_events(options.run_id) if run is not None else []
    except SQLAlchemyError as error:
        return fail(told(error))
    finally:
        reader.close()
    if run is None:
        return fail(f"there is no run '{options.run_id}'. See: understudy runs list")
    say(_line(run))
    for event in said:
        say(f"  {_clock(event.at)}  {event.level:5}  {event.message}")
    return 0


def cancel(options: Namespace) -> int:
    """Cancels a queued run at once and asks a running one to stop."""
    try:
        run: Run = execute(CancelRun(run_id=options.run_id, actor=_ACTOR, at=time.time()))
    except (Refused, WriterAway, SQLAlchemyError) as error:
        return fail(told(error))
    if run.state == "cancelled":
        say(f"Cancelled: {run.id}.")
    elif run.state == "running":
        say(f"Asked to stop: {run.id}. Its trainer ends it within seconds.")
    else:
        return fail(f"{run.id} has already {run.state}.")
    return 0


def _line(run: Run) -> str:
    scope = f"{run.project}/{run.task}"
    how = f"{run.progress:.0%} {run.step}" if run.state in ("queued", "running") else run.error
    return f"{run.id}  {_clock(run.created_at)}  {scope}  {run.state}  {how}".rstrip()


def _clock(at: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%SZ", time.gmtime(at))
