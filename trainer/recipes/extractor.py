"""Recipe: JSON answers, and tool calls, whose values are spans of the input or labels. A tagger and closed heads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any

import numpy as np
from msgspec import Meta, Struct, field

from gateway.local_models.encoder import Encoder, EncoderRefused, load
from trainer.features.extraction import Closed, Extraction, Writes, extract, read
from trainer.features.layout import learn_layout
from trainer.features.tagging import columns_of, tag_names
from trainer.features.teaching import learn_calls, learn_freely, mostly_words
from trainer.features.terms import Floats, Vocabulary, in_common, learn_vocabulary, words_of_one
from trainer.features.values import Field, NoLayout
from trainer.features.vectors import Seen, look
from trainer.recipes.classifier import sparse_rows
from trainer.recipes.example import (
    DIFFERS,
    SAME,
    TAUGHT,
    CannotLearn,
    Example,
    Recipe,
    Tick,
    Trained,
    sources_of,
)
from trainer.recipes.generative import Means
from trainer.recipes.linear import Head, Labels, fit_head
from trainer.recipes.space import LOSS, Dimension, Value
from trainer.recipes.tagger import Sentence, Tagger, sentence, terms_of
from trainer.recipes.tuned import (
    Material,
    Tokens,
    fine_tuned,
    fold_of_text,
    sides_of,
    tuning_space,
    with_values,
)
from trainer.training.generative import fit_isotonic

_LEAST_ROWS = 50
_BEYOND = 3.0


class ExtractorRecipe(Struct, frozen=True, tag="extractor", tag_field="type", forbid_unknown_fields=True):
    """``strength``: inverse regularisation of the tagger. ``encoder``: the folder of a sentence encoder whose vectors
    are features beside words and shapes; its layers are trained too when ``means`` says how."""

    strength: Annotated[float, Meta(gt=0)] = 10.0
    encoder: str | None = None
    means: Means = field(default_factory=Means)

    def space(self) -> list[Dimension]:
        if self.encoder and self.means.fine_tune is not None:
            return tuning_space(self.means.fine_tune)
        return [Dimension("strength", "real", self.strength, 0.3, 300.0)]

    def tried(self, values: dict[str, Value], means: Means) -> ExtractorRecipe:
        return with_values(self, values, means)

    def build(self) -> Recipe:
        return _Extractor(self)


@dataclass(frozen=True, slots=True)
class _Lesson:
    """What both ways of training work with."""

    layout: Writes
    encoder: Encoder | None
    rows: list[Example]
    sentences: list[Sentence]
    vocabulary: Vocabulary
    idf: Floats
    fold: Labels | None
    seed: int
    tick: Tick
    searching: bool

    @property
    def fields(self) -> list[Field]:
        return [one for one in self.layout.fields if one.kind == "label"]


class _Extractor:
    def __init__(self, settings: ExtractorRecipe) -> None:
        self._settings = settings

    def train(self, examples: Sequence[Example], *, seed: int, tick: Tick) -> Trained:
        known = [example for example in examples if example.weight > 0]
        layout = _layout(known)
        encoder = _encoder(self._settings.encoder)
        crossfitted = all(example.fold is not None for example in examples)
        rows = list(examples) if crossfitted else known
        tick(0.05, f"finding {len(layout.tags)} kinds of spans in {len(rows)} texts")
        vocabulary, idf = learn_vocabulary([example.text for example in known], sources_of(known))
        lesson = _Lesson(
            layout, encoder, rows, [sentence(layout, example) for example in rows], vocabulary, idf,
            np.array([example.fold for example in rows]) if crossfitted else None, seed, tick,
            self._settings.means.search is not None,
        )  # fmt: skip
        if encoder is not None and self._settings.means.fine_tune is not None:
            model, marks, numbers, parent = _tuned(lesson, encoder, self._settings.means)
        else:
            model, marks, numbers, parent = _fitted(lesson, self._settings.strength)
        usable = sum(one.tags is not None for one in lesson.sentences)
        return Trained(
            answers=(),
            max_answer_tokens=max(example.tokens for example in known),
            parameters=model,
            numbers={
                "rows": float(len(known)),
                "tags": float(len(layout.tags)),
                "representable": usable / len(rows),
                **numbers,
            },
            crossfit=tuple(marks),
            parent=parent,
        )


_Made = tuple[Extraction, list[tuple[float, int]], dict[str, float], str | None]


def _fitted(lesson: _Lesson, strength: float) -> _Made:
    """Linear heads and a linear tagger; what calibrates is answered by models without its fold."""
    layout, rows, tick = lesson.layout, lesson.rows, lesson.tick
    seen = _seen(lesson.encoder, lesson.sentences, rows)
    texts, sources = [example.text for example in rows], sources_of(rows)
    asked = _matrix(sparse_rows(texts, lesson.vocabulary, lesson.idf), seen)
    taught = None
    if sources is not None:
        taught = _matrix(sparse_rows(in_common(texts, sources), lesson.vocabulary, lesson.idf), seen)
    heads = _heads(lesson, asked, taught)
    tagger = Tagger(layout, lesson.sentences, rows, strength, seen)
    fitted = tagger.fit(None)
    closed = tuple(Closed(head.coefficients, head.bias, head.temperature) for head in heads)
    model = Extraction(
        layout, lesson.vocabulary, lesson.idf, closed, tagger.terms, fitted.terms, fitted.bias, lesson.encoder,
        fitted.vectors,
    )  # fmt: skip
    tick(0.5, "cross-fitting")
    loss = sum(head.loss for head in heads)
    if lesson.searching:
        loss += tagger.loss(np.array([fold_of_text(lesson.seed, row.text) for row in rows]))
    numbers = {LOSS: round(loss, 6)} if lesson.searching else {}
    if lesson.fold is None:
        return model, [], numbers, None
    raw = tagger.crossfit(heads, lesson.fold, lambda done: tick(0.5 + 0.5 * done, "cross-fitting"))
    whole = [one.whole for one in seen] if seen else [True] * len(raw)
    return *calibrated(model, raw, whole), numbers, None


def _tuned(lesson: _Lesson, encoder: Encoder, means: Means) -> _Made:
    """Encoder, tagger and heads trained together; the fold that was kept away calibrates."""
    rows, fields = lesson.rows, lesson.fields
    words, terms = terms_of(lesson.sentences, rows)
    tokens = Tokens(
        spans=[one.spans for one in lesson.sentences],
        terms=[columns_of(one, terms) for one in words],
        tags=[one.tags for one in lesson.sentences],
        wide=len(terms), kinds=len(tag_names(lesson.layout.tags)),
    )  # fmt: skip
    sides = sides_of(rows, lesson.seed)
    material = Material(
        encoder, rows, sides, tokens if lesson.layout.tags else None,
        [labels_of(lesson.layout, one, rows) for one in fields], [len(one.labels) for one in fields],
        lesson.vocabulary, lesson.idf,
    )  # fmt: skip
    parent, made = fine_tuned(material, means, lesson.seed, lesson.tick)
    closed = tuple(Closed(coefficients, bias, 1.0) for coefficients, bias in made.heads)
    model = Extraction(
        lesson.layout, lesson.vocabulary, lesson.idf, closed, terms, made.terms, made.bias,
        encoder.tuned(made.layers), made.vectors,
    )  # fmt: skip
    lesson.tick(0.92, "calibrating")
    held = _asked(model, [rows[number] for number in np.flatnonzero(sides.held)])
    model, _ = calibrated(model, [mark for mark, _ in held], [whole for _, whole in held])
    marks: list[tuple[float, int]] = []
    if lesson.fold is not None:
        judged = iter(_judged(model, [rows[number] for number in np.flatnonzero(sides.judge)]))
        marks = [next(judged) if judges else (0.0, TAUGHT) for judges in sides.judge]
    return model, marks, made.numbers, parent


def _asked(model: Extraction, rows: Sequence[Example]) -> list[tuple[tuple[float, int], bool]]:
    """((log-probability, SAME or DIFFERS), whether the encoder saw all of it) of each row."""
    return [
        ((one.log_sure, SAME if one.answer == row.answer else DIFFERS), one.whole)
        for one, row in zip(read(model, [row.text for row in rows]), rows, strict=True)
    ]


def _judged(model: Extraction, rows: Sequence[Example]) -> list[tuple[float, int]]:
    said = extract(model, [row.text for row in rows])
    return [
        (min(1.0, round(sure, 9)), SAME if answer == row.answer else DIFFERS)
        for (answer, sure), row in zip(said, rows, strict=True)
    ]


def calibrated(
    model: Extraction, marks: Sequence[tuple[float, int]], whole: Sequence[bool]
) -> tuple[Extraction, list[tuple[float, int]]]:
    """The student whose confidence is a probability, fitted on (log-probability, SAME or DIFFERS) pairs of calls it
    never saw, and those pairs with their confidence. The map rises, so which calls are surer stays as it was. What is
    far less sure than all of them counts as a miss. ``whole``: whether the encoder could see all of a call; where it
    could not nothing is sure."""
    whole = [fits and sure > -np.inf for (sure, _), fits in zip(marks, whole, strict=True)]
    known = [one for one, fits in zip(marks, whole, strict=True) if fits]
    beyond = (min((sure for sure, _ in known), default=0.0) - _BEYOND, DIFFERS)
    scores, verdicts = zip(beyond, *known, strict=True)
    rising = fit_isotonic(scores, [verdict == SAME for verdict in verdicts])
    return replace(model, calibration=rising), [
        (min(1.0, round(rising(sure), 9)) if fits else 0.0, verdict)
        for (sure, verdict), fits in zip(marks, whole, strict=True)
    ]


def _layout(known: Sequence[Example]) -> Writes:
    if len(known) < _LEAST_ROWS:
        raise CannotLearn(f"only {len(known)} usable examples; an extractor needs {_LEAST_ROWS}")
    pairs = [(example.text, example.answer) for example in known]
    calls = not mostly_words([answer for _, answer in pairs])
    try:
        return learn_calls(pairs) if calls else learn_layout(pairs)
    except NoLayout as problem:
        if calls:
            raise CannotLearn(str(problem)) from None
    if len({answer for _, answer in pairs}) == 1:
        raise CannotLearn("every call has the same answer; there is nothing to tell apart")
    try:
        return learn_freely(pairs)
    except NoLayout as problem:
        raise CannotLearn(str(problem)) from None


def _encoder(path: str | None) -> Encoder | None:
    try:
        return load(path) if path else None
    except EncoderRefused as problem:
        raise CannotLearn(str(problem)) from None


def _seen(
    encoder: Encoder | None, sentences: Sequence[Sentence], rows: Sequence[Example]
) -> list[Seen] | None:
    if encoder is None:
        return None
    texts, sources = [one.text for one in sentences], sources_of(rows)
    private = words_of_one(texts, sources) if sources else None
    return look(encoder, texts, [one.spans for one in sentences], private)


def _matrix(terms: Any, seen: Sequence[Seen] | None) -> Any:
    """The features of label fields: terms, and behind them the encoder's vector of the text."""
    from scipy.sparse import csr_matrix, hstack

    return (
        terms if seen is None else hstack([terms, csr_matrix(np.stack([one.text for one in seen]))]).tocsr()
    )


def _heads(lesson: _Lesson, asked: Any, taught: Any) -> list[Head]:
    heads: list[Head] = []
    for done, one in enumerate(lesson.fields):
        labels = labels_of(lesson.layout, one, lesson.rows)
        weight = np.where(labels >= 0, np.array([row.weight for row in lesson.rows]), 0.0)
        heads.append(fit_head(
            asked, labels, weight, len(one.labels), lesson.seed, lambda _: None, lesson.fold, taught=taught
        ))  # fmt: skip
        lesson.tick(0.2 + 0.2 * (done + 1) / len(lesson.fields), "fitting labels")
    return heads


def labels_of(layout: Writes, field: Field, rows: Sequence[Example]) -> Labels:
    """Which of a field's labels each answer has; -1 for another value."""
    number = {label: column for column, label in enumerate(field.labels)}
    said = (layout.label(row.answer, field) for row in rows)
    return np.array([-1 if one is None else number.get(one, -1) for one in said])
