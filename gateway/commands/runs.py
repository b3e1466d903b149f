"""``understudy runs``: what the trainer did, is doing and will do; runs are paused, cancelled, put first."""

from __future__ import annotations

import time
from argparse import Namespace

from sqlalchemy.exc import SQLAlchemyError

from gateway.commands.common import execute, fail, prepared_home, say, told
from gateway.storage.commands import (
    CancelRun,
    Command,
    PauseRun,
    PrioritiseRun,
    Refused,
    ResumeRun,
    WriterAway,
)
from gateway.storage.reading.reader import open_reader
from gateway.storage.values import Run

_ACTOR = "cli"
_LOOK_S = 0.5
_UNFINISHED = ("queued", "running", "paused")


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
    if options.follow:
        return _follow(options.run_id)
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


def pause(options: Namespace) -> int:
    """It keeps what was reached; its trainer stops it within seconds."""
    return _asked(PauseRun(options.run_id, _ACTOR, time.time()), "Paused: {run.id}.")


def resume(options: Namespace) -> int:
    return _asked(ResumeRun(options.run_id, _ACTOR, time.time()), "It waits in the queue again: {run.id}.")


def priority(options: Namespace) -> int:
    command = PrioritiseRun(options.run_id, options.priority, _ACTOR, "", time.time())
    return _asked(command, "Its priority is {run.priority}: {run.id}.")


def _asked(command: Command, done: str) -> int:
    try:
        run: Run = execute(command)
    except (Refused, WriterAway, SQLAlchemyError) as error:
        return fail(told(error))
    say(done.format(run=run))
    return 0


def _follow(run_id: str) -> int:
    """What a run says as it says it, until it has ended."""
    reader = open_reader(prepared_home())
    seen, shown = 0, ""
    try:
        while (run := reader.run(run_id)) is not None:
            for event in reader.run_events(run_id, after_seq=seen):
                say(f"  {_clock(event.at)}  {event.level:5}  {event.message}")
                seen = event.seq
            if run.state not in _UNFINISHED:
                say(_line(run))
                return 0
            if (line := f"  {run.state} {run.progress:.0%} {run.step}") != shown:
                say(shown := line)
            time.sleep(_LOOK_S)
    except SQLAlchemyError as error:
        return fail(told(error))
    finally:
        reader.close()
    return fail(f"there is no run '{run_id}'. See: understudy runs list")


def _line(run: Run) -> str:
    scope = f"{run.project}/{run.task or '(a fine-tuning job)'}"
    how = f"{run.progress:.0%} {run.step}" if run.state in _UNFINISHED else run.error
    return f"{run.id}  {_clock(run.created_at)}  {scope}  {run.state}  {how}".rstrip()


def _clock(at: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%SZ", time.gmtime(at))
