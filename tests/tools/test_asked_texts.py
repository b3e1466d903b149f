"""What a student reads once tools were called: the conversation as one text, which of them it may answer, and files of
such conversations."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from desk_parts import TOOLS, tool, written

from gateway.protocol.asked import asked_of
from gateway.protocol.called import read_calls
from gateway.protocol.chat import ChatRequest, Message
from gateway.protocol.fine_tuning import BadRow, TuningRow, rows_of
from gateway.protocol.fingerprint import fingerprint
from optimizer.routing.eligibility import ineligible

Turn = dict[str, Any]
SYSTEM: Turn = {"role": "system", "content": "You work at an order desk."}
USER: Turn = {"role": "user", "content": "where is A-1, and where is A-2?"}


def call(name: str, number: int, **arguments: Any) -> Turn:
    return {"id": f"call_{number}", "type": "function", "function": {"name": name, "arguments": written(**arguments)}}


def called(*calls: Turn, content: Any = None) -> Turn:
    return {"role": "assistant", "content": content, "tool_calls": list(calls)}


def gave(number: int, content: Any) -> Turn:
    return {"role": "tool", "tool_call_id": f"call_{number}", "content": content}


BOTH = called(call("track", 1, order_id="A-1"), call("track", 2, order_id="A-2"))


def read(*turns: Turn) -> str:
    return asked_of(msgspec.convert(list(turns), list[Message]))


def test_the_user_comes_first_then_each_call_with_what_it_gave() -> None:
    expected = (
        "where is A-1, and where is A-2?\n\n"
        '-> [{"name":"track","arguments":{"order_id":"A-1"}},{"name":"track","arguments":{"order_id":"A-2"}}]\n'
        '<- {"status":"lost"}\n'
        '<- {"status":"shipped"}'
    )
    one, two = gave(1, '{"status":"lost"}'), gave(2, [{"type": "text", "text": '{"status":"shipped"}'}])
    assert read(SYSTEM, USER, BOTH, one, two) == read(SYSTEM, USER, BOTH, two, one) == expected
    again = called(call("cancel", 3, order_id="A-1"), content="It is lost.")
    assert read(USER, BOTH, one, two, again, gave(3, "done")) == (
        f'{expected}\nIt is lost.\n-> [{{"name":"cancel","arguments":{{"order_id":"A-1"}}}}]\n<- done'
    )
    assert read(SYSTEM, USER) == read(USER, BOTH, one, two, {"role": "assistant", "content": "ok"}, USER) == USER["content"]
    assert read(SYSTEM) == ""


def body(*turns: Turn) -> dict[str, Any]:
    return {"model": "desk", "messages": list(turns), "tools": TOOLS}


def test_students_may_answer_after_whole_rounds_of_calls() -> None:
    rounds = (USER, BOTH, gave(2, "x"), gave(1, "y"), called(call("cancel", 3, order_id="A-1")), gave(3, "done"))
    assert ineligible(body(SYSTEM, *rounds)) == ""
    assert ineligible(body(SYSTEM, *rounds[:4])) == ""


@pytest.mark.parametrize(
    "turns",
    [
        (USER, BOTH),
        (USER, BOTH, gave(1, "x")),
        (USER, BOTH, gave(1, "x"), gave(1, "x")),
        (USER, BOTH, gave(1, "x"), gave(2, "y"), gave(3, "z")),
        (USER, BOTH, gave(1, "x"), gave(2, [{"type": "image_url", "image_url": {}}])),
        (USER, BOTH, gave(1, "x"), gave(2, None)),
        (USER, BOTH, gave(1, "x"), gave(2, "y"), USER),
        (USER, BOTH, gave(1, "x"), gave(2, "y"), SYSTEM),
        (USER, called(), gave(1, "x")),
        (USER, called(call("track", 1), call("track", 1)), gave(1, "x"), gave(1, "x")),
        (USER, called({"id": "call_1", "type": "custom", "custom": {"name": "a", "input": "b"}}), gave(1, "x")),
        (USER, {"role": "assistant", "content": "hm"}, USER),
        (BOTH, gave(1, "x"), gave(2, "y")),
    ],
)
def test_everything_else_stays_with_the_teacher(turns: tuple[Turn, ...]) -> None:
    assert ineligible(body(*turns)) == "the conversation has more than one turn"


def test_each_round_is_a_kind_of_request_of_its_own() -> None:
    rounds: list[Turn] = [SYSTEM, USER, called(call("track", 1, order_id="A-1")), gave(1, "x"),
                          called(call("cancel", 2, order_id="A-1")), gave(2, "y")]  # fmt: skip
    kinds = {fingerprint(msgspec.convert(body(*rounds[:end]), ChatRequest)) for end in (2, 4, 6)}
    assert len(kinds) == 3


# ---------------------------------------------------------------- files
def line(*turns: Turn, tools: Any = TOOLS) -> bytes:
    return json.dumps({"messages": list(turns)} | ({"tools": tools} if tools else {})).encode()


FIRST = line(SYSTEM, USER, BOTH)


def test_files_hold_calls_and_what_follows_them() -> None:
    last = {"role": "assistant", "content": "Both are here."}
    lines = [*[FIRST] * 9, line(SYSTEM, USER, BOTH, gave(2, "b"), gave(1, "a"), last)]
    found = list(rows_of(lines, "supervised"))
    calls = read_calls(found[0].answer)
    assert calls is not None and [one.name for one in calls] == ["track", "track"]
    assert found[0].text == USER["content"]
    assert (found[9].text.split("\n")[-2:], found[9].answer) == (["<- a", "<- b"], "Both are here.")
    assert found[0].tools == found[9].tools != b""
    preferred = {
        "input": {"messages": [SYSTEM, USER], "tools": TOOLS},
        "preferred_output": [BOTH], "non_preferred_output": [{"role": "assistant", "content": "no"}],
    }  # fmt: skip
    (row, *_) = rows_of([json.dumps(preferred).encode()] * 10, "dpo")
    assert (row.answer, row.rejected) == (found[0].answer, ("no",))


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (line(SYSTEM, USER, BOTH, tools=TOOLS[:1]), "share one list of tools"),
        (line(SYSTEM, USER, called(call("refund", 1))), "'refund', which is not among its tools"),
        (line(SYSTEM, USER, {**BOTH, "content": "well"}), "words beside"),
        (line(SYSTEM, USER, called({"id": "1", "type": "custom"})), "calls of functions"),
        (line(SYSTEM, USER, BOTH, gave(1, "x"), {"role": "assistant", "content": "y"}), "with a result each"),
        (line(SYSTEM, USER, {"role": "assistant", "content": '[{"name":"track","arguments":{}}]'}), "reads like"),
    ],
)
def test_a_bad_line_with_tools_is_named(bad: bytes, message: str) -> None:
    with pytest.raises(BadRow, match=message) as problem:
        list(rows_of([FIRST, bad, *[FIRST] * 10], "supervised"))
    assert str(problem.value).startswith("line 2: ")


def test_what_else_is_wrong_with_a_row_is_named_with_its_line() -> None:
    def fault(row: TuningRow) -> str:
        return "no" if "A-9" in row.answer else ""

    other = line(SYSTEM, USER, called(call("track", 1, order_id="A-9")))
    with pytest.raises(BadRow, match="line 3: no"):
        list(rows_of([FIRST, FIRST, other, *[FIRST] * 9], "supervised", fault))
    plain = line(USER, {"role": "assistant", "content": "x"}, tools=[tool("x", {}, [])])
    assert len(list(rows_of([plain] * 10, "supervised", fault))) == 10
