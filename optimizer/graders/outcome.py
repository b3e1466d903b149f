"""What graders come to, alone and together, and how OpenAI's API tells it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from msgspec import Struct

from optimizer.graders.faults import KINDS, Fault, FaultKind
from optimizer.graders.formula import Formula
from optimizer.graders.kinds import Grader, LabelModel, Multi, ScoreModel


class Outcome(Struct, frozen=True):
    """``score`` None: there is none, because of ``faults``, each with a sentence. ``tokens``: what the asked model
    used; None when none was asked, or it did not say."""

    score: float | None = None
    faults: tuple[tuple[FaultKind, str], ...] = ()
    tokens: int | None = None


def failed(fault: Fault, tokens: int | None = None) -> Outcome:
    return Outcome(faults=((fault.kind, fault.message),), tokens=tokens)


def combined(formula: Formula, parts: Mapping[str, Outcome]) -> Outcome:
    """The formula's value; none while a grader it names has none."""
    faults = tuple(fault for one in parts.values() for fault in one.faults)
    scores = {name: one.score for name, one in parts.items() if one.score is not None}
    if not formula.names <= set(scores):
        return Outcome(faults=faults)
    try:
        return Outcome(formula.value(scores), faults)
    except Fault as fault:
        return Outcome(faults=(*faults, (fault.kind, fault.message)))


def report(grader: Grader, whole: Outcome, parts: Mapping[str, Outcome], seconds: float) -> dict[str, Any]:
    """OpenAI's ``GraderRunResponse``. No score is told as the reward 0 with at least one error; a part that has none
    is null. ``errors.details``, which OpenAI does not have, says in words what the flags mean."""
    scores = {name: one.score for name, one in parts.items()}
    asked = _asked(grader, whole, parts)
    return {
        "reward": whole.score if whole.score is not None else 0.0,
        "sub_rewards": scores,
        "metadata": {
            "name": grader.name,
            "type": _type(grader),
            "errors": _errors(whole),
            "execution_time": seconds,
            "scores": scores,
            "token_usage": sum(asked.values()) if asked else None,
            "sampled_model_name": next(iter(asked)) if len(asked) == 1 else None,
        },
        "model_grader_token_usage_per_model": dict(asked),
    }


def _type(grader: Grader) -> str:
    return str(grader.__struct_config__.tag)


def _errors(whole: Outcome) -> dict[str, Any]:
    told = dict(reversed(whole.faults))
    return {
        **{kind: kind in told for kind in KINDS},
        "model_grader_server_error_details": told.get("model_grader_server_error"),
        "python_grader_runtime_error_details": None,
        "python_grader_server_error_type": None,
        "details": " ".join(dict.fromkeys(message for _, message in whole.faults)) or None,
    }


def _asked(grader: Grader, whole: Outcome, parts: Mapping[str, Outcome]) -> Counter[str]:
    graders = grader.graders if isinstance(grader, Multi) else {"": grader}
    outcomes = parts if isinstance(grader, Multi) else {"": whole}
    found: Counter[str] = Counter()
    for name, one in outcomes.items():
        asked = graders[name]
        if isinstance(asked, ScoreModel | LabelModel) and one.tokens is not None:
            found[asked.model] += one.tokens
    return found
