"""Lists of objects whose members are spans of the input, or labels: order lines, people with their roles, entities.

One member, a span that every object has, is its *anchor*; the objects stand in the order of their anchors. What kind an
object is (all of its labels) belongs to its anchor's tag, and every other span to one anchor: the next one, the one
before, or the nearest, whichever the teacher's answers say.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

from msgspec import Struct, structs

from trainer.features.nested import deep, flat
from trainer.features.normal import TRANSFORMS, locate
from trainer.features.values import (
    COVER,
    LEFT_OUT,
    LOCATED,
    MAX_LABELS,
    Field,
    Items,
    NoLayout,
    Part,
    Spot,
    Style,
    order_of,
    transform_of,
)

_KIND = "#"
_SIDES: tuple[Literal["before", "after", "nearest"], ...] = ("after", "before", "nearest")
_Where = tuple[int, int]
_Flat = Mapping[str, Any]
_Lists = Sequence[tuple[str, Sequence[_Flat]]]


class Found(Struct, frozen=True):
    """One object: its kind, and where each of its spans stands."""

    kind: str
    where: dict[str, _Where]


def tags(name: str, items: Items) -> list[str]:
    """What a tagger must find of a list called ``name``."""
    anchors = [_anchor(name, items, kind) for kind in items.kinds]
    return anchors + [f"{name}.{part.name}" for part in _others(items)]


def told(tag: str) -> str:
    """What a tag is called outside: without the kind of an anchor."""
    return tag.partition(_KIND)[0]


def _anchor(name: str, items: Items, kind: str) -> str:
    return f"{name}.{items.anchor}{_KIND}{kind}" if len(items.kinds) > 1 else f"{name}.{items.anchor}"


def _others(items: Items) -> list[Part]:
    return [part for part in items.parts if part.kind == "span" and part.name != items.anchor]


def check(items: Items) -> None:
    """Raises ValueError for one that could not write lists (from a file that somebody else made)."""
    spans = [part.name for part in items.parts if part.kind == "span"]
    if items.anchor not in spans or len({part.name for part in items.parts}) != len(items.parts):
        raise ValueError("the objects of a list have no anchor, or two members of one name")
    for part in items.parts:
        if part.absent != LEFT_OUT:
            json.loads(part.absent)
    if not all(isinstance(json.loads(kind), dict) for kind in items.kinds):
        raise ValueError("the labels of the objects of a list are no object")


# ---------------------------------------------------------------- from spans to objects
def found_in(spots: Sequence[Spot], name: str, items: Items) -> tuple[list[Found], bool]:
    """The objects in order, and whether every span of the list belongs to one of them, and no two to one place."""
    kinds = {_anchor(name, items, kind): kind for kind in items.kinds}
    anchors = [(start, end, kinds[tag]) for start, end, tag in sorted(spots) if tag in kinds]
    places: list[dict[str, _Where]] = [{items.anchor: (start, end)} for start, end, _ in anchors]
    clean = True
    for part in _others(items):
        for start, end, tag in sorted(spots):
            if tag != f"{name}.{part.name}":
                continue
            number = _owner(part, (start, end), [(first, last) for first, last, _ in anchors])
            if number is None or part.name in places[number]:
                clean = False
            else:
                places[number][part.name] = (start, end)
    return [Found(kind, where) for (_, _, kind), where in zip(anchors, places, strict=True)], clean


def _owner(part: Part, where: _Where, anchors: Sequence[_Where]) -> int | None:
    """The number of the anchor that a span belongs to."""
    if part.side == "before":
        return next((number for number, (start, _) in enumerate(anchors) if start >= where[1]), None)
    if part.side == "after":
        before = [number for number, (_, end) in enumerate(anchors) if end <= where[0]]
        return before[-1] if before else None
    return min(range(len(anchors)), key=lambda number: _gap(where, anchors[number]), default=None)


def _gap(one: _Where, two: _Where) -> int:
    return max(one[0] - two[1], two[0] - one[1])


def compose(text: str, spots: Sequence[Spot], name: str, items: Items) -> list[dict[str, Any]]:
    return [deep(_values(text, one, items)) for one in found_in(spots, name, items)[0]]


def _values(text: str, one: Found, items: Items) -> dict[str, Any]:
    labels, values = json.loads(one.kind), dict[str, Any]()
    for part in items.parts:
        said = _said(text, one, part)
        if part.kind == "label":
            if part.name in labels:
                values[part.name] = labels[part.name]
        elif said is not None:
            values[part.name] = said
        elif part.absent != LEFT_OUT:
            values[part.name] = json.loads(part.absent)
    return values


def _said(text: str, one: Found, part: Part) -> Any:
    where = one.where.get(part.name)
    return None if where is None else TRANSFORMS[part.transform](text[slice(*where)])


def whole(text: str, spots: Sequence[Spot], name: str, items: Items) -> bool:
    """Whether nothing is known to be missing: no span without an object or a value, no object without what all have."""
    found, clean = found_in(spots, name, items)
    return clean and all(
        _said(text, one, part) is not None
        for one in found
        for part in items.parts
        if part.kind == "span" and (part.required or part.name in one.where)
    )


# ---------------------------------------------------------------- from objects to spans
def spots(text: str, said: Any, name: str, items: Items, style: Style) -> list[Spot] | None:
    """Where the members of the objects ``said`` stand; None when these spans would not give the same list."""
    rows = _flat_all(said)
    if rows is None:
        return None
    found = _spots(text, rows, name, items, style)
    same = found is not None and style.write(compose(text, found, name, items)) == style.write(said)
    return found if same else None


def _flat_all(said: Any) -> list[dict[str, Any]] | None:
    if not isinstance(said, list) or not all(isinstance(one, dict) for one in said):
        return None
    rows = [flat(one) for one in said]
    return [one for one in rows if one is not None] if None not in rows else None


def _spots(text: str, rows: Sequence[_Flat], name: str, items: Items, style: Style) -> list[Spot] | None:
    anchor = next(part for part in items.parts if part.name == items.anchor)
    anchors: list[_Where] = []
    found: list[Spot] = []
    for row in rows:
        where = locate(text, row.get(items.anchor), anchor.transform, anchors[-1][1] if anchors else 0)
        kind = _kind(row, items.parts)
        if where is None or kind not in items.kinds:
            return None
        anchors.append(where)
        found.append((*where, _anchor(name, items, kind)))
    for part in _others(items):
        for number, row in enumerate(rows):
            value = row.get(part.name)
            if part.name not in row or style.write(value) == part.absent:
                continue
            where = _beside(text, value, part, anchors, number, found)
            if where is None:
                return None
            found.append((*where, f"{name}.{part.name}"))
    return sorted(found)


def _beside(
    text: str, value: Any, part: Part, anchors: Sequence[_Where], number: int, taken: Sequence[Spot]
) -> _Where | None:
    """The place of a value that belongs to an anchor: the nearest of them that nothing else has taken."""
    free = (
        where for where in _all(text, value, part)
        if not any(where[0] < end and start < where[1] for start, end, _ in taken)
        and _owner(part, where, anchors) == number
    )  # fmt: skip
    return min(free, key=lambda where: _gap(where, anchors[number]), default=None)


def _all(text: str, value: Any, part: Part) -> Iterator[_Where]:
    where = locate(text, value, part.transform)
    while where is not None:
        yield where
        where = locate(text, value, part.transform, where[0] + 1)


def _kind(row: _Flat, parts: Sequence[Part]) -> str:
    return json.dumps(
        {part.name: row[part.name] for part in parts if part.kind == "label" and part.name in row}
    )


# ---------------------------------------------------------------- learning
def learn_items(name: str, said: Sequence[tuple[str, Any]], style: Style, absent: str) -> Field:
    """The field of a list of objects, from (text, list). Raises NoLayout."""
    flats = [(text, _flat_all(value)) for text, value in said]
    lists = [(text, rows) for text, rows in flats if rows is not None]
    if len(lists) < COVER * len(said) or not any(rows for _, rows in lists):
        raise NoLayout(f"the lists in {name!r} hold other things than objects")
    items = _parted(name, lists, style)
    items = structs.replace(items, parts=[_sided(part, items, lists, style) for part in items.parts])
    kept = sum(spots(text, value, name, items, style) is not None for text, value in said)
    if kept < LOCATED * len(said):
        raise NoLayout(
            f"{len(said) - kept} of {len(said)} lists in {name!r} cannot be put together from the input"
        )
    return Field(name, "items", absent=absent, items=items)


def _parted(name: str, lists: _Lists, style: Style) -> Items:
    rows = [(text, row) for text, members in lists for row in members]
    names = order_of([list(row) for _, row in rows], f"members of the objects in {name!r}")
    parts = [_part(one, rows, style) for one in names]
    distinct = {
        part.name: len({style.write(row[part.name]) for _, row in rows})
        for part in parts if part.kind == "span" and part.required
    }  # fmt: skip
    if not distinct:
        raise NoLayout(f"the objects in {name!r} have no value in common that stands in the input")
    kinds = Counter(_kind(row, parts) for _, row in rows)
    common = sorted(kind for kind, times in kinds.items() if times > 1)
    if not common or len(common) > MAX_LABELS or sum(kinds[one] for one in common) < COVER * len(rows):
        raise NoLayout(f"the labels of the objects in {name!r} are no closed set")
    return Items(max(distinct, key=lambda one: distinct[one]), parts, common)


def _part(name: str, rows: Sequence[tuple[str, _Flat]], style: Style) -> Part:
    """A member of the objects. Raises NoLayout."""
    given = [(text, row[name]) for text, row in rows if name in row]
    if any(isinstance(value, list) for _, value in given):
        raise NoLayout(f"the values of {name!r} are lists inside a list")
    seen = Counter(style.write(value) for _, value in given)
    absent = max((LEFT_OUT, "null", '""'), key=lambda one: seen[one] if one else len(rows) - len(given))
    plain = [(text, value) for text, value in given if value is not None and value != ""]
    closed = [value for value, times in seen.items() if times > 1]
    is_closed = len(closed) <= MAX_LABELS and sum(seen[one] for one in closed) >= COVER * len(given)
    if is_closed and (len(seen) == 1 or not _in_text(plain)):
        return Part(name, "label")
    transform = transform_of(name, plain)
    return Part(name, "span", absent, transform, required=len(plain) == len(rows))


def _in_text(rows: Sequence[tuple[str, Any]]) -> bool:
    """Whether nearly all values stand in their texts under one transform."""
    return bool(rows) and max(
        sum(locate(text, value, kind) is not None for text, value in rows) for kind in TRANSFORMS
    ) >= COVER * len(rows)


def _sided(part: Part, items: Items, lists: _Lists, style: Style) -> Part:
    """The part with the side of its anchor on which it stands."""
    if part.kind == "label" or part.name == items.anchor:
        return part
    labels = [one for one in items.parts if one.kind == "label" or one.name == items.anchor]
    tried = [structs.replace(part, side=side) for side in _SIDES]
    scores = [_kept(structs.replace(items, parts=[*labels, one]), lists, style) for one in tried]
    return tried[max(range(len(tried)), key=lambda number: scores[number])]


def _kept(items: Items, lists: _Lists, style: Style) -> int:
    """How many lists come out with the right members, of those that ``items`` has."""
    names = {part.name for part in items.parts}
    kept = 0
    for text, rows in lists:
        found = _spots(text, rows, "", items, style)
        made = [] if found is None else [_values(text, one, items) for one in found_in(found, "", items)[0]]
        kept += found is not None and made == [{key: row[key] for key in row if key in names} for row in rows]
    return kept
