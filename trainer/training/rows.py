"""Rows of tokens and how they are packed. Plain lists: no torch here.

Several rows share a line of the batch, one behind the other; positions begin at 0 again with each, from which the
model's attention is made block-diagonal, so that no row sees another. Only the answer's tokens are learnt.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from trainer.training.sparse import SparseTarget


@dataclass(frozen=True, slots=True)
class TokenRow:
    """One prompt with one answer. ``targets``: for each token of the answer what the teacher thought there, or None."""

    prompt: tuple[int, ...]
    answer: tuple[int, ...]
    weight: float = 1.0
    targets: tuple[SparseTarget | None, ...] = ()

    def __len__(self) -> int:
        return len(self.prompt) + len(self.answer)


@dataclass(frozen=True, slots=True)
class Pack:
    """One line of tokens. ``at[i]``: the position whose next token is ``labels[i]``; ``owner[i]``: its row."""

    tokens: list[int]
    positions: list[int]
    at: list[int]
    labels: list[int]
    weights: list[float]
    owner: list[int]
    targets: list[SparseTarget | None]

    @property
    def weight(self) -> float:
        return sum(self.weights)


def packed(rows: Sequence[TokenRow]) -> Pack:
    """The rows as one line."""
    pack = Pack([], [], [], [], [], [], [])
    for number, row in enumerate(rows):
        start = len(pack.tokens)
        pack.tokens.extend((*row.prompt, *row.answer))
        pack.positions.extend(range(len(row)))
        count = len(row.answer)
        pack.at.extend(range(start + len(row.prompt) - 1, start + len(row) - 1))
        pack.labels.extend(row.answer)
        pack.weights.extend([row.weight] * count)
        pack.owner.extend([number] * count)
        pack.targets.extend(row.targets or [None] * count)
    return pack


def lines(rows: Iterable[TokenRow], longest: int) -> Iterator[list[TokenRow]]:
    """Neighbours that fit into a line of ``longest`` tokens together."""
    line: list[TokenRow] = []
    used = 0
    for row in rows:
        if line and used + len(row) > longest:
            yield line
            line, used = [], 0
        line.append(row)
        used += len(row)
    if line:
        yield line


def steps_of(
    rows: Sequence[TokenRow], *, epoch: int, seed: int, longest: int, batch_tokens: int
) -> list[list[list[TokenRow]]]:
    """The optimiser steps of one epoch, each a list of lines. A pure function of its arguments: a run that was
    interrupted goes through the very same steps."""
    order = list(range(len(rows)))
    random.Random(f"{seed}/{epoch}").shuffle(order)
    found: list[list[list[TokenRow]]] = []
    used = batch_tokens
    for line in lines((rows[number] for number in order), min(longest, batch_tokens)):
        size = sum(map(len, line))
        if used + size > batch_tokens:
            found.append([])
            used = 0
        found[-1].append(line)
        used += size
    return found
