"""Graders as values: formulas, templates, comparisons, and what a model's answer means."""

from __future__ import annotations

import json
import math
import random
import time
from typing import Any

import msgspec
import pytest

from optimizer.graders import Fault, Grader, Refused, compared, doubts, question, refuse, scene, verdict
from optimizer.graders.formula import parse
from optimizer.graders.templates import fill

ITEM = {"q": "two", "list": [{"x": 1}, "b"], "none": None, "brace": "{{item.q}}", "n-1": 2.5}
HERE = scene(ITEM, '{"answer": {"n": 4}, "s": "t"}')
SCORES = {"a": 0.5, "b_2": 2.0, "max": 3.0}


def grader(**given: Any) -> Any:
    return msgspec.convert({"name": "g", **given}, Grader)


def check(operation: str, text: str, reference: str) -> float:
    return compared(grader(type="string_check", input=text, reference=reference, operation=operation), HERE)


def alike(metric: str, text: str, reference: str) -> float:
    return compared(
        grader(type="text_similarity", input=text, reference=reference, evaluation_metric=metric), HERE
    )


# ------------------------------------------------------------------ formulas
@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("1 + 2 * 3", 7), ("(1 + 2) * 3", 9), ("8 / 4 / 2", 1), ("2 - 3 - 4", -5), ("-a", -0.5), ("- -a", 0.5),
        ("2^3^2", 512), ("-2^2", -4), ("2^-1", 0.5), ("a * b_2 + max", 4), ("max(a, b_2, 1)", 2), ("min(a)", 0.5),
        ("max (max, 1)", 3), ("abs(-3) + floor(2.7) + ceil(2.1)", 8), ("sqrt(16) * exp(0) + log(1)", 4),
        (".5e1", 5), ("0.8 * a + 0.2 * min(b_2, 1)", 0.6), ("a-1", -0.5), ("a -.5", 0),
    ],
)  # fmt: skip
def test_a_formula_says_what_arithmetic_says(text: str, wanted: float) -> None:
    assert parse(text).value(SCORES) == pytest.approx(wanted)


@pytest.mark.parametrize(
    "text",
    [
        "", " ", "1 +", "a b", "(a", "a)", "a,,b", "max()", "sqrt(1, 2)", "__import__('os')", "a.b", "a[0]", "a == 1",
        "pow(a, 2)", "negate(a)", "1e999", "'x'", "a; b", "lambda: 1", "a ** 2", "ä", "(" * 5000, "(" * 60 + "1" + ")" * 60,
        "2^" * 60 + "1", "1" * 3000,
    ],
)  # fmt: skip
def test_what_is_no_formula_is_refused(text: str) -> None:
    with pytest.raises(Fault) as caught:
        parse(text)
    assert caught.value.kind == "formula_parse_error"


@pytest.mark.parametrize(
    "text", ["1 / 0", "sqrt(-1)", "log(0)", "exp(1000)", "(0 - 8) ^ 0.5", "1e308 * 10", "floor(1e308 * 10)"]
)
def test_a_formula_without_a_finite_value_says_so(text: str) -> None:
    with pytest.raises(Fault) as caught:
        parse(text).value({})
    assert caught.value.kind == "other_error"


def test_formulas_agree_with_python_on_random_arithmetic() -> None:
    rng = random.Random(3)

    def grown(depth: int) -> tuple[str, float]:
        if depth == 0:
            value = round(rng.uniform(0.5, 4), 2)
            return str(value), value
        (left, one), (right, other) = grown(depth - 1), grown(depth - 1)
        kind = rng.choice("+-*m")
        if kind == "m":
            return f"min({left},{right})", min(one, other)
        value = {"+": one + other, "-": one - other, "*": one * other}[kind]
        return f"({left} {kind} {right})", value

    for _ in range(200):
        text, value = grown(4)
        assert math.isclose(parse(text).value({}), value, rel_tol=1e-9, abs_tol=1e-9)


# ------------------------------------------------------------------ templates
@pytest.mark.parametrize(
    ("template", "wanted"),
    [
        ("{{item.q}}", "two"), ("a {{ item.q }} b {{item.q}}", "a two b two"), ("{{item.list.0.x}}", "1"),
        ("{{item.list}}", '[{"x": 1}, "b"]'), ("{{item.none}}", "null"), ("{{item.n-1}}", "2.5"),
        ("{{sample.output_json.answer.n}}", "4"), ("{{sample.output_json.s}}", "t"), ("{{item.brace}}", "{{item.q}}"),
        ("{% if 1 %}", "{% if 1 %}"), ("{ {item.q} }", "{ {item.q} }"), ("${7*7} #{7*7}", "${7*7} #{7*7}"),
    ],
)  # fmt: skip
def test_paths_are_looked_up_and_nothing_else(template: str, wanted: str) -> None:
    assert fill(template, HERE) == wanted


@pytest.mark.parametrize(
    "template",
    [
        "{{7*7}}", "{{item.q|upper}}", "{{item['q']}}", "{{item.__class__}}", "{{item.q.upper}}", "{{item.list.9}}",
        "{{item.list.-1}}", "{{sample}}", "{{sample.other}}", "{{config}}", "{{}}", "{{item.q()}}", "{{item.q.0}}",
    ],
)  # fmt: skip
def test_what_is_no_path_or_leads_nowhere_gives_no_score(template: str) -> None:
    with pytest.raises(Fault) as caught:
        fill(template, HERE)
    assert caught.value.kind == "invalid_variable_error"


def test_json_is_wanted_only_where_it_is_named() -> None:
    plain = scene({}, "no json")
    assert fill("{{sample.output_text}}", plain) == "no json"
    for sample in ("no json", "```json\n{}\n```", "NaN", "[" * 100_000):
        with pytest.raises(Fault) as caught:
            fill("{{sample.output_json}}", scene({}, sample))
        assert caught.value.kind == "sample_parse_error"


def test_half_a_character_is_no_text() -> None:
    for template in ("{{sample.output_json}}", "{{sample.output_json.a}}"):
        with pytest.raises(Fault) as caught:
            fill(template, scene({}, r'{"a": "\ud800"}'))
        assert caught.value.kind == "sample_parse_error"
    assert fill("{{sample.output_json.a}}", scene({}, r'{"a": "\ud83d\ude00"}')) == "\U0001f600"
    with pytest.raises(Fault):
        fill("{{item}}", scene(10**5000, ""))


def test_a_text_that_would_grow_too_long_is_never_made() -> None:
    began = time.process_time()
    with pytest.raises(Fault) as caught:
        fill("{{sample.output_text}}" * 4000, scene({}, "x" * 150_000))
    assert caught.value.kind == "truncated_observation_error"
    assert fill("{{" * 50_000, scene({}, "")) == "{{" * 50_000
    assert time.process_time() - began < 5


# ------------------------------------------------------------------ comparisons
@pytest.mark.parametrize(
    ("operation", "text", "reference", "wanted"),
    [
        ("eq", "{{item.q}}", "two", 1), ("eq", "Two", "two", 0), ("ne", "Two", "two", 1), ("ne", "two", "two", 0),
        ("like", "one two", "two", 1), ("like", "one Two", "two", 0), ("ilike", "one TWO", "two", 1),
        ("ilike", "STRASSE", "straße", 1), ("like", "two", "one two", 0),
    ],
)  # fmt: skip
def test_strings_are_checked(operation: str, text: str, reference: str, wanted: float) -> None:
    assert check(operation, text, reference) == wanted


def test_likeness_is_what_the_usual_packages_say() -> None:
    said = ("The quick brown fox jumps over the lazy dog", "The quick brown dog jumps on the log.")
    assert alike("rouge_1", *said) == pytest.approx(0.7058823, abs=1e-6)  # rouge-score's own example
    assert alike("rouge_l", *said) == pytest.approx(0.7058823 * 10 / 12, abs=1e-6)
    assert alike("rouge_2", *said) == pytest.approx(2 * 2 / (8 + 7))
    assert alike("rouge_5", *said) == 0
    assert alike("fuzzy_match", "this is a test", "this is a test!") == pytest.approx(
        28 / 29
    )  # rapidfuzz: 96.55
    assert alike("gleu", "the cat sat", "the cat sat down") == pytest.approx(6 / 10)
    assert alike("gleu", "a b", "c d") == 0


@pytest.mark.parametrize(
    "metric", ["fuzzy_match", "bleu", "gleu", "rouge_1", "rouge_2", "rouge_3", "rouge_4", "rouge_5", "rouge_l"]
)  # fmt: skip
def test_each_metric_is_one_for_the_same_words_and_between_otherwise(metric: str) -> None:
    text = "the parcel came late and the box was open"
    assert alike(metric, text, text) == pytest.approx(1)
    assert 0 <= alike(metric, text, "the parcel came early and the box was shut") < 1
    assert alike(metric, "zzz", "qq") == 0
    with pytest.raises(Fault):
        alike(metric, "x" * 20_001, text)


# ------------------------------------------------------------------ models
SCORE = {"type": "score_model", "model": "m", "input": [{"role": "user", "content": "Grade {{sample.output_json.s}}"}]}  # fmt: skip
LABEL = {**SCORE, "type": "label_model", "labels": ["good", "bad"], "passing_labels": ["good"]}


def reply(content: str | None, **more: Any) -> dict[str, Any]:
    return {"choices": [{"message": {"content": content, **more}, "finish_reason": "stop"}]}


def test_a_model_is_asked_in_the_form_of_chat() -> None:
    parts = [
        {"type": "input_text", "text": "{{item.q}}"}, "plain", {"type": "output_text", "text": "o"},
        {"type": "input_image", "image_url": "https://x/{{item.q}}", "detail": "low"},
        {"type": "input_audio", "input_audio": {"data": "AA==", "format": "wav"}},
    ]  # fmt: skip
    asked = grader(**{
        **SCORE, "input": [{"role": "developer", "content": "Be {{item.q}}"}, {"role": "user", "content": parts}],
        "sampling_params": {"seed": 3, "temperature": 0, "max_completions_tokens": 9},
    })  # fmt: skip
    body = question(asked, HERE)
    assert (body["model"], body["seed"], body["temperature"], body["max_completion_tokens"]) == ("m", 3, 0, 9)
    assert "top_p" not in body
    assert body["messages"] == [
        {"role": "developer", "content": "Be two"},
        {"role": "user", "content": [
            {"type": "text", "text": "two"}, {"type": "text", "text": "plain"}, {"type": "text", "text": "o"},
            {"type": "image_url", "image_url": {"url": "https://x/two", "detail": "low"}},
            {"type": "input_audio", "input_audio": {"data": "AA==", "format": "wav"}},
        ]},
    ]  # fmt: skip
    labels = question(grader(**LABEL), HERE)["response_format"]["json_schema"]["schema"]["properties"][
        "result"
    ]
    assert labels["enum"] == ["good", "bad"]


@pytest.mark.parametrize(
    ("form", "content", "wanted"),
    [
        (SCORE, '{"result": 0.25}', 0.25), (SCORE, '{"result": 1}', 1), ({**SCORE, "range": [1, 5]}, '{"result": 4}', 4),
        (LABEL, '{"result": "good"}', 1), (LABEL, '{"result": "bad"}', 0),
    ],
)  # fmt: skip
def test_what_a_model_says_is_the_score(form: dict[str, Any], content: str, wanted: float) -> None:
    assert verdict(grader(**form), reply(content)) == wanted


@pytest.mark.parametrize(
    ("form", "content"),
    [
        (SCORE, "0.5"), (SCORE, '{"result": "0.5"}'), (SCORE, '{"result": true}'), (SCORE, '{"result": 1.5}'),
        (SCORE, '{"result": 0.5, "more": 1}'), (SCORE, 'It is {"result": 0.5}'), (SCORE, '{"result": NaN}'), (SCORE, None),
        (SCORE, ""), (LABEL, "good"), (LABEL, '{"result": "Good"}'), (LABEL, '{"result": 1}'), (LABEL, '{"result": ["good"]}'),
    ],
)  # fmt: skip
def test_any_other_form_is_no_score(form: dict[str, Any], content: str | None) -> None:
    with pytest.raises(Fault) as caught:
        verdict(grader(**form), reply(content))
    assert caught.value.kind == "model_grader_parse_error"


def test_a_refusal_is_told_as_one() -> None:
    for answer in (
        reply(None, refusal="no"),
        {"choices": [{"message": {}, "finish_reason": "content_filter"}]},
    ):
        with pytest.raises(Fault) as caught:
            verdict(grader(**SCORE), answer)
        assert caught.value.kind == "model_grader_refusal_error"


# ------------------------------------------------------------------ what is refused beforehand
@pytest.mark.parametrize(
    ("form", "param"),
    [
        ({"type": "python", "source": "print(1)"}, "grader.type"),
        ({"type": "text_similarity", "input": "", "reference": "", "evaluation_metric": "meteor"}, "grader.evaluation_metric"),
        ({"type": "text_similarity", "input": "", "reference": "", "evaluation_metric": "cosine"}, "grader.evaluation_metric"),
        ({**SCORE, "range": [1, 1]}, "grader.range"),
        ({**LABEL, "passing_labels": ["other"]}, "grader.passing_labels"),
        ({**LABEL, "labels": ["good", "good"]}, "grader.labels"),
        ({"type": "multi", "calculate_output": "p", "graders": {"p": {"type": "python", "name": "p", "source": ""}}},
         "grader.graders.p.type"),
    ],
)  # fmt: skip
def test_what_is_not_done_here_is_refused_by_name(form: dict[str, Any], param: str) -> None:
    with pytest.raises(Refused) as caught:
        refuse(grader(**form), encoder=False)
    assert caught.value.param == param


def test_what_no_item_could_mend_is_doubted_and_bounds_hold() -> None:
    one = {
        "type": "string_check",
        "name": "one",
        "input": "{{7*7}}",
        "reference": "{{item.x}}",
        "operation": "eq",
    }
    found = dict(doubts(grader(type="multi", graders={"one": one}, calculate_output="two")))
    assert list(found) == ["grader.graders.one.input", "grader.calculate_output"]
    assert not list(doubts(grader(**SCORE)))
    with pytest.raises(msgspec.ValidationError):
        grader(type="multi", graders={str(n): one for n in range(17)}, calculate_output="1")
    inner = {"type": "multi", "name": "m", "graders": {"one": one}, "calculate_output": "one"}
    with pytest.raises(msgspec.ValidationError):
        grader(type="multi", graders={"inner": inner}, calculate_output="inner")
    assert json.dumps(msgspec.to_builtins(grader(**SCORE)))
