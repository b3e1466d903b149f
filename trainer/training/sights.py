"""What fine-tuning an encoder looks at and hands back: plain values, no torch here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from trainer.features.terms import Floats, Indices

Columns = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Sight:
    """One text. ``ids``: its pieces; ``alignment`` (tokens, pieces); ``terms``: the columns of each token; ``tags`` of
    the tokens, None when they are not known; ``columns`` and ``values``: the text's own terms; ``labels``: one a head,
    -1 for none of its labels."""

    ids: Sequence[int]
    alignment: Floats
    terms: Sequence[Sequence[int]]
    tags: Sequence[int] | None
    columns: Indices
    values: Floats
    labels: Sequence[int]
    weight: float


@dataclass(frozen=True, slots=True)
class Sizes:
    """``terms`` and ``tags`` of the tagger (0 tags: none), ``features`` of a text, ``labels`` of each head."""

    terms: int
    tags: int
    features: int
    labels: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Tuned:
    """What was learnt: ``layers`` of the encoder; the tagger's coefficients ``terms`` (terms, tags), ``vectors``
    (size, tags) and ``bias``; of each head the coefficients (features + size, labels) and the bias."""

    layers: dict[str, Floats]
    terms: Floats
    vectors: Floats
    bias: Floats
    heads: tuple[tuple[Floats, Floats], ...]
    numbers: dict[str, float]
