"""Texts with ``{{item.x}}`` and ``{{sample.output_text}}`` in them: a path is looked up, nothing is computed.

What is put in is never read again, so a value that looks like a template stays the text it is.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from msgspec import Struct

from optimizer.graders.faults import Fault

LONGEST = 200_000
"""Characters of a text once its values are in."""
_HOLE = re.compile(r"\{\{([^{}]{0,256})\}\}")
_PATH = re.compile(r"\s*((?:item|sample)(?:\.[A-Za-z0-9_-]+)*)\s*")
_SAMPLE = ("output_text", "output_json")


class Scene(Struct, frozen=True):
    """What a template may name. ``is_json``: ``output_json`` is what ``output_text`` says as JSON."""

    item: Any
    output_text: str
    output_json: Any
    is_json: bool


def scene(item: Any, sample: str) -> Scene:
    try:
        return Scene(item, sample, json.loads(sample, parse_constant=_no_constant), is_json=True)
    except (ValueError, RecursionError):
        return Scene(item, sample, None, is_json=False)


def _no_constant(name: str) -> Any:
    raise ValueError(name)


def fill(template: str, where: Scene, most: int = LONGEST) -> str:
    """``template`` with its values, each a text as it is and anything else as JSON. Raises Fault for a path that
    leads nowhere, a sample that is no JSON where JSON is wanted, and a result longer than ``most`` characters."""
    parts, size, at = [], 0, 0
    for hole in _HOLE.finditer(template):
        for part in (template[at : hole.start()], _text(_found(_path(hole.group(1)), where))):
            size += len(part)
            if size > most:
                raise _too_long(most)
            parts.append(part)
        at = hole.end()
    if size + len(template) - at > most:
        raise _too_long(most)
    return "".join([*parts, template[at:]])


def misnamed(template: str) -> Iterator[str]:
    """What no item and no sample could mend: holes that hold no path, or name what a sample does not have."""
    for hole in _HOLE.finditer(template):
        try:
            _path(hole.group(1))
        except Fault as fault:
            yield fault.message


def _path(text: str) -> list[str]:
    path = _PATH.fullmatch(text)
    steps = path.group(1).split(".") if path else []
    if not steps or steps == ["sample"] or (steps[0] == "sample" and steps[1] not in _SAMPLE):
        raise Fault(
            "invalid_variable_error",
            f"'{{{{{text[:80]}}}}}' is no variable. Write {{{{item.name}}}}, {{{{sample.output_text}}}} or "
            "{{sample.output_json.name}}; nothing else is worked out.",
        )
    return steps


def _found(steps: list[str], where: Scene) -> Any:
    value, rest = where.item, steps[1:]
    if steps[0] == "sample":
        if steps[1] == "output_json" and not where.is_json:
            raise Fault("sample_parse_error", "The model's sample is not valid JSON.")
        value, rest = (where.output_json if steps[1] == "output_json" else where.output_text), steps[2:]
    for step in rest:
        if isinstance(value, dict) and step in value:
            value = value[step]
        elif isinstance(value, list) and step.isdecimal() and int(step) < len(value):
            value = value[int(step)]
        else:
            raise Fault("invalid_variable_error", f"There is no '{'.'.join(steps)[:80]}' here.")
    return value


def _text(value: Any) -> str:
    try:
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        text.encode()  # JSON can escape half a character, which no model can be sent
    except UnicodeEncodeError:
        raise Fault("sample_parse_error", "A value holds half a character (a lone surrogate).") from None
    except (RecursionError, ValueError):
        raise Fault(
            "invalid_variable_error", "A value is nested too deeply, or a number is too long."
        ) from None
    return text


def _too_long(most: int) -> Fault:
    return Fault(
        "truncated_observation_error", f"A text would be longer than {most} characters; it was not graded."
    )
