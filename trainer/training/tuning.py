"""An encoder's lesson: its layers, a tagger and closed heads learn from rows together; resumes where it was killed.

The loss is that of the whole object: what is minimised is what its confidence is made of.
"""

from __future__ import annotations

import contextlib
import hashlib
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import torch

from gateway.config import FineTune
from gateway.local_models.encoder import Encoder
from trainer.training.loop import Objective, Pace, fit
from trainer.training.reader import Reader
from trainer.training.sights import Sight, Sizes, Tuned

_NEIGHBOURS = 8
"""Batches whose rows are sorted by length together, so that little of a batch is padding."""
Tensor = Any


@dataclass(slots=True)
class Pupil:
    """What the training loop asks of a model."""

    model: Reader

    def trainable(self) -> list[tuple[str, Any]]:
        return sorted(self.model.named_parameters())

    def autocast(self) -> Any:
        return contextlib.nullcontext()


def tune(
    encoder: Encoder, rows: Sequence[Sight], held: Sequence[Sight], sizes: Sizes, plan: FineTune, *, seed: int,
    workspace: Path, tick: Callable[[float, str], None],
) -> Tuned:  # fmt: skip
    """Learns from ``rows`` until ``held`` gets no better. Equal arguments give equal weights. Raises OSError."""
    torch.manual_seed(seed)
    pupil = Pupil(Reader(encoder, sizes))
    objective = Objective[list[Sight]](
        lambda epoch: [[batch] for batch in batches(rows, plan.batch, seed, epoch)],
        lambda line, _: pupil.model.loss(line),
        lambda: _held_loss(pupil.model, held, plan.batch),
    )
    pace = Pace(
        seed=seed, epochs=plan.epochs, learning_rate=plan.learning_rate, patience=plan.patience,
        identity=_identity(encoder, rows, held, plan, seed), weight_decay=0.01,
    )  # fmt: skip
    progress = fit(pupil, objective, pace, workspace / "encoder", tick)
    found = pupil.model.head_arrays()
    heads = tuple(
        (np.concatenate([found[f"{n}/features"], found[f"{n}/vectors"]]), found[f"{n}/bias"])
        for n in range(len(sizes.labels))
    )
    return Tuned(
        layers=pupil.model.layer_arrays(), terms=found["tags/terms"], vectors=found["tags/vectors"],
        bias=found["tags/bias"], heads=heads,
        numbers={
            "steps": float(progress.step),
            "epochs": float(len(progress.checks)),
            "first_loss": round(progress.losses[0], 6),
            "last_loss": round(progress.losses[-1], 6),
            "selection_loss": round(progress.best, 6),
        },
    )  # fmt: skip


def batches(rows: Sequence[Sight], size: int, seed: int, epoch: int) -> list[list[Sight]]:
    """Every row once, in an order of its own for each epoch, with neighbours of about the same length."""
    order = list(range(len(rows)))
    rng = random.Random(f"{seed}/{epoch}")
    rng.shuffle(order)
    found: list[list[Sight]] = []
    for start in range(0, len(order), size * _NEIGHBOURS):
        near = sorted(order[start : start + size * _NEIGHBOURS], key=lambda number: len(rows[number].ids))
        found += [[rows[n] for n in near[at : at + size]] for at in range(0, len(near), size)]
    rng.shuffle(found)
    return found


def _held_loss(model: Reader, held: Sequence[Sight], size: int) -> float | None:
    total, weight = 0.0, 0.0
    for start in range(0, len(held), size):
        loss, more = model.loss(held[start : start + size])
        total, weight = total + float(loss), weight + more
    return total / weight if weight else None


def _identity(
    encoder: Encoder, rows: Sequence[Sight], held: Sequence[Sight], plan: FineTune, seed: int
) -> str:
    """What a checkpoint must have been made from to be gone on with."""
    whole = hashlib.sha256(msgspec.json.encode((encoder.digest, seed, plan)))
    for name in sorted(encoder.changed):
        whole.update(np.ascontiguousarray(encoder.changed[name]).tobytes())
    for row in (*rows, *held):
        parts = (list(row.ids), [list(one) for one in row.terms], row.tags, list(row.labels), row.weight)
        whole.update(msgspec.json.encode(parts))
        whole.update(row.columns.tobytes())
    return f"encoder/{whole.hexdigest()}"
