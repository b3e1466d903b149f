"""How a teacher writes its JSON answers: keys, order, spacing, and where each value comes from.

A value is a *label* (one of a closed set, kept as the teacher spelt it in JSON) or a *span* of the input, taken
over by the same transform every time (``trainer.features.normal``). Learnt from answers; writes answers byte for byte
in the same style.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, Literal

from msgspec import Struct

from trainer.features.normal import TRANSFORMS, Transform, locate
from trainer.features.values import (
    COVER,
    MAX_LABELS,
    Field,
    NoLayout,
    Spot,
    Style,
    counted,
    parsed,
    style_of,
    transform_of,
)


class Layout(Struct, frozen=True, forbid_unknown_fields=True):
    """``object``: one object with ``fields`` in order. ``list``: objects of a type and a span each (``type_key``,
    ``value_key``, in the order of ``type_first``), or plain strings when there is no ``value_key``.

    ``tags``: what a tagger must find: names of span fields, or the list's types as JSON texts.
    """

    kind: Literal["object", "list"]
    style: Style
    fields: list[Field] = []
    type_key: str = ""
    value_key: str = ""
    type_first: bool = True
    tags: list[str] = []
    transform: Transform = "as_is"

    def spots(self, text: str, answer: str) -> list[Spot] | None:
        """Where in ``text`` the spans of ``answer`` stand; None when the layout could not write this answer."""
        value = parsed(answer)
        wanted = self._spans(value)
        if wanted is None:
            return None
        found: list[Spot] = []
        after: Counter[str] = Counter()
        for said, tag, transform in wanted:
            same = self.style.write(said)
            where = locate(text, said, transform, after[same])
            if where is None or any(where[0] < end and start < where[1] for start, end, _ in found):
                return None
            after[same] = where[1]
            found.append((*where, tag))
        return sorted(found)

    def check(self) -> None:
        """Raises ValueError for a layout that could not write answers (from a file that somebody else made)."""
        for field in self.fields:
            for text in (*field.labels, field.absent):
                json.loads(text)
            if field.kind == "label" and not field.labels:
                raise ValueError(f"{field.name!r} has no labels")
        spans = {field.name for field in self.fields if field.kind != "label"}
        if self.kind == "object" and (not self.fields or set(self.tags) != spans):
            raise ValueError("its tags are not its span fields")
        for tag in self.tags if self.kind == "list" else ():
            json.loads(tag)

    def _spans(self, value: Any) -> list[tuple[Any, str, Transform]] | None:
        try:
            if self.kind == "list":
                return [
                    (one[self.value_key], self.style.write(one[self.type_key]), self.transform)
                    if self.value_key
                    else (one, self.tags[0], self.transform)
                    for one in value
                ]
            found: list[tuple[Any, str, Transform]] = []
            for field in self.fields:
                said = value[field.name]
                if field.kind == "spans":
                    found += [(one, field.name, field.transform) for one in said]
                elif field.kind == "span" and self.style.write(said) != field.absent:
                    found.append((said, field.name, field.transform))
        except (KeyError, TypeError, IndexError):
            return None
        return found

    def label(self, answer: str, field: Field) -> str | None:
        """The JSON text of a label field in an answer."""
        value = parsed(answer)
        return (
            self.style.write(value[field.name]) if isinstance(value, dict) and field.name in value else None
        )

    def compose(self, text: str, spots: Sequence[Spot], labels: dict[str, str]) -> str:
        """The answer these findings make, in the teacher's style; spans without a value are left out."""
        if self.kind == "list":
            items = [(TRANSFORMS[self.transform](text[start:end]), tag) for start, end, tag in spots]
            return self.style.write([self._item(said, tag) for said, tag in items if said is not None])
        result: dict[str, Any] = {}
        for field in self.fields:
            said = [
                TRANSFORMS[field.transform](text[start:end]) for start, end, tag in spots if tag == field.name
            ]
            mine = [one for one in said if one is not None]
            if field.kind == "label":
                result[field.name] = json.loads(labels[field.name])
            elif field.kind == "spans":
                result[field.name] = mine
            else:
                result[field.name] = mine[0] if mine else json.loads(field.absent)
        return self.style.write(result)

    def concerns(self, field: Field, labels: dict[str, str]) -> bool:
        """Every field belongs to every answer."""
        return True

    def told(self, name: str) -> str:
        """What a field is called outside."""
        return name

    def tag_told(self, tag: str) -> str:
        """What a tag is called outside."""
        return tag

    def context(self, text: str, labels: dict[str, str]) -> str:
        """What else decides where spans stand: nothing."""
        return ""

    def context_of(self, text: str, answer: str) -> str:
        return ""

    def wanted(self, labels: dict[str, str]) -> set[str]:
        """The tags that may be found: all of them."""
        return set(self.tags)

    def valued(self, text: str, spots: Sequence[Spot], labels: dict[str, str]) -> bool:
        """Whether every span that was found has a value: where one has none the answer misses something."""
        kinds = {one.name: one.transform for one in self.fields}
        return all(
            TRANSFORMS[kinds.get(tag, self.transform)](text[start:end]) is not None
            for start, end, tag in spots
        )

    def _item(self, said: Any, tag: str) -> Any:
        if not self.value_key:
            return said
        pairs = [(self.type_key, json.loads(tag)), (self.value_key, said)]
        return dict(pairs if self.type_first else pairs[::-1])


# ---------------------------------------------------------------- learning
def learn_layout(pairs: Sequence[tuple[str, str]]) -> Layout:
    """The layout of (text, answer) pairs. Raises NoLayout."""
    values = [parsed(answer) for _, answer in pairs]
    if _share(values, lambda value: isinstance(value, dict | list)) < COVER:
        raise NoLayout("the answers are not JSON objects or lists")
    style = style_of([answer for _, answer in pairs], values)
    texts = [text for text, _ in pairs]
    if _share(values, lambda value: isinstance(value, dict)) >= COVER:
        return _object(style, texts, values)
    if _share(values, lambda value: isinstance(value, list)) >= COVER:
        return _list(style, texts, values)
    raise NoLayout("the answers are objects one time and lists another")


def _share(values: Sequence[Any], holds: Callable[[Any], bool]) -> float:
    return sum(map(holds, values)) / max(1, len(values))


def _object(style: Style, texts: Sequence[str], values: Sequence[Any]) -> Layout:
    keys, count = Counter(tuple(value) for value in values if isinstance(value, dict)).most_common(1)[0]
    if not keys or count < COVER * len(values):
        raise NoLayout("the objects do not have the same keys in the same order")
    rows = [(text, value) for text, value in zip(texts, values, strict=True) if tuple(value or ()) == keys]
    fields = [_field(style, key, [(text, value[key]) for text, value in rows]) for key in keys]
    return Layout("object", style, fields, tags=[one.name for one in fields if one.kind != "label"])


def _field(style: Style, name: str, rows: Sequence[tuple[str, Any]]) -> Field:
    if all(isinstance(value, list) for _, value in rows):
        items = [(text, one) for text, value in rows for one in value]
        return Field(name, "spans", transform=transform_of(name, items))
    if any(isinstance(value, dict | list) for _, value in rows):
        raise NoLayout(f"the values of {name!r} are nested")
    seen = Counter(style.write(value) for _, value in rows)
    said = [(text, value) for text, value in rows if value is not None]
    if "true" not in seen and "false" not in seen and counted(said):
        return Field(name, "span", absent="null", transform=transform_of(name, said))
    common = sorted(value for value, times in seen.items() if times > 1)
    if len(common) <= MAX_LABELS and sum(seen[value] for value in common) >= COVER * len(rows):
        return Field(name, "label", common)
    absent = "null" if "null" in seen else '""'
    transform = transform_of(name, [(text, value) for text, value in rows if style.write(value) != absent])
    return Field(name, "span", absent=absent, transform=transform)


def _list(style: Style, texts: Sequence[str], values: Sequence[Any]) -> Layout:
    items = [(text, one) for text, value in zip(texts, values, strict=True) for one in value or ()]
    if items and not any(isinstance(one, dict | list) for _, one in items):
        return Layout("list", style, tags=['""'], transform=transform_of("the list", items))
    shapes = Counter(tuple(one) if isinstance(one, dict) else () for _, one in items)
    keys, count = shapes.most_common(1)[0] if shapes else ((), 0)
    if len(keys) != 2 or count < COVER * len(items):
        raise NoLayout("the lists do not hold values, or objects of a type and a span each")
    rows = [(text, one) for text, one in items if tuple(one) == keys]
    sizes = [len({style.write(one[key]) for _, one in rows}) for key in keys]
    type_first = sizes[0] <= sizes[1]
    type_key, value_key = keys if type_first else keys[::-1]
    tags = sorted({style.write(one[type_key]) for _, one in rows})
    if len(tags) > MAX_LABELS:
        raise NoLayout(f"the values of {type_key!r} are no closed set")
    transform = transform_of(value_key, [(text, one[value_key]) for text, one in rows])
    return Layout("list", style, [], type_key, value_key, type_first, tags, transform)
