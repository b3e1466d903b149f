"""Who tells recent texts from earlier ones: a linear model over words and word pairs, fitted to past rounds only."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from trainer.features.terms import word_terms

LONGEST = 2_000
"""Characters of a text that are looked at."""
_COLUMNS = 2**16

Scores = Callable[[Sequence[str]], list[float]]


def by_words(reference: Sequence[str], recent: Sequence[str]) -> Scores:
    """Scores of texts, higher meaning more like ``recent``. Neither sample may be empty."""
    from sklearn.feature_extraction.text import HashingVectorizer
    from sklearn.linear_model import LogisticRegression

    hashing = HashingVectorizer(
        analyzer=lambda text: word_terms(text[:LONGEST]), n_features=_COLUMNS, alternate_sign=False
    )
    features = hashing.transform([*reference, *recent])
    labels = np.repeat([0, 1], [len(reference), len(recent)])
    model = LogisticRegression(C=10.0, class_weight="balanced", max_iter=300).fit(features, labels)

    def scores(texts: Sequence[str]) -> list[float]:
        return [float(value) for value in model.decision_function(hashing.transform(texts))]

    return scores
