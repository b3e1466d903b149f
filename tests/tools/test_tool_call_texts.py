"""Tool calls as one text: written, read, validated, compared, curated."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest
from desk_parts import TOOLS, tool, written

from gateway.protocol.called import ToolCall, calls_text, read_calls, spoken
from gateway.schemas.cache import Schemas
from gateway.storage.values import TrainingCall
from gateway.structured.calling import calls_allowed, words_allowed
from optimizer.routing.eligibility import ineligible
from optimizer.scorers import agrees, scores
from trainer.datasets.card import readable
from trainer.datasets.curate import Chain, curate
from trainer.datasets.forms import form_of
from trainer.datasets.versions import assemble

BODY = {"tools": TOOLS}
_PIECES = ['{"a": 1}', "{}", ' {"b":[1, {"c":"}]"}]} ', '{"d":"\\u00e9 ] } ,"}', "", "not json", "[1]", '"text"', "{", "NaN"]


def answer(*calls: tuple[str, str], content: str | None = None) -> dict[str, Any]:
    wired = [
        {"id": f"call_{at}", "type": "function", "function": {"name": name, "arguments": arguments}}
        for at, (name, arguments) in enumerate(calls)
    ]
    message = {"role": "assistant", "content": content, "tool_calls": wired}
    return {"choices": [{"index": 0, "message": message, "finish_reason": "tool_calls"}]}


def test_every_call_comes_back_byte_for_byte() -> None:
    rng = random.Random(1)
    for _ in range(300):
        calls = [
            ToolCall(rng.choice(["track", "a b", 'quo"te', "größe"]), rng.choice(_PIECES))
            for _ in range(rng.randrange(1, 4))
        ]
        text = calls_text(calls)
        assert read_calls(text) == calls
        assert spoken(answer(*((one.name, one.arguments) for one in calls)), BODY) == text
        cut = text[: rng.randrange(len(text))]
        assert read_calls(cut) is None
        assert read_calls(f"{text} ") is None


def test_what_cannot_be_told_as_one_text_is_nothing() -> None:
    call = ("track", written(order_id="A-1"))
    assert spoken(answer(call, content="One moment, please."), BODY) == ""
    words = {"choices": [{"message": {"content": calls_text([ToolCall(*call)])}}]}
    assert spoken(words, BODY) == ""  # nobody can make a teacher's words into a call
    assert spoken(words, {}) == calls_text([ToolCall(*call)])  # without tools it is what it is
    assert spoken({"choices": [{"message": {"content": "hello"}}]}, BODY) == "hello"
    other = answer(call)
    other["choices"][0]["message"]["tool_calls"][0] = {"type": "custom", "custom": {"name": "x", "input": "y"}}
    assert spoken(other, BODY) == ""
    for junk in ({}, {"choices": None}, {"choices": [{"message": {"tool_calls": [1, {"function": 3}]}}]}):
        assert spoken(junk, BODY) == ""


@pytest.mark.parametrize(
    ("more", "calls", "allowed"),
    [
        ({}, [("track", '{"order_id":"A-1"}')], True),
        ({}, [("track", '{"order_id":7}')], False),
        ({}, [("track", '{"order_id":"A-1","more":1}')], False),
        ({}, [("track", "not json")], False),
        ({}, [("refund", "{}")], False),
        ({"parallel_tool_calls": False}, [("track", '{"order_id":"A-1"}')], True),
        ({"parallel_tool_calls": False}, [("track", '{"order_id":"A-1"}')] * 2, False),
        ({"tool_choice": "none"}, [("track", '{"order_id":"A-1"}')], False),
        ({"tool_choice": {"type": "function", "function": {"name": "track"}}}, [("track", '{"order_id":"A"}')], True),
        ({"tool_choice": {"type": "function", "function": {"name": "track"}}}, [("cancel", '{"order_id":"A"}')], False),
        (
            {"tool_choice": {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": [
                {"type": "function", "function": {"name": "cancel"}}]}}},
            [("track", '{"order_id":"A"}')],
            False,
        ),
        ({"tools": [tool("track", {"a": {"$dynamicRef": "#x"}}, [])]}, [("track", "{}")], False),
    ],
)  # fmt: skip
def test_only_calls_that_the_request_allows(more: dict[str, Any], calls: list[tuple[str, str]], allowed: bool) -> None:
    assert calls_allowed({**BODY, **more}, [ToolCall(*one) for one in calls], Schemas(), {}) is allowed


def test_a_masked_value_counts_as_the_clients_own() -> None:
    body = {"tools": [tool("write", {"to": {"type": "string", "pattern": "@"}}, ["to"])]}
    calls = [ToolCall("write", '{"to":"[EMAIL_1]"}')]
    assert not calls_allowed(body, calls, Schemas(), {})
    assert calls_allowed(body, calls, Schemas(), {"[EMAIL_1]": "ann@example.com"})


def test_words_only_where_they_may_be() -> None:
    assert all(words_allowed({"tool_choice": one}) for one in (None, "auto", "none"))
    named = {"type": "function", "function": {"name": "track"}}
    assert not any(words_allowed({"tool_choice": one}) for one in ("required", named))


def test_functions_are_for_students_and_other_tools_are_not() -> None:
    plain = {"model": "t", "messages": [{"role": "user", "content": "x"}]}
    assert not ineligible({**plain, "tools": TOOLS})
    for tools in ([{"type": "web_search"}], [*TOOLS, {"type": "custom", "custom": {"name": "x"}}], "all", [3]):
        assert ineligible({**plain, "tools": tools}) == "'tools' holds more than functions"
    back = [*plain["messages"], {"role": "assistant", "tool_calls": []}, {"role": "tool", "content": "1"}]
    assert ineligible({**plain, "messages": back, "tools": TOOLS})  # nothing was called


def test_calls_agree_whatever_their_order_and_spacing() -> None:
    one, two = ("track", '{"order_id":"A-1","n":1}'), ("cancel", '{"order_id":"A-2"}')
    here = calls_text([ToolCall(*one), ToolCall(*two)])
    there = calls_text([ToolCall(*two), ToolCall("track", '{"n": 1.0, "order_id": "A-1"}')])
    assert agrees("tool_calls", here, there)
    assert not agrees("exact", here, there)
    assert not agrees("tool_calls", here, calls_text([ToolCall(*one)]))
    assert agrees("tool_calls", "a word", "a word")
    assert not agrees("tool_calls", "a word", "another")
    assert scores(["tool_calls"], here, calls_text([ToolCall(*one)])) == {"tool_calls": 0.5}


def _lesson(number: int, said: str, finish: str = "tool_calls") -> TrainingCall:
    return TrainingCall(
        call_id=f"c{number}", created_at=float(number), group=f"g{number}", key_id="k", end_user="", session="",
        text=f"matter {'abcdefghij'[number % 10] * (2 + number // 10)}", answer=said, finish_reason=finish,
        completion_tokens=9, metadata={},
    )  # fmt: skip


def test_answers_that_break_a_schema_teach_nothing_and_are_counted_by_kind() -> None:
    good = calls_text([ToolCall("track", written(order_id="A-1"))])
    answers = [
        good,
        calls_text([ToolCall("track", written(order_id=5))]),
        calls_text([ToolCall("track", "no json")]),
        calls_text([ToolCall("refund", "{}")]),
        calls_text([ToolCall("track", written(order_id="A-1")), ToolCall("cancel", written(order_id="A", reason="?"))]),
        calls_text([ToolCall("track", written(order_id="[PHONE_1]"))]),
    ]
    lessons = [*(_lesson(number, one) for number, one in enumerate(answers)), _lesson(9, "in words", "stop"),
               _lesson(10, "")]  # fmt: skip
    kept, steps = curate(lessons, Chain(valid=form_of({**BODY, "response_format": {"type": "text"}})))
    assert [one.answer for one in kept] == [good, answers[5], "in words"]
    schema = next(one for one in steps if one.name == "schema")
    assert (schema.found, schema.noted) == (4, {"arguments": 3, "tool not offered": 1})
    assert steps[0].noted == {"tool_calls": 1}
    form = {"type": "json_schema", "json_schema": {"name": "t", "schema": {"type": "object"}}}
    kept, steps = curate(lessons, Chain(valid=form_of({**BODY, "response_format": form})))
    assert [one.answer for one in kept] == [good, answers[5]]
    assert next(one for one in steps if one.name == "schema").noted["response format"] == 1
    version = assemble([_lesson(number, one) for number, one in enumerate(answers * 20)], project="p", task="t",
                       fingerprint="f", run="r", masked=True, chain=Chain(valid=form_of(BODY)))  # fmt: skip
    assert "arguments" in readable(version.card, version.digest)
    assert json.dumps(version.card)
