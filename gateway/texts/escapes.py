r"""What a text says once JSON's escapes are taken off it, and where in the text that stands. A leaf.

A JSON text spells one string in many ways (RFC 8259, section 7): ``jane\u0040example.org`` is an address. Whoever
judges a text reads it as it is meant, and what is found there is changed where it is spelt. Linear in the text; a text
without a backslash costs a look for one. Other languages have escapes of their own, which models read as well: HTML's
(``&#64;``, ``&commat;``), those of addresses (``%40``) and of programs (``\x40``, ``\u{40}``, ``\100``).
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Callable
from functools import lru_cache
from html.entities import html5

from msgspec import Struct

_DEPTH = 3
"""JSON in a string of JSON is escaped twice; deeper than this nobody reads."""
_REMEMBERED = 4096  # characters: several guardrails read a text; longer ones are read afresh, and the cache stays small
_HIGH = r"u[dD][89abAB][0-9a-fA-F]{2}"
_ESCAPE = re.compile(
    rf"\\(?:{_HIGH}\\u[dD][c-fC-F][0-9a-fA-F]{{2}}"
    rf"|(?P<begun>(?:u[0-9a-fA-F]{{0,3}}|{_HIGH}(?:\\(?:u[0-9a-fA-F]{{0,3}})?)?)?\Z)"
    r"|u[0-9a-fA-F]{4}|[\"\\/bfnrt])"
)
_SHORT = {'"': '"', "\\": "\\", "/": "/", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}


class Reading(Struct, frozen=True):
    """``text``: what ``depth`` layers of escapes leave. ``at``: where in it the character of each escape stands;
    ``begins`` and ``ends``: where that escape stands in ``below``, or in the text as it is spelt where that is None."""

    text: str
    depth: int
    at: list[int]
    begins: list[int]
    ends: list[int]
    below: Reading | None = None

    def start(self, at: int) -> int:
        """Where the character at ``at`` begins in the text as it is spelt."""
        number = bisect_right(self.at, at) - 1
        if number < 0:
            place = at
        elif self.at[number] == at:
            place = self.begins[number]
        else:
            place = self.ends[number] + at - self.at[number] - 1
        return place if self.below is None else self.below.start(place)

    def end(self, at: int) -> int:
        """Where the character before ``at`` ends in the text as it is spelt."""
        if at == 0:
            return 0
        number = bisect_right(self.at, at - 1) - 1
        place = at if number < 0 else self.ends[number] + at - self.at[number] - 1
        return place if self.below is None else self.below.end(place)

    def snapped(self, start: int, end: int) -> tuple[int, int]:
        """``start`` and ``end``, moved out of the escapes that they would cut in two."""
        number = bisect_right(self.ends, start)
        if number < len(self.ends) and self.begins[number] < start:
            start = self.begins[number]
        number = bisect_left(self.ends, end)
        if number < len(self.ends) and self.begins[number] < end:
            end = self.ends[number]
        return start, end

    def read_at(self, place: int) -> int:
        """Where in ``text`` stands what is spelt from ``place`` on."""
        if self.below is not None:
            place = self.below.read_at(place)
        number = bisect_right(self.ends, place) - 1
        return place if number < 0 else self.at[number] + 1 + max(0, place - self.ends[number])


def readings(text: str, *, final: bool = True) -> tuple[Reading, ...]:
    """What ``text`` says with one layer of escapes taken off, with two, and so on; () where nothing is escaped. Unless
    ``final``, an escape that its end cuts in two is left out: more will come."""
    if "\\" not in text:
        return ()
    return _remembered(text, final) if len(text) <= _REMEMBERED else _readings(text, final)


def _readings(text: str, final: bool) -> tuple[Reading, ...]:
    found: list[Reading] = []
    below: Reading | None = None
    while len(found) < _DEPTH and "\\" in text:
        below = _unescaped(text, below, final)
        if not below.at:
            break
        found.append(below)
        text = below.text
    return tuple(found)


_remembered = lru_cache(maxsize=128)(_readings)


def _unescaped(text: str, below: Reading | None, final: bool) -> Reading:
    return _taken_off(_ESCAPE, _letter, text, below, 1 if below is None else below.depth + 1, final)


def _taken_off(
    escape: re.Pattern[str], letter_of: Callable[[str], str], text: str, below: Reading | None, depth: int, final: bool
) -> Reading:
    """``text`` with what ``escape`` matches taken for ``letter_of`` it; what stands for no letter stays as it is. Its
    group ``begun`` is an escape that the text's end cuts in two: one that is not ``final`` leaves it out."""
    pieces: list[str] = []
    at: list[int] = []
    begins: list[int] = []
    ends: list[int] = []
    size, last = 0, 0
    for found in escape.finditer(text):
        start, end = found.span()
        begun = found.lastgroup == "begun"
        letter = "" if begun else letter_of(found.group())
        if not letter and (final or not begun):
            continue
        pieces += (text[last:start], letter)
        size += start - last
        last = end
        if letter:
            at.append(size)
            begins.append(start)
            ends.append(end)
            size += 1
    pieces.append(text[last:])
    return Reading("".join(pieces), depth, at, begins, ends, below)


def _letter(escape: str) -> str:
    """The character that an escape stands for; half of a pair is no character."""
    if escape[1] != "u":
        return _SHORT[escape[1]]
    code = int(escape[2:6], 16)
    if len(escape) == 12:
        return chr(0x10000 + ((code - 0xD800) << 10) + int(escape[8:], 16) - 0xDC00)
    return "\ufffd" if 0xD800 <= code <= 0xDFFF else chr(code)


_FOREIGN_LAYERS = 2
_HINT = re.compile(r"&(?:#|[A-Za-z][A-Za-z0-9]{1,31};)|%[2-7c-fC-F][0-9a-fA-F]")
_FOREIGN = (
    r"&#(?:[xX][0-9a-fA-F]{1,6}|[0-9]{1,7});?|&[A-Za-z][A-Za-z0-9]{1,31};"
    r"|%[2-7][0-9a-fA-F]|%[c-fC-F][0-9a-fA-F](?:%[89abAB][0-9a-fA-F]){1,3}"
    r"|\\(?:x[0-9a-fA-F]{2}|u\{[0-9a-fA-F]{1,6}\}|U[0-9a-fA-F]{8}|[0-3][0-7]{2})"
)
_FOREIGN_BEGUN = (
    r"(?P<begun>(?:&(?:#[xX]?[0-9a-fA-F]{0,7}|[A-Za-z][A-Za-z0-9]{0,31})?"
    r"|%(?:[0-9a-fA-F]|[c-fC-F][0-9a-fA-F](?:%[89abAB][0-9a-fA-F]){0,2}(?:%[89abAB]?)?)?"
    r"|\\(?:x[0-9a-fA-F]?|u(?:\{[0-9a-fA-F]{0,6})?|U[0-9a-fA-F]{0,7}|[0-3][0-7]?)?)\Z)"
)
_WHOLE, _GROWING = re.compile(_FOREIGN), re.compile(f"{_FOREIGN_BEGUN}|{_FOREIGN}")


def has_escapes(text: str) -> bool:
    """Whether something may be escaped in ``text``."""
    return "\\" in text or (("&" in text or "%" in text) and _HINT.search(text) is not None)


def meanings(text: str, *, final: bool = True) -> tuple[Reading, ...]:
    """:func:`readings`, and what the last of them (or ``text``) says with other languages' escapes taken off, two
    layers of them. Their ``depth`` is that of the JSON around them."""
    if not has_escapes(text):
        return ()
    return _known_meanings(text, final) if len(text) <= _REMEMBERED else _meanings(text, final)


def _meanings(text: str, final: bool) -> tuple[Reading, ...]:
    found = list(readings(text, final=final))
    for _ in range(_FOREIGN_LAYERS):
        below = found[-1] if found else None
        read = _foreign(text if below is None else below.text, below, final)
        if not read.at:
            break
        found.append(read)
    return tuple(found)


_known_meanings = lru_cache(maxsize=128)(_meanings)


def _foreign(text: str, below: Reading | None, final: bool) -> Reading:
    depth = 0 if below is None else below.depth
    return _taken_off(_WHOLE if final else _GROWING, _foreign_letter, text, below, depth, final)


def _foreign_letter(escape: str) -> str:
    """The character that an escape stands for; "" for none, or for several."""
    if escape[0] == "%":
        try:
            letter = bytes.fromhex(escape.replace("%", "")).decode()
        except UnicodeDecodeError:
            return ""
        return letter if len(letter) == 1 else ""
    if escape[0] == "&" and escape[1] != "#":
        letter = html5.get(escape[1:], "")
        return letter if len(letter) == 1 else ""
    digits = escape.rstrip(";}").lstrip("&#\\uU{xX") if escape[1] != "x" else escape[2:]
    base = 10 if escape[0] == "&" and escape[2] not in "xX" else 8 if escape[1] in "0123" else 16
    code = int(digits or "0", base)
    return chr(code) if 0 < code < 0x110000 and not 0xD800 <= code <= 0xDFFF else ""


def unescaped(text: str) -> str:
    """``text`` with one layer of escapes taken off."""
    read = readings(text)
    return read[0].text if read else text
