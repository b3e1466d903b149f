"""What becomes of a span on its way into an answer: letters' case, numbers, dates, digits, units. Each rule is a
function of the span alone, so a teacher that follows it is followed exactly; one that does more is not imitated.

Months are read in English. A date without its year, or a number in words, is left to the teacher.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Callable, Iterator
from typing import Any, Literal

from trainer.features import units

Transform = Literal[
    "as_is", "lower", "upper", "title", "number", "number_comma", "number_text", "number_comma_text", "digits",
    "date", "date_month_first", "quantity", "quantity_tight", "in_s", "in_min", "in_h", "in_d", "in_g", "in_kg", "in_m",
    "in_cm", "in_km", "in_ml", "in_l",
]  # fmt: skip
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_MONTH = (
    r"(?:jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?|sept?(?:ember)?|oct(?:ober)?"
    r"|nov(?:ember)?|dec(?:ember)?)\.?"
)
_DAY, _YEAR = r"(\d{1,2})(?:st|nd|rd|th)?", r"(\d{4})"
_DATES = (
    re.compile(r"(?<!\w)(\d{4})[-/.](\d{1,2})[-/.](\d{1,2})(?!\w)"),
    re.compile(r"(?<!\w)(\d{1,2})[-/.](\d{1,2})[-/.](\d{4})(?!\w)"),
    re.compile(rf"(?<!\w){_DAY}(?:\s+of)?[\s-]+({_MONTH})[\s,-]+{_YEAR}(?!\w)", re.IGNORECASE),
    re.compile(rf"(?<!\w)({_MONTH})\s+{_DAY}(?:\s*,\s*|\s+){_YEAR}(?!\w)", re.IGNORECASE),
)
_NUMBER = re.compile(r"(?<![\w.,])[-−]?\d+(?:[.,]\d+)*(?!\w)")
_DIGITS = re.compile(r"(?<!\w)\+?\(?\d(?:[\s().\-/]*\d)+(?!\w)")
_LONGEST = 64


def _number(span: str, thousands: str, point: str) -> int | float | None:
    """The number, with groups of three between ``thousands``; None when it is not written so."""
    sign = -1 if span[:1] in "-−" else 1
    whole, _, part = span.lstrip("-−").partition(point)
    groups = whole.split(thousands)
    well = groups[0].isdecimal() and all(len(one) == 3 and one.isdecimal() for one in groups[1:])
    if not well or (len(groups) > 1 and len(groups[0]) > 3) or (part and not part.isdecimal()):
        return None
    if len(span) > _LONGEST or (point in span and not part):
        return None
    digits = "".join(groups)
    return sign * (float(f"{digits}.{part}") if part else int(digits))


def _written(span: str, thousands: str, point: str) -> str | None:
    """The number with a point and without groups, its digits as they are."""
    if _number(span, thousands, point) is None:
        return None
    plain = span.replace("−", "-").replace(thousands, "")
    return plain.replace(point, ".")


def _date(span: str, *, month_first: bool) -> str | None:
    """ISO 8601; None when it is no date. ``month_first``: how three numbers are read whose year is last."""
    year, month, day = "", "", ""
    for kind, pattern in enumerate(_DATES):
        found = pattern.fullmatch(span)
        if found is None:
            continue
        if kind == 0:
            year, month, day = found.groups()
        elif kind == 1:
            first, second, year = found.groups()
            month, day = (first, second) if month_first else (second, first)
        elif kind == 2:
            day, month, year = found.groups()
        else:
            month, day, year = found.groups()
        break
    else:
        return None
    number = int(month) if month.isdecimal() else 1 + _MONTHS.index(month[:3].lower())
    try:
        return datetime.date(int(year), number, int(day)).isoformat()
    except ValueError:
        return None


def _digits(span: str) -> str | None:
    return re.sub(r"\D", "", span) or None


TRANSFORMS: dict[Transform, Callable[[str], Any]] = {
    "as_is": lambda text: text,
    "lower": str.lower,
    "upper": str.upper,
    "title": str.title,
    "number": lambda text: _number(text, ",", "."),
    "number_comma": lambda text: _number(text, ".", ","),
    "number_text": lambda text: _written(text, ",", "."),
    "number_comma_text": lambda text: _written(text, ".", ","),
    "digits": _digits,
    "date": lambda text: _date(text, month_first=False),
    "date_month_first": lambda text: _date(text, month_first=True),
    "quantity": lambda text: units.written(text, " "),
    "quantity_tight": lambda text: units.written(text, ""),
    "in_s": lambda text: units.measured(text, "s"),
    "in_min": lambda text: units.measured(text, "min"),
    "in_h": lambda text: units.measured(text, "h"),
    "in_d": lambda text: units.measured(text, "d"),
    "in_g": lambda text: units.measured(text, "g"),
    "in_kg": lambda text: units.measured(text, "kg"),
    "in_m": lambda text: units.measured(text, "m"),
    "in_cm": lambda text: units.measured(text, "cm"),
    "in_km": lambda text: units.measured(text, "km"),
    "in_ml": lambda text: units.measured(text, "ml"),
    "in_l": lambda text: units.measured(text, "l"),
}
"""A span's value, None for a span that has none."""
_SHAPES: dict[str, tuple[re.Pattern[str], ...]] = {
    "number": (_NUMBER,), "number_comma": (_NUMBER,), "number_text": (_NUMBER,), "number_comma_text": (_NUMBER,),
    "digits": (_DIGITS,), "date": _DATES, "date_month_first": _DATES,
} | {kind: (units.QUANTITY,) for kind in TRANSFORMS if kind.startswith(("quantity", "in_"))}  # fmt: skip
NUMBERS: tuple[Transform, ...] = (
    "number", "number_comma", "in_s", "in_min", "in_h", "in_d", "in_g", "in_kg", "in_m", "in_cm", "in_km", "in_ml",
    "in_l",
)  # fmt: skip
"""Those that make numbers."""


def locate(text: str, said: Any, transform: Transform, start: int = 0) -> tuple[int, int] | None:
    """The first place from ``start`` on whose characters become ``said`` by the transform."""
    if transform in _SHAPES:
        return next((spot for spot in _shaped(text, said, transform) if spot[0] >= start), None)
    if not isinstance(said, str) or not said:
        return None
    folded, wanted = text.lower(), said.lower()
    at = folded.find(wanted, start)
    while at >= 0:
        end = at + len(said)
        whole = not (at and text[at - 1].isalnum() and text[at].isalnum()) and not (
            end < len(text) and text[end].isalnum() and text[end - 1].isalnum()
        )
        if whole and TRANSFORMS[transform](text[at:end]) == said:
            return at, end
        at = folded.find(wanted, at + 1)
    return None


def _shaped(text: str, said: Any, transform: Transform) -> Iterator[tuple[int, int]]:
    """Where a span of the transform's shape becomes ``said``, which has the same type: 1 is not true, nor 1.0."""
    spots = sorted(match.span() for shape in _SHAPES[transform] for match in shape.finditer(text))
    for first, last in spots:
        value = TRANSFORMS[transform](text[first:last])
        if value is not None and type(value) is type(said) and value == said:
            yield first, last
