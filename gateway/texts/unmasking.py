r"""Placeholders become the values they stand for. A leaf beside ``gateway.texts.masking``.

A model may spell a placeholder as its own text does: with JSON's escapes (``\u005bEMAIL_1\u005d``), or as Markdown
(``\[EMAIL\_1\]``). It is put back however it is spelt. A text without a backslash costs one look for one.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence

from gateway.texts.escapes import Reading, readings
from gateway.texts.json_places import escaped

NAME = r"\[[A-Z][A-Z0-9_]{0,31}_[0-9]{1,12}\]"
PLACEHOLDER = re.compile(NAME)
_QUOTED = re.compile(rf'(?<!\\)(\\*)"({NAME})\1"')
_MARKDOWN = re.compile(r"\\*\[[A-Z][A-Z0-9_\\]{0,63}\\_[0-9]{1,12}\\*\]")
_BEGUN = re.compile(r"\\+(?:u[0-9a-fA-F]{0,3})?\Z")
Put = tuple[int, int, str]
"""(start, end, what to put there)."""


class Bare(str):
    """A value that stood in JSON without quotes: a number, most likely. Put back it has none again."""

    __slots__ = ()


def unmask(text: str, values: Mapping[str, str], *, in_json: bool = False) -> str:
    """``text`` with its placeholders' values. ``in_json``: the text is JSON, so values are escaped for it. Those that
    were bare lose the quotes around their placeholders everywhere: JSON stands in prose and in code fences too."""
    if not values or not _may_hold(text):
        return text
    pieces: list[str] = []
    at = 0
    for start, end, value in _puts(text, values, in_json=in_json):
        pieces += (text[at:start], value)
        at = end
    return "".join((*pieces, text[at:])) if pieces else text


def put_back(text: str, values: Mapping[str, str]) -> list[Put]:
    """Where :func:`unmask` puts values, and which: (start, end, value), in order."""
    return list(_puts(text, values)) if values and _may_hold(text) else []


def _may_hold(text: str) -> bool:
    return "[" in text or ("\\u005" in text and ("\\u005b" in text or "\\u005B" in text))


def _puts(text: str, values: Mapping[str, str], *, in_json: bool = False) -> list[Put]:
    """In order and without overlap; what is spelt plainly goes before other ways to read it."""
    least = int(in_json)
    found: list[Put] = [(*one.span(), escaped(values[one.group()], least)) for one in _known(text, values)]
    if any(isinstance(value, Bare) for value in values.values()):
        quoted = [(*one.span(), values.get(one.group(2))) for one in _QUOTED.finditer(text)]
        bare = [(start, end, value) for start, end, value in quoted if isinstance(value, Bare)]
        found = _without_overlap(bare, found)
    return _without_overlap(found, _escaped(text, values, least)) if "\\" in text else found


def _known(text: str, values: Mapping[str, str]) -> Iterator[re.Match[str]]:
    return (one for one in PLACEHOLDER.finditer(text) if one.group() in values)


def _escaped(text: str, values: Mapping[str, str], least: int) -> list[Put]:
    """Those that are spelt with escapes."""
    found: list[Put] = []
    for one in _MARKDOWN.finditer(text):
        value = values.get(one.group().replace("\\", ""))
        if value is not None:
            found.append((*one.span(), escaped(value, least)))
    for read in readings(text):
        more: list[Put] = []
        for one in _known(read.text, values):
            more.append(_read(read, one.span(), values[one.group()], more[-1][1] if more else 0))
        found = _without_overlap(found, more)
    return found


def _read(read: Reading, span: tuple[int, int], value: str, over: int) -> Put:
    """A placeholder that stands at ``span`` of a reading. A bare value takes the quotes with it, if they are behind
    ``over``."""
    start, end = span
    quoted = read.text[max(0, start - 1) : start] == read.text[end : end + 1] == '"'
    if isinstance(value, Bare) and quoted and read.start(start - 1) >= over:
        return read.start(start - 1), read.end(end + 1), value
    return read.start(start), read.end(end), escaped(value, read.depth)


def _without_overlap(first: Sequence[Put], more: Sequence[Put]) -> list[Put]:
    """Both in order, without what of ``more`` overlaps any of ``first``. Each by itself is without overlap."""
    if not first or not more:
        return [*first, *more]
    taken = sorted(first)
    starts = [one[0] for one in taken]
    kept = [one for one in more if not _meets(one, taken, bisect_left(starts, one[1]))]
    return sorted([*taken, *kept])


def _meets(one: Put, taken: Sequence[Put], before: int) -> bool:
    """Whether the last of ``taken`` that begins before the end of ``one`` ends behind its beginning."""
    return before > 0 and taken[before - 1][1] > one[0]


def _plain(text: str) -> Reading:
    """A text as it stands."""
    return Reading(text, 0, [], [], [])


class Unmasker:
    """Puts values back into a stream. Only a tail that may become a known placeholder waits for more, with the quotes
    around it where these go too."""

    def __init__(self, values: Mapping[str, str], *, in_json: bool = False) -> None:
        self._values = values
        self._in_json = in_json
        self._held = ""
        self._quoted = [
            f"{quote}{name}{quote}"
            for name, value in values.items()
            if isinstance(value, Bare)
            for quote in ('"', '\\"')
        ]

    def feed(self, text: str) -> str:
        """What can go out now."""
        text = self._held + text
        start = text.rfind("[")
        waits = start if start >= 0 and self._may_become(text[start:], self._values) else len(text)
        escapes = "\\" in text and bool(self._values)
        if self._quoted:
            waits = self._quote(text, self._over(text), waits)
        if escapes:
            waits = min(waits, self._escaped_tail(text))
        text, self._held = text[:waits], text[waits:]
        return unmask(text, self._values, in_json=self._in_json)

    def _over(self, text: str) -> int:
        """Where the last bare value ends that is whole, quotes and all."""
        found = put_back(text, self._values)
        whole = [end for start, end, value in found if isinstance(value, Bare) and text[start] in '"\\']
        return max([0, *whole, *(found.end() for found in _QUOTED.finditer(text))])

    def _quote(self, text: str, over: int, waits: int) -> int:
        """``waits``, or where the quotes begin that may go with a bare value behind ``over``."""
        for at in range(max(over, len(text) + 1 - max(map(len, self._quoted))), waits):
            if text[at] in '"\\' and self._may_become(text[at:], self._quoted):
                return at
        return waits

    def _escaped_tail(self, text: str) -> int:
        """Where the end begins that may become a placeholder once its escapes are read."""
        begun = _BEGUN.search(text)
        waits = begun.start() if begun is not None else len(text)
        stem = text[:waits]
        start = stem.rfind("[")
        if start >= 0 and self._may_become(stem[start:].replace("\\", ""), self._values):
            waits = len(stem[:start].rstrip("\\"))
        over = self._over(stem) if self._quoted else 0
        every = (_plain(stem), *readings(stem))
        return min([waits, *(read.start(self._tail(read, over)) for read in every)])

    def _tail(self, read: Reading, over: int) -> int:
        """Where in what is read the end begins that may become a placeholder, with the quotes of a bare one."""
        text = read.text
        start = text.rfind("[")
        tail = start if start >= 0 and self._may_become(text[start:], self._values) else len(text)
        for at in (text.rfind('"['), len(text) - 1) if self._quoted else ():
            if 0 <= at < tail and text[at] == '"' and read.start(at) >= over:
                tail = at if self._may_become(text[at:], self._quoted) else tail
        return tail

    def _may_become(self, tail: str, wholes: Iterable[str]) -> bool:
        return any(len(tail) < len(name) and name.startswith(tail) for name in wholes)

    def finish(self) -> str:
        """What was held back when the stream ended: it was no placeholder after all, or one without its quotes."""
        held, self._held = self._held, ""
        return unmask(held, self._values, in_json=self._in_json)
