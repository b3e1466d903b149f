"""Recipe: the task has a closed set of answers. TF-IDF words and characters, calibrated linear head."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Any, Literal

import msgspec
import numpy as np
from msgspec import Meta, Struct, field

from gateway.local_models.encoder import Encoder, EncoderRefused, load
from trainer.artifacts.artifact import MAX_ANSWERS, Parameters
from trainer.artifacts.predictor import probabilities
from trainer.features.terms import EMBEDDING_SCALE, Floats, Vocabulary, features, in_common, learn_vocabulary
from trainer.recipes.example import TAUGHT, CannotLearn, Example, Recipe, Tick, Trained, sources_of
from trainer.recipes.generative import Means
from trainer.recipes.linear import Array, Labels, fit_head, temperature_of
from trainer.recipes.space import LOSS, Dimension, Value
from trainer.recipes.tuned import Material, fine_tuned, sides_of, tuning_space, with_values

FeatureKind = Literal["auto", "tfidf", "embedding", "both"]
_LEAST_ROWS = 30
_OTHERS = 5
"""Calls with an answer outside the closed set from which on a student learns to abstain."""
_SHORTEST_HINT, _LONGEST_HINT = 3, 80
_NAMED = re.compile(r"[A-Z]?[^\W\d_A-Z]+|[A-Z]+")
"""The words of an identifier, snake_case, camelCase or plain."""


class ClassifierRecipe(Struct, frozen=True, tag="classifier", tag_field="type", forbid_unknown_fields=True):
    """A closed set has at most ``max_answers`` answers that each occur ``min_support`` times and together
    cover ``coverage`` of the examples. The others, where there are a few, teach the student to abstain: they are one
    answer more, which is never given, and what is likely of it is missing from the confidence of all others."""

    max_answers: Annotated[int, Meta(ge=2, le=MAX_ANSWERS)] = MAX_ANSWERS
    min_support: Annotated[int, Meta(ge=1)] = 2
    coverage: Annotated[float, Meta(gt=0, le=1)] = 0.95
    encoder: str | None = None
    features: FeatureKind = "auto"
    means: Means = field(default_factory=Means)
    """Its ``fine_tune`` trains the encoder's layers too."""
    strength: Annotated[float, Meta(gt=0)] | None = None
    """Inverse regularisation; None: the best of three."""
    pairs: bool = True
    """Whether pairs of words are features, and how long the characters' grams may be."""
    longest_gram: Annotated[int, Meta(ge=2, le=5)] = 5

    def space(self) -> list[Dimension]:
        if self.encoder and self.features != "tfidf" and self.means.fine_tune is not None:
            return tuning_space(self.means.fine_tune)
        strength = Dimension("strength", "real", 10.0, 0.3, 300.0)
        if self.features == "embedding":
            return [strength]
        gram = Dimension("longest_gram", "whole", self.longest_gram, 2, 5)
        return [strength, gram, Dimension("pairs", "flag", self.pairs)]

    def tried(self, values: dict[str, Value], means: Means) -> ClassifierRecipe:
        return with_values(self, values, means)

    def build(self) -> Recipe:
        return _Classifier(self)


class _Classifier:
    def __init__(self, settings: ClassifierRecipe) -> None:
        self._settings = settings

    def train(self, examples: Sequence[Example], *, seed: int, tick: Tick) -> Trained:
        answers = closed_set(examples, self._settings)
        number = {answer: column for column, answer in enumerate(answers)}
        abstains = sum(example.weight > 0 and example.answer not in number for example in examples) >= _OTHERS
        other = len(answers) if abstains else -1
        known = [one for one in examples if one.weight > 0 and (abstains or one.answer in number)]
        tick(0.05, f"learning the words of {len(known)} texts")
        vocabulary, idf, encoder = self._looks_at(known)
        crossfitted = bool(examples) and all(example.fold is not None for example in examples)
        rows = examples if crossfitted else known
        if encoder is not None and self._settings.means.fine_tune is not None:
            looks = vocabulary, idf, encoder
            return _tuned(looks, rows, answers, other, self._settings.means, seed, tick)
        hints = _hints(answers)
        texts, sources = [example.text for example in rows], sources_of(rows)
        matrix = _matrix([*texts, *hints.values()], vocabulary, idf, encoder)
        taught = None
        if sources is not None:
            taught = _matrix([*in_common(texts, sources), *hints.values()], vocabulary, idf, encoder)
        said = [*(example.answer for example in rows), *hints]
        labels: Labels = np.array([number.get(answer, other) for answer in said], dtype=np.int64)
        tick(0.2, f"fitting {len(answers)} answers on {len(known)} texts")
        head = fit_head(
            matrix, labels, _weights(rows, labels), len(answers) + abstains, seed,
            lambda done: tick(0.2 + 0.8 * done, "fitting"),
            np.array([example.fold for example in rows]) if crossfitted else None, hints=len(hints), taught=taught,
            strength=self._settings.strength,
        )  # fmt: skip
        asked = head.out_of_fold[:, : len(answers)]
        hits = asked.argmax(axis=1) == labels[: len(rows)]
        return Trained(
            answers=answers,
            max_answer_tokens=max(example.tokens for example in known),
            parameters=Parameters(
                vocabulary, idf, head.coefficients, head.bias, head.temperature, encoder, abstains
            ),
            numbers={
                "rows": float(len(known)),
                "answers": float(len(answers)),
                "features": float(vocabulary.size),
                "strength": head.strength,
                "temperature": round(head.temperature, 6),
                LOSS: round(head.loss, 6),
                "out_of_fold_agreement": round(float(hits.mean()), 6),
            },
            crossfit=_crossfit(asked) if crossfitted else (),
        )

    def _looks_at(self, known: Sequence[Example]) -> tuple[Vocabulary, Floats, Encoder | None]:
        """The terms and the encoder that make the features. Raises CannotLearn when there is nothing."""
        kind = self._settings.features
        encoder = None
        if self._settings.encoder and kind != "tfidf":
            try:
                encoder = load(self._settings.encoder)
            except EncoderRefused as problem:
                raise CannotLearn(str(problem)) from None
        if kind == "embedding":
            return Vocabulary.of([], []), np.zeros(0, dtype=np.float32), encoder
        settings = self._settings
        vocabulary, idf = learn_vocabulary(
            [one.text for one in known], sources_of(known),
            pairs=settings.pairs, longest_gram=settings.longest_gram,
        )  # fmt: skip
        if vocabulary.size == 0 and encoder is None:
            raise CannotLearn("the inputs share no words to learn from")
        return vocabulary, idf, encoder


def _tuned(
    looks: tuple[Vocabulary, Floats, Encoder], rows: Sequence[Example], answers: tuple[str, ...], other: int,
    means: Means, seed: int, tick: Tick,
) -> Trained:  # fmt: skip
    """The encoder's layers and one head over the answers, trained together. ``other``: the label of all others."""
    vocabulary, idf, encoder = looks
    number = {answer: column for column, answer in enumerate(answers)}
    labels: Labels = np.array([number.get(row.answer, other) for row in rows], dtype=np.int64)
    rows = [
        msgspec.structs.replace(row, weight=row.weight if label >= 0 else 0.0)
        for row, label in zip(rows, labels, strict=True)
    ]
    sides = sides_of(rows, seed)
    material = Material(encoder, rows, sides, None, [labels], [max(len(answers), other + 1)], vocabulary, idf)
    parent, made = fine_tuned(material, means, seed, tick)
    coefficients, bias = made.heads[0]
    model = Parameters(vocabulary, idf, coefficients, bias, 1.0, encoder.tuned(made.layers))
    tick(0.92, "calibrating")
    held = np.flatnonzero(sides.held)
    logits = np.log(np.maximum(probabilities(model, [rows[n].text for n in held]), 1e-30))
    model = replace(model, temperature=temperature_of(logits, labels[held]), abstains=other >= 0)
    crossfit: tuple[tuple[float, int], ...] = ()
    if any(row.fold is not None for row in rows):
        judged = iter(_crossfit(probabilities(model, [rows[n].text for n in np.flatnonzero(sides.judge)])))
        crossfit = tuple(next(judged) if judges else (0.0, TAUGHT) for judges in sides.judge)
    return Trained(
        answers=answers,
        max_answer_tokens=max(row.tokens for row in rows if row.weight > 0),
        parameters=model,
        numbers={"rows": float(sides.learn.sum()), "answers": float(len(answers)), **made.numbers},
        crossfit=crossfit,
        parent=parent,
    )


def _matrix(texts: Sequence[str], vocabulary: Vocabulary, idf: Floats, encoder: Encoder | None) -> Any:
    """The features of training: the very ones of serving (``trainer.artifacts.predictor``)."""
    from scipy.sparse import csr_matrix, hstack

    terms = sparse_rows(texts, vocabulary, idf)
    if encoder is None:
        return terms
    dense = encoder.embed(texts) * EMBEDDING_SCALE
    return hstack([terms, csr_matrix(dense)]).tocsr() if vocabulary.size else dense


def _hints(answers: Sequence[str]) -> dict[str, str]:
    """The words of each answer that is written in words: a call that mentions "card" is a little likelier to be
    ``card_arrival`` before anybody has seen one. Worth as much as one call, which matters while there are few."""
    if any(len(answer) > _LONGEST_HINT for answer in answers):
        return {}
    said = {answer: " ".join(_NAMED.findall(answer)) for answer in answers}
    return {answer: text for answer, text in said.items() if len(text) >= _SHORTEST_HINT}


def _weights(rows: Sequence[Example], labels: Labels) -> Array:
    """A row whose answer is not one of the closed set teaches nothing; a hint counts as one call."""
    hints = len(labels) - len(rows)
    return np.where(labels >= 0, np.array([*(example.weight for example in rows), *[1.0] * hints]), 0.0)


def _crossfit(table: Array) -> tuple[tuple[float, int], ...]:
    best = table.argmax(axis=1)
    sure = np.minimum(np.round(table[np.arange(len(best)), best], 9), 1.0)
    return tuple(zip(sure.tolist(), best.tolist(), strict=True))


def closed_set(examples: Sequence[Example], settings: ClassifierRecipe) -> tuple[str, ...]:
    """The task's answers in a stable order. Raises CannotLearn when there is no closed set of them."""
    examples = [example for example in examples if example.weight > 0]
    if len(examples) < _LEAST_ROWS:
        raise CannotLearn(f"only {len(examples)} usable examples; a classifier needs {_LEAST_ROWS}")
    counts = Counter(example.answer for example in examples)
    common = [answer for answer, count in counts.items() if count >= settings.min_support]
    covered = sum(counts[answer] for answer in common) / len(examples)
    if len(common) > settings.max_answers or covered < settings.coverage:
        raise CannotLearn(
            f"not a closed answer set: {len(counts)} different answers in {len(examples)} calls, and those "
            f"that recur cover {covered:.1%} (a classifier needs at most {settings.max_answers} answers "
            f"that cover {settings.coverage:.0%})"
        )
    if len(common) < 2:
        raise CannotLearn("every call has the same answer; there is nothing to tell apart")
    return tuple(sorted(common))


def sparse_rows(texts: Sequence[str], vocabulary: Vocabulary, idf: Floats) -> Any:
    """The texts as a scipy CSR matrix (texts, features)."""
    from scipy.sparse import csr_matrix

    rows = [features(text, vocabulary, idf) for text in texts]
    starts = np.cumsum([0, *(len(columns) for columns, _ in rows)])
    columns = np.concatenate([columns for columns, _ in rows])
    values = np.concatenate([weight for _, weight in rows])
    shape = (len(texts), vocabulary.size)
    return csr_matrix((values, columns.astype(np.int32), starts.astype(np.int32)), shape=shape)
