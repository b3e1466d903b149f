"""Learning from preferences: DPO and IPO over (prompt, chosen, rejected)."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import torch

from gateway.config import Preferences
from trainer.training.loop import Objective
from trainer.training.losses import answer_loss, preference_loss
from trainer.training.models import Speaker
from trainer.training.objectives import Reader
from trainer.training.rows import TokenRow, packed

Tensor = Any
PreferencePair = tuple[TokenRow, TokenRow]
"""(chosen, rejected), with one prompt."""


def preferences_objective(
    speaker: Speaker, pairs: Sequence[PreferencePair], held: Sequence[PreferencePair], settings: Preferences, *,
    seed: int, batch_tokens: int, checkpoint: bool,
) -> Objective[int]:  # fmt: skip
    """The objective over ``pairs``. The model as it is now is what the student is held to, so this is made before the
    first step, and again, from the same weights, when a run resumes."""
    reader = Reader(speaker, checkpoint=checkpoint)
    everyone = [*pairs, *held]
    speaker.model.eval()
    with torch.no_grad(), speaker.autocast():
        before = [_both(reader, pair, settings) for pair in everyone]

    def loss(number: int, _step: int) -> tuple[Tensor, float]:
        chosen, rejected = _both(reader, everyone[number], settings)
        start = before[number]
        found = preference_loss(chosen, rejected, start[0], start[1], beta=settings.beta, kind=settings.loss)
        return found, 1.0

    def check() -> float | None:
        numbers = range(len(pairs), len(everyone))
        return sum(float(loss(number, 0)[0]) for number in numbers) / len(numbers) if numbers else None

    return Objective(lambda epoch: pair_steps(pairs, epoch, seed, batch_tokens), loss, check)


def _both(reader: Reader, pair: PreferencePair, settings: Preferences) -> tuple[Tensor, Tensor]:
    """The log-probabilities of both answers in one line; per token for ``ipo``."""
    pack = packed(pair)
    hidden = reader.hidden(pack)
    wanted = hidden[torch.tensor(pack.at, device=hidden.device)]
    logs = -answer_loss(reader.head(wanted), torch.tensor(pack.labels, device=hidden.device))
    owner = torch.tensor(pack.owner, device=hidden.device)
    chosen, rejected = logs[owner == 0], logs[owner == 1]
    return (chosen.mean(), rejected.mean()) if settings.loss == "ipo" else (chosen.sum(), rejected.sum())


def pair_steps(pairs: Sequence[PreferencePair], epoch: int, seed: int, batch_tokens: int) -> list[list[int]]:
    """The steps of one epoch as numbers of pairs, each step at most ``batch_tokens`` long."""
    order = list(range(len(pairs)))
    random.Random(f"{seed}/pairs/{epoch}").shuffle(order)
    found: list[list[int]] = []
    used = batch_tokens
    for number in order:
        size = sum(map(len, pairs[number]))
        if used + size > batch_tokens:
            found.append([])
            used = 0
        found[-1].append(number)
        used += size
    return found
