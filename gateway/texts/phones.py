"""Telephone numbers in text. A leaf.

Numbers that say what they are (an international prefix, a North American or trunk shape) need no more. A bare
group of digits is a number only beside a word for telephones: on its own it may be anything.
Every pattern is linear: single repetitions with upper bounds, no nesting.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

Span = tuple[int, int]

_EXTENSION = r"(?: ?(?:x|ext\.? ?)[0-9]{1,6})?"
_SHAPES = tuple(
    re.compile(pattern)
    for pattern in (
        r"(?<![\w+])\+[0-9][0-9 ()./-]{6,20}[0-9]" + _EXTENSION + r"(?!\w)",  # international
        r"(?<![\w.+-])(?<![0-9] )00[0-9]{1,3}[ .-][0-9]{2,4}[ .-][0-9]{3,4}(?:[ .-][0-9]{2,4})?"
        + _EXTENSION + r"(?![\w-])",  # international, dialled
        r"(?<![\w.+-])(?<![0-9] )(?:\([2-9]\d\d\) ?|[2-9]\d\d[ .-])[2-9]\d\d[ .-]\d{4}"
        + _EXTENSION + r"(?![\w-])",  # NANP
        r"(?<![\w.+/-])(?<![0-9] )0[0-9]{2,5}[ /-][0-9]{3,4}[ -]?[0-9]{2,5}(?![\w-])",  # trunk prefix 0
    )
)  # fmt: skip
_WORDS = (
    r"(?:tele)?phones?|tel|mobile|cell|fax|office|landline|hotline|whatsapp|viber|sms|dial|call(?:ed|ing)?|ring"
    r"|text me|reach me|contact|numéro|telefon(?:nummer)?|téléphone|teléfono|móvil|handy"
)
_WORD = re.compile(rf"\b(?:{_WORDS})\b", re.IGNORECASE)
_BEFORE = re.compile(rf"\b(?:{_WORDS})\b[^0-9\n]{{0,24}}$", re.IGNORECASE)
_AFTER = re.compile(rf"[ \t]{{0,2}}[,(\[-]?[ \t]?\b(?:{_WORDS})\b", re.IGNORECASE)
_BARE = re.compile(
    r"(?<![\w.+/-])(?<![0-9] )\(?[0-9]{1,4}\)?(?:[ .-]?[0-9]){5,13}" + _EXTENSION + r"(?![\w-]| [0-9])"
)
_DATE = re.compile(r"[0-9]{4}[.-][0-9]{2}[.-][0-9]{2}|[0-9]{1,2}[.-][0-9]{1,2}[.-][0-9]{4}")


def phones(text: str) -> Iterator[Span]:
    """Where telephone numbers stand. E.164 allows 15 digits; fewer than eight need a word beside them."""
    for pattern in _SHAPES:
        for found in pattern.finditer(text):
            digits = sum(map(str.isdigit, re.split(r"x|ext", found.group())[0]))
            if 8 <= digits <= 15:
                yield found.span()
    if _WORD.search(text) is None:
        return
    for found in _BARE.finditer(text):
        if _beside_a_word(text, found) and _DATE.fullmatch(found.group()) is None:
            yield found.span()


def _beside_a_word(text: str, found: re.Match[str]) -> bool:
    """A word for telephones just before the number or right after it, with no other number between."""
    before = text[max(0, found.start() - 48) : found.start()]
    return _BEFORE.search(before) is not None or _AFTER.match(text, found.end()) is not None
