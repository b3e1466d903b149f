"""TF-IDF features of short texts: word 1-2-grams and character 2-5-grams inside words.

The same code makes the features of training and of serving, so they cannot drift apart; it needs numpy alone,
so the engine that serves students never imports scikit-learn. Weights are sublinear term frequency times
smoothed inverse document frequency (Salton & Buckley 1988, as scikit-learn's TfidfVectorizer computes them);
words and characters are normalised to length one separately, so long words do not drown the words.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Indices = npt.NDArray[np.int64]

MAX_WORDS = 20_000
MAX_CHARACTERS = 30_000
MAX_TEXT = 20_000
"""Characters of an input that are looked at: a bound on the work one call can cause."""
EMBEDDING_SCALE = np.float32(3.0)
"""Length of a sentence embedding beside words and characters, which have length one each: it carries more."""
_WORD = re.compile(r"\w+")
_LONGEST_WORD = 40
_SHORTEST_GRAM, _LONGEST_GRAM = 2, 5


def word_terms(text: str) -> list[str]:
    """Words and pairs of neighbouring words, case folded."""
    words = _words(text)
    return words + [f"{left} {right}" for left, right in pairwise(words)]


def character_terms(text: str) -> list[str]:
    """Character 2-5-grams of each word padded with one space on both sides."""
    return [gram for word in _words(text) for gram in _grams(f" {word} ")]


def _words(text: str) -> list[str]:
    return [word[:_LONGEST_WORD] for word in _WORD.findall(text[:MAX_TEXT].casefold())]


def _grams(padded: str) -> Iterable[str]:
    for size in range(_SHORTEST_GRAM, min(_LONGEST_GRAM, len(padded)) + 1):
        for start in range(len(padded) - size + 1):
            yield padded[start : start + size]


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """Which terms count. Words own the columns [0, len(words)), characters those after."""

    words: dict[str, int]
    characters: dict[str, int]

    @classmethod
    def of(cls, words: Sequence[str], characters: Sequence[str]) -> Vocabulary:
        offset = len(words)
        return cls(
            words={term: column for column, term in enumerate(words)},
            characters={term: offset + column for column, term in enumerate(characters)},
        )

    @property
    def size(self) -> int:
        return len(self.words) + len(self.characters)


def learn_vocabulary(
    texts: Sequence[str], sources: Sequence[int] | None = None, *, pairs: bool = True,
    longest_gram: int = _LONGEST_GRAM,
) -> tuple[Vocabulary, Floats]:  # fmt: skip
    """The vocabulary of ``texts`` and its inverse document frequencies, shape (size,). Terms seen in one text
    only are left out; of the rest the most frequent are kept, ties by spelling, so the result is the same on
    every machine. ``sources`` (who sent each text): terms that only one of them uses are left out too, so that
    nobody plants a word of his own that decides the answer. Without ``pairs``, or with a ``longest_gram``, the
    vocabulary has fewer kinds of terms, and so has every text that is looked at with it."""
    terms = word_terms if pairs else _words
    words, word_frequency = _most_frequent((terms(text) for text in texts), MAX_WORDS, sources)
    characters, character_frequency = _most_frequent(
        (_up_to(character_terms(text), longest_gram) for text in texts), MAX_CHARACTERS, sources
    )
    frequency = np.array([*word_frequency, *character_frequency], dtype=np.float64)
    idf = np.log((1.0 + len(texts)) / (1.0 + frequency)) + 1.0
    return Vocabulary.of(words, characters), idf.astype(np.float32)


def words_of_one(texts: Sequence[str], sources: Sequence[int]) -> list[list[tuple[int, int]]]:
    """Where the words stand, in each text, that only one of the ``sources`` uses."""
    first: dict[str, int] = {}
    shared: set[str] = set()
    for text, who in zip(texts, sources, strict=True):
        shared.update(word for word in set(_words(text)) if first.setdefault(word, who) != who)
    return [
        [
            match.span()
            for match in _WORD.finditer(text[:MAX_TEXT])
            if match[0].casefold()[:_LONGEST_WORD] not in shared
        ]
        for text in texts
    ]


def in_common(texts: Sequence[str], sources: Sequence[int]) -> list[str]:
    """The texts without the words that only one of the ``sources`` uses. Leaving such a word out of the vocabulary
    is not enough: the characters it is made of are everybody's."""
    return [
        _without(text[:MAX_TEXT], spans)
        for text, spans in zip(texts, words_of_one(texts, sources), strict=True)
    ]


def _without(text: str, spans: Sequence[tuple[int, int]]) -> str:
    kept, after = [], 0
    for start, end in spans:
        kept.append(text[after:start])
        after = end
    return "".join([*kept, text[after:]])


def _up_to(terms: list[str], longest: int) -> list[str]:
    return terms if longest >= _LONGEST_GRAM else [term for term in terms if len(term) <= longest]


def _most_frequent(
    documents: Iterable[list[str]], limit: int, sources: Sequence[int] | None
) -> tuple[list[str], list[int]]:
    seen: Counter[str] = Counter()
    first: dict[str, int] = {}
    shared: set[str] = set()
    for number, terms in enumerate(documents):
        own = set(terms)
        seen.update(own)
        if sources is not None:
            who = sources[number]
            shared.update(term for term in own if first.setdefault(term, who) != who)
    ranked = sorted(
        (term for term, count in seen.items() if count >= 2 and (sources is None or term in shared)),
        key=lambda term: (-seen[term], term),
    )
    kept = sorted(ranked[:limit])
    return kept, [seen[term] for term in kept]


def features(text: str, vocabulary: Vocabulary, idf: Floats) -> tuple[Indices, Floats]:
    """The columns of one text that are not zero, and their weights."""
    blocks = (
        _block(word_terms(text), vocabulary.words, idf),
        _block(character_terms(text), vocabulary.characters, idf),
    )
    return np.concatenate([columns for columns, _ in blocks]), np.concatenate(
        [weight for _, weight in blocks]
    )


def _block(terms: list[str], columns: dict[str, int], idf: Floats) -> tuple[Indices, Floats]:
    counts = Counter(columns[term] for term in terms if term in columns)
    where = np.fromiter(counts.keys(), dtype=np.int64, count=len(counts))
    order = np.argsort(where)
    where = where[order]
    count = np.fromiter(counts.values(), dtype=np.float32, count=len(counts))[order]
    weight = (1.0 + np.log(count)) * idf[where] if len(where) else count
    length = float(np.sqrt(weight @ weight))
    return where, (weight / length if length > 0 else weight).astype(np.float32)
