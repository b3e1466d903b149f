"""The keywords that look at one value: types, numbers, texts, lengths, closed sets. Each becomes one check."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any

from gateway.schemas.pattern_syntax import PatternRefused
from gateway.schemas.patterns import Pattern
from gateway.schemas.problems import SchemaRefused, step
from gateway.schemas.running import Check, Run, every, key_of


def is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


_TYPES: dict[str, Callable[[Any], bool]] = {
    "null": lambda value: value is None,
    "boolean": lambda value: isinstance(value, bool),
    "string": lambda value: isinstance(value, str),
    "array": lambda value: isinstance(value, list),
    "object": lambda value: isinstance(value, dict),
    "number": is_number,
    "integer": lambda value: is_number(value) and (isinstance(value, int) or value.is_integer()),
}


def types(value: Any, path: str) -> Check:
    names = [value] if isinstance(value, str) else value
    if not isinstance(names, list) or not names or any(not isinstance(one, str) for one in names):
        raise SchemaRefused("invalid", path, "must be the name of a type, or a list of names")
    unknown = next((one for one in names if one not in _TYPES), None)
    if unknown is not None:
        raise SchemaRefused("invalid", path, f"'{unknown[:40]}' is no type of JSON")
    tests, said = [_TYPES[one] for one in names], " or ".join(names)
    only = tests[0] if len(tests) == 1 else None

    def check(value: Any, at: str, run: Run) -> bool:
        fits = only(value) if only is not None else any(test(value) for test in tests)
        return fits or run.fault(at, path, f"must be of type {said}")

    return check


def _enum(value: Any, path: str) -> Check:
    if not isinstance(value, list):
        raise SchemaRefused("invalid", path, "must be a list of values")
    allowed = frozenset(key_of(one) for one in value)
    nested = any(isinstance(one, list | dict) for one in value)

    def check(value: Any, at: str, run: Run) -> bool:
        inner = isinstance(value, list | dict)
        fits = (nested or not inner) and key_of(value, run) in allowed
        return fits or run.fault(at, path, "must be one of the values that are listed")

    return check


def _const(value: Any, path: str) -> Check:
    return _enum([value], path)


def _bound(name: str) -> Callable[[Any, str], Check]:
    tests: dict[str, tuple[Callable[[Any, Any], bool], str]] = {
        "minimum": (lambda value, limit: value >= limit, "at least"),
        "maximum": (lambda value, limit: value <= limit, "at most"),
        "exclusiveMinimum": (lambda value, limit: value > limit, "above"),
        "exclusiveMaximum": (lambda value, limit: value < limit, "below"),
    }
    test, words = tests[name]

    def make(limit: Any, path: str) -> Check:
        if not is_number(limit):
            raise SchemaRefused("invalid", path, "must be a number")

        def check(value: Any, at: str, run: Run) -> bool:
            return (
                not is_number(value) or test(value, limit) or run.fault(at, path, f"must be {words} {limit}")
            )

        return check

    return make


def _multiple(unit: Any, path: str) -> Check:
    if not is_number(unit) or unit <= 0:
        raise SchemaRefused("invalid", path, "must be a number above 0")
    exact = Decimal(str(unit))

    def check(value: Any, at: str, run: Run) -> bool:
        return not is_number(value) or _divides(value, unit, exact) or run.fault(
            at, path, f"must be a multiple of {unit}"
        )  # fmt: skip

    return check


def _divides(value: int | float, unit: int | float, exact: Decimal) -> bool:
    """Decimal fractions are meant as they are written: 0.3 is a multiple of 0.1."""
    if isinstance(value, int) and isinstance(unit, int):
        return value % unit == 0
    number = Decimal(str(value))
    if number.adjusted() - exact.adjusted() > 27:
        return float(value) % float(unit) == 0.0  # past what decimals of 28 digits can divide
    return number % exact == 0


def _length(name: str) -> Callable[[Any, str], Check]:
    kinds: dict[str, tuple[type, str]] = {
        "Length": (str, "characters"), "Items": (list, "items"), "Properties": (dict, "properties"),
    }  # fmt: skip
    kind, unit = kinds[name[3:]]
    least = name.startswith("min")

    def make(limit: Any, path: str) -> Check:
        limit = whole(limit, path)

        def check(value: Any, at: str, run: Run) -> bool:
            if not isinstance(value, kind):
                return True
            length = len(value)  # type: ignore[arg-type]
            fits = length >= limit if least else length <= limit
            words = "at least" if least else "at most"
            return fits or run.fault(at, path, f"must have {words} {limit} {unit}")

        return check

    return make


def whole(value: Any, path: str) -> int:
    """A count. Raises SchemaRefused."""
    if is_number(value) and value >= 0 and value == int(value):
        return int(value)
    raise SchemaRefused("invalid", path, "must be a whole number, 0 or more")


def compiled_pattern(pattern: Any, path: str) -> Pattern:
    """Raises SchemaRefused."""
    if not isinstance(pattern, str):
        raise SchemaRefused("invalid", path, "must be a text")
    try:
        return Pattern(pattern)
    except PatternRefused as problem:
        raise SchemaRefused("hostile" if problem.hostile else "unsupported", path, str(problem)) from None


def _unique(value: Any, path: str) -> Check:
    if not isinstance(value, bool):
        raise SchemaRefused("invalid", path, "must be true or false")

    def check(found: Any, at: str, run: Run) -> bool:
        if not value or not isinstance(found, list):
            return True
        keys = {key_of(one, run) for one in found}
        return len(keys) == len(found) or run.fault(at, path, "must not hold the same item twice")

    return check


def names_of(value: Any, path: str) -> list[str]:
    """A list of property names. Raises SchemaRefused."""
    if isinstance(value, list) and all(isinstance(one, str) for one in value):
        return value
    raise SchemaRefused("invalid", path, "must be a list of property names")


def _required(value: Any, path: str) -> Check:
    names = names_of(value, path)

    def check(found: Any, at: str, run: Run) -> bool:
        if not isinstance(found, dict):
            return True
        missing = [one for one in names if one not in found]
        return not missing or run.fault(at, path, f"must have the property '{missing[0][:80]}'")

    return check


def _dependent(value: Any, path: str) -> Check:
    if not isinstance(value, dict):
        raise SchemaRefused("invalid", path, "must be an object")
    rules = {name: _required(needed, step(path, name)) for name, needed in value.items()}

    def check(found: Any, at: str, run: Run) -> bool:
        if not isinstance(found, dict):
            return True
        return every(rule(found, at, run) for name, rule in rules.items() if name in found)

    return check


SIMPLE: Mapping[str, Callable[[Any, str], Check]] = {
    "type": types,
    "enum": _enum,
    "const": _const,
    "multipleOf": _multiple,
    "uniqueItems": _unique,
    "required": _required,
    "dependentRequired": _dependent,
    **{name: _bound(name) for name in ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum")},
    **{
        name: _length(name)
        for name in ("minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties")
    },
}
"""Keywords whose check is made from their own value and nothing else."""
