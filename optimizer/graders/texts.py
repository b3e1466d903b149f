"""Graders that compare two texts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

from optimizer.graders.kinds import StringCheck, TextSimilarity
from optimizer.graders.templates import LONGEST, Scene, fill
from optimizer.scorers.overlap import bleu, gleu, likeness, rouge_l, rouge_n

LONGEST_COMPARED = 20_000
"""Characters of a text whose likeness is measured: scorers cut nothing off below that."""

_CHECKS: Mapping[str, Callable[[str, str], bool]] = {
    "eq": lambda text, reference: text == reference,
    "ne": lambda text, reference: text != reference,
    "like": lambda text, reference: reference in text,
    "ilike": lambda text, reference: reference.casefold() in text.casefold(),
}
_METRICS: Mapping[str, Callable[[str, str], float]] = {
    "fuzzy_match": likeness,
    "bleu": bleu,
    "gleu": gleu,
    "rouge_l": rouge_l,
    **{f"rouge_{order}": partial(rouge_n, order=order) for order in range(1, 6)},
}


def filled_pair(grader: StringCheck | TextSimilarity, where: Scene) -> tuple[str, str]:
    """Input and reference with their values. Raises Fault."""
    most = LONGEST_COMPARED if isinstance(grader, TextSimilarity) else LONGEST
    return fill(grader.input, where, most), fill(grader.reference, where, most)


def compared(grader: StringCheck | TextSimilarity, where: Scene) -> float:
    """The score, in [0, 1]; ``cosine`` is not measured here. Raises Fault."""
    text, reference = filled_pair(grader, where)
    if isinstance(grader, StringCheck):
        return float(_CHECKS[grader.operation](text, reference))
    return _METRICS[grader.evaluation_metric](text, reference)
