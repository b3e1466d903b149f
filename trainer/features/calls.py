"""How a teacher calls tools: which calls it makes together, and where each of their arguments comes from.

What is called is one of a closed set of *shapes* (the tools' names in order, or a phrase: words with values in them),
or something else, which is left to the teacher: other words, calls too rare to learn, arguments of no known form. A
shape's arguments are labels, spans of the input under one transform each, lists of objects made of both, or copies of
an earlier call's; inner objects are told flat (``trainer.features.nested``). ``trainer.features.teaching`` learns a
layout from answers in the form of ``gateway.protocol.called``; it writes them in the same form, the arguments byte for
byte in the teacher's style. A JSON object or list whose values are nested, or left out at times, is the arguments of a
call that has no name.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

from gateway.protocol.asked import rounds_in
from gateway.protocol.called import ToolCall, calls_text, read_calls
from trainer.features import items, phrases
from trainer.features.nested import deep, flat, within
from trainer.features.normal import TRANSFORMS, locate
from trainer.features.values import LEFT_OUT, Field, Spot, Style, parsed

CALLS, OTHER = "calls", LEFT_OUT
"""The field whose label is a shape; the label of whatever is left to the teacher."""
THERE = "{}"
"""The label of an inner object that is there."""
MOST_SHAPES = 40
Form = Literal["calls", "object", "list"]
Arguments = dict[str, Any]
"""Of one call, flat."""


class _Nothing:
    """The value of an argument that is not given."""


NOTHING = _Nothing()


class Shape(Struct, frozen=True, forbid_unknown_fields=True):
    """Calls made together: each one's tool, and its arguments in the order they are written. One with ``pieces`` is a
    phrase: no tool, and the values between its pieces as arguments."""

    tools: list[str]
    arguments: Annotated[list[list[Field]], Meta(min_length=1)]
    pieces: list[str] = []

    @property
    def label(self) -> str:
        return json.dumps({"say": self.pieces} if self.pieces else self.tools, ensure_ascii=False)

    def placed(self) -> Iterator[tuple[int, str, Field]]:
        """(call, ``call.argument``, argument) of each that is taken from the input."""
        for place, fields in enumerate(self.arguments):
            for field in fields:
                if field.kind in ("span", "spans", "items"):
                    yield place, f"{place}.{field.name}", field

    def tags(self) -> list[str]:
        """What a tagger must find of it."""
        return [tag for _, name, field in self.placed() for tag in _tags(name, field)]

    def head(self, place: int, name: str) -> Field | None:
        """The argument that says whether the inner object is there that ``name`` is a member of; None for none."""
        outer = within(name)
        fields = self.arguments[place] if outer else []
        return next((one for one in fields if one.name == outer and THERE in one.labels), None)


class CallLayout(Struct, frozen=True, forbid_unknown_fields=True):
    """``fields``: the closed sets, the shape first, then each shape's labels by ``shape.call.argument``. ``tags``:
    ``call.argument`` of what a tagger must find, and ``call.argument.member`` of a list of objects; shapes that have
    one in common share it. ``form``: what answers are."""

    style: Style
    shapes: Annotated[list[Shape], Meta(min_length=1, max_length=MOST_SHAPES)]
    fields: list[Field]
    tags: list[str]
    form: Form = "calls"

    def check(self) -> None:
        """Raises ValueError for a layout that could not write answers (from a file that somebody else made)."""
        if self.fields != closed(self.shapes) or self.tags != tags_of(self.shapes):
            raise ValueError("its fields and tags are not those of its shapes")
        for shape in self.shapes:
            phrase = len(shape.pieces) == len(shape.arguments[0]) + 1 and not shape.tools
            if len(shape.tools) != len(shape.arguments) and not (phrase and len(shape.arguments) == 1):
                raise ValueError("a shape has other arguments than tools")
            for place, fields in enumerate(shape.arguments):
                for field in fields:
                    _check(field, {one.name for before in shape.arguments[:place] for one in before})

    # ------------------------------------------------------------ what an answer says
    def label(self, answer: str, field: Field) -> str | None:
        """The label of a field in an answer; None where the answer has no such field."""
        if field.name == CALLS:
            number, _ = self._read(answer)
            return OTHER if number is None else self.shapes[number].label
        number, place, name = _split(field.name)
        said = called_in(answer, self.form)
        if said is None or [tool for tool, _ in said] != self.shapes[number].tools:
            return None
        values, head = said[place][1], self.shapes[number].head(place, name)
        if head is not None and values.get(head.name) != {}:
            return None
        return self.style.write(values[name]) if name in values else OTHER

    def spots(self, text: str, answer: str) -> list[Spot] | None:
        """Where in ``text`` the spans of ``answer`` stand; None when the layout could not write this answer."""
        number, said = self._read(answer)
        if number is None:
            return None
        found: list[Spot] = []
        after: Counter[str] = Counter()
        for place, tag, field in self.shapes[number].placed():
            mine = self._stand(text, said[place], tag, field, after)
            if mine is None or any(
                one[0] < end and start < one[1] for one in mine for start, end, _ in found
            ):
                return None
            found += mine
        return sorted(found)

    def _stand(
        self, text: str, said: Arguments, tag: str, field: Field, after: Counter[str]
    ) -> list[Spot] | None:
        """Where the values of one argument stand; ``after``: where the last of the same value ended."""
        if field.items is not None:
            return _items(text, said, tag, field, self.style)
        found: list[Spot] = []
        for value in _said(said, field, self.style):
            same = self.style.write(value)
            where = locate(text, value, field.transform, after[same])
            if where is None or any(where[0] < end and start < where[1] for start, end, _ in found):
                return None
            after[same] = where[1]
            found.append((*where, tag))
        return found

    def _read(self, answer: str) -> tuple[int | None, list[Arguments]]:
        """Which shape an answer has, None for any other answer, and the arguments of its calls."""
        found = called_in(answer, self.form)
        if found is not None:
            tools = [tool for tool, _ in found]
            number = next((at for at, shape in enumerate(self.shapes) if shape.tools == tools), None)
            return number, [arguments for _, arguments in found]
        spoken = [(at, shape.pieces) for at, shape in enumerate(self.shapes) if shape.pieces]
        for at, pieces in sorted(spoken, key=lambda one: -sum(map(len, one[1]))):
            values = phrases.values_in(answer, pieces)
            if values is not None:
                names = [field.name for field in self.shapes[at].arguments[0]]
                return at, [dict(zip(names, values, strict=True))]
        return None, []

    # ------------------------------------------------------------ what a student finds
    def concerns(self, field: Field, labels: dict[str, str]) -> bool:
        """Whether a field belongs to what ``labels`` say is called."""
        if field.name == CALLS:
            return True
        number, place, name = _split(field.name)
        return number == self._number(labels) and self._present(number, place, name, labels)

    def _present(self, number: int, place: int, name: str, labels: dict[str, str]) -> bool:
        """Whether the inner object that an argument is a member of is there, as ``labels`` say."""
        head = self.shapes[number].head(place, name)
        return head is None or labels.get(f"{number}.{place}.{head.name}") == THERE

    @property
    def kind(self) -> str:
        return CALLS

    def told(self, name: str) -> str:
        """What a field is called outside: ``calls``, or ``call.argument``."""
        return name if name == CALLS else self.tag_told(name.partition(".")[2])

    def tag_told(self, tag: str) -> str:
        """What a tag is called outside: ``call.argument``; an object's argument alone where answers are no calls."""
        name = items.told(tag)
        return name if self.form == "calls" else name.partition(".")[2].lstrip(".")

    def context(self, text: str, labels: dict[str, str]) -> str:
        """What is called, and after how many rounds of calls, which decides where spans stand: one order is cancelled
        and another one tracked. "" in a first round where no two shapes have a tag in common."""
        number, rounds = self._number(labels), rounds_in(text)
        shared = sum(len(shape.tags()) for shape in self.shapes) > len(self.tags)
        return f"{number}.{rounds}" if number is not None and (shared or rounds) else ""

    def context_of(self, text: str, answer: str) -> str:
        """The same of a teacher's answer."""
        return self.context(text, {CALLS: self.label(answer, self.fields[0]) or OTHER})

    def wanted(self, labels: dict[str, str]) -> set[str]:
        """The tags of what is called."""
        number = self._number(labels)
        placed = [] if number is None else self._placed(number, labels)
        return {tag for name, field in placed for tag in _tags(name, field)}

    def _placed(self, number: int, labels: dict[str, str]) -> list[tuple[str, Field]]:
        """(``call.argument``, argument) of what a shape takes from the input, as ``labels`` say."""
        return [
            (name, field) for place, name, field in self.shapes[number].placed()
            if self._present(number, place, field.name, labels)
        ]  # fmt: skip

    def compose(self, text: str, spots: Sequence[Spot], labels: dict[str, str]) -> str:
        """The answer these findings make, in the teacher's style; "" for what is left to the teacher."""
        number = self._number(labels)
        if number is None:
            return OTHER
        shape = self.shapes[number]
        made: list[Arguments] = []
        for place in range(len(shape.arguments)):
            made.append(self._arguments(text, spots, labels, number, place, made))
        if shape.pieces:
            values = [made[0].get(field.name) for field in shape.arguments[0]]
            return OTHER if None in values else phrases.said(shape.pieces, [str(one) for one in values])
        if self.form != "calls":
            return self.style.write(made[0][""] if self.form == "list" else deep(made[0]))
        written = [self.style.write(deep(values)) for values in made]
        return calls_text([ToolCall(*one) for one in zip(shape.tools, written, strict=True)])

    def _arguments(
        self, text: str, spots: Sequence[Spot], labels: dict[str, str], number: int, place: int,
        made: Sequence[Arguments],
    ) -> Arguments:  # fmt: skip
        values: Arguments = {}
        for field in self.shapes[number].arguments[place]:
            name = f"{place}.{field.name}"
            if not self._present(number, place, field.name, labels):
                continue
            if field.kind == "label":
                value = _loaded(labels[f"{number}.{name}"])
            elif field.kind == "copy":
                value = made[field.source].get(field.name, NOTHING)
            else:
                value = _found(field, name, text, spots)
            if value is not NOTHING:
                values[field.name] = value
        return values

    def valued(self, text: str, spots: Sequence[Spot], labels: dict[str, str]) -> bool:
        """Whether something is called of which nothing is known to be missing: every span has a value, and every
        argument that always came from the input was found there."""
        number = self._number(labels)
        return number is not None and all(
            _valued(text, [one for one in spots if one[2] in _tags(name, field)], name, field)
            for name, field in self._placed(number, labels)
        )

    def _number(self, labels: dict[str, str]) -> int | None:
        number = self.fields[0].labels.index(labels[CALLS])
        return number if number < len(self.shapes) else None


# ---------------------------------------------------------------- reading and writing values
def called_in(answer: str, form: Form) -> list[tuple[str, Arguments]] | None:
    """(tool, flat arguments) of each call; None for any other answer."""
    if form != "calls":
        value = parsed(answer)
        if form == "list":
            return [("", {"": value})] if isinstance(value, list) else None
        values = flat(value) if isinstance(value, dict) else None
        return None if values is None else [("", values)]
    found: list[tuple[str, Arguments]] = []
    for call in read_calls(answer) or ():
        value = parsed(call.arguments)
        values = flat(value) if isinstance(value, dict) else None
        if values is None:
            return None
        found.append((call.name, values))
    return found or None


def _split(name: str) -> tuple[int, int, str]:
    """(shape, call, argument) of a closed set's name."""
    shape, place, rest = name.split(".", 2)
    return int(shape), int(place), rest


def _tags(name: str, field: Field) -> list[str]:
    return [name] if field.items is None else items.tags(name, field.items)


def _said(arguments: Arguments, field: Field, style: Style) -> list[Any]:
    """The values of a span argument that must stand in the input."""
    if field.name not in arguments:
        return []
    value = arguments[field.name]
    if field.kind == "spans" and isinstance(value, list):
        return value
    return [] if style.write(value) == field.absent else [value]


def _items(text: str, said: Arguments, tag: str, field: Field, style: Style) -> list[Spot] | None:
    """Where the members of a list of objects stand."""
    assert field.items is not None
    absent = field.name not in said or style.write(said[field.name]) == field.absent
    return [] if absent else items.spots(text, said[field.name], tag, field.items, style)


def _found(field: Field, tag: str, text: str, spots: Sequence[Spot]) -> Any:
    if field.items is not None:
        return items.compose(text, spots, tag, field.items) or _loaded(field.absent)
    said = [TRANSFORMS[field.transform](text[start:end]) for start, end, one in spots if one == tag]
    values = [one for one in said if one is not None]
    if not values:
        return _loaded(field.absent)
    return values if field.kind == "spans" else values[0]


def _valued(text: str, spots: Sequence[Spot], name: str, field: Field) -> bool:
    """Whether nothing is known to be missing of one argument."""
    if field.items is not None:
        return items.whole(text, spots, name, field.items)
    if field.kind == "span" and field.required and not spots:
        return False
    return all(TRANSFORMS[field.transform](text[start:end]) is not None for start, end, _ in spots)


def _loaded(label: str) -> Any:
    return NOTHING if label == OTHER else json.loads(label)


def closed(shapes: Sequence[Shape]) -> list[Field]:
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


def tags_of(shapes: Sequence[Shape]) -> list[str]:
    return sorted({tag for shape in shapes for tag in shape.tags()})


def _check(field: Field, before: set[str]) -> None:
    """Raises ValueError."""
    for text in (*field.labels, field.absent):
        _loaded(text)
    if field.kind == "label" and not field.labels:
        raise ValueError(f"{field.name!r} has no labels")
    if field.kind == "copy" and field.name not in before:
        raise ValueError(f"{field.name!r} copies nothing")
    if (field.kind == "items") != (field.items is not None):
        raise ValueError(f"{field.name!r} is no list of objects")
    if field.items is not None:
        items.check(field.items)
