from __future__ import annotations

import json
import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from optimizer.scorers import SCORERS, agrees, pass_at_k, scores
from optimizer.scorers.overlap import bleu, rouge_l, token_f1
from optimizer.scorers.structured import json_fields, numeric, tool_calls


def test_exact_is_exact() -> None:
    assert agrees("exact", "billing", "billing")
    assert not agrees("exact", "Billing", "billing")
    assert not agrees("exact", "billing ", "billing")


@pytest.mark.parametrize("other", ["Billing", "  billing\n", "BILLING.", "billing !", "Billing…"])
def test_folded_ignores_case_space_and_final_punctuation(other: str) -> None:
    assert agrees("folded", "billing", other)


def test_folded_keeps_what_matters() -> None:
    assert agrees("folded", "refund  request", "Refund request")
    assert not agrees("folded", "refundrequest", "refund request")
    assert not agrees("folded", "1.5", "15")


def test_an_unknown_comparison_is_refused() -> None:
    with pytest.raises(ValueError, match="exact, folded"):
        agrees("fuzzy", "a", "a")


@pytest.mark.parametrize(
    ("student", "teacher", "bleu_is", "rouge_is"),
    [  # by sacrebleu 2 (effective order) and rouge-score 0.1
        ("the cat sat on a mat", "the cat sat on the mat", 0.537285, 5 / 6),
        ("It's 3.5, or 1,000!", "It's 3.5 or 1,000", 0.229575, 1.0),
        ("foo-bar & x/y", "x/y & foo-bar", 0.451801, 0.5),
        ("yes", "no", 0.0, 0.0),
        ("yes", "yes", 1.0, 1.0),
    ],
)
def test_bleu_and_rouge_are_the_known_ones(student: str, teacher: str, bleu_is: float, rouge_is: float) -> None:
    assert bleu(student, teacher) == pytest.approx(bleu_is, abs=1e-5)
    assert rouge_l(student, teacher) == pytest.approx(rouge_is, abs=1e-5)


def test_token_f1_is_squads() -> None:
    assert token_f1("The billing team", "billing team.") == 1.0
    assert token_f1("billing", "billing team") == pytest.approx(2 / 3)
    assert token_f1("", "") == 1.0
    assert token_f1("", "x") == 0.0


def test_json_is_compared_by_value() -> None:
    assert agrees("json", '{"a": 1, "b": [true]}', '```json\n{"b":[true],"a":1.0}\n```')
    assert not agrees("json", '{"a": 1}', '{"a": true}')
    assert not agrees("json", "not json", "not json"), "junk is nobody's equal"
    assert not agrees("json", "NaN", "NaN")
    assert json_fields('{"a": 1, "b": {"c": "x"}}', '{"a": 1, "b": {"c": "y"}}') == pytest.approx(0.5)
    assert json_fields('{"a": []}', '{"a": []}') == 1.0
    assert json_fields("[1, 2, 2]", "[2, 2, 3]") == pytest.approx(2 / 3)


@pytest.mark.parametrize(
    ("student", "teacher", "same"),
    [("The answer is 1,234.50", "1234.5", 1.0), ("50%", "0.5", 1.0), ("3", "4", 0.0), ("none", "4", 0.0), ("-2e3", "-2000", 1.0)],
)
def test_numbers(student: str, teacher: str, same: float) -> None:
    assert numeric(student, teacher) == same
    assert agrees("numeric", student, teacher) is bool(same)


def test_tool_calls_are_compared_as_calls() -> None:
    one = [{"name": "find", "arguments": {"city": "Bern", "n": 1}}, {"name": "stop", "arguments": {}}]
    wire = [{"type": "function", "function": {"name": "stop", "arguments": ""}},
            {"type": "function", "function": {"name": "find", "arguments": '{"n": 1.0, "city": "Bern"}'}}]  # fmt: skip
    assert tool_calls(json.dumps(one), json.dumps(wire)) == 1.0
    assert tool_calls(json.dumps(one[:1]), json.dumps(wire)) == 0.5
    assert tool_calls("[]", "[]") == 1.0
    assert tool_calls('[{"name": "find", "arguments": "{broken"}]', json.dumps(wire)) == 0.0


def test_pass_at_k_is_unbiased() -> None:
    rng = random.Random(1)
    truth, k = 0.3, 3
    found = [pass_at_k(8, sum(rng.random() < truth for _ in range(8)), k) for _ in range(20_000)]
    assert sum(found) / len(found) == pytest.approx(1 - (1 - truth) ** k, abs=0.01)
    with pytest.raises(ValueError, match="pass@3"):
        pass_at_k(2, 1, 3)


TEXTS = st.text(max_size=60) | st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
).map(json.dumps)


@given(TEXTS, TEXTS)
def test_every_score_is_a_share_whatever_the_texts(student: str, teacher: str) -> None:
    found = scores(SCORERS, student, teacher)
    assert all(0.0 <= value <= 1.0 for value in found.values()), found


@given(st.text(min_size=1, max_size=60))
def test_the_same_text_is_as_good_as_can_be(text: str) -> None:
    found: dict[str, Any] = scores(["exact", "folded", "token_f1", "rouge_l", "bleu"], text, text)
    assert all(value == pytest.approx(1.0) for value in found.values()), found


def test_deep_and_long_answers_hold_nobody_up() -> None:
    deep = "[" * 5000 + "]" * 5000
    assert json_fields(deep, deep) in (0.0, 1.0)
    assert not agrees("json", deep, "[]")
    long = "word " * 50_000
    assert rouge_l(long, long) == bleu(long, long) == 1.0
