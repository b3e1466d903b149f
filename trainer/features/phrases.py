"""Answers in words that come again with other values in them: "Order A-7 is on its way to Oslo."

A *phrase* is such an answer without the values: the pieces between them. A value is what few answers have in common and
what the input has, too, letter by letter.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

_WORD = re.compile(r"[\w#](?:[\w\-./:@#+,]*\w)?|\S")
_RARE, _LONGEST = 0.05, 2_000


def phrases(pairs: Sequence[tuple[str, str]], least: int) -> list[tuple[list[str], int]]:
    """(pieces, count) of the phrases that ``least`` or more of the (text, answer) pairs have, the most frequent first.
    A phrase without values has one piece: the answer."""
    known = [(text, answer) for text, answer in pairs if 0 < len(answer) <= _LONGEST]
    among = Counter(word for _, answer in known for word in set(_WORD.findall(answer)))
    common = {word for word, count in among.items() if count > max(1, _RARE * len(known))}
    counts = Counter(tuple(_pieces(text, answer, common)) for text, answer in known)
    return [(list(pieces), count) for pieces, count in counts.most_common() if count >= least]


def _pieces(text: str, answer: str, common: set[str]) -> list[str]:
    """The answer without its values, which were two words where nothing but one space is between them."""
    said = set(_WORD.findall(text))
    values: list[tuple[int, int]] = []
    for word in _WORD.finditer(answer):
        if word[0] in common or word[0] not in said or not any(letter.isalnum() for letter in word[0]):
            continue
        if values and answer[values[-1][1] : word.start()] == " ":
            values[-1] = values[-1][0], word.end()
        else:
            values.append(word.span())
    ends = [0, *(end for _, end in values)]
    starts = [*(start for start, _ in values), len(answer)]
    return [answer[end:start] for end, start in zip(ends, starts, strict=True)]


def values_in(answer: str, pieces: Sequence[str]) -> list[str] | None:
    """The values that make ``answer`` of the pieces; None when nothing does."""
    found = re.fullmatch("(.+?)".join(map(re.escape, pieces)), answer, re.DOTALL)
    return None if found is None else list(found.groups())


def said(pieces: Sequence[str], values: Sequence[str]) -> str:
    """The answer that pieces and values make."""
    return "".join(part for pair in zip(pieces, [*values, ""], strict=True) for part in pair)
