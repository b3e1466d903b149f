"""A certified student goes on where a tool has answered, over every API, and what its teacher says there is captured."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import anthropic
import msgspec
import openai
import pytest
from gateway_server import Gateway
from scripted import Line, Provider
from student_house import house, sure_of
from surface_helpers import completion

from gateway.protocol.chat import ChatRequest
from gateway.protocol.fingerprint import fingerprint
from gateway.storage.records import CallRecord
from gateway.storage.writing.capture import capture_row

_PARAMETERS = {"type": "object", "properties": {"to": {"type": "string"}}, "required": ["to"]}
TOOLS: Any = [
    {"type": "function", "function": {"name": name, "parameters": _PARAMETERS}} for name in ("find", "write")
]
_FIRST: Any = {"id": "call_9", "type": "function", "function": {"name": "find", "arguments": '{"to":"Ann"}'}}
TALK: Any = [
    {"role": "user", "content": "write to Ann"},
    {"role": "assistant", "content": None, "tool_calls": [_FIRST]},
    {"role": "tool", "tool_call_id": "call_9", "content": '{"mail": "ann@example.com"}'},
]
READ = 'write to Ann\n\n-> [{"name":"find","arguments":{"to":"Ann"}}]\n<- {"mail": "[EMAIL_1]"}'
SAID = '[{"name":"write","arguments":{"to":"[EMAIL_1]"}}]'


@pytest.fixture
def engine() -> Provider:
    made = Provider()
    made.behave = sure_of(SAID)
    return made


@pytest.fixture
async def served(tmp_path: Path, upstream: Provider, engine: Provider) -> AsyncIterator[Gateway]:
    shape = fingerprint(msgspec.convert({"model": "sorting", "messages": TALK, "tools": TOOLS}, ChatRequest))
    async with house(tmp_path, upstream, engine, shape) as made:
        yield made


async def test_it_goes_on_where_a_tool_has_answered(
    client: openai.AsyncOpenAI, claude: anthropic.AsyncAnthropic, served: Gateway, upstream: Provider, engine: Provider
) -> None:
    answer = await client.chat.completions.create(model="sorting", messages=TALK, tools=TOOLS)
    (call,) = answer.choices[0].message.tool_calls or ()
    assert answer.choices[0].finish_reason == "tool_calls"
    assert (call.function.name, call.function.arguments) == ("write", '{"to":"ann@example.com"}')  # type: ignore[union-attr]
    assert call.id != "call_9"
    blocks: Any = [{"name": one["function"]["name"], "input_schema": _PARAMETERS} for one in TOOLS]
    said: Any = [
        TALK[0],
        {"role": "assistant", "content": [{"type": "tool_use", "id": "call_9", "name": "find", "input": {"to": "Ann"}}]},
        {"role": "user", "content": [
            {"type": "tool_result", "tool_use_id": "call_9", "content": '{"mail": "ann@example.com"}'}]},
    ]  # fmt: skip
    message = await claude.messages.create(model="sorting", max_tokens=500, messages=said, tools=blocks)
    assert [(one.name, one.input) for one in message.content if one.type == "tool_use"] == [
        ("write", {"to": "ann@example.com"})
    ]
    assert not upstream.seen
    assert [one.body["messages"] for one in engine.seen] == [[{"role": "user", "content": READ}]] * 2
    records = [one for one in served.records() if isinstance(one, CallRecord)]
    assert [(one.endpoint, one.student, one.arm) for one in records] == [("chat", "stu", "live"), ("messages", "stu", "live")]


async def test_what_the_teacher_says_there_is_a_lesson(client: openai.AsyncOpenAI, served: Gateway, upstream: Provider) -> None:
    async def teach(line: Line) -> None:
        wired = {"id": "call_1", "type": "function", "function": {"name": "write", "arguments": '{"to":"ann@example.com"}'}}
        answer = completion({"content": None, "tool_calls": [wired]})
        answer["choices"][0]["finish_reason"] = "tool_calls"
        await line.answer(200, answer)

    upstream.behave = teach
    await client.chat.completions.create(
        model="sorting", messages=TALK, tools=TOOLS, extra_headers={"x-understudy-force": "teacher"}
    )
    record = next(one for one in served.records() if isinstance(one, CallRecord))
    assert record.text is not None
    row = capture_row(record, record.text)
    assert (row["last_user_text"], row["answer_text"]) == (READ, SAID)
    assert row["fingerprint"] == record.fingerprint != ""
    first = json.loads(row["request"])["messages"][2]
    assert first["content"] == '{"mail": "[EMAIL_1]"}'


async def test_a_conversation_of_several_turns_stays_with_the_teacher(
    client: openai.AsyncOpenAI, upstream: Provider, engine: Provider
) -> None:
    for more in ([*TALK, {"role": "assistant", "content": "Done."}, TALK[0]], TALK[:2], TALK[::2]):
        await client.chat.completions.create(model="sorting", messages=more, tools=TOOLS)
    assert (len(upstream.seen), len(engine.seen)) == (3, 0)
