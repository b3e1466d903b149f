"""Money as it is told in JSON and CSV: without the last digits of a sum of binary fractions (0.30000000000000004)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

from msgspec import Struct, structs

from optimizer.payback import Payback

T = TypeVar("T")
_DIGITS = 12
_UNIT = "_usd"
_SUMS = frozenset({"training", "learning", "invested", "brought", "net", "per_call", "forecast"})
"""The money of a payback, which has no unit in its names."""


def dollars(value: T) -> T:
    """US dollars, alone, or those in an estimate or a table of them."""
    if isinstance(value, float):
        return cast("T", float(f"{value:.{_DIGITS}g}"))
    return cast("T", _each(value, lambda _: True))


def shown(value: T) -> T:
    """``value`` with all money in it rounded: whatever stands under a name that ends with ``_usd``."""
    if isinstance(value, Payback):
        return cast("T", _each(value, lambda name: name in _SUMS))
    return cast("T", _each(value, lambda name: name.endswith(_UNIT)))


def _each(value: Any, is_money: Callable[[str], bool]) -> Any:
    if isinstance(value, Struct):
        pairs = ((name, getattr(value, name)) for name in value.__struct_fields__)
        changed = {name: made for name, one in pairs if (made := _one(one, is_money(name))) is not one}
        return structs.replace(value, **changed) if changed else value
    if isinstance(value, dict):
        return {name: _one(one, is_money(str(name))) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_one(one, is_money("")) for one in value)
    return value


def _one(value: Any, money: bool) -> Any:
    return dollars(value) if money else shown(value)
