"""Learns from a teacher's answers how it calls tools, and how it writes other answers made of spans and labels."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from gateway.protocol.called import read_calls
from trainer.features.calls import (
    MOST_SHAPES,
    NOTHING,
    OTHER,
    THERE,
    Arguments,
    CallLayout,
    Form,
    Shape,
    called_in,
    closed,
    tags_of,
)
from trainer.features.items import learn_items
from trainer.features.nested import within
from trainer.features.normal import Transform
from trainer.features.phrases import phrases
from trainer.features.values import (
    COVER,
    MAX_LABELS,
    Field,
    NoLayout,
    Style,
    counted,
    order_of,
    parsed,
    style_of,
    transform_of,
)

LEAST_SHARE = 0.05
"""From this share of calls among the answers on, calls are what a student learns."""
_LEAST_ROWS, _MOSTLY = 10, 0.8
_Pairs = Sequence[tuple[str, str]]
_Rows = Sequence[tuple[str, list[Arguments]]]


def mostly_words(answers: Sequence[str]) -> bool:
    """Whether so few answers are calls that there is nothing in them to learn."""
    return sum(read_calls(answer) is not None for answer in answers) < LEAST_SHARE * len(answers)


def learn_calls(pairs: _Pairs) -> CallLayout:
    """The layout of (text, answer) pairs, many of them calls. What has no layout is left to the teacher. Raises
    NoLayout when no calls have one."""
    style = _style([call.arguments for _, answer in pairs for call in read_calls(answer) or ()])
    shapes, reasons = _shapes(pairs, style, "calls")
    if not shapes:
        raise NoLayout("; ".join(reasons) or "no tool is called")
    words = [(text, answer) for text, answer in pairs if read_calls(answer) is None]
    return _layout(style, [*shapes, *_phrases(words)], "calls")


def learn_freely(pairs: _Pairs) -> CallLayout:
    """The layout of pairs that are no calls: JSON whose values may be nested or left out, or words that come again with
    other values in them. Raises NoLayout when it could not write most of the answers."""
    values = [parsed(answer) for _, answer in pairs]
    kinds = Counter(
        "object" if isinstance(one, dict) else "list" if isinstance(one, list) else "" for one in values
    )
    form: Form = "object" if kinds["object"] >= kinds["list"] else "list"
    reasons: list[str] = []
    if kinds[form] >= _MOSTLY * len(pairs):
        style = _style(
            [answer for (_, answer), one in zip(pairs, values, strict=True) if isinstance(one, dict | list)]
        )
        shapes, reasons = _shapes(pairs, style, form)
    elif kinds["object"] + kinds["list"]:
        raise NoLayout("the answers are JSON one time and words another")
    else:
        style, form, shapes = Style(), "calls", _phrases(pairs, _MOSTLY)
        reasons = ["the answers are not JSON objects or lists, nor words that come again"]
    if shapes:
        layout = _layout(style, shapes, form)
        kept = sum(layout.spots(text, answer) is not None for text, answer in pairs)
        if kept >= _MOSTLY * len(pairs):
            return layout
        reasons.append(
            f"{len(pairs) - kept} of {len(pairs)} answers could not be put together from their inputs"
        )
    raise NoLayout("; ".join(reasons))


def _layout(style: Style, shapes: list[Shape], form: Form) -> CallLayout:
    kept = shapes[:MOST_SHAPES]
    return CallLayout(style, kept, closed(kept), tags_of(kept), form)


def _style(written: Sequence[str]) -> Style:
    return style_of(written, [parsed(text) for text in written])


def _phrases(words: _Pairs, most: float = 1.0) -> list[Shape]:
    """Answers in words; each value is a required span as it is. One that is nothing but a value could be any answer, so
    it stands for most of them or for none."""
    found = [(pieces, count) for pieces, count in phrases(words, _LEAST_ROWS)]
    if found and not _says_something(found[0][0]) and found[0][1] >= most * len(words):
        return [_phrase(found[0][0])]
    return [_phrase(pieces) for pieces, _ in found if _says_something(pieces)]


def _says_something(pieces: Sequence[str]) -> bool:
    return any(letter.isalnum() for piece in pieces for letter in piece)


def _phrase(pieces: list[str]) -> Shape:
    values = [Field(f"say{at}", "span", absent=OTHER, required=True) for at in range(len(pieces) - 1)]
    return Shape([], [values], pieces)


def _shapes(pairs: _Pairs, style: Style, form: Form) -> tuple[list[Shape], list[str]]:
    """The shapes of what is called, the most frequent first, and why others have none."""
    read = [(text, called) for text, answer in pairs if (called := called_in(answer, form)) is not None]
    counts = Counter(tuple(tool for tool, _ in called) for _, called in read)
    shapes: list[Shape] = []
    reasons: list[str] = []
    for tools, count in counts.most_common(MOST_SHAPES):
        if count < _LEAST_ROWS:
            reasons.append(f"{', '.join(tools)} is called {count} times; a student needs {_LEAST_ROWS}")
            break
        rows = [
            (text, [arguments for _, arguments in called])
            for text, called in read
            if tuple(tool for tool, _ in called) == tools
        ]
        try:
            shapes.append(Shape(list(tools), [_arguments(style, place, rows) for place in range(len(tools))]))
        except NoLayout as problem:
            reasons.append(f"{', '.join(tools)}: {problem}".removeprefix(": "))
    return shapes, reasons


def _arguments(style: Style, place: int, rows: _Rows) -> list[Field]:
    """The arguments of a shape's call. Raises NoLayout."""
    found: list[Field] = []
    for name in order_of([list(said[place]) for _, said in rows], "arguments"):
        there = _in_object(name, place, rows, found)
        values = [(text, said[place].get(name, NOTHING)) for text, said in there]
        found.append(_copied(name, place, rows) or _argument(style, name, values))
    return found


def _in_object(name: str, place: int, rows: _Rows, before: Sequence[Field]) -> _Rows:
    """The rows that have the inner object which the argument is a member of."""
    head = next((one.name for one in before if one.name == within(name) and THERE in one.labels), None)
    return rows if head is None else [(text, said) for text, said in rows if said[place].get(head) == {}]


def _copied(name: str, place: int, rows: _Rows) -> Field | None:
    """The field of an argument that is always what an earlier call has under the same name."""
    for before in range(place):
        same = sum(
            name in said[before]
            and said[before][name] != {}
            and said[place].get(name, NOTHING) == said[before][name]
            for _, said in rows
        )
        if same >= COVER * len(rows):
            return Field(name, "copy", source=before)
    return None


def _argument(style: Style, name: str, rows: Sequence[tuple[str, Any]]) -> Field:
    """One argument from (text, value). Raises NoLayout."""
    said = [(text, value) for text, value in rows if value is not NOTHING]
    seen = Counter(OTHER if value is NOTHING else style.write(value) for _, value in rows)
    plain = [(text, value) for text, value in said if value is not None]
    if "true" not in seen and "false" not in seen and counted(plain):
        return _span(name, seen, plain)
    common = sorted(value for value, times in seen.items() if times > 1)
    if len(common) <= MAX_LABELS and sum(seen[value] for value in common) >= COVER * len(rows):
        return Field(name, "label", common)
    if any(isinstance(value, list) for _, value in plain) and all(
        isinstance(value, list) for _, value in plain
    ):
        return _list(style, name, seen, plain)
    if any(isinstance(value, dict | list) for _, value in said):
        raise NoLayout(f"the values of {name!r} are nested in several ways")
    return _span(
        name, seen, [(text, value) for text, value in said if style.write(value) not in ("null", '""')]
    )


def _list(style: Style, name: str, seen: Counter[str], rows: Sequence[tuple[str, list[Any]]]) -> Field:
    """A list of objects, or of values. Raises NoLayout."""
    absent = max((OTHER, "[]", "null"), key=lambda label: seen[label])
    members = [(text, one) for text, value in rows for one in value]
    if any(isinstance(one, dict) for _, one in members):
        return learn_items(name, rows, style, absent)
    return Field(name, "spans", absent=absent, transform=transform_of(name, members))


def _span(name: str, seen: Counter[str], rows: Sequence[tuple[str, Any]]) -> Field:
    """A span of the input, and what stands for none: the most frequent of what was seen."""
    none = max((OTHER, "null", '""'), key=lambda label: seen[label])
    transform: Transform = transform_of(name, rows)
    return Field(name, "span", absent=none, transform=transform, required=not seen[none])
