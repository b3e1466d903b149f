"""The extractor's tagger: which tokens belong to which field, fitted on answers whose spans were found."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from trainer.features.extraction import Writes
from trainer.features.tagging import decode, limited, normalised, tag_names, tag_numbers, token_terms, tokens
from trainer.features.vectors import Seen
from trainer.recipes.example import DIFFERS, SAME, Example, sources_of
from trainer.recipes.linear import Array, Head, Labels
from trainer.recipes.softmax import Fitted, Rows, fit_softmax

_MAX_TERMS = 60_000


@dataclass(frozen=True, slots=True)
class Sentence:
    """A text, where its tokens stand, and the tag of each; None when the layout could not write its answer.
    ``context``: what decides beside the tokens (``CallLayout.context``)."""

    text: str
    spans: list[tuple[int, int]]
    tags: list[int] | None
    context: str = ""

    def terms(self) -> list[list[str]]:
        return token_terms(self.text, self.spans, self.context)


def sentence(layout: Writes, example: Example) -> Sentence:
    spans = tokens(example.text)
    spots = layout.spots(example.text, example.answer)
    tags = None if spots is None else tag_numbers(spans, spots, layout.tags)
    return Sentence(example.text, spans, tags, layout.context_of(example.text, example.answer))


def terms_of(
    sentences: Sequence[Sentence], rows: Sequence[Example]
) -> tuple[list[list[list[str]]], dict[str, int]]:
    """The features of each sentence's tokens, and the columns of those that count: seen twice or more in rows that
    teach and, where it is known who sent what, by two or more."""
    words = [one.terms() for one in sentences]
    sources, first, shared = sources_of(rows), dict[str, int](), set[str]()
    seen: Counter[str] = Counter()
    for number, (one, row) in enumerate(zip(words, rows, strict=True)):
        if row.weight <= 0:
            continue
        for terms in one:
            own = set(terms)
            seen.update(own)
            if sources is not None:
                who = sources[number]
                shared.update(term for term in own if first.setdefault(term, who) != who)
    twice = (term for term, count in seen.items() if count > 1 and (sources is None or term in shared))
    kept = sorted(sorted(twice), key=lambda term: -seen[term])[:_MAX_TERMS]
    return words, {term: column for column, term in enumerate(sorted(kept))}


class Tagger:
    """Fits token classifiers on sentences whose spans were found; predicts any. ``seen``: what an encoder says of
    each sentence."""

    def __init__(
        self, layout: Writes, sentences: Sequence[Sentence], rows: Sequence[Example], strength: float,
        seen: Sequence[Seen] | None = None,
    ) -> None:  # fmt: skip
        self.layout, self.sentences, self._strength = layout, sentences, strength
        self._answers = [row.answer for row in rows]
        words, self.terms = terms_of(sentences, rows)
        self._offsets = np.cumsum([0, *(len(one) for one in words)])
        self._matrix = _sparse([terms for one in words for terms in one], self.terms)
        self._vectors = None if seen is None else np.concatenate([one.words for one in seen])
        self._tags = np.array(
            [tag for one in sentences for tag in (one.tags or [0] * len(one.spans))], dtype=np.int64
        )
        teaches = [
            row.weight if one.tags is not None else 0.0 for one, row in zip(sentences, rows, strict=True)
        ]
        self._weight = np.repeat(np.array(teaches), np.diff(self._offsets))

    def fit(self, held: Labels | None) -> Fitted:
        """Coefficients of terms and vectors, fitted without the tokens ``held``."""
        use = self._weight > 0
        if held is not None:
            use &= ~held.astype(bool)
        rows = Rows(self._matrix, self._vectors, self._tags, self._weight)
        return fit_softmax(rows.only(use), len(tag_names(self.layout.tags)), self._strength)

    def loss(self, held: npt.NDArray[np.bool_]) -> float:
        """Mean log loss of the tags of each sentence in ``held``, by a model without them."""
        tokens = np.repeat(held, np.diff(self._offsets))
        fitted = self.fit(tokens.astype(np.int64))
        judged = np.flatnonzero(tokens & (self._weight > 0))
        vectors = None if self._vectors is None else self._vectors[judged]
        scores = normalised(fitted.scores(self._matrix[judged], vectors))
        total = float(scores[np.arange(len(judged)), self._tags[judged]].sum())
        return -total / max(1, int(held.sum()))

    def crossfit(
        self, heads: Sequence[Head], fold: Labels, tick: Callable[[float], None]
    ) -> list[tuple[float, int]]:
        """(log-probability of the whole object, SAME or DIFFERS) of every row by models without its fold; −∞
        where something is known to be missing."""
        marks: list[tuple[float, int]] = [(0.0, DIFFERS)] * len(fold)
        lengths = np.diff(self._offsets)
        for done, number in enumerate(folds := np.unique(fold)):
            fitted = self.fit(np.repeat(fold == number, lengths))
            for row in np.flatnonzero(fold == number):
                marks[row] = self._mark(int(row), fitted, heads)
            tick((done + 1) / len(folds))
        return marks

    def _scores(self, row: int, fitted: Fitted, context: str) -> Array:
        """(tokens, tags) of a row in a context that was found, which need not be the one its answer has."""
        one = self.sentences[row]
        these = slice(self._offsets[row], self._offsets[row + 1])
        vectors = None if self._vectors is None else self._vectors[these]
        if context == one.context:
            return fitted.scores(self._matrix[these], vectors)
        return fitted.scores(_sparse(replace(one, context=context).terms(), self.terms), vectors)

    def _mark(self, row: int, fitted: Fitted, heads: Sequence[Head]) -> tuple[float, int]:
        one = self.sentences[row]
        labels: dict[str, str] = {}
        sure = 0.0
        for field, head in zip((f for f in self.layout.fields if f.kind == "label"), heads, strict=True):
            if not self.layout.concerns(field, labels):
                continue
            best = int(head.out_of_fold[row].argmax())
            labels[field.name] = field.labels[best]
            sure += float(np.log(max(head.out_of_fold[row, best], 1e-12)))
        scores = self._scores(row, fitted, self.layout.context(one.text, labels))
        found = normalised(scores) if len(scores) else scores
        found = limited(found, self.layout.tags, self.layout.wanted(labels))
        spots, more = decode(one.spans, found, self.layout.tags)
        sure += more
        answer = self.layout.compose(one.text, spots, labels)
        if not self.layout.valued(one.text, spots, labels):
            sure = -np.inf
        return sure, SAME if answer == self._answers[row] else DIFFERS


def _sparse(rows: Sequence[Sequence[str]], terms: dict[str, int]) -> Any:
    from scipy.sparse import csr_matrix

    found = [[terms[term] for term in row if term in terms] for row in rows]
    starts = np.cumsum([0, *map(len, found)])
    columns = np.array([column for row in found for column in row], dtype=np.int32)
    values = np.ones(len(columns), dtype=np.float64)
    return csr_matrix((values, columns, starts.astype(np.int32)), shape=(len(rows), len(terms)))
