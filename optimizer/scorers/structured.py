"""Answers that are data: JSON values, numbers, tool calls. Scores in [0, 1]; junk scores 0 and never raises."""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

_NUMBER = re.compile(r"[-+]?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?(?:[eE][-+]?\d+)?%?")
_FENCE = re.compile(r"\A\s*```[a-zA-Z]*\n(.*?)\n?```\s*\Z", re.DOTALL)
_CLOSE = 1e-6


class _Junk:
    """What no JSON text says: unequal to everything, itself included."""

    def __eq__(self, other: object) -> bool:
        return False

    __hash__ = None  # type: ignore[assignment]


def parsed(text: str) -> Any:
    """The JSON value of an answer, a code fence around it taken off; junk is unequal to everything."""
    fenced = _FENCE.match(text)
    try:
        return json.loads(fenced.group(1) if fenced else text, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return _Junk()


def _refuse(name: str) -> Any:
    raise ValueError(name)


def json_equal(student: str, teacher: str) -> bool:
    """The same JSON value: order of keys and white space do not matter, 1 and 1.0 are one number, 1 and true two."""
    return _equal(parsed(student), parsed(teacher))


def json_fields(student: str, teacher: str) -> float:
    """F1 over (path, value) of the leaves, list positions ignored; an empty object or list is a leaf."""
    said, wanted = parsed(student), parsed(teacher)
    if isinstance(said, _Junk) or isinstance(wanted, _Junk):
        return 0.0
    mine, theirs = Counter(_leaves(said, ())), Counter(_leaves(wanted, ()))
    common = sum((mine & theirs).values())
    return 2 * common / (mine.total() + theirs.total())


def numeric(student: str, teacher: str) -> float:
    """1 when the last number of both texts is the same within a millionth; a percent sign divides by 100."""
    said, wanted = _last_number(student), _last_number(teacher)
    if said is None or wanted is None:
        return 0.0
    return float(math.isclose(said, wanted, rel_tol=_CLOSE, abs_tol=_CLOSE))


def tool_calls(student: str, teacher: str) -> float:
    """Share of tool calls that are the same in both: ``[{"name", "arguments"}, …]`` as JSON texts, order ignored,
    arguments compared as values; the larger count is the whole."""
    said, wanted = _calls(student), _calls(teacher)
    if said is None or wanted is None:
        return 0.0
    if not said and not wanted:
        return 1.0
    return sum((said & wanted).values()) / max(said.total(), wanted.total())


def _calls(text: str) -> Counter[tuple[str, str]] | None:
    value = parsed(text)
    if not isinstance(value, list):
        return None
    found: Counter[tuple[str, str]] = Counter()
    for call in value:
        if not isinstance(call, dict):
            return None
        inner = call.get("function", call)
        if not isinstance(inner, dict) or not isinstance(inner.get("name"), str):
            return None
        arguments = inner.get("arguments", {})
        if isinstance(arguments, str):
            arguments = parsed(arguments or "{}")
            if isinstance(arguments, _Junk):
                return None
        found[(inner["name"], _canonical(arguments))] += 1
    return found


def _last_number(text: str) -> float | None:
    found = None
    for match in _NUMBER.finditer(text):
        found = match.group()
    if found is None:
        return None
    value = float(found.rstrip("%").replace(",", ""))
    return value / 100 if found.endswith("%") else value


def _leaves(value: Any, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], str]]:
    pending = [(value, path)]
    while pending:
        one, where = pending.pop()
        if isinstance(one, dict) and one:
            pending += [(inner, (*where, str(key))) for key, inner in one.items()]
        elif isinstance(one, list) and one:
            pending += [(inner, (*where, "*")) for inner in one]
        else:
            yield where, _canonical(one)


def _canonical(value: Any) -> str:
    """One text for one value: keys sorted, whole floats as integers."""
    try:
        return json.dumps(_whole(value), sort_keys=True, ensure_ascii=False)
    except RecursionError:
        return "too deep"


def _whole(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _whole(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_whole(inner) for inner in value]
    return int(value) if isinstance(value, float) and value.is_integer() and abs(value) < 2**53 else value


def _equal(one: Any, other: Any) -> bool:
    if isinstance(one, _Junk) or isinstance(other, _Junk):
        return False
    return _canonical(one) == _canonical(other) != "too deep"
