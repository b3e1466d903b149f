"""Hyper-parameters within a budget: trials of one recipe, each a whole training, the best of which is the student.

The first trial is what the recipe does without a search, so a search ends with nothing worse by its own measure: the
log loss on rows the trial's model did not learn from (``selection_loss``). Trials are written down as they end; a
search that was killed goes on behind the last of them, and proposes what it would have proposed.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
from msgspec import Struct

from gateway.config import Search
from trainer.recipes.example import CannotLearn, Note, Trained
from trainer.recipes.space import LOSS, Bayesian, Dimension, Proposer, Value

_FILE = "trials.jsonl"
_WORST = 1e6
"""Loss of a trial that could not learn."""


class Trial(Struct, frozen=True):
    number: int
    values: dict[str, Value]
    loss: float
    seconds: float


Try = Callable[[dict[str, Value], Path, int], Trained]
"""Trains with these values in a folder of its own, as trial number so-and-so. Raises CannotLearn."""


def search(
    attempt: Try, space: list[Dimension], plan: Search, seed: int, workspace: Path, note: Note,
    clock: Callable[[], float] = time.monotonic,
) -> Trained:  # fmt: skip
    """The best student of at most ``plan.trials`` trials. No trial begins once the minutes or the money are spent.
    Raises CannotLearn when the first trial does, OSError."""
    proposer = Bayesian(space, seed, plan.trials)
    done = _replayed(workspace / _FILE, proposer, space)
    best: tuple[Trial, Trained] | None = None
    while not done or (len(done) < plan.trials and _left(plan, done)):
        values = _next(proposer, done, space)
        trial, trained = _tried(attempt, values, len(done), workspace, clock)
        proposer.tell(trial.values, trial.loss)
        _kept(workspace / _FILE, trial)
        done.append(trial)
        note(_told(trial, plan), {"trial": msgspec.to_builtins(trial)})
        if trained is not None and (best is None or trial.loss < best[0].loss):
            best = trial, trained
        _tidied(workspace, min(done, key=lambda one: one.loss).number)
    chosen = min(done, key=lambda one: one.loss)
    trained = best[1] if best is not None and best[0].number == chosen.number else None
    if trained is None:  # it was trained before a restart: the same again, from its checkpoints where it has any
        trained = attempt(chosen.values, _folder(workspace, chosen.number), chosen.number)
    return _with_search(trained, done, chosen)


def _with_search(trained: Trained, done: list[Trial], chosen: Trial) -> Trained:
    """The student with what the search was, for its manifest."""
    said = {f"search_{name}": float(value) for name, value in chosen.values.items()}
    numbers = {
        **trained.numbers, "search_trials": float(len(done)), "search_usual_loss": done[0].loss, **said,
    }  # fmt: skip
    return dataclasses.replace(trained, numbers=numbers)


def _next(proposer: Proposer, done: list[Trial], space: list[Dimension]) -> dict[str, Value]:
    return proposer.ask() if done else {one.name: one.usual for one in space}


def _tried(
    attempt: Try, values: dict[str, Value], number: int, workspace: Path, clock: Callable[[], float]
) -> tuple[Trial, Trained | None]:
    began = clock()
    try:
        trained = attempt(values, _folder(workspace, number), number)
    except CannotLearn:
        if number == 0:
            raise
        return Trial(number, values, _WORST, clock() - began), None
    loss = trained.numbers[LOSS]
    return Trial(number, values, loss if math.isfinite(loss) else _WORST, clock() - began), trained


def _left(plan: Search, done: list[Trial]) -> bool:
    seconds = sum(one.seconds for one in done)
    money = plan.budget_usd is None or seconds / 3600.0 * plan.usd_per_hour < plan.budget_usd
    return money and seconds < plan.max_minutes * 60.0


def _told(trial: Trial, plan: Search) -> str:
    values = ", ".join(f"{name} {value:.4g}" for name, value in trial.values.items())
    spent = f", ${trial.seconds / 3600.0 * plan.usd_per_hour:.4f}" if plan.usd_per_hour else ""
    return f"trial {trial.number + 1} of {plan.trials}: {values}: loss {trial.loss:.4f} ({trial.seconds:.1f} s{spent})"


# ---------------------------------------------------------------- on disk
def _folder(workspace: Path, number: int) -> Path:
    return workspace / f"trial-{number}"


def _replayed(path: Path, proposer: Proposer, space: list[Dimension]) -> list[Trial]:
    """The trials an earlier attempt ended, told to the proposer as they were then. A torn last line is none."""
    done: list[Trial] = []
    with contextlib.suppress(OSError):
        for line in path.read_bytes().splitlines():
            try:
                trial = msgspec.json.decode(line, type=Trial)
            except msgspec.MsgspecError:
                break
            if _next(proposer, done, space) != trial.values:
                break
            proposer.tell(trial.values, trial.loss)
            done.append(trial)
    return done


def _kept(path: Path, trial: Trial) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    before = path.read_bytes().splitlines()[: trial.number] if path.exists() else []
    draft = path.with_suffix(".draft")
    draft.write_bytes(b"".join(line + b"\n" for line in (*before, msgspec.json.encode(trial))))
    draft.replace(path)


def _tidied(workspace: Path, best: int) -> None:
    for folder in workspace.glob("trial-*"):
        if folder.name != f"trial-{best}":
            shutil.rmtree(folder, ignore_errors=True)
