"""How two questions differ on the surface: the guards that forbid reuse outright, and features to learn from.

Embeddings place "modulo 8" beside "modulo 9" and "is safe" beside "is not safe". The guards compare what such
pairs differ in; the features say how much of each question the other one contains. English words only: in
other languages numbers and capitalised names are still compared, negations and dates are not.
"""

from __future__ import annotations

import re
from typing import Literal

from msgspec import Struct

Guard = Literal["negation", "numbers", "names", "dates"]
GUARDS: tuple[Guard, ...] = ("negation", "numbers", "names", "dates")

_WORD = re.compile(r"[^\W_]+(?:[-'’][^\W_]+)*")
_COMPOUND = re.compile(r"[^\W\d_]+[-'’]?(\d+(?:[.,]\d+)*)\b")
_PART = re.compile(r"[^\W\d_]{2,}")
_NUMBER = re.compile(r"(?<![\w-])[-+]?\d+(?:[.,:/]\d+)*")


def _set(words: str) -> frozenset[str]:
    return frozenset(words.split())


_NEGATORS = _set("not never without nor neither cannot none nobody nothing")
_REPAIRS = _set("or uh um er uhm umm wait sorry make rather i actually no scratch oops")
"""Beside one of these a "no" takes back what was just said; it denies nothing."""
_BEGINNINGS = _set(
    "the a an this that these those my your his her its our their i you he she we they what which who whom whose when "
    "where why how did does do was were is are in during"
)
"""A "no" that denies stands before a bare noun. Before one of these it begins the sentence anew."""
_SPELT = _set(
    "two three four five six seven eight nine ten eleven twelve twenty hundred thousand million billion second "
    "third fourth fifth half twice"
)
_DATES = _set(
    "monday tuesday wednesday thursday friday saturday sunday january february march april june july august "
    "september october november december today tomorrow yesterday tonight"
)
_STOP = _set(
    "a an the of to in on for by is are was were be been do does did what which who whom whose when where why how "
    "can could would should will it its that this these those and or at from with as there have has had i you me my "
    "um uh er no wait sorry rather actually mean make"
)
_MOST_WORDS = 200
"""Words of a question that are looked at: the comparison takes time with the product of both."""


class Wording(Struct, frozen=True):
    """What one question says, taken once: ``words`` in lower case and in order."""

    words: tuple[str, ...]
    known: frozenset[str]
    content: frozenset[str]
    numbers: frozenset[str]
    compounds: frozenset[str]
    """Numbers that belong to a word, as in COVID-19."""
    names: frozenset[str]
    dates: frozenset[str]
    denies: bool


def wording(text: str) -> Wording:
    """The wording of a text; of a long one, that of its first two hundred words."""
    spelt = _WORD.findall(text)[:_MOST_WORDS]
    words = tuple(word.lower().replace("’", "'") for word in spelt)
    known = frozenset(words)
    parts = frozenset(part for word in words if "-" in word for part in _PART.findall(word))
    return Wording(
        words=words,
        known=known | parts,
        content=known - _STOP,
        numbers=frozenset(_NUMBER.findall(text)) | (known & _SPELT),
        compounds=frozenset(_COMPOUND.findall(text)),
        names=frozenset(name for at, word in enumerate(spelt) if at and word[0].isupper() for name in _names(word)),
        dates=known & _DATES,
        denies=any(_denies(words, at) for at in range(len(words))),
    )


def _names(word: str) -> list[str]:
    """A compound is each of its parts, so that COVID-19 and COVID 19 are one name."""
    low = word.lower().replace("’", "'")
    return (_PART.findall(low) or [low]) if "-" in low else [low]


def _denies(words: tuple[str, ...], at: int) -> bool:
    word = words[at]
    if word != "no":
        return word in _NEGATORS or word.endswith("n't") or word.startswith("non-")
    before = words[at - 1] if at else "or"
    after = words[at + 1] if at + 1 < len(words) else "or"
    return before not in _REPAIRS and after not in _REPAIRS and after not in _BEGINNINGS


def forbidden(kept: Wording, asked: Wording, guards: tuple[Guard, ...] = GUARDS) -> Guard | None:
    """The first guard that forbids answering ``asked`` with what ``kept`` was answered; None: none does.

    Negation, numbers and dates must be the same on both sides; names conflict when each question has one that
    the other lacks.
    """
    for guard in guards:
        if _differs(guard, kept, asked):
            return guard
    return None


def _differs(guard: Guard, kept: Wording, asked: Wording) -> bool:
    if guard == "negation":
        return kept.denies != asked.denies
    if guard == "numbers":
        return kept.numbers - asked.compounds != asked.numbers - kept.compounds
    if guard == "dates":
        return kept.dates != asked.dates
    return bool(kept.names - asked.known and asked.names - kept.known)


FEATURES = 12


def features(kept: Wording, asked: Wording, similarity: float) -> tuple[float, ...]:
    """What the learnt score looks at: ``similarity`` in [-1, 1] by the vectors, and how the words overlap."""
    one, two = kept.words, asked.words
    common, ending = _common(one, two), _ending(one, two)
    shared = len(kept.content & asked.content)
    covered = common / max(1, len(one))
    return (
        similarity,
        similarity**3,
        shared / max(1, len(kept.content)),
        shared / max(1, len(asked.content)),
        sum(word in asked.known for word in one) / max(1, len(one)),
        sum(word in kept.known for word in two) / max(1, len(two)),
        covered,
        common / max(1, len(two)),
        ending / max(1, len(one)),
        min(3.0, len(asked.names - kept.known)),
        min(3.0, len(kept.content - asked.known)),
        float(covered == 1.0),
    )


def _common(one: tuple[str, ...], two: tuple[str, ...]) -> int:
    """The length of the longest common subsequence."""
    row = [0] * (len(two) + 1)
    for word in one:
        corner = 0
        for at, other in enumerate(two, start=1):
            above = row[at]
            row[at] = corner + 1 if word == other else max(above, row[at - 1])
            corner = above
    return row[-1]


def _ending(one: tuple[str, ...], two: tuple[str, ...]) -> int:
    """How many words at the end are the same."""
    count = 0
    for left, right in zip(reversed(one), reversed(two), strict=False):
        if left != right:
            break
        count += 1
    return count
