"""The training loop every generative recipe shares. Read downwards.

Everything that happens at step n is a function of (seed, n) and the weights: the order of the rows, the learning rate,
the random numbers. So a run that resumes from a checkpoint ends with the weights it would have had.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

import torch
from msgspec import Struct

from trainer.training import shared
from trainer.training.checkpoints import Checkpoint, load_checkpoint, save_checkpoint
from trainer.training.curve import Point, line_of
from trainer.training.models import learnt, put_back

Tensor = Any
T = TypeVar("T")
_WARM_UP = 0.05
_CLIP = 1.0


class Learner(Protocol):
    """Whatever learns: its module, its parameters that learn by name in a stable order, its precision."""

    model: Any

    def trainable(self) -> list[tuple[str, Any]]: ...

    def autocast(self) -> Any: ...


class Pace(Struct, frozen=True):
    """How to train. ``every``: steps between checkpoints; ``identity`` names what a checkpoint was made from."""

    seed: int
    epochs: int
    learning_rate: float
    patience: int
    identity: str
    every: int = 50
    weight_decay: float = 0.0


@dataclass(slots=True)
class Progress:
    """``losses``: mean training loss of each step; ``checks``: validation loss of each epoch. ``tokens``: learnt."""

    step: int = 0
    losses: list[float] = field(default_factory=list)
    checks: list[float] = field(default_factory=list)
    best: float = math.inf
    worse: int = 0
    tokens: float = 0.0


class Objective(Generic[T]):
    """What a recipe minimises. ``steps(epoch)``: the optimiser steps, each a list of lines."""

    def __init__(
        self,
        steps: Callable[[int], Sequence[Sequence[T]]],
        loss: Callable[[T, int], tuple[Tensor, float]],
        check: Callable[[], float | None],
    ) -> None:
        self.steps, self.loss, self.check = steps, loss, check


def fit(
    learner: Learner, objective: Objective[T], pace: Pace, folder: Path, tick: Callable[[float, str], None]
) -> Progress:
    """Trains ``learner``'s learnable weights and leaves the best in it: those of the epoch with the least validation
    loss, or the last when nothing validates. ``loss(line, step)`` → (sum, weight); a step's gradient is that of
    sum/weight over its lines. Checkpoints lie in ``folder``. Raises OSError."""
    names = [name for name, _ in learner.trainable()]
    weights = [one for _, one in learner.trainable()]
    optimiser = torch.optim.AdamW(
        weights, lr=pace.learning_rate, betas=(0.9, 0.95), weight_decay=pace.weight_decay
    )
    progress, best = _resumed(learner, optimiser, names, pace, folder)
    total = sum(len(objective.steps(epoch)) for epoch in range(pace.epochs))
    done = 0
    for epoch in range(pace.epochs):
        steps = objective.steps(epoch)
        if progress.worse >= pace.patience:
            break
        if done + len(steps) <= progress.step and len(progress.checks) > epoch:
            done += len(steps)
            continue
        for number, lines in enumerate(steps, start=done):
            if number < progress.step:
                continue
            _step(
                learner, objective, optimiser, lines,
                number=number, total=total, pace=pace, progress=progress,
            )  # fmt: skip
            tick(progress.step / max(1, total), line_of(Point(progress.step, total, progress.losses[-1])))
            if progress.step % pace.every == 0 and shared.rank() == 0:
                save_checkpoint(folder, _snapshot(learner, optimiser, names, progress, best, pace))
        done += len(steps)
        best = _validated(learner, objective, progress, best)
        if shared.rank() == 0:
            save_checkpoint(folder, _snapshot(learner, optimiser, names, progress, best, pace))
    if best is not None:
        put_back(learner, best)
    return progress


def _step(
    learner: Learner, objective: Objective[T], optimiser: Any, lines: Sequence[T], *, number: int, total: int,
    pace: Pace, progress: Progress,
) -> None:  # fmt: skip
    torch.manual_seed((pace.seed * 1_000_003 + number) % 2**31)
    learner.model.train()
    for group in optimiser.param_groups:
        group["lr"] = rate_at(number, total, pace.learning_rate)
    optimiser.zero_grad(set_to_none=True)
    loss_sum, weight_sum = 0.0, 0.0
    for line in shared.mine(lines):
        with learner.autocast():
            loss, weight = objective.loss(line, number)
        loss.backward()
        loss_sum, weight_sum = loss_sum + float(loss.detach()), weight_sum + weight
    parameters = [one for group in optimiser.param_groups for one in group["params"]]
    loss_sum, weight_sum = shared.summed(parameters, loss_sum, weight_sum)
    parameters = [one for one in parameters if one.grad is not None]
    for one in parameters:
        one.grad /= max(weight_sum, 1e-9)
    torch.nn.utils.clip_grad_norm_(parameters, _CLIP)
    optimiser.step()
    progress.step = number + 1
    progress.tokens += weight_sum
    progress.losses.append(loss_sum / max(weight_sum, 1e-9))


def rate_at(step: int, total: int, peak: float) -> float:
    """The learning rate of a step (from 0): rises over the first twentieth, then falls along a cosine to a tenth."""
    warm = max(1, round(total * _WARM_UP))
    if step < warm:
        return peak * (step + 1) / warm
    return peak * (0.55 + 0.45 * math.cos(math.pi * (step - warm) / max(1, total - warm)))


def _validated(
    learner: Learner, objective: Objective[T], progress: Progress, best: dict[str, Tensor] | None
) -> dict[str, Tensor] | None:
    """Looks at the validation loss; → the best weights so far."""
    learner.model.eval()
    with torch.no_grad(), learner.autocast():
        found = objective.check()
    if found is None:
        progress.checks.append(math.nan)
        return None
    progress.checks.append(found)
    if found < progress.best or best is None:
        progress.best, progress.worse = found, 0
        return learnt(learner)
    progress.worse += 1
    return best


# ---------------------------------------------------------------- checkpoints
def _snapshot(
    learner: Learner,
    optimiser: Any,
    names: list[str],
    progress: Progress,
    best: dict[str, Tensor] | None,
    pace: Pace,
) -> Checkpoint:
    state = optimiser.state_dict()["state"]
    moments = {
        f"{kind}/{names[number]}": one[kind].detach().cpu().contiguous()
        for number, one in state.items()
        for kind in ("exp_avg", "exp_avg_sq")
    }
    weights = {f"weight/{name}": one for name, one in learnt(learner).items()}
    kept = {f"best/{name}": one for name, one in (best or {}).items()}
    return Checkpoint(
        identity=pace.identity, step=progress.step, losses=progress.losses, checks=progress.checks, best=progress.best,
        worse=progress.worse, tokens=progress.tokens, tensors={**weights, **moments, **kept},
    )  # fmt: skip


def _resumed(
    learner: Learner, optimiser: Any, names: list[str], pace: Pace, folder: Path
) -> tuple[Progress, dict[str, Tensor] | None]:
    """Where an earlier attempt with the same identity left off, else the beginning."""
    shared.wait()  # nobody writes a checkpoint while another still reads the last one
    found = load_checkpoint(folder, pace.identity)
    shared.wait()
    if found is None:
        return Progress(), None
    tensors = found.tensors
    put_back(learner, {name: tensors[f"weight/{name}"] for name in names})
    if any(name.startswith("exp_avg/") for name in tensors):
        state = {
            number: {
                "step": torch.tensor(float(found.step)),
                "exp_avg": tensors[f"exp_avg/{name}"],
                "exp_avg_sq": tensors[f"exp_avg_sq/{name}"],
            }
            for number, name in enumerate(names)
            if f"exp_avg/{name}" in tensors
        }
        optimiser.load_state_dict(optimiser.state_dict() | {"state": state})
    best = {name: tensors[f"best/{name}"] for name in names if f"best/{name}" in tensors} or None
    progress = Progress(found.step, found.losses, found.checks, found.best, found.worse, found.tokens)
    return progress, best
