"""Recipe: JSON answers whose values are spans of the input or labels. A linear tagger and closed heads."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
from msgspec import Meta, Struct

from trainer.features.extraction import Closed, Extraction
from trainer.features.layout import Layout, NoLayout, learn_layout
from trainer.features.tagging import decode, normalised, tag_names, tag_numbers, token_terms, tokens
from trainer.features.terms import Floats, learn_vocabulary
from trainer.recipes.classifier import sparse_rows
from trainer.recipes.example import DIFFERS, SAME, CannotLearn, Example, Recipe, Tick, Trained, sources_of
from trainer.recipes.linear import Array, Head, Labels, fit_head

_LEAST_ROWS = 50
_MAX_TERMS = 60_000


class ExtractorRecipe(Struct, frozen=True, tag="extractor", tag_field="type", forbid_unknown_fields=True):
    """``strength``: inverse regularisation of the tagger."""

    strength: Annotated[float, Meta(gt=0)] = 10.0

    def build(self) -> Recipe:
        return _Extractor(self)


@dataclass(frozen=True, slots=True)
class _Sentence:
    text: str
    spans: list[tuple[int, int]]
    tags: list[int] | None


class _Extractor:
    def __init__(self, settings: ExtractorRecipe) -> None:
        self._settings = settings

    def train(self, examples: Sequence[Example], *, seed: int, tick: Tick) -> Trained:
        known = [example for example in examples if example.weight > 0]
        if len(known) < _LEAST_ROWS:
            raise CannotLearn(f"only {len(known)} usable examples; an extractor needs {_LEAST_ROWS}")
        try:
            layout = learn_layout([(example.text, example.answer) for example in known])
        except NoLayout as problem:
            raise CannotLearn(str(problem)) from None
        crossfitted = all(example.fold is not None for example in examples)
        rows = list(examples) if crossfitted else known
        fold: Labels | None = np.array([example.fold for example in rows]) if crossfitted else None
        tick(0.1, f"finding {len(layout.tags)} kinds of spans in {len(rows)} texts")
        vocabulary, idf = learn_vocabulary([example.text for example in known], sources_of(known))
        matrix = sparse_rows([example.text for example in rows], vocabulary, idf)
        heads = _heads(
            layout, matrix, rows, fold, seed, lambda done: tick(0.1 + 0.3 * done, "fitting labels")
        )
        tagger = _Tagger(
            layout, [_sentence(layout, example) for example in rows], rows, self._settings.strength
        )
        terms, weights, bias = tagger.fit(None)
        tick(0.5, "cross-fitting")
        marks: tuple[tuple[float, int], ...] = ()
        if fold is not None:
            marks = tagger.crossfit(heads, fold, lambda done: tick(0.5 + 0.5 * done, "cross-fitting"))
        usable = sum(one.tags is not None for one in tagger.sentences)
        closed = tuple(Closed(head.coefficients, head.bias, head.temperature) for head in heads)
        return Trained(
            answers=(),
            max_answer_tokens=max(example.tokens for example in known),
            parameters=Extraction(layout, vocabulary, idf, closed, terms, weights, bias),
            numbers={
                "rows": float(len(known)),
                "tags": float(len(layout.tags)),
                "representable": usable / len(rows),
            },
            crossfit=marks,
        )


def _sentence(layout: Layout, example: Example) -> _Sentence:
    spans = tokens(example.text)
    spots = layout.spots(example.text, example.answer)
    return _Sentence(example.text, spans, None if spots is None else tag_numbers(spans, spots, layout.tags))


def _heads(
    layout: Layout,
    matrix: Any,
    rows: Sequence[Example],
    fold: Labels | None,
    seed: int,
    tick: Callable[[float], None],
) -> list[Head]:
    fields = [field for field in layout.fields if field.kind == "label"]
    heads: list[Head] = []
    for done, field in enumerate(fields):
        number = {label: column for column, label in enumerate(field.labels)}
        labels: Labels = np.array([number.get(layout.label(row.answer, field) or "", -1) for row in rows])
        weight = np.where(labels >= 0, np.array([row.weight for row in rows]), 0.0)
        heads.append(fit_head(matrix, labels, weight, len(field.labels), seed, lambda _: None, fold))
        tick((done + 1) / len(fields))
    return heads


class _Tagger:
    """Fits token classifiers on sentences whose spans were found; predicts any."""

    def __init__(
        self, layout: Layout, sentences: Sequence[_Sentence], rows: Sequence[Example], strength: float
    ) -> None:
        self.layout, self.sentences, self._rows, self._strength = layout, sentences, rows, strength
        words = [token_terms(one.text, one.spans) for one in sentences]
        seen = Counter(
            term
            for one, row in zip(words, rows, strict=True)
            if row.weight > 0
            for terms in one
            for term in set(terms)
        )
        kept = sorted(sorted(t for t, n in seen.items() if n > 1), key=lambda term: -seen[term])[:_MAX_TERMS]
        self._terms = {term: column for column, term in enumerate(sorted(kept))}
        self._offsets = np.cumsum([0, *(len(one) for one in words)])
        self._matrix = _sparse([terms for one in words for terms in one], self._terms)
        self._tags = np.array(
            [tag for one in sentences for tag in (one.tags or [0] * len(one.spans))], dtype=np.int64
        )
        teaches = [
            row.weight if one.tags is not None else 0.0 for one, row in zip(sentences, rows, strict=True)
        ]
        self._weight = np.repeat(np.array(teaches), np.diff(self._offsets))

    def fit(self, held: Labels | None) -> tuple[dict[str, int], Floats, Floats]:
        """Terms, coefficients (terms, tags) and bias, fitted without the tokens ``held``."""
        from sklearn.linear_model import LogisticRegression

        count = len(tag_names(self.layout.tags))
        weights, bias = np.zeros((count, len(self._terms))), np.full(count, -20.0)
        use = self._weight > 0
        if held is not None:
            use &= ~held.astype(bool)
        present = np.unique(self._tags[use])
        if len(present) < 2:
            bias[0] = 0.0
        else:
            model = LogisticRegression(C=self._strength, tol=1e-4, max_iter=150)
            with _unfinished_is_fine():
                model.fit(self._matrix[use], self._tags[use], sample_weight=self._weight[use])
            if len(present) == 2:
                weights[present[1]], bias[present] = model.coef_[0], (0.0, model.intercept_[0])
            else:
                weights[present], bias[present] = model.coef_, model.intercept_
        return self._terms, weights.T.astype(np.float32), bias.astype(np.float32)

    def crossfit(
        self, heads: Sequence[Head], fold: Labels, tick: Callable[[float], None]
    ) -> tuple[tuple[float, int], ...]:
        """(confidence of the whole object, SAME or DIFFERS) of every row by models without its fold."""
        marks: list[tuple[float, int]] = [(0.0, DIFFERS)] * len(fold)
        lengths = np.diff(self._offsets)
        for done, number in enumerate(folds := np.unique(fold)):
            held = np.repeat(fold == number, lengths)
            _, weights, bias = self.fit(held)
            for row in np.flatnonzero(fold == number):
                first, last = self._offsets[row], self._offsets[row + 1]
                scores = np.asarray(self._matrix[first:last] @ weights.astype(np.float64) + bias)
                marks[row] = self._mark(int(row), scores, heads)
            tick((done + 1) / len(folds))
        return tuple(marks)

    def _mark(self, row: int, scores: Array, heads: Sequence[Head]) -> tuple[float, int]:
        sentence = self.sentences[row]
        spots, sure = decode(sentence.spans, normalised(scores) if len(scores) else scores, self.layout.tags)
        labels = {}
        for field, head in zip((f for f in self.layout.fields if f.kind == "label"), heads, strict=True):
            best = int(head.out_of_fold[row].argmax())
            labels[field.name] = field.labels[best]
            sure += float(np.log(max(head.out_of_fold[row, best], 1e-12)))
        answer = self.layout.compose(sentence.text, spots, labels)
        return min(1.0, round(float(np.exp(sure)), 9)), SAME if answer == self._rows[row].answer else DIFFERS


def _unfinished_is_fine() -> Any:
    """The tagger stops after 150 steps: the last digits of a likelihood do not change a tag."""
    import warnings

    from sklearn.exceptions import ConvergenceWarning

    return warnings.catch_warnings(action="ignore", category=ConvergenceWarning)


def _sparse(rows: Sequence[Sequence[str]], terms: dict[str, int]) -> Any:
    from scipy.sparse import csr_matrix

    found = [[terms[term] for term in row if term in terms] for row in rows]
    starts = np.cumsum([0, *map(len, found)])
    columns = np.array([column for row in found for column in row], dtype=np.int32)
    values = np.ones(len(columns), dtype=np.float64)
    return csr_matrix((values, columns, starts.astype(np.int32)), shape=(len(rows), len(terms)))
