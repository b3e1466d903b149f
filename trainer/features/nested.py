"""Objects inside objects as one flat object, and back.

``{"to": {"city": "Oslo"}}`` is ``{"to": {}, "to.city": "Oslo"}``: an inner object is a value of its own, which says
that it is there, and its members stand behind it under dotted names. Lists stay as they are.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_DOT, _DEEPEST = ".", 8


def flat(value: Mapping[str, Any]) -> dict[str, Any] | None:
    """None for objects that cannot be told so: too deep, or with dots in their names beside inner objects."""
    found: dict[str, Any] = {}
    if not _spread(value, "", 0, found):
        return None
    inner = any(isinstance(one, dict) for one in value.values())
    return None if inner and any(_DOT in name for name in value) else found


def _spread(value: Mapping[str, Any], head: str, depth: int, found: dict[str, Any]) -> bool:
    if depth > _DEEPEST or (head and any(_DOT in name for name in value)):
        return False
    for name, one in value.items():
        if isinstance(one, dict):
            found[head + name] = {}
            if not _spread(one, f"{head}{name}{_DOT}", depth + 1, found):
                return False
        else:
            found[head + name] = one
    return True


def within(name: str) -> str:
    """The object that a dotted name is a member of; "" for none."""
    return name.rpartition(_DOT)[0]


def deep(values: Mapping[str, Any]) -> dict[str, Any]:
    """The object that :func:`flat` made ``values`` of."""
    found: dict[str, Any] = {}
    inner: dict[str, dict[str, Any]] = {}
    for name, value in values.items():
        head, _, last = name.rpartition(_DOT)
        into, key = (inner[head], last) if head in inner else (found, name)
        if value == {}:
            inner[name] = into[key] = {}
        else:
            into[key] = value
    return found
