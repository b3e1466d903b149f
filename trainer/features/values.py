"""What answers are made of: the style they are written in, and fields whose values are labels or spans of the input."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

from trainer.features.normal import NUMBERS, TRANSFORMS, Transform, locate

MAX_LABELS = 60
COVER, LOCATED = 0.99, 0.9
"""The share of answers that a rule must hold for, and of values that a transform must give."""
LEFT_OUT = ""
"""The label of an argument that is not given: no JSON text is empty."""
Spot = tuple[int, int, str]
"""(start, end, tag): characters of the input that an answer took over."""


class NoLayout(Exception):
    """The answers have no layout that is known here; the text says why, for a person."""


class Style(Struct, frozen=True, forbid_unknown_fields=True):
    item: Literal[", ", ","] = ", "
    key: Literal[": ", ":"] = ": "
    ascii_only: bool = True

    def write(self, value: Any) -> str:
        return json.dumps(value, separators=(self.item, self.key), ensure_ascii=self.ascii_only)


class Part(Struct, frozen=True, forbid_unknown_fields=True):
    """A member of the objects in a list. A span stands on its ``side`` of the object's anchor; ``absent``: the JSON
    text for one that is not there, "" leaves it out."""

    name: str
    kind: Literal["label", "span"]
    absent: str = LEFT_OUT
    transform: Transform = "as_is"
    required: bool = False
    side: Literal["before", "after", "nearest"] = "nearest"


class Items(Struct, frozen=True, forbid_unknown_fields=True):
    """Objects in a list (``trainer.features.items``). Each has its ``anchor``, a span, and its labels are one of
    ``kinds``, objects as JSON texts."""

    anchor: str
    parts: Annotated[list[Part], Meta(min_length=1)]
    kinds: Annotated[list[str], Meta(min_length=1, max_length=MAX_LABELS)]


class Field(Struct, frozen=True, forbid_unknown_fields=True):
    """``labels``: JSON texts of the closed set. ``absent``: JSON text when a span is not there. Of a tool's arguments
    "" leaves the argument out; a ``copy`` is what the call at ``source`` has under the same name, and a ``required``
    span is always there. ``items``: of a list of objects."""

    name: str
    kind: Literal["label", "span", "spans", "copy", "items"]
    labels: Annotated[list[str], Meta(max_length=MAX_LABELS)] = []
    absent: str = "null"
    transform: Transform = "as_is"
    source: Annotated[int, Meta(ge=0)] = 0
    required: bool = False
    items: Items | None = None


# ---------------------------------------------------------------- learning
def parsed(answer: str) -> Any:
    try:
        return json.loads(answer)
    except (ValueError, RecursionError):
        return None


def style_of(answers: Sequence[str], values: Sequence[Any]) -> Style:
    styles = [
        Style(item, key, ascii) for item in (", ", ",") for key in (": ", ":") for ascii in (True, False)
    ]
    scores = [
        sum(style.write(value) == answer for answer, value in zip(answers, values, strict=True))
        for style in styles
    ]
    best = max(range(len(styles)), key=lambda number: scores[number])
    if scores[best] < COVER * len(answers):
        raise NoLayout("the teacher does not write its JSON in one style")
    return styles[best]


def counted(rows: Sequence[tuple[str, Any]]) -> bool:
    """Whether the values are numbers that stand in the inputs: a span then, however few different ones there are."""
    if not rows or not all(isinstance(value, int | float) for _, value in rows):
        return False
    found = max(sum(locate(text, value, kind) is not None for text, value in rows) for kind in NUMBERS)
    return found >= COVER * len(rows)


def order_of(keys: Sequence[Sequence[str]], what: str) -> list[str]:
    """The one order in which all names are written, some left out at times. Raises NoLayout."""
    order: list[str] = []
    for said, _ in Counter(tuple(one) for one in keys).most_common():
        at = 0
        for name in said:
            if name in order:
                at = order.index(name) + 1
            else:
                order.insert(at, name)
                at += 1
    place = {name: at for at, name in enumerate(order)}
    kept = sum(all(place[one] < place[two] for one, two in pairwise(said)) for said in keys)
    if kept < COVER * len(keys):
        raise NoLayout(f"the {what} are not written in one order")
    return order


def transform_of(name: str, rows: Sequence[tuple[str, Any]]) -> Transform:
    scores: dict[Transform, int] = {
        kind: sum(locate(text, value, kind) is not None for text, value in rows) for kind in TRANSFORMS
    }
    best = max(TRANSFORMS, key=lambda kind: scores[kind])
    if scores[best] < LOCATED * len(rows):
        raise NoLayout(
            f"{len(rows) - scores[best]} of {len(rows)} values of {name!r} are neither in the input nor of a closed set"
        )
    return best
