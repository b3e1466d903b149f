"""How much of the teacher's wording a student's answer shares; in [0, 1], 1 for the same words."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence

from optimizer.scorers.words import normalised, thirteen_a

_LONGEST = 20_000
"""Tokens beyond these are left out: an answer is no reason to hold anybody up."""

_ROUGE_WORDS = re.compile(r"[a-z0-9]+")
_ORDERS = 4


def token_f1(student: str, teacher: str) -> float:
    """Harmonic mean of precision and recall of tokens, order ignored (SQuAD's F1)."""
    said, wanted = normalised(student), normalised(teacher)
    if not said or not wanted:
        return float(said == wanted)
    return _f1(sum((Counter(said) & Counter(wanted)).values()), len(said), len(wanted))


def rouge_l(student: str, teacher: str) -> float:
    """F-measure of the longest common subsequence of words (Lin, 2004; no stemming)."""
    said = _ROUGE_WORDS.findall(student.lower())[:_LONGEST]
    wanted = _ROUGE_WORDS.findall(teacher.lower())[:_LONGEST]
    if not said or not wanted:
        return float(said == wanted)
    return _f1(_common(said, wanted), len(said), len(wanted))


def rouge_n(student: str, teacher: str, order: int) -> float:
    """F-measure of n-grams of words, each counted as often as both have it (Lin, 2004; no stemming); 0 when a text is
    shorter than ``order`` words."""
    said, wanted = (
        _grams(_ROUGE_WORDS.findall(text.lower())[:_LONGEST], order) for text in (student, teacher)
    )
    return _f1((said & wanted).total(), said.total(), wanted.total())


def likeness(student: str, teacher: str) -> float:
    """Twice the longest common subsequence of characters over both lengths: 1 minus the normalised insertions and
    deletions that lead from one to the other, which rapidfuzz calls ``fuzz.ratio``."""
    if not student and not teacher:
        return 1.0
    said, wanted = student[:_LONGEST], teacher[:_LONGEST]
    return _f1(_common(said, wanted), len(said), len(wanted))


def gleu(student: str, teacher: str) -> float:
    """Google's sentence BLEU: of all n-grams up to 4, those in common over those of the text that has more, so the
    smaller of precision and recall (Wu et al., 2016)."""
    said, wanted = thirteen_a(student)[:_LONGEST], thirteen_a(teacher)[:_LONGEST]
    if not said or not wanted:
        return float(said == wanted)
    mine, theirs = (
        sum((_grams(tokens, order) for order in range(1, _ORDERS + 1)), Counter())
        for tokens in (said, wanted)
    )
    return (mine & theirs).total() / max(mine.total(), theirs.total())


def bleu(student: str, teacher: str) -> float:
    """Sentence BLEU: geometric mean of clipped n-gram precisions up to 4, or as far as the answer goes, times the
    brevity penalty (Papineni et al., 2002), with exponential smoothing of empty orders (Chen and Cherry, 2014)."""
    said, wanted = thirteen_a(student)[:_LONGEST], thirteen_a(teacher)[:_LONGEST]
    if not said or not wanted:
        return float(said == wanted)
    logs, smooth, orders = 0.0, 1.0, min(_ORDERS, len(said))
    any_match = False
    for order in range(1, orders + 1):
        total = len(said) - order + 1
        hits = sum((_grams(said, order) & _grams(wanted, order)).values())
        any_match = any_match or hits > 0
        if hits == 0:
            smooth *= 2
        logs += math.log(hits / total if hits else 1 / (smooth * total))
    if not any_match:
        return 0.0
    brevity = min(0.0, 1 - len(wanted) / len(said))
    return min(1.0, math.exp(logs / orders + brevity))


def _f1(common: int, said: int, wanted: int) -> float:
    return 2 * common / (said + wanted) if common else 0.0


def _grams(tokens: Sequence[str], order: int) -> Counter[tuple[str, ...]]:
    return Counter(zip(*(tokens[start:] for start in range(order)), strict=False))


def _common(one: Sequence[str], other: Sequence[str]) -> int:
    """Length of the longest common subsequence, bit-parallel (Hyyrö, 2004): a row of the table is one integer."""
    places: dict[str, int] = {}
    for index, token in enumerate(one):
        places[token] = places.get(token, 0) | (1 << index)
    full = (1 << len(one)) - 1
    row = full
    for token in other:
        match = row & places.get(token, 0)
        row = ((row + match) | (row - match)) & full
    return len(one) - row.bit_count()
