r"""What a text says once JSON's escapes are taken off it, and where in the text that stands. A leaf.

A JSON text spells one string in many ways (RFC 8259, section 7): ``jane\u0040example.org`` is an address. Whoever
judges a text reads it as it is meant, and what is found there is changed where it is spelt. Linear in the text; a text
without a backslash costs a look for one.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from functools import lru_cache

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
    pieces: list[str] = []
    at: list[int] = []
    begins: list[int] = []
    ends: list[int] = []
    size, last = 0, 0
    for found in _ESCAPE.finditer(text):
        start, end = found.span()
        letter = "" if found["begun"] is not None else _letter(found.group())
        if not letter and final:
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
    return Reading("".join(pieces), 1 if below is None else below.depth + 1, at, begins, ends, below)


def _letter(escape: str) -> str:
    """The character that an escape stands for; half of a pair is no character."""
    if escape[1] != "u":
        return _SHORT[escape[1]]
    code = int(escape[2:6], 16)
    if len(escape) == 12:
        return chr(0x10000 + ((code - 0xD800) << 10) + int(escape[8:], 16) - 0xDC00)
    return "\ufffd" if 0xD800 <= code <= 0xDFFF else chr(code)


def unescaped(text: str) -> str:
    """``text`` with one layer of escapes taken off."""
    read = readings(text)
    return read[0].text if read else text
