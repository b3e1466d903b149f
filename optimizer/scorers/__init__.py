"""How answers are scored. Scorers render and parse; whoever runs a judge calls it.

``SCORERS`` is the registry: a scorer takes the student's and the teacher's text and says how good the first is in
the light of the second, in [0, 1]. Adding one is one function and one line here. What ``MeasuredName`` lists needs more
than the two texts (the request, guardrails, an encoder, prices, a judge): whoever has these measures it, 1 is best.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Literal

from optimizer.scorers.agreement import Comparison, agrees
from optimizer.scorers.grounding import grounded
from optimizer.scorers.overlap import bleu, rouge_l, token_f1
from optimizer.scorers.passes import pass_at_k
from optimizer.scorers.structured import json_fields, numeric, tool_calls

TextScorer = Literal["exact", "folded", "token_f1", "rouge_l", "bleu", "json_fields", "numeric", "tool_calls"]
MeasuredName = Literal["schema", "pii_free", "harmless", "grounded", "embedding", "thrift", "judge"]
ScorerName = TextScorer | MeasuredName

SCORERS: Mapping[str, Callable[[str, str], float]] = {
    "exact": lambda student, teacher: float(agrees("exact", student, teacher)),
    "folded": lambda student, teacher: float(agrees("folded", student, teacher)),
    "token_f1": token_f1,
    "rouge_l": rouge_l,
    "bleu": bleu,
    "json_fields": json_fields,
    "numeric": numeric,
    "tool_calls": tool_calls,
}


def scores(names: Iterable[str], student: str, teacher: str) -> dict[str, float]:
    """What each of the named scorers of texts says of the student's answer; other names are left out."""
    return {name: SCORERS[name](student, teacher) for name in names if name in SCORERS}


__all__ = [
    "SCORERS", "Comparison", "MeasuredName", "ScorerName", "TextScorer", "agrees", "grounded", "pass_at_k", "scores",
]  # fmt: skip
