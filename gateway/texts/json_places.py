"""Where in a JSON text something may be written, so that it stays JSON. A leaf beside ``gateway.texts.escapes``.

Within a string anything may be put that is escaped; in place of a number, ``true``, ``false`` or ``null`` only a string
as a whole; and of what stands between values nothing.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence

import msgspec
from msgspec import Struct, structs

from gateway.texts.escapes import Reading, readings

_STRING = re.compile(r'"(?P<within>[^"\\]*(?:\\.[^"\\]*)*)(?P<over>"|\\?\Z)', re.DOTALL)
_BARE = re.compile(r'[^\s"{}\[\],:]+')
_TOKEN = re.compile(rf"{_STRING.pattern}|(?P<bare>{_BARE.pattern})", re.DOTALL)
_OPENS = frozenset("{[")
_AS_IT_IS = Reading("", 1, [], [], [])

Edit = tuple[int, int, bool, str]
"""(start, end, whether it can be undone, what)."""


class Place(Struct, frozen=True):
    """What is to be written from ``start`` to ``end``, spelt for there unless it can be undone (then it is the kind of
    a placeholder). ``quote``: what has to stand around it, as it takes the place of a bare value; "" in a string."""

    start: int
    end: int
    undone: bool
    what: str
    quote: str = ""


def is_json(text: str) -> bool:
    """Whether ``text`` is a JSON object or list, and nothing else."""
    if text[:1] not in _OPENS and text.lstrip()[:1] not in _OPENS:
        return False
    try:
        msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
        return False
    return True


def escaped(text: str, times: int = 1) -> str:
    """``text`` as it stands inside a JSON string."""
    for _ in range(times):
        text = json.dumps(text, ensure_ascii=False)[1:-1]
    return text


def ends_inside(text: str, *, inside: bool = False) -> bool:
    """Whether the end of a JSON text, or of a piece of one, is within a string. ``inside``: its beginning is."""
    last = None
    for token in _tokens(text, inside):
        last = token
    return last is not None and last["bare"] is None and last["over"] != '"'


def bare_start(text: str, cut: int, *, inside: bool = False) -> int:
    """``cut``, or where the bare value begins that it would divide."""
    for found in _tokens(text, inside):
        offset = int(inside)
        if found.end() - offset >= cut:
            start = found.start() - offset
            return start if found["bare"] is not None and start < cut else cut
    return cut


def places(text: str, edits: Sequence[Edit], *, inside: bool = False) -> list[Place]:
    """Where in ``text``, which is JSON or a piece of it, ``edits`` (in order and without overlap) are to be written,
    and their words as they are spelt there. One that reaches over several values is written in each of them.
    ``inside``: the text begins within a string."""
    return list(_places(text, edits, inside, 1))


def _places(text: str, edits: Sequence[Edit], inside: bool, depth: int) -> Iterator[Place]:
    at, offset = 0, int(inside)
    for found in _tokens(text, inside):
        if at >= len(edits):
            return
        bare = found["bare"] is not None
        start, end = (one - offset for one in found.span("bare" if bare else "within"))
        while at < len(edits) and edits[at][1] <= start:
            at += 1
        last = at
        while last < len(edits) and edits[last][0] < end:
            last += 1
        mine = [(max(start, one), min(end, other), undone, what) for one, other, undone, what in edits[at:last]]
        if mine and bare:
            yield _whole(text, start, end, mine, depth)
        elif mine:
            yield from _in_string(text, start, end, mine, depth)


def _tokens(text: str, inside: bool) -> Iterator[re.Match[str]]:
    return _TOKEN.finditer(f'"{text}' if inside else text)


def _whole(text: str, start: int, end: int, edits: Sequence[Edit], depth: int) -> Place:
    """All of a bare value: hidden as a whole where any of it can be put back, and else what the edits make of it."""
    quote = escaped('"', depth - 1)
    hidden = next((edit for edit in edits if edit[2]), None)
    if hidden is not None:
        return Place(start, end, True, hidden[3], quote)
    pieces, last = [], start
    for one, other, _, what in edits:
        pieces += [text[last:one], escaped(what, depth)]
        last = other
    return Place(start, end, False, "".join((*pieces, text[last:end])), quote)


def _in_string(text: str, start: int, end: int, edits: Sequence[Edit], depth: int) -> Iterator[Place]:
    """A string may hold JSON of its own, whose bare values are bare there."""
    within = text[start:end]
    read = next(iter(readings(within)), _AS_IT_IS)
    meant = read.text if read.at else within
    if not is_json(meant):
        for one, other, undone, what in edits:
            yield Place(one, other, undone, what if undone else escaped(what, depth))
        return
    mine = [(read.read_at(a - start), read.read_at(b - start), undone, what) for a, b, undone, what in edits]
    for found in _places(meant, mine, False, depth + 1):
        yield structs.replace(found, start=start + read.start(found.start), end=start + read.end(found.end))
