"""Quantities: a number and its unit. Written with the unit's symbol ("5 kilograms", "5kg" → "5 kg"), or as a number of
one unit ("2 hours", "120 min" → 120). Units are read in English; factors are exact by definition (SI; the
international yard and pound of 1959)."""

from __future__ import annotations

import re
from fractions import Fraction

_UNITS: dict[str, tuple[str, Fraction, tuple[str, ...]]] = {
    "s": ("time", Fraction(1), ("sec", "secs", "second", "seconds")),
    "min": ("time", Fraction(60), ("mins", "minute", "minutes")),
    "h": ("time", Fraction(3600), ("hr", "hrs", "hour", "hours")),
    "d": ("time", Fraction(86_400), ("day", "days")),
    "wk": ("time", Fraction(604_800), ("wks", "week", "weeks")),
    "mg": ("mass", Fraction(1, 1000), ("milligram", "milligrams")),
    "g": ("mass", Fraction(1), ("gram", "grams", "gramme", "grammes")),
    "kg": ("mass", Fraction(1000), ("kgs", "kilo", "kilos", "kilogram", "kilograms", "kilogramme", "kilogrammes")),
    "t": ("mass", Fraction(1_000_000), ("tonne", "tonnes")),
    "oz": ("mass", Fraction(45_359_237, 1_600_000), ("ounce", "ounces")),
    "lb": ("mass", Fraction(45_359_237, 100_000), ("lbs", "pound", "pounds")),
    "mm": ("length", Fraction(1, 1000), ("millimetre", "millimetres", "millimeter", "millimeters")),
    "cm": ("length", Fraction(1, 100), ("centimetre", "centimetres", "centimeter", "centimeters")),
    "m": ("length", Fraction(1), ("metre", "metres", "meter", "meters")),
    "km": ("length", Fraction(1000), ("kms", "kilometre", "kilometres", "kilometer", "kilometers")),
    "ft": ("length", Fraction(3048, 10_000), ("foot", "feet")),
    "yd": ("length", Fraction(9144, 10_000), ("yard", "yards")),
    "mi": ("length", Fraction(1_609_344, 1000), ("mile", "miles")),
    "ml": ("volume", Fraction(1, 1000), ("millilitre", "millilitres", "milliliter", "milliliters")),
    "cl": ("volume", Fraction(1, 100), ("centilitre", "centilitres", "centiliter", "centiliters")),
    "l": ("volume", Fraction(1), ("litre", "litres", "liter", "liters")),
    "KB": ("data", Fraction(1), ("kilobyte", "kilobytes")),
    "MB": ("data", Fraction(1000), ("megabyte", "megabytes")),
    "GB": ("data", Fraction(1_000_000), ("gigabyte", "gigabytes")),
    "TB": ("data", Fraction(1_000_000_000), ("terabyte", "terabytes")),
}
"""By symbol: what it measures, how many of that's own unit it is, and its other names."""
_SYMBOLS = {name: symbol for symbol, (_, _, names) in _UNITS.items() for name in (symbol.lower(), *names)}
_ALL = "|".join(sorted(map(re.escape, _SYMBOLS), key=len, reverse=True))
QUANTITY = re.compile(
    rf"(?<![\w.,])(\d{{1,12}}(?:,\d{{3}}){{0,4}}(?:\.\d{{1,9}})?)[ \u00a0-]?({_ALL})(?!\w)", re.IGNORECASE
)


def _read(span: str) -> tuple[str, str] | None:
    """(digits without groups, symbol)."""
    found = QUANTITY.fullmatch(span)
    return None if found is None else (found[1].replace(",", ""), _SYMBOLS[found[2].lower()])


def written(span: str, space: str) -> str | None:
    """The quantity with its unit's symbol; None when it is none."""
    found = _read(span)
    return None if found is None else space.join(found)


def measured(span: str, symbol: str) -> int | float | None:
    """How many of the unit ``symbol`` the quantity is; None when it measures something else, or is none."""
    found = _read(span)
    if found is None or _UNITS[found[1]][0] != _UNITS[symbol][0]:
        return None
    value = Fraction(found[0]) * _UNITS[found[1]][1] / _UNITS[symbol][1]
    return int(value) if value.denominator == 1 else float(value)
