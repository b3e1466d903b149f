"""How a teacher calls tools: which calls it makes together, and where each of their arguments comes from.

What is called is one of a closed set of *shapes* (the tools' names in order), or something else, which is left to the
teacher: words, calls too rare to learn, arguments of no known form. A shape's arguments are labels, spans of the input
under one transform each, or copies of an earlier call's. Learnt from answers in the form of
``gateway.protocol.called``; writes them in the same form, the arguments byte for byte in the teacher's style.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from typing import Annotated, Any

from msgspec import Meta, Struct

from gateway.protocol.asked import rounds_in
from gateway.protocol.called import ToolCall, calls_text, read_calls
from trainer.features.layout import (
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
from trainer.features.normal import TRANSFORMS, Transform, locate

CALLS, OTHER = "calls", ""
"""The field whose label is a shape; the label of whatever is left to the teacher."""
LEAST_SHARE = 0.05
"""From this share of calls among the answers on, calls are what a student learns."""
_LEAST_ROWS, _MOST_SHAPES = 10, 40
_Arguments = dict[str, Any]


class _LeftOut:
    """The value of an argument that is not given."""


_LEFT_OUT = _LeftOut()


class Shape(Struct, frozen=True, forbid_unknown_fields=True):
    """Calls made together: each one's tool, and its arguments in the order they are written."""

    tools: Annotated[list[str], Meta(min_length=1)]
    arguments: list[list[Field]]

    @property
    def label(self) -> str:
        return json.dumps(self.tools, ensure_ascii=False)

    def spans(self) -> dict[str, Field]:
        """By tag, the arguments that are taken from the input."""
        return {
            f"{place}.{field.name}": field
            for place, fields in enumerate(self.arguments)
            for field in fields
            if field.kind in ("span", "spans")
        }


class CallLayout(Struct, frozen=True, forbid_unknown_fields=True):
    """``fields``: the closed sets, the shape first, then each shape's labels by ``shape.call.argument``. ``tags``:
    ``call.argument`` of what a tagger must find; shapes that have one in common share it."""

    style: Style
    shapes: Annotated[list[Shape], Meta(min_length=1, max_length=_MOST_SHAPES)]
    fields: list[Field]
    tags: list[str]

    def check(self) -> None:
        """Raises ValueError for a layout that could not write answers (from a file that somebody else made)."""
        if self.fields != _closed(self.shapes) or self.tags != _tags(self.shapes):
            raise ValueError("its fields and tags are not those of its shapes")
        for shape in self.shapes:
            if len(shape.tools) != len(shape.arguments):
                raise ValueError("a shape has other arguments than tools")
            for place, fields in enumerate(shape.arguments):
                for field in fields:
                    _check(field, {one.name for before in shape.arguments[:place] for one in before})

    # ------------------------------------------------------------ what an answer says
    def label(self, answer: str, field: Field) -> str | None:
        """The label of a field in an answer; None where the answer has no such field."""
        number, said = self._read(answer)
        if field.name == CALLS:
            return OTHER if number is None else self.shapes[number].label
        shape, place, name = field.name.split(".", 2)
        if number != int(shape):
            return None
        return self.style.write(said[int(place)][name]) if name in said[int(place)] else OTHER

    def spots(self, text: str, answer: str) -> list[Spot] | None:
        """Where in ``text`` the spans of ``answer`` stand; None when the layout could not write this answer."""
        number, said = self._read(answer)
        if number is None:
            return None
        found: list[Spot] = []
        after: Counter[str] = Counter()
        for tag, field in self.shapes[number].spans().items():
            for value in _said(said[int(tag.partition(".")[0])], field, self.style):
                same = self.style.write(value)
                where = locate(text, value, field.transform, after[same])
                if where is None or any(where[0] < end and start < where[1] for start, end, _ in found):
                    return None
                after[same] = where[1]
                found.append((*where, tag))
        return sorted(found)

    def _read(self, answer: str) -> tuple[int | None, list[_Arguments]]:
        """Which shape an answer has, None for any other answer, and the arguments of its calls."""
        found = _called(answer)
        if found is None:
            return None, []
        tools = [tool for tool, _ in found]
        number = next((at for at, shape in enumerate(self.shapes) if shape.tools == tools), None)
        return number, [arguments for _, arguments in found]

    # ------------------------------------------------------------ what a student finds
    def concerns(self, field: Field, labels: dict[str, str]) -> bool:
        """Whether a field belongs to what ``labels`` say is called."""
        if field.name == CALLS:
            return True
        number = self._number(labels)
        return number is not None and field.name.startswith(f"{number}.")

    @property
    def kind(self) -> str:
        return CALLS

    def told(self, name: str) -> str:
        """What a field is called outside: ``calls``, or ``call.argument``."""
        return name if name == CALLS else name.partition(".")[2]

    def context(self, text: str, labels: dict[str, str]) -> str:
        """What is called, and after how many rounds of calls, which decides where spans stand: one order is cancelled
        and another one tracked. "" in a first round where no two shapes have a tag in common."""
        number, rounds = self._number(labels), rounds_in(text)
        shared = sum(len(shape.spans()) for shape in self.shapes) > len(self.tags)
        return f"{number}.{rounds}" if number is not None and (shared or rounds) else ""

    def context_of(self, text: str, answer: str) -> str:
        """The same of a teacher's answer."""
        return self.context(text, {CALLS: self.label(answer, self.fields[0]) or OTHER})

    def wanted(self, labels: dict[str, str]) -> set[str]:
        """The tags of what is called."""
        number = self._number(labels)
        return set() if number is None else set(self.shapes[number].spans())

    def compose(self, text: str, spots: Sequence[Spot], labels: dict[str, str]) -> str:
        """The answer these findings make, in the teacher's style; "" for what is left to the teacher."""
        number = self._number(labels)
        if number is None:
            return OTHER
        made: list[_Arguments] = []
        for place, fields in enumerate(self.shapes[number].arguments):
            values: _Arguments = {}
            for field in fields:
                name = f"{place}.{field.name}"
                if field.kind == "label":
                    value = _loaded(labels[f"{number}.{name}"])
                elif field.kind == "copy":
                    value = made[field.source].get(field.name, _LEFT_OUT)
                else:
                    value = _found(field, name, text, spots)
                if value is not _LEFT_OUT:
                    values[field.name] = value
            made.append(values)
        written = [self.style.write(values) for values in made]
        return calls_text(
            [ToolCall(*one) for one in zip(self.shapes[number].tools, written, strict=True)]
        )

    def valued(self, text: str, spots: Sequence[Spot], labels: dict[str, str]) -> bool:
        """Whether something is called of which nothing is known to be missing: every span has a value, and every
        argument that always came from the input was found there."""
        number = self._number(labels)
        if number is None:
            return False
        spans = self.shapes[number].spans()
        seen = {tag for _, _, tag in spots}
        return all(field.kind == "spans" or not field.required or tag in seen for tag, field in spans.items()) and all(
            TRANSFORMS[spans[tag].transform](text[start:end]) is not None for start, end, tag in spots
        )

    def _number(self, labels: dict[str, str]) -> int | None:
        number = self.fields[0].labels.index(labels[CALLS])
        return number if number < len(self.shapes) else None


# ---------------------------------------------------------------- reading and writing values
def _called(answer: str) -> list[tuple[str, _Arguments]] | None:
    """(tool, arguments) of each call; None for any other answer."""
    calls = read_calls(answer)
    if not calls:
        return None
    values = [parsed(call.arguments) for call in calls]
    if not all(isinstance(value, dict) for value in values):
        return None
    return [(call.name, value) for call, value in zip(calls, values, strict=True)]


def _said(arguments: _Arguments, field: Field, style: Style) -> list[Any]:
    """The values of a span argument that must stand in the input."""
    if field.name not in arguments:
        return []
    value = arguments[field.name]
    if field.kind == "spans" and isinstance(value, list):
        return value
    return [] if style.write(value) == field.absent else [value]


def _found(field: Field, tag: str, text: str, spots: Sequence[Spot]) -> Any:
    said = [TRANSFORMS[field.transform](text[start:end]) for start, end, one in spots if one == tag]
    values = [one for one in said if one is not None]
    if not values:
        return _loaded(field.absent)
    return values if field.kind == "spans" else values[0]


def _loaded(label: str) -> Any:
    return _LEFT_OUT if label == OTHER else json.loads(label)


def _closed(shapes: Sequence[Shape]) -> list[Field]:
    """Every closed set: which shape it is, and each shape's labels."""
    return [
        Field(CALLS, "label", [*(shape.label for shape in shapes), OTHER]),
        *(
            Field(f"{number}.{place}.{field.name}", "label", field.labels)
            for number, shape in enumerate(shapes)
            for place, fields in enumerate(shape.arguments)
            for field in fields
            if field.kind == "label"
        ),
    ]


def _tags(shapes: Sequence[Shape]) -> list[str]:
    return sorted({tag for shape in shapes for tag in shape.spans()})


def _check(field: Field, before: set[str]) -> None:
    for text in (*field.labels, field.absent):
        _loaded(text)
    if field.kind == "label" and not field.labels:
        raise ValueError(f"{field.name!r} has no labels")
    if field.kind == "copy" and field.name not in before:
        raise ValueError(f"{field.name!r} copies nothing")


# ---------------------------------------------------------------- learning
def mostly_words(answers: Sequence[str]) -> bool:
    """Whether so few answers are calls that there is nothing in them to learn."""
    return sum(read_calls(answer) is not None for answer in answers) < LEAST_SHARE * len(answers)


def learn_calls(pairs: Sequence[tuple[str, str]]) -> CallLayout:
    """The layout of (text, answer) pairs. What has no layout is left to the teacher. Raises NoLayout when that is
    everything."""
    read = [(text, called) for text, answer in pairs if (called := _called(answer)) is not None]
    style = _style([answer for _, answer in pairs])
    counts = Counter(tuple(tool for tool, _ in called) for _, called in read)
    shapes: list[Shape] = []
    reasons: list[str] = []
    for tools, count in counts.most_common(_MOST_SHAPES):
        if count < _LEAST_ROWS:
            reasons.append(f"{', '.join(tools)} is called {count} times; a student needs {_LEAST_ROWS}")
            break
        rows = [
            (text, [arguments for _, arguments in called])
            for text, called in read
            if tuple(tool for tool, _ in called) == tools
        ]
        try:
            arguments = [_arguments(style, place, rows) for place in range(len(tools))]
            shapes.append(Shape(list(tools), arguments))
        except NoLayout as problem:
            reasons.append(f"{', '.join(tools)}: {problem}")
    if not shapes:
        raise NoLayout("; ".join(reasons) or "no tool is called")
    return CallLayout(style, shapes, _closed(shapes), _tags(shapes))


def _style(answers: Sequence[str]) -> Style:
    written = [call.arguments for answer in answers for call in read_calls(answer) or ()]
    return style_of(written, [parsed(text) for text in written])


_Rows = Sequence[tuple[str, list[_Arguments]]]


def _arguments(style: Style, place: int, rows: _Rows) -> list[Field]:
    """The arguments of a shape's call. Raises NoLayout."""
    names = _order([list(said[place]) for _, said in rows])
    return [
        _copied(name, place, rows)
        or _argument(style, name, [(text, said[place].get(name, _LEFT_OUT)) for text, said in rows])
        for name in names
    ]


def _order(keys: Sequence[Sequence[str]]) -> list[str]:
    """The one order in which all arguments are written, some left out at times. Raises NoLayout."""
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
        raise NoLayout("the arguments are not written in one order")
    return order


def _copied(name: str, place: int, rows: _Rows) -> Field | None:
    """The field of an argument that is always what an earlier call has under the same name."""
    for before in range(place):
        same = sum(
            said[place].get(name, _LEFT_OUT) == said[before].get(name, _LEFT_OUT) and name in said[before]
            for _, said in rows
        )
        if same >= COVER * len(rows):
            return Field(name, "copy", source=before)
    return None


def _argument(style: Style, name: str, rows: Sequence[tuple[str, Any]]) -> Field:
    """One argument from (text, value). Raises NoLayout."""
    said = [(text, value) for text, value in rows if value is not _LEFT_OUT]
    seen = Counter(OTHER if value is _LEFT_OUT else style.write(value) for _, value in rows)
    plain = [(text, value) for text, value in said if value is not None]
    if "true" not in seen and "false" not in seen and counted(plain):
        return _span(name, seen, plain)
    common = sorted(value for value, times in seen.items() if times > 1)
    if len(common) <= MAX_LABELS and sum(seen[value] for value in common) >= COVER * len(rows):
        return Field(name, "label", common)
    if all(isinstance(value, list) for _, value in said):
        items = [(text, one) for text, value in said for one in value]
        absent = max((OTHER, "[]"), key=lambda label: seen[label])
        return Field(name, "spans", absent=absent, transform=transform_of(name, items))
    if any(isinstance(value, dict | list) for _, value in said):
        raise NoLayout(f"the values of {name!r} are nested")
    return _span(name, seen, [(text, value) for text, value in said if style.write(value) not in ("null", '""')])


def _span(name: str, seen: Counter[str], rows: Sequence[tuple[str, Any]]) -> Field:
    """A span of the input, and what stands for none: the most frequent of what was seen."""
    none = max((OTHER, "null", '""'), key=lambda label: seen[label])
    transform: Transform = transform_of(name, rows)
    return Field(name, "span", absent=none, transform=transform, required=not seen[none])
