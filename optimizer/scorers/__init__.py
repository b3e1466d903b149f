"""How answers are scored. Scorers render and parse; whoever runs a judge calls it.

``SCORERS`` is the registry: a scorer takes the student's and the teacher's text and says how good the first is in
the light of the second, in [0, 1]. Adding one is one function and one line here.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Literal

from optimizer.scorers.agreement import Comparison, agrees
from optimizer.scorers.overlap import bleu, rouge_l, token_f1
from optimizer.scorers.passes import pass_at_k
from optimizer.scorers.structured import json_fields, numeric, tool_calls

ScorerName = Literal["exact", "folded", "token_f1", "rouge_l", "bleu", "json_fields", "numeric", "tool_calls"]

SCORERS: Mapping[ScorerName, Callable[[str, str], float]] = {
    "exact": lambda student, teacher: float(agrees("exact", student, teacher)),
    "folded": lambda student, teacher: float(agrees("folded", student, teacher)),
    "token_f1": token_f1,
    "rouge_l": rouge_l,
    "bleu": bleu,
    "json_fields": json_fields,
    "numeric": numeric,
    "tool_calls": tool_calls,
}


def scores(names: Iterable[ScorerName], student: str, teacher: str) -> dict[str, float]:
    """What each of the named scorers says of the student's answer."""
    return {name: SCORERS[name](student, teacher) for name in names}


__all__ = ["SCORERS", "Comparison", "ScorerName", "agrees", "pass_at_k", "scores"]
