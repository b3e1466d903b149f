"""How sure a student is of each field of its answer: the parts of a JSON object, or of tool calls."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from gateway.protocol.called import read_calls
from trainer.features.values import Spot, parsed

_LEFT_OUT = ""


def of_classes(answers: Sequence[str], row: npt.NDArray[np.float64], best: int) -> dict[str, float]:
    """By field of the answer ``best``, the probability of its value: that of all answers which have the same. {} for
    answers that have no fields. ``row``: the probability of each answer."""
    tables = _tables(tuple(answers))
    return (
        {
            name: float(min(1.0, row[[table[name] == value for table in tables]].sum()))
            for name, value in tables[best].items()
        }
        if tables
        else {}
    )


def of_spans(
    spans: Sequence[tuple[int, int]],
    scores: npt.NDArray[np.float64],
    spots: Sequence[Spot],
    tags: Sequence[str],
) -> dict[str, float]:
    """By tag, the probability of its spans, the product over their tokens; where there are none, of there being none.
    ``scores``: log-probabilities (tokens, tags), tags as ``trainer.features.tagging.tag_names``."""
    found = dict.fromkeys(tags, 0.0)
    place = {tag: number for number, tag in enumerate(tags)}
    for start, end, tag in spots:
        inside = [token for token, (first, last) in enumerate(spans) if start <= first and last <= end]
        begin = 1 + 2 * place[tag]
        found[tag] += float(scores[inside[0], begin] + scores[inside[1:], begin + 1].sum())
    for tag in place.keys() - {tag for _, _, tag in spots}:
        begins = np.exp(scores[:, 1 + 2 * place[tag]]) if len(scores) else np.zeros(0)
        found[tag] = float(np.log1p(-np.minimum(begins, 1.0 - 1e-12)).sum())
    return {tag: float(np.exp(value)) for tag, value in found.items()}


@lru_cache(maxsize=64)
def _tables(answers: tuple[str, ...]) -> list[Mapping[str, str]]:
    """The fields of each answer, all of them under the same names; [] when not every answer has fields."""
    tables = [fields_of(answer) for answer in answers]
    if not all(tables):
        return []
    names = {name for table in tables for name in table}
    return [{name: table.get(name, _LEFT_OUT) for name in names} for table in tables]


def fields_of(answer: str) -> dict[str, str]:
    """By name, the JSON text of each field: the keys of an object; of calls ``calls``, which is who is called, and
    ``call.argument``. {} for any other text."""
    calls = read_calls(answer)
    if calls is None:
        value = parsed(answer)
        return {name: _text(one) for name, one in value.items()} if isinstance(value, dict) else {}
    found = {"calls": _text([call.name for call in calls])}
    for place, call in enumerate(calls):
        arguments = parsed(call.arguments)
        if isinstance(arguments, dict):
            found |= {f"{place}.{name}": _text(one) for name, one in arguments.items()}
    return found


def _text(value: Any) -> str:
    return json.dumps(value, sort_keys=True)
