"""Text as the tokens that scorers compare."""

from __future__ import annotations

import re
import string

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)


def normalised(text: str) -> list[str]:
    """Lower case, no ASCII punctuation, no English articles: the SQuAD convention (Rajpurkar et al., 2016)."""
    return _ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION)).split()


_KEEP_NUMBERS = (
    (re.compile(r"([\{-\~\[-\` -\&\(-\+\:-\@\/])"), r" \1 "),
    (re.compile(r"([^0-9])([\.,])"), r"\1 \2 "),
    (re.compile(r"([\.,])([^0-9])"), r" \1 \2"),
    (re.compile(r"([0-9])(-)"), r"\1 \2 "),
)


def thirteen_a(text: str) -> list[str]:
    """The ``13a`` tokens of mteval-v13a.pl, on which BLEU figures are comparable (Post, 2018)."""
    line = text.replace("<skipped>", "").replace("-\n", "").replace("\n", " ")
    if "&" in line:
        for entity, sign in (("&quot;", '"'), ("&amp;", "&"), ("&lt;", "<"), ("&gt;", ">")):
            line = line.replace(entity, sign)
    line = f" {line} "
    for pattern, spaced in _KEEP_NUMBERS:
        line = pattern.sub(spaced, line)
    return line.split()
