"""Which files a search is about, by their attributes: OpenAI's comparison and compound filters. Pure."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from typing import Any

from gateway.errors import BadRequest

Fits = Callable[[Mapping[str, Any]], bool]
_DEEPEST, _MOST = 8, 100
_ORDERED: dict[str, Callable[[Any, Any], bool]] = {
    "gt": operator.gt, "gte": operator.ge, "lt": operator.lt, "lte": operator.le,
}  # fmt: skip
_TYPES = "'eq', 'ne', 'gt', 'gte', 'lt', 'lte', 'in', 'nin', 'and' or 'or'"


def fits_of(value: Any) -> Fits:
    """What a request's ``filters`` say; None fits all. Raises BadRequest. A file that lacks the attribute fits ``ne``
    and ``nin`` alone."""
    if value is None:
        return lambda _: True
    return _read(value, "filters", 0, [0])


def _read(value: Any, where: str, depth: int, count: list[int]) -> Fits:
    count[0] += 1
    if depth > _DEEPEST or count[0] > _MOST:
        raise _wrong(where, f"has more than {_MOST} parts, or is nested deeper than {_DEEPEST}")
    if not isinstance(value, dict):
        raise _wrong(where, "must be an object")
    kind = value.get("type")
    if kind in ("and", "or"):
        parts = value.get("filters")
        if not isinstance(parts, list) or not parts:
            raise _wrong(f"{where}.filters", "must list filters")
        inner = [_read(one, f"{where}.filters[{at}]", depth + 1, count) for at, one in enumerate(parts)]
        every = all if kind == "and" else any
        return lambda attributes: every(one(attributes) for one in inner)
    return _comparison(kind, value, where)


def _comparison(kind: Any, value: dict[str, Any], where: str) -> Fits:
    key, wanted = value.get("key"), value.get("value")
    if not isinstance(key, str):
        raise _wrong(f"{where}.key", "must be the name of an attribute")
    if kind in ("in", "nin"):
        if not isinstance(wanted, list) or not all(_plain(one) for one in wanted):
            raise _wrong(f"{where}.value", "must list texts or numbers")
        listed = kind == "in"
        return lambda attributes: any(_same(attributes.get(key), one) for one in wanted) is listed
    if not _plain(wanted):
        raise _wrong(f"{where}.value", "must be a text, a number, true or false")
    if kind in ("eq", "ne"):
        equal = kind == "eq"
        return lambda attributes: _same(attributes.get(key), wanted) is equal
    compare = _ORDERED.get(kind) if isinstance(kind, str) else None
    if compare is None:
        raise _wrong(f"{where}.type", f"must be {_TYPES}")
    return lambda attributes: _alike(attributes.get(key), wanted) and compare(attributes[key], wanted)


def _plain(value: Any) -> bool:
    return isinstance(value, str | int | float)


def _same(one: Any, other: Any) -> bool:
    return isinstance(one, bool) == isinstance(other, bool) and bool(one == other)


def _alike(one: Any, other: Any) -> bool:
    """Whether two can be put in order: both texts, or both numbers."""
    if isinstance(one, bool) or isinstance(other, bool):
        return False
    return isinstance(one, str) == isinstance(other, str) and _plain(one)


def _wrong(where: str, what: str) -> BadRequest:
    return BadRequest(f"'{where[:100]}' {what}.", param=where[:100], code="invalid_value")
