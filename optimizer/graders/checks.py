"""What the types of graders cannot say: what is not done here, and what would never give a score."""

from __future__ import annotations

import math
from collections.abc import Iterator

from optimizer.graders.asking import templates_of
from optimizer.graders.faults import Fault
from optimizer.graders.formula import Formula, parse
from optimizer.graders.kinds import (
    Grader,
    LabelModel,
    Multi,
    Python,
    ScoreModel,
    Single,
    StringCheck,
    TextSimilarity,
)
from optimizer.graders.templates import misnamed


class Refused(Exception):
    """``message`` says what to mend at ``param``; ``supported``: this could be meant, but is not done here."""

    def __init__(self, message: str, param: str, *, supported: bool = True) -> None:
        super().__init__(message)
        self.message, self.param, self.supported = message, param, supported


def singles(grader: Grader) -> list[tuple[str, Single]]:
    """The graders that score by themselves, and where they stand."""
    if isinstance(grader, Multi):
        return [(f"grader.graders.{name}", one) for name, one in grader.graders.items()]
    return [("grader", grader)]


def refuse(grader: Grader, *, encoder: bool) -> None:
    """``encoder``: sentences can be embedded here. Raises Refused."""
    for param, one in singles(grader):
        _refuse(one, param, encoder=encoder)


def doubts(grader: Grader) -> Iterator[tuple[str, str]]:
    """(parameter, what is wrong) of texts and formulas that no item and no sample could mend."""
    for param, one in singles(grader):
        for name, template in _templates(one):
            yield from ((f"{param}.{name}", problem) for problem in misnamed(template))
    if isinstance(grader, Multi):
        try:
            formula_of(grader)
        except Fault as fault:
            yield "grader.calculate_output", fault.message


def formula_of(grader: Multi) -> Formula:
    """Raises Fault for a formula that cannot be read, or names a grader that there is not."""
    formula = parse(grader.calculate_output)
    unknown = sorted(formula.names - set(grader.graders))
    if unknown:
        raise Fault(
            "formula_parse_error",
            f"The formula names '{unknown[0][:64]}', but 'graders' has none by that name.",
        )
    return formula


def _templates(one: Single) -> Iterator[tuple[str, str]]:
    if isinstance(one, StringCheck | TextSimilarity):
        yield from (("input", one.input), ("reference", one.reference))
    elif isinstance(one, ScoreModel | LabelModel):
        yield from (("input", template) for template in templates_of(one))


def _refuse(one: Single, param: str, *, encoder: bool) -> None:
    if isinstance(one, Python):
        raise Refused(
            "Graders of the type 'python' are not run: this gateway executes no code from requests. Use "
            "'string_check', 'text_similarity', 'score_model', 'label_model' or 'multi'.",
            f"{param}.type",
            supported=False,
        )
    if isinstance(one, TextSimilarity):
        _refuse_metric(one, param, encoder=encoder)
    elif isinstance(one, ScoreModel):
        low, high = one.range
        if not (math.isfinite(low) and math.isfinite(high) and low < high):
            raise Refused("'range' must be two numbers, the lower one first.", f"{param}.range")
    elif isinstance(one, LabelModel):
        if len(set(one.labels)) < len(one.labels):
            raise Refused("'labels' names one label twice.", f"{param}.labels")
        if not set(one.passing_labels) <= set(one.labels):
            raise Refused("'passing_labels' must be some of 'labels'.", f"{param}.passing_labels")


def _refuse_metric(one: TextSimilarity, param: str, *, encoder: bool) -> None:
    where = f"{param}.evaluation_metric"
    if one.evaluation_metric == "meteor":
        raise Refused(
            "'meteor' is not computed here: its stems and synonyms need data this gateway does not have. Use "
            "'gleu', 'rouge_l' or another metric.",
            where,
            supported=False,
        )
    if one.evaluation_metric == "cosine" and not encoder:
        raise Refused(
            "'cosine' needs a sentence encoder, and none is configured. The gateway's operator can set "
            "'fine_tuning: {encoder: /path/of/one}'; 'fuzzy_match', 'bleu', 'gleu' and 'rouge_l' need none.",
            where,
            supported=False,
        )
