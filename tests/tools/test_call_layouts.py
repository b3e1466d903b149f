"""What an extractor learns of tool calls: which are made, and where their arguments come from."""

from __future__ import annotations

import json
import random
from pathlib import Path

import msgspec
import numpy as np
import pytest
from desk_parts import message, written

from gateway.protocol.called import ToolCall, calls_text, read_calls
from trainer.artifacts.artifact import ArtifactRefused, load
from trainer.artifacts.predictor import answer, say
from trainer.artifacts.registry import as_trained, store
from trainer.features.calls import OTHER
from trainer.features.fields import fields_of, of_classes, of_spans
from trainer.features.teaching import learn_calls
from trainer.features.values import NoLayout
from trainer.recipes import SAME, CannotLearn, Example, Trained, train_first

Pairs = list[tuple[str, str]]


def pairs_of(count: int, seed: int) -> Pairs:
    rng = random.Random(seed)
    made = [message(rng) for _ in range(count)]
    return [
        (text, calls_text([ToolCall(*one) for one in calls]) if calls else f"I think so, {number}.")
        for number, (text, calls) in enumerate(made)
    ]


def learnt(pairs: Pairs, wanted: str | list[str] = "auto") -> tuple[str, Trained]:
    examples = [Example(text, said, fold=number % 5) for number, (text, said) in enumerate(pairs)]
    return train_first(wanted, examples, seed=1, tick=lambda _, __: None)


@pytest.fixture(scope="module")
def trained() -> Trained:
    recipe, made = learnt(pairs_of(300, 1))
    assert recipe == "extractor"
    return made


def test_it_makes_the_teachers_calls_byte_for_byte_and_leaves_words_alone(trained: Trained) -> None:
    fresh = pairs_of(200, 2)
    said = [one[0] for one in answer(trained.parameters, (), [text for text, _ in fresh])]
    calls = [(made, sure, told) for (made, sure), (_, told) in zip(said, fresh, strict=True) if read_calls(told)]
    words = [sure for (_, sure), (_, told) in zip(said, fresh, strict=True) if not read_calls(told)]
    assert sum(made == told for made, _, told in calls) >= 0.95 * len(calls)
    assert len(words) > 15
    assert sum(sure > 0.5 for sure in words) <= 0.1 * len(words)
    sure = [made == told for made, sure, told in calls if sure > 0.9]
    assert len(sure) > 0.7 * len(calls)
    assert sum(sure) > 0.95 * len(sure)


def test_its_cross_fitted_marks_tell_calls_it_got_from_calls_it_missed(trained: Trained) -> None:
    marks = [(mark, read_calls(told)) for mark, (_, told) in zip(trained.crossfit, pairs_of(300, 1), strict=True)]
    assert all(verdict != SAME for (_, verdict), calls in marks if calls is None)
    assert sum(verdict == SAME for (_, verdict), calls in marks if calls) > 200


def test_the_stored_student_says_the_same_and_a_changed_layout_is_refused(trained: Trained, tmp_path: Path) -> None:
    artifact = store(tmp_path / "stu", "extractor", trained, "0" * 64, 1)
    texts = [text for text, _ in pairs_of(40, 3)]
    again = as_trained(artifact).parameters
    assert answer(again, (), texts) == answer(trained.parameters, (), texts)
    manifest = tmp_path / "stu" / "manifest.json"
    told = msgspec.json.decode(manifest.read_bytes())
    for change in ({"tags": []}, {"fields": told["calls"]["fields"][1:]}, {"shapes": told["calls"]["shapes"][:1]}):
        manifest.write_bytes(msgspec.json.encode({**told, "calls": {**told["calls"], **change}}))
        with pytest.raises(ArtifactRefused):
            load(tmp_path / "stu")


def rows(*made: tuple[str, list[tuple[str, str]]]) -> Pairs:
    return [(text, calls_text([ToolCall(*one) for one in calls])) for text, calls in made]


def test_arguments_are_labels_spans_copies_or_left_out() -> None:
    layout = learn_calls(pairs_of(300, 1))
    layout.check()
    kinds = {
        shape.label: [[(one.name, one.kind, one.transform) for one in fields] for fields in shape.arguments]
        for shape in layout.shapes
    }
    assert kinds == {
        '["track"]': [[("order_id", "span", "as_is")]],
        '["cancel"]': [[("order_id", "span", "as_is"), ("reason", "label", "as_is")]],
        '["deliver"]': [[("order_id", "span", "as_is"), ("city", "span", "upper"), ("when", "span", "date")]],
        '["track", "cancel"]': [[("order_id", "span", "as_is")], [("order_id", "copy", "as_is")]],
    }
    reason = next(one for shape in layout.shapes for one in shape.arguments[0] if one.name == "reason")
    assert reason.labels == ["", '"mistake"', '"too_late"']
    for text, said in pairs_of(100, 5):
        calls = read_calls(said)
        spots = layout.spots(text, said)
        assert (spots is None) == (calls is None)
        labels = {field.name: one for field in layout.fields if (one := layout.label(said, field)) is not None}
        if spots is None:
            assert labels == {"calls": OTHER}
            assert layout.compose(text, [], labels) == OTHER
            assert not layout.valued(text, [], labels)
        else:
            assert layout.compose(text, spots, labels) == said
            assert layout.valued(text, spots, labels)
            assert not layout.valued(text, spots[1:], labels)  # what always is there is missing


def test_lists_numbers_and_optional_spans() -> None:
    rng = random.Random(4)
    made = []
    for number in range(120):
        things = [f"{rng.choice(['red', 'blue', 'green'])} {rng.choice(['lamp', 'mug', 'desk'])} {rng.randrange(9)}"
                  for _ in range(rng.randrange(1, 4))]  # fmt: skip
        count = rng.randrange(10, 9000)
        arguments = {"things": things, "count": count} | ({"code": f"K{number}x"} if number % 3 else {})
        text = f"bring {count:,} of {' and '.join(things)}" + (f" code K{number}x" if number % 3 else "")
        made.append((text, [("bring", json.dumps(arguments))]))
    pairs = rows(*made)
    layout = learn_calls(pairs)
    assert [(one.name, one.kind, one.transform, one.required) for one in layout.shapes[0].arguments[0]] == [
        ("things", "spans", "as_is", False), ("count", "span", "number", True), ("code", "span", "as_is", False),
    ]  # fmt: skip
    for text, said in pairs:
        spots = layout.spots(text, said)
        assert spots is not None
        assert layout.compose(text, spots, {"calls": '["bring"]'}) == said


def test_what_has_no_layout_is_left_to_the_teacher() -> None:
    plain = [(f"look for order B{number}x", [("look", written(order=f"B{number}x"))]) for number in range(40)]
    nested = [(f"tell {number}", [("tell", written(a=[[number]]))]) for number in range(60)]
    rare = [("do the rare thing", [("rare", "{}")])]
    layout = learn_calls(rows(*plain, *nested, *rare))
    assert [shape.tools for shape in layout.shapes] == [["look"]]
    assert layout.label(rows(*nested)[0][1], layout.fields[0]) == OTHER
    with pytest.raises(NoLayout, match="neither in the input"):
        learn_calls(rows(*nested))
    turned = [
        (f"x C{number}y D{number}z", [("t", written(**dict([("a", f"C{number}y"), ("b", f"D{number}z")][:: 1 - 2 * (number % 2)])))])
        for number in range(40)
    ]  # fmt: skip
    with pytest.raises(NoLayout, match="one order"):
        learn_calls(rows(*turned))
    with pytest.raises(CannotLearn, match="neither in the input"):
        learnt(rows(*nested), ["extractor"])


def test_calls_without_open_arguments_are_a_closed_set() -> None:
    topics = ["billing", "access", "printer"]
    pairs = rows(*(
        (f"{topics[number % 3]} trouble {'abcdef'[number % 6] * 3}", [("route", written(queue=topics[number % 3]))])
        for number in range(90)
    ))  # fmt: skip
    recipe, made = learnt(pairs)
    assert recipe == "classifier"
    assert set(made.answers) == {said for _, said in pairs}


def test_each_field_says_how_sure_it_is(trained: Trained) -> None:
    fresh = [(text, told) for text, told in pairs_of(150, 6) if read_calls(told)]
    found = say(trained.parameters, (), [text for text, _ in fresh])
    weakest: dict[bool, list[float]] = {True: [], False: []}
    for one, (_, told) in zip(found, fresh, strict=True):
        made = fields_of(one.top[0][0])
        assert set(made) <= set(one.fields) | {"1.order_id"}  # a copy is as sure as what it copies
        assert all(0 <= sure <= 1 for sure in one.fields.values())
        if one.top[0][0]:
            weakest[one.top[0][0] == told].append(min(one.fields.values()))
    assert sum(weakest[True]) / len(weakest[True]) > 0.9
    assert not weakest[False] or min(weakest[False]) < 0.9


def test_a_closed_sets_fields_are_as_likely_as_all_answers_that_share_them() -> None:
    answers = ['{"city":"Oslo","urgent":true}', '{"city":"Oslo","urgent":false}', '{"city":"Graz","urgent":true}']
    found = of_classes(answers, np.array([0.5, 0.3, 0.2]), 0)
    assert found == {"city": pytest.approx(0.8), "urgent": pytest.approx(0.7)}
    assert of_classes(["billing", "access"], np.array([0.5, 0.5]), 0) == {}
    calls = rows(("x", [("route", '{"queue":"a"}')]), ("y", [("route", '{"queue":"b"}')]), ("z", [("close", "{}")]))
    found = of_classes([said for _, said in calls], np.array([0.5, 0.3, 0.2]), 0)
    assert found == {"calls": pytest.approx(0.8), "0.queue": pytest.approx(0.5)}


def test_a_span_that_is_not_there_is_as_sure_as_no_token_begins_one() -> None:
    scores = np.log(np.array([[0.8, 0.15, 0.05], [0.1, 0.1, 0.8]]))
    spans = [(0, 3), (4, 7)]
    assert of_spans(spans, scores, [(0, 7, "city")], ["city"]) == {"city": pytest.approx(0.15 * 0.8)}
    assert of_spans(spans, scores, [], ["city"]) == {"city": pytest.approx(0.85 * 0.9)}
    assert of_spans([], np.zeros((0, 3)), [], ["city"]) == {"city": 1.0}
