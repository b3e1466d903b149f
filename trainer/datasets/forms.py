"""Whether an answer has the form that the requests of a task ask for."""

from __future__ import annotations

import re
from typing import Any

import msgspec

from gateway.schemas.compile import Validator, compiled
from gateway.schemas.problems import SchemaRefused
from gateway.schemas.running import TooCostly
from trainer.datasets.curate import Valid

_PLACEHOLDER = re.compile(r"\[[A-Z]+(?:_[A-Z]+)*_[0-9]{1,12}\]")


def form_of(request: dict[str, Any] | None) -> Valid | None:
    """What ``response_format`` of a request demands; None when it demands nothing. All requests of one fingerprint
    have the same. A schema that cannot be enforced here demands JSON and no more."""
    asked = (request or {}).get("response_format")
    kind = asked.get("type") if isinstance(asked, dict) else None
    if kind == "json_object":
        return lambda answer: _fits(answer, None)
    if kind != "json_schema" or not isinstance(asked, dict):
        return None
    wrapper = asked.get("json_schema")
    try:
        validator = compiled(wrapper.get("schema", True) if isinstance(wrapper, dict) else True)
    except SchemaRefused:
        return lambda answer: _fits(answer, None)
    return lambda answer: _fits(answer, validator)


def _fits(answer: str, validator: Validator | None) -> bool:
    """A masked value may not look like what it stands for, so an answer with placeholders need only be JSON."""
    try:
        value = msgspec.json.decode(answer)
        return (
            validator is None or bool(_PLACEHOLDER.search(answer)) or not validator.faults(value, len(answer))
        )
    except (msgspec.DecodeError, RecursionError, TooCostly):
        return False
