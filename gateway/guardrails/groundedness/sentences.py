"""Words and sentences, as the guardrails that compare texts see them. Pure, linear in the text."""

from __future__ import annotations

import re

_WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)?")
_END = re.compile(r"(?<=[.!?。！？])\s+|\n+")
_ENDINGS = ("ing", "ed", "es", "s")
_SHORTEST_STEM = 4
COMMON = frozenset(
    """
    a about above after again all also an and any are as at be because been before being below between both but
    by can could did do does doing down during each few for from further had has have having he her here hers
    him his how i if in into is it its just may me might more most must my no nor not now of off on once only or
    other our out over own same she should so some such than that the their them then there these they this
    those through to too under until up very was we were what when where which while who whom why will with
    would yes you your
    """.split()  # noqa: SIM905 (it is read so)
)


def words(text: str) -> list[str]:
    return [word.replace("’", "'") for word in _WORD.findall(text.casefold())]


def sentences(text: str) -> list[str]:
    return [one for one in (part.strip() for part in _END.split(text)) if one]


def stem(word: str) -> str:
    """Without the commonest English endings: crude, and the same for both sides of a comparison."""
    word = word.removesuffix("'s")
    for ending in _ENDINGS:
        if word.endswith(ending) and len(word) - len(ending) >= _SHORTEST_STEM:
            return word[: -len(ending)]
    return word


def content(text: str) -> list[str]:
    """Stems of the words that say what a text is about."""
    return [stem(word) for word in words(text) if word not in COMMON]
