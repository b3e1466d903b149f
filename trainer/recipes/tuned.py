"""What classifier and extractor share when the encoder itself is trained (``learn.fine_tune``).

A tenth of the rows stays away from the weights: it stops training in time and makes the confidence a probability. Where
calls calibrate by cross-fitting, training five encoders would cost five times as much; so the first fold alone is kept
away and calibrates, and the student is the one model that the other folds taught.
"""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import msgspec
import numpy as np
import numpy.typing as npt

from gateway.config import FineTune
from gateway.local_models.encoder import Encoder
from trainer.features.terms import Floats, Vocabulary, features, in_common, words_of_one
from trainer.features.vectors import alignment
from trainer.recipes.example import CannotLearn, Example, Tick, sources_of
from trainer.recipes.generative import Means
from trainer.recipes.space import Dimension, Value
from trainer.training.generative import Generative
from trainer.training.sights import Sight, Sizes, Tuned

S = TypeVar("S", bound=msgspec.Struct)
Marks = npt.NDArray[np.bool_]
_HELD = 0.1


@dataclass(frozen=True, slots=True)
class Sides:
    """Which rows teach the weights, which stop and calibrate them, and which choose the threshold."""

    learn: Marks
    held: Marks
    judge: Marks


@dataclass(frozen=True, slots=True)
class Tokens:
    """The tagger's side of the rows: where tokens stand, their terms' columns, their tags where they are known."""

    spans: Sequence[Sequence[tuple[int, int]]]
    terms: Sequence[Sequence[Sequence[int]]]
    tags: Sequence[Sequence[int] | None]
    wide: int
    kinds: int


def sides_of(rows: Sequence[Example], seed: int) -> Sides:
    """Equal texts stay together; a row of weight 0 teaches nothing."""
    judge = np.array([row.fold == 0 for row in rows])
    teaches = np.array([row.weight > 0 for row in rows]) & ~judge
    held = np.array([_position(seed, row.text) < _HELD for row in rows]) & teaches
    return Sides(learn=teaches & ~held, held=held, judge=judge)


def fold_of_text(seed: int, text: str) -> bool:
    """Whether a text is among the fifth that judges a trial."""
    return _position(seed, f"trial/{text}") < 0.2


def tuning_space(plan: FineTune) -> list[Dimension]:
    return [
        Dimension("learning_rate", "real", plan.learning_rate, 1e-5, 3e-3),
        Dimension("epochs", "whole", plan.epochs, 1, max(2, 2 * plan.epochs)),
    ]


def with_values(settings: S, values: dict[str, Value], means: Means) -> S:
    """The recipe with a trial's values, in the trial's own workspace."""
    plan, own = means.fine_tune, set(settings.__struct_fields__)
    if plan is not None and not own.issuperset(values):
        means = msgspec.structs.replace(means, fine_tune=msgspec.structs.replace(plan, **values))
        values = {}
    return msgspec.structs.replace(settings, means=means, **values)


def _position(seed: int, text: str) -> float:
    return int.from_bytes(hashlib.sha256(f"{seed}/{text}".encode()).digest()[:6], "big") / 2.0**48


@dataclass(frozen=True, slots=True)
class Material:
    """What an encoder learns from. ``labels``: by head, the label of each row; ``counts``: how many there are."""

    encoder: Encoder
    rows: Sequence[Example]
    sides: Sides
    tokens: Tokens | None
    labels: Sequence[npt.NDArray[np.int64]]
    counts: Sequence[int]
    vocabulary: Vocabulary
    idf: Floats


def fine_tuned(material: Material, means: Means, seed: int, tick: Tick) -> tuple[str | None, Tuned]:
    """Trains on the rows that teach. → the digest of the student it began with, if any, and what was learnt. Raises
    CannotLearn when torch is missing or too few rows are left, OSError."""
    sides, tokens = material.sides, material.tokens
    if importlib.util.find_spec("torch") is None:
        raise CannotLearn("fine_tune needs torch: pip install 'understudy[train]'")
    if not (sides.learn.any() and sides.held.any()):
        raise CannotLearn("too few different calls to train an encoder and to stop it in time")
    sights = _sights(material)
    start, parent = _start(material.encoder, means)
    from trainer.training.tuning import tune

    def some(these: Marks) -> list[Sight]:
        return [sights[number] for number in np.flatnonzero(these)]

    sizes = Sizes(
        terms=tokens.wide if tokens else 0, tags=tokens.kinds if tokens else 0,
        features=material.vocabulary.size, labels=tuple(material.counts),
    )  # fmt: skip
    return parent, tune(
        start, some(sides.learn), some(sides.held), sizes, means.fine_tune or FineTune(),
        seed=seed, workspace=means.workspace, tick=lambda done, step: tick(0.1 + 0.8 * done, step),
    )  # fmt: skip


def _start(encoder: Encoder, means: Means) -> tuple[Encoder, str | None]:
    """The layers to begin with: those of the parent, if it tuned the same encoder."""
    model = means.parent.parameters if means.parent is not None else None
    before = None if model is None or isinstance(model, Generative) else model.encoder
    if means.parent is None or before is None or not before.changed or before.digest != encoder.digest:
        return encoder, None
    return before, means.parent.digest


def _sights(material: Material) -> list[Sight]:
    """Words of a single key are not shown: neither their pieces nor their terms (docs/students.md)."""
    rows, tokens, encoder = material.rows, material.tokens, material.encoder
    texts, sources = [row.text for row in rows], sources_of(rows)
    pieces = encoder.pieces(texts)
    if sources is not None:
        private = words_of_one(texts, sources)
        pieces = [encoder.blanked(one, words) for one, words in zip(pieces, private, strict=True)]
        texts = in_common(texts, sources)
    found = []
    for number, (row, one, text) in enumerate(zip(rows, pieces, texts, strict=True)):
        columns, values = features(text, material.vocabulary, material.idf)
        tags = tokens.tags[number] if tokens else None
        found.append(Sight(
            ids=one.ids,
            alignment=alignment(one, tokens.spans[number]) if tokens and tags else np.zeros((0, 0), np.float32),
            terms=tokens.terms[number] if tokens and tags else [],
            tags=tags, columns=columns, values=values,
            labels=[int(labels[number]) for labels in material.labels], weight=row.weight,
        ))  # fmt: skip
    return found
