"""What msgspec says of a value that does not fit, in the words of who wrote the JSON or the YAML: they know numbers and
lists, and neither Python's types nor which fields may be left empty."""

from __future__ import annotations

import re
from collections.abc import Mapping

_QUOTED = re.compile(r"`([\w |]+)`")
_LENGTH = re.compile(r" of length (<=|>=) (\d+)")
_ENUM = re.compile(r"[Ii]nvalid (?:enum )?value ('[^']*'|-?\d+)$")
_BOUNDS = ((" <= ", " of at most "), (" >= ", " of at least "), (" < ", " below "), (" > ", " above "))
_SIZES = {"<=": "at most", ">=": "at least"}

IN_JSON: Mapping[str, str] = {
    "str": "a string", "int": "an integer", "float": "a number", "bool": "a boolean", "null": "null",
    "array": "an array", "object": "an object",
}  # fmt: skip
IN_YAML: Mapping[str, str] = {
    "str": "text", "int": "a whole number", "float": "a number", "bool": "true or false", "null": "nothing",
    "array": "a list", "object": "a map",
}  # fmt: skip


def in_words(reason: str, words: Mapping[str, str]) -> str:
    """``reason`` of a ValidationError, without its place, as the beginning of a sentence."""
    text = _ENUM.sub(r"\1 is not one of the values that fit", reason)
    text = _QUOTED.sub(lambda found: _either(found[1], words), text)
    text = _LENGTH.sub(lambda found: f" with {_SIZES[found[1]]} {found[2]} {_entries(text)}", text)
    for sign, said in _BOUNDS:
        text = text.replace(sign, said)
    return text[:1].lower() + text[1:]


def _either(types: str, words: Mapping[str, str]) -> str:
    named = types.split(" | ")
    wanted = [one for one in named if one != "null"] or named
    return " or ".join(words.get(one, f"'{one}'") for one in wanted)


def _entries(text: str) -> str:
    return "entries" if re.search(r"xpected (?:a list|an array|a map|an object)", text) else "characters"
