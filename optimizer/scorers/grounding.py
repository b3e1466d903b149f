"""Is an answer supported by the text it was to be drawn from? Lexical entailment: cheap, deterministic, and blind to
paraphrase, so it errs towards calling a free rewording unsupported."""

from __future__ import annotations

import re
from functools import lru_cache

_SENTENCE = re.compile(r"(?<=[.!?。！？])\s+|\n+")
_WORD = re.compile(r"[^\W_]+(?:[.,'’][^\W_]+)*")
_COVERED = 0.6
"""Share of a sentence's content words that the context must hold."""
_STEM = 5
_LIGHT = frozenset(
    _WORD.findall(
        "a an and are as at be been but by can could did do does for from had has have he her his i if in into is it "
        "its me my no nor not of on or our she should so than that the their them then there these they this those to "
        "too up us was we were what when where which who will with would yes you your"
    )
)


def grounded(answer: str, context: str) -> float:
    """Share of the answer's sentences that ``context`` supports, in [0, 1]; 1 for an answer that claims nothing.

    A sentence is supported when every number and every name in it (a capital inside a sentence) stands in the context,
    and at least 60 % of its other content words do, endings aside.
    """
    words, stems = _known(context)
    said = [one for one in _SENTENCE.split(answer) if _WORD.search(one)]
    if not said:
        return 1.0
    return sum(_supported(one, words, stems) for one in said) / len(said)


@lru_cache(maxsize=8)
def _known(context: str) -> tuple[frozenset[str], frozenset[str]]:
    words = frozenset(_plain(one) for one in _WORD.findall(context))
    return words, frozenset(one[:_STEM] for one in words)


def _supported(sentence: str, words: frozenset[str], stems: frozenset[str]) -> bool:
    found = _WORD.findall(sentence)
    for at, word in enumerate(found):
        named = at > 0 and word[0].isupper() and _plain(word) not in _LIGHT
        if (named or any(map(str.isdigit, word))) and _plain(word) not in words:
            return False
    content = [_plain(one) for one in found if _plain(one) not in _LIGHT]
    held = sum(one[:_STEM] in stems for one in content)
    return held >= _COVERED * len(content)


def _plain(word: str) -> str:
    """Case and thousands separators aside; a possessive ending too."""
    folded = word.casefold().replace("’", "'")
    if any(map(str.isdigit, folded)):
        return folded.replace(",", "")
    return folded.removesuffix("'s")
