"""A store's chunks in memory, and how they are ranked: by their vectors, by their words, or by both. Pure.

By words with Okapi BM25 (Robertson & Zaragoza, The Probabilistic Relevance Framework, 2009; k1 1.2, b 0.75), as a
share of what the question's words could score at most, so that it lies between 0 and 1. By vectors with their cosine,
0 where it is negative; a chunk without a vector of the present model is ranked by its words alone.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

from gateway.retrieval.asking import Found
from gateway.retrieval.filters import Fits
from gateway.storage.vector_stores import Chunks, VectorFile

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int32]
_WORD = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]|[^\W_]+")
_STEM = 5
_K1, _B = 1.2, 0.75


class Index:
    """``size``: about what it takes in memory, in bytes."""

    def __init__(self, files: Iterable[tuple[VectorFile, Chunks]], model: str) -> None:
        self._files: list[tuple[VectorFile, str]] = []
        self._texts: list[str] = []
        owners: list[int] = []
        vectors: list[Floats] = []
        rows: list[int] = []
        for file, chunks in files:
            if model and chunks.model == model and chunks.width:
                made = np.frombuffer(chunks.vectors, dtype=np.float32).reshape(-1, chunks.width)
                if not vectors or vectors[0].shape[1] == chunks.width:
                    vectors.append(made)
                    rows += range(len(self._texts), len(self._texts) + len(chunks.texts))
            owners += [len(self._files)] * len(chunks.texts)
            self._files.append((file, chunks.filename))
            self._texts += chunks.texts
        self._owners, self._rows = np.array(owners, dtype=np.int32), np.array(rows, dtype=np.int32)
        self._vectors: Floats = np.concatenate(vectors) if vectors else np.zeros((0, 0), dtype=np.float32)
        self._index_words()
        self.size = self._vectors.nbytes + 12 * sum(map(len, self._texts)) + 1024

    def _index_words(self) -> None:
        postings: dict[str, tuple[list[int], list[int]]] = defaultdict(lambda: ([], []))
        lengths = np.zeros(len(self._texts), dtype=np.float32)
        for at, text in enumerate(self._texts):
            counts = Counter(words_of(text))
            lengths[at] = counts.total()
            for word, count in counts.items():
                where, often = postings[word]
                where.append(at)
                often.append(count)
        mean = float(lengths.mean()) if len(lengths) else 1.0
        self._norms: Floats = np.float32(_K1) * (1 - _B + np.float32(_B) * lengths / max(mean, 1.0))
        self._postings: dict[str, tuple[Ints, Floats]] = {
            word: (np.array(where, dtype=np.int32), np.array(often, dtype=np.float32))
            for word, (where, often) in postings.items()
        }

    def search(
        self, question: str, vector: Sequence[float] | None, fits: Fits, *, weights: tuple[float, float], least: float,
        most: int,
    ) -> list[Found]:
        """The best first. ``weights``: of the vectors and of the words; ``least``: the lowest score that is told."""
        if not self._texts:
            return []
        allowed = np.array([fits(file.attributes) for file, _ in self._files], dtype=bool)[self._owners]
        score = self._scores(question, vector, weights)
        score[~allowed] = -1.0
        order = np.argsort(-score, kind="stable")[:most]
        return [self._told(int(at), float(score[at])) for at in order if score[at] >= least and score[at] > 0.0]

    def _scores(self, question: str, vector: Sequence[float] | None, weights: tuple[float, float]) -> Floats:
        by_words = self._by_words(question) if weights[1] > 0 or vector is None else None
        if vector is None or not len(self._vectors) or self._vectors.shape[1] != len(vector):
            return by_words if by_words is not None else self._by_words(question)
        near = np.clip(self._vectors @ unit(np.array([vector], dtype=np.float32))[0], 0.0, 1.0)
        score = by_words.copy() if by_words is not None else np.zeros(len(self._texts), dtype=np.float32)
        share = np.float32(weights[0] / (weights[0] + weights[1]))
        score[self._rows] = share * near + (1 - share) * score[self._rows]
        return score

    def _by_words(self, question: str) -> Floats:
        score = np.zeros(len(self._texts), dtype=np.float32)
        best = 0.0
        for word in dict.fromkeys(words_of(question)):
            where, often = self._postings.get(word, (_NOWHERE, _NEVER))
            rarity = float(np.log1p((len(self._texts) - len(where) + 0.5) / (len(where) + 0.5)))
            best += rarity * (_K1 + 1)
            score[where] += np.float32(rarity * (_K1 + 1)) * often / (often + self._norms[where])
        return score / np.float32(best) if best else score

    def _told(self, at: int, score: float) -> Found:
        file, filename = self._files[self._owners[at]]
        return Found(file.id, filename, file.attributes, self._texts[at], round(min(1.0, score), 6))


_NOWHERE, _NEVER = np.zeros(0, dtype=np.int32), np.zeros(0, dtype=np.float32)


def words_of(text: str) -> list[str]:
    """Words without case, and the beginnings of long ones, so that other endings meet."""
    words = _WORD.findall(text.casefold())
    return words + [f"{word[:_STEM]}*" for word in words if len(word) >= _STEM]


def unit(vectors: Floats) -> Floats:
    """Rows of length one."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    found: Floats = (vectors / np.maximum(lengths, 1e-12)).astype(np.float32)
    return found
