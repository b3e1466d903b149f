"""Clusters of a task's inputs, found by what they are about: parts of the traffic that nobody had to name.

Spherical k-means over TF-IDF of words (Dhillon & Modha, *Concept decompositions for large sparse text data using
clustering*, Machine Learning 42, 2001), with k-means++ seeding. A cluster is kept as the hashes of its heaviest words,
so that a certificate which names it holds no text.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from msgspec import Struct

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

MAX_TEXT = 20_000
_WORD = re.compile(r"\w{2,40}")
_TEXTS, _TERMS, _HEAVY, _ROUNDS = 4000, 2000, 24, 25
_LEAST_TEXTS = 20
"""A word that fewer texts use stands for nobody's cluster, and might stand for somebody."""
_LEAST_SHARE = 0.03
"""A smaller cluster is left to the rest."""
Centroid = Mapping[str, float]
"""By hash of a word: its weight."""


class Cluster(Struct, frozen=True):
    """``words``: its heaviest, for people; ``share``: of the texts it was found in."""

    centroid: dict[str, float]
    words: tuple[str, ...]
    share: float


def nearest(centroids: Sequence[Centroid], text: str) -> int | None:
    """Which of the clusters a text belongs to, the first at a tie; None when it has no word of any."""
    counts = Counter(map(hashed, words(text)))
    scores = [
        sum((1 + math.log(count)) * one[word] for word, count in counts.items() if word in one)
        for one in centroids
    ]
    best = max(range(len(scores)), key=lambda at: scores[at], default=None)
    return best if best is not None and scores[best] > 0 else None


def words(text: str) -> list[str]:
    return [one.casefold() for one in _WORD.findall(text[:MAX_TEXT])]


def hashed(word: str) -> str:
    """Six hex digits."""
    return hashlib.blake2b(word.encode("utf-8", "replace"), digest_size=3).hexdigest()


def find(texts: Sequence[str], count: int, seed: int) -> list[Cluster]:
    """At most ``count`` clusters, the largest first; the same texts and seed give the same ones. [] when there are too
    few texts, or all are about the same."""
    import numpy as np

    step = max(1, math.ceil(len(texts) / _TEXTS))
    documents = [Counter(words(text)) for text in texts[::step]]
    terms, idf = _vocabulary(documents)
    if len(documents) < count * _LEAST_TEXTS or len(terms) < count:
        return []
    rows = _rows(documents, terms, idf)
    centres = _seeds(rows, count, np.random.default_rng(seed))
    for _ in range(_ROUNDS):
        owner = np.argmax(rows @ centres.T, axis=1)
        moved = np.stack([_centre(rows[owner == at], centres[at]) for at in range(len(centres))])
        if np.allclose(moved, centres):
            break
        centres = moved
    owner = np.argmax(rows @ centres.T, axis=1)
    sizes = np.bincount(owner, minlength=len(centres)) / len(rows)
    order = sorted(range(len(centres)), key=lambda at: (-sizes[at], at))
    kept = [at for at in order if sizes[at] >= _LEAST_SHARE]
    names = list(terms)
    return [_cluster(centres[at] * idf, names, float(sizes[at])) for at in kept] if len(kept) > 1 else []


def _vocabulary(documents: Sequence[Counter[str]]) -> tuple[dict[str, int], NDArray[np.float64]]:
    """Terms with their columns, and their inverse document frequencies; those in most texts say nothing."""
    import numpy as np

    seen = Counter(term for one in documents for term in one)
    fit = [term for term, count in seen.items() if _LEAST_TEXTS <= count <= 0.5 * len(documents)]
    kept = sorted(sorted(fit, key=lambda term: (-seen[term], term))[:_TERMS])
    idf = np.array([math.log(len(documents) / seen[term]) for term in kept])
    return {term: column for column, term in enumerate(kept)}, idf


def _rows(documents: Iterable[Counter[str]], terms: Mapping[str, int], idf: NDArray[np.float64]) -> NDArray[np.float64]:
    """Shape (texts, terms), each row of length one; texts without a term are left out."""
    import numpy as np

    made = []
    for one in documents:
        row = np.zeros(len(terms))
        for term, count in one.items():
            if term in terms:
                row[terms[term]] = (1 + math.log(count)) * idf[terms[term]]
        length = math.sqrt(float(row @ row))
        if length:
            made.append(row / length)
    return np.stack(made) if made else np.zeros((0, len(terms)))


def _seeds(rows: NDArray[np.float64], count: int, rng: Any) -> NDArray[np.float64]:
    import numpy as np

    chosen = [rows[int(rng.integers(len(rows)))]]
    while len(chosen) < count:
        apart = np.maximum(0.0, 1 - np.max(rows @ np.stack(chosen).T, axis=1)) ** 2
        if not apart.sum():
            break
        chosen.append(rows[int(rng.choice(len(rows), p=apart / apart.sum()))])
    return np.stack(chosen)


def _centre(mine: NDArray[np.float64], before: NDArray[np.float64]) -> NDArray[np.float64]:
    if not len(mine):
        return before
    total: NDArray[np.float64] = mine.sum(axis=0)
    return total / max(1e-12, math.sqrt(float(total @ total)))


def _cluster(weights: NDArray[np.float64], names: Sequence[str], share: float) -> Cluster:
    heavy = sorted(range(len(names)), key=lambda at: (-weights[at], names[at]))[:_HEAVY]
    heavy = [at for at in heavy if weights[at] > 0]
    centroid = {hashed(names[at]): round(float(weights[at]), 4) for at in heavy}
    return Cluster(centroid, tuple(names[at] for at in heavy[:5]), share)
