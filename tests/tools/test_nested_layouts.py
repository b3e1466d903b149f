"""What an extractor learns of arguments that are objects or lists of objects, of JSON whose members come and go, and of
answers in words that repeat themselves."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from gateway.protocol.called import ToolCall, calls_text
from trainer.artifacts.artifact import ArtifactRefused, load
from trainer.artifacts.predictor import answer, say
from trainer.artifacts.registry import as_trained, store
from trainer.features.calls import CallLayout
from trainer.features.nested import deep, flat
from trainer.features.phrases import phrases, values_in
from trainer.features.teaching import learn_calls, learn_freely
from trainer.features.values import NoLayout
from trainer.recipes import CannotLearn, Example, Trained, train_first

Pairs = list[tuple[str, str]]
_NAMES = ("lamp", "desk", "mug", "chair", "plant", "shelf", "clock", "vase")


def word(rng: random.Random, letters: int = 6) -> str:
    return "".join(rng.choice("aeioulmnrst") for _ in range(letters)).title()


def order(rng: random.Random) -> tuple[str, str]:
    """An order with lines and an address; the gift's receiver is there at times, and urgent lines are marked."""
    lines, said = [], []
    for _ in range(rng.randrange(1, 4)):
        sku, count = f"{rng.choice(_NAMES)}-{rng.randrange(100, 999)}", rng.randrange(2, 90)
        urgent = rng.random() < 0.4
        said.append(f"{count} of {sku}{' at once' if urgent else ''}")
        lines.append({"sku": sku, "count": count, "urgent": urgent})
    city, street = word(rng), word(rng, 8)
    arguments: dict[str, Any] = {"lines": lines, "to": {"city": city, "street": {"name": street}}}
    text = f"Please send {', '.join(said)} to {street} street in {city}"
    if rng.random() < 0.5:
        arguments["gift"] = {"for": (receiver := word(rng, 5)), "wrap": rng.choice(["red", "blue"])}
        text += f", as a gift for {receiver} in {arguments['gift']['wrap']} paper"
    return text + ".", calls_text([ToolCall("order", json.dumps(arguments))])


def made(row: Callable[[random.Random], tuple[str, str]], count: int, seed: int) -> Pairs:
    rng = random.Random(seed)
    return [row(rng) for _ in range(count)]


def learnt(pairs: Pairs, wanted: str | list[str] = "auto") -> Trained:
    examples = [Example(text, said, fold=number % 5) for number, (text, said) in enumerate(pairs)]
    recipe, found = train_first(wanted, examples, seed=1, tick=lambda _, __: None)
    assert recipe == "extractor"
    return found


def again(layout: CallLayout, text: str, said: str) -> str:
    """What the layout writes from what it reads in an answer."""
    labels: dict[str, str] = {}
    for field in layout.fields:
        if layout.concerns(field, labels):
            label = layout.label(said, field)
            assert label is not None
            labels[field.name] = label
    spots = layout.spots(text, said)
    assert spots is not None and layout.valued(text, spots, labels)
    assert {tag for _, _, tag in spots} <= layout.wanted(labels) <= set(layout.tags)
    return layout.compose(text, spots, labels)


@pytest.mark.parametrize(
    "value",
    [
        {}, {"a": {}}, {"a": {"b": 1, "c": {"d": None}}, "e": [1, {"f": 2}]}, {"a.b": 1, "c": 2}, {"a": None, "b": {"a": 3}},
    ],
)  # fmt: skip
def test_inner_objects_as_one_and_back(value: dict[str, Any]) -> None:
    told = flat(value)
    assert told is not None
    assert json.dumps(deep(told)) == json.dumps(value)


def test_objects_that_cannot_be_told_flat() -> None:
    assert flat({"a.b": 1, "a": {"b": 2}}) is None
    assert flat({"a": {"b.c": 1}}) is None
    deepest: dict[str, Any] = {}
    for _ in range(12):
        deepest = {"a": deepest}
    assert flat(deepest) is None


@pytest.fixture(scope="module")
def orders() -> Trained:
    return learnt(made(order, 200, 1))


def test_lines_and_inner_objects_are_learnt() -> None:
    layout = learn_calls(made(order, 200, 1))
    layout.check()
    kinds = {one.name: (one.kind, one.labels) for one in layout.shapes[0].arguments[0]}
    assert {name: kind for name, (kind, _) in kinds.items()} == {
        "lines": "items", "to": "label", "to.city": "span", "to.street": "label", "to.street.name": "span",
        "gift": "label", "gift.for": "span", "gift.wrap": "label",
    }  # fmt: skip
    assert kinds["gift"][1] == ["", "{}"]
    items = layout.shapes[0].arguments[0][0].items
    assert items is not None
    assert (items.anchor, items.kinds) == ("sku", ['{"urgent": false}', '{"urgent": true}'])
    assert [(one.name, one.kind, one.side, one.transform) for one in items.parts] == [
        ("sku", "span", "nearest", "as_is"), ("count", "span", "before", "number"), ("urgent", "label", "nearest", "as_is"),
    ]  # fmt: skip
    for text, said in made(order, 60, 2):
        assert again(layout, text, said) == said


def test_the_student_writes_them_byte_for_byte(orders: Trained, tmp_path: Path) -> None:
    fresh = made(order, 80, 3)
    found = answer(orders.parameters, (), [text for text, _ in fresh])
    assert sum(one[0][0] == said for one, (_, said) in zip(found, fresh, strict=True)) >= 72
    sure = [one[0][0] == said for one, (_, said) in zip(found, fresh, strict=True) if one[0][1] > 0.9]
    assert len(sure) > 40 and sum(sure) >= 0.95 * len(sure)
    stored = as_trained(store(tmp_path / "stu", "extractor", orders, "0" * 64, 1)).parameters
    assert answer(stored, (), [text for text, _ in fresh]) == found
    (told,) = say(orders.parameters, (), [next(text for text, said in fresh if "gift" in said)])
    assert set(told.fields) == {
        "calls", "0.to", "0.to.city", "0.to.street", "0.to.street.name", "0.gift", "0.gift.for", "0.gift.wrap",
        "0.lines.sku", "0.lines.count",
    }  # fmt: skip


def test_a_changed_list_of_objects_is_refused(orders: Trained, tmp_path: Path) -> None:
    store(tmp_path / "stu", "extractor", orders, "0" * 64, 1)
    manifest = tmp_path / "stu" / "manifest.json"
    told = msgspec.json.decode(manifest.read_bytes())
    for change in ({"anchor": "urgent"}, {"kinds": ["3", "4"]}, {"kinds": ["{", "["]}, {"parts": []}):
        other = msgspec.json.decode(manifest.read_bytes())
        items = other["calls"]["shapes"][0]["arguments"][0][0]["items"]
        items.update(change)
        (tmp_path / "stu" / "manifest.json").write_bytes(msgspec.json.encode(other))
        with pytest.raises(ArtifactRefused):
            load(tmp_path / "stu")
        manifest.write_bytes(msgspec.json.encode(told))


def test_a_member_may_stand_behind_and_be_missing() -> None:
    def row(rng: random.Random) -> tuple[str, str]:
        lines, said = [], []
        for _ in range(rng.randrange(0, 4)):
            name, mail = word(rng), f"{word(rng, 4).lower()}@x.org" if rng.random() < 0.5 else None
            said.append(f"{name} ({mail})" if mail else name)
            lines.append({"name": name} | ({"mail": mail} if mail else {}))
        return f"invite {' and '.join(said)} today", calls_text([ToolCall("invite", json.dumps({"people": lines}))])

    pairs = made(row, 150, 4)
    layout = learn_calls(pairs)
    items = layout.shapes[0].arguments[0][0].items
    assert items is not None and [one.side for one in items.parts if one.name == "mail"] == ["after"]
    for text, said in pairs:
        assert again(layout, text, said) == said
    text = "invite Rosi and Tomi (a@x.org) and Luna today"
    spots = layout.spots(text, calls_text([ToolCall("invite", json.dumps(
        {"people": [{"name": "Rosi"}, {"name": "Tomi", "mail": "a@x.org"}, {"name": "Luna"}]}
    ))]))  # fmt: skip
    assert spots is not None and len(spots) == 4
    labels = {"calls": '["invite"]'}
    assert not layout.valued(text, [one for one in spots if "mail" in one[2]], labels)  # whose is it?


def test_lists_that_cannot_be_put_together_are_left_to_the_teacher() -> None:
    def pairs(value: Callable[[int], Any]) -> Pairs:
        return [(f"x{n} and y{n}", calls_text([ToolCall("t", json.dumps({"a": value(n)}))])) for n in range(60)]

    for value, why in (
        (lambda n: [{"b": [f"x{n}"]}], "lists inside a list"),
        (lambda n: [{"b": f"x{n}"}, f"y{n}"], "other things than objects"),
        (lambda n: [{"b": f"z{n}"}], "neither in the input"),
        (lambda n: [{"b": n % 2 == 0}] * (1 + n % 50), "no value in common"),
        (lambda n: {"b": f"x{n}"} if n % 2 else f"x{n}", "nested in several ways"),
        (lambda n: [{"b": f"y{n}"}, {"b": f"x{n}"}], "cannot be put together"),
    ):
        with pytest.raises(NoLayout, match=why):
            learn_calls(pairs(value))


# ---------------------------------------------------------------- JSON that is no call
def ticket(rng: random.Random) -> tuple[str, str]:
    who, code = word(rng), f"K{rng.randrange(100, 999)}x"
    said: dict[str, Any] = {"from": {"name": who}, "kind": rng.choice(["bug", "wish"])}
    text = f"{who} has a {said['kind']}"
    if rng.random() < 0.5:
        said["code"] = code
        text += f" with {code}"
    return text, json.dumps(said, separators=(",", ":"))


def test_json_with_inner_objects_and_members_that_come_and_go() -> None:
    pairs = made(ticket, 160, 5)
    found = learnt(pairs)
    fresh = made(ticket, 60, 6)
    said = answer(found.parameters, (), [text for text, _ in fresh])
    assert sum(one[0][0] == told for one, (_, told) in zip(said, fresh, strict=True)) >= 56
    (told,) = say(found.parameters, (), [fresh[0][0]])
    assert {"kind", "from", "from.name"} <= set(told.fields)


def test_a_list_of_objects_with_more_than_two_members() -> None:
    def row(rng: random.Random) -> tuple[str, str]:
        things = [(word(rng), word(rng, 7), rng.randrange(20, 90)) for _ in range(rng.randrange(1, 4))]
        text = "; ".join(f"{first} {last}, {age}" for first, last, age in things)
        return text, json.dumps([{"first": first, "last": last, "age": age} for first, last, age in things])

    layout = learn_freely(made(row, 120, 7))
    assert layout.form == "list"
    for text, said in made(row, 30, 8):
        assert again(layout, text, said) == said
    assert layout.tag_told(layout.tags[0]) == "age"


# ---------------------------------------------------------------- words
def told(rng: random.Random) -> tuple[str, str]:
    number, day, city = f"A-{rng.randrange(10_000, 99_999)}", f"{rng.randrange(1, 29)}.5.{rng.randrange(2024, 2030)}", word(rng)
    if rng.random() < 0.3:
        return f"where is {number}\n\n<- lost, last seen in {city}", f"I am sorry, {number} is lost."
    return f"where is {number}\n\n<- sent, {day}, {city}", f"Order {number} is on its way to {city} and arrives on {day}."


def test_words_that_come_again_with_other_values() -> None:
    pairs = made(told, 150, 9)
    assert [pieces for pieces, _ in phrases(pairs, 10)] == [
        ["Order ", " is on its way to ", " and arrives on ", "."], ["I am sorry, ", " is lost."],
    ]  # fmt: skip
    fresh = made(told, 60, 10)
    said = answer(learnt(pairs).parameters, (), [text for text, _ in fresh])
    assert sum(one[0][0] == right for one, (_, right) in zip(said, fresh, strict=True)) >= 57


def test_calls_and_words_of_one_task_are_shapes_side_by_side() -> None:
    def row(rng: random.Random) -> tuple[str, str]:
        text, said = told(rng)
        number = f"B-{rng.randrange(10_000, 99_999)}"
        if rng.random() < 0.4:
            return f"find {number}", calls_text([ToolCall("find", json.dumps({"id": number}))])
        return (text, said) if rng.random() < 0.8 else ("thanks", "You are welcome.")

    layout = learn_calls(made(row, 300, 11))
    layout.check()
    assert len(layout.shapes) == 4
    for text, said in made(row, 60, 12):
        assert again(layout, text, said) == said


def test_an_answer_that_is_nothing_but_a_value_stands_for_all_or_none() -> None:
    codes = [(f"my code is Q{n}z, thanks", f"Q{n}z") for n in range(80)]
    layout = learn_freely(codes)
    assert [shape.pieces for shape in layout.shapes] == [["", ""]]
    assert again(layout, *codes[3]) == "Q3z"
    with pytest.raises(NoLayout, match="nor words"):
        learn_freely([*codes, *((f"what of it, {n}", f"nothing {n + 500}!") for n in range(80))])
    with pytest.raises(CannotLearn):
        learnt([(f"text {n}", f"words {n + 900} of mine") for n in range(80)], ["extractor"])
    assert values_in("Order A is B.", ["Order ", " is ", "."]) == ["A", "B"]
    assert values_in("Order A.", ["Order ", " is ", "."]) is None
