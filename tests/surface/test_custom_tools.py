"""Custom tools in the Responses API and in chat: as they are where a provider knows them, else as a function of one text."""

from __future__ import annotations

import json
from typing import Any

import openai
import pytest
from gateway_server import served_over
from scripted import Line, Provider
from surface_helpers import say, stream, tool_delta

POLICIES = """
providers:
  first: {{type: openai, base_url: "{url}", api_key: sk-upstream-secret}}
  native: {{type: openai, api: responses, base_url: "{url}", api_key: sk-upstream-secret}}
  groq: {{type: openai, profile: groq, base_url: "{url}", api_key: sk-upstream-secret}}
  lax: {{type: openai, profile: groq, base_url: "{url}", api_key: sk-upstream-secret, drop_params: true}}
  claude: {{type: anthropic, base_url: "{url}", api_key: sk-upstream-secret}}
keys: [{{name: tests, key: {key}, project: default}}]
timeouts: {{connect: 30, first_byte: 30, chunk_gap: 30, total: 60}}
"""
MODELS = {"first": "m", "native": "m", "groq": "m", "lax": "m", "claude": "claude-sonnet-4-5"}
SQL: Any = {"type": "custom", "name": "sql", "description": "Runs SQL."}
GRAMMAR: Any = {**SQL, "format": {"type": "grammar", "syntax": "lark", "definition": "start: WORD"}}
QUERY = 'SELECT "a"\nFROM b'
AS_JSON = json.dumps({"input": QUERY})


TASKS = "\n".join([
    *(f"  - {{{{name: {name}, candidates: [{{{{provider: {name}, model: {model}}}}}]}}}}" for name, model in MODELS.items()),
    "  - {{name: mixed, candidates: [{{provider: first, model: m}}, {{provider: groq, model: m}}]}}",
])  # fmt: skip
served = served_over(f"{POLICIES}tasks:\n{TASKS}\n")


def function_call(call_id: str = "call_1") -> dict[str, Any]:
    return {"id": call_id, "type": "function", "function": {"name": "sql", "arguments": AS_JSON}}


def custom_call() -> dict[str, Any]:
    return {"id": "call_1", "type": "custom", "custom": {"name": "sql", "input": QUERY}}


async def test_who_knows_them_gets_them_as_they_are(client: openai.AsyncOpenAI, upstream: Provider) -> None:
    upstream.behave = say({"tool_calls": [custom_call()]}, "tool_calls")
    answer = await client.responses.create(
        model="first", input="x", tools=[GRAMMAR], tool_choice={"type": "custom", "name": "sql"}
    )
    (item,) = answer.output
    assert item.type == "custom_tool_call" and (item.name, item.input, item.call_id) == ("sql", QUERY, "call_1")
    body = upstream.seen[-1].body
    nested = {"type": "grammar", "grammar": {"syntax": "lark", "definition": "start: WORD"}}
    assert body["tools"] == [{"type": "custom", "custom": {"name": "sql", "description": "Runs SQL.", "format": nested}}]
    assert body["tool_choice"] == {"type": "custom", "custom": {"name": "sql"}}
    upstream.behave = say({"content": "done"})
    output: Any = {"type": "custom_tool_call_output", "call_id": "call_1", "output": "3 rows"}
    await client.responses.create(model="first", previous_response_id=answer.id, tools=[GRAMMAR], input=[output])
    _, called, told = upstream.seen[-1].body["messages"]
    assert called["tool_calls"] == [custom_call()] and told == {
        "role": "tool", "tool_call_id": "call_1", "content": "3 rows",
    }  # fmt: skip


async def test_openais_own_api_is_asked_in_its_own_shape(client: openai.AsyncOpenAI, upstream: Provider) -> None:
    async def refused(line: Line) -> None:
        await line.answer(400, {"error": {"message": "no", "type": "invalid_request_error"}})

    upstream.behave = refused
    with pytest.raises(openai.BadRequestError):
        await client.responses.create(model="native", input="x", tools=[GRAMMAR])
    assert upstream.seen[-1].body["tools"] == [GRAMMAR]


@pytest.mark.parametrize("interleaved", [False, True])
async def test_a_stream_of_custom_calls(client: openai.AsyncOpenAI, upstream: Provider, interleaved: bool) -> None:
    def piece(index: int, text: str, call_id: str = "") -> dict[str, Any]:
        first: Any = {"id": call_id, "type": "custom", "custom": {"name": "sql", "input": text}}
        return {"tool_calls": [{"index": index, **(first if call_id else {"custom": {"input": text}})}]}

    pieces = [piece(0, "", "call_a"), piece(0, "SELECT "), piece(0, "1"), piece(1, "", "call_b"), piece(1, "SELECT 2")]
    if interleaved:
        pieces = [pieces[at] for at in (0, 3, 1, 4, 2)]
    upstream.behave = stream(*pieces, finish="tool_calls")
    async with client.responses.stream(model="first", input="x", tools=[SQL]) as events:
        kinds = [one.type.removeprefix("response.") async for one in events]
        answer = await events.get_final_response()
    assert [(one.call_id, one.input) for one in answer.output if one.type == "custom_tool_call"] == [
        ("call_a", "SELECT 1"), ("call_b", "SELECT 2"),
    ]  # fmt: skip
    each = ["output_item.added", "custom_tool_call_input.delta", "custom_tool_call_input.done", "output_item.done"]
    once = [kind for at, kind in enumerate(kinds) if at == 0 or kinds[at - 1] != kind]
    assert once == ["created", "in_progress", *each, *each, "completed"]


async def test_others_get_a_function_and_the_client_its_custom_call(
    client: openai.AsyncOpenAI, upstream: Provider
) -> None:
    upstream.behave = say({"tool_calls": [function_call()]}, "tool_calls")
    answer = await client.responses.create(
        model="groq", input="x", tools=[SQL], tool_choice={"type": "custom", "name": "sql"}
    )
    (item,) = answer.output
    assert item.type == "custom_tool_call" and item.input == QUERY
    body = upstream.seen[-1].body
    (tool,) = body["tools"]
    assert tool["type"] == "function" and tool["function"]["parameters"]["required"] == ["input"]
    assert body["tool_choice"] == {"type": "function", "function": {"name": "sql"}}
    upstream.behave = say({"content": "done"})
    output: Any = {"type": "custom_tool_call_output", "call_id": "call_1", "output": "3 rows"}
    await client.responses.create(model="groq", previous_response_id=answer.id, input=[output])
    (call,) = upstream.seen[-1].body["messages"][1]["tool_calls"]
    assert call["type"] == "function" and json.loads(call["function"]["arguments"]) == {"input": QUERY}


@pytest.mark.parametrize(("model", "failing"), [("groq", 1), ("mixed", 1), ("mixed", 2)])
async def test_every_attempt_speaks_the_words_of_who_is_asked(
    client: openai.AsyncOpenAI, upstream: Provider, model: str, failing: int
) -> None:
    async def busy(line: Line) -> None:
        await line.answer(503, {"error": {"message": "later", "type": "server_error"}})

    async def as_asked(line: Line) -> None:
        native = line.seen.body["tools"][0]["type"] == "custom"
        await say({"tool_calls": [custom_call() if native else function_call()]}, "tool_calls")(line)

    upstream.behave, upstream.script = as_asked, [busy] * failing
    answer = await client.responses.create(model=model, input="x", tools=[SQL])
    assert answer.output[0].type == "custom_tool_call" and answer.output[0].input == QUERY
    offered = [seen.body["tools"][0]["type"] for seen in upstream.seen]
    assert len(offered) == failing + 1
    assert offered == sorted(offered) and (model == "mixed" or set(offered) == {"function"})


async def test_another_dialect(client: openai.AsyncOpenAI, upstream: Provider) -> None:
    async def uses(line: Line) -> None:
        block = {"type": "tool_use", "id": "toolu_1", "name": "sql", "input": {"input": QUERY}}
        await line.answer(200, {
            "id": "msg_1", "type": "message", "role": "assistant", "model": "claude-sonnet-4-5", "content": [block],
            "stop_reason": "tool_use", "stop_sequence": None, "usage": {"input_tokens": 10, "output_tokens": 5},
        })  # fmt: skip

    upstream.behave = uses
    answer = await client.responses.create(model="claude", input="x", tools=[SQL])
    (item,) = answer.output
    assert item.type == "custom_tool_call" and item.input == QUERY
    assert [one["name"] for one in upstream.seen[-1].body["tools"]] == ["sql"]


async def test_a_translated_stream_beside_a_function(client: openai.AsyncOpenAI, upstream: Provider) -> None:
    weather: Any = {"type": "function", "name": "weather", "parameters": {"type": "object", "properties": {}}, "strict": False}
    parts = [tool_delta(1, AS_JSON[at : at + 5]) for at in range(0, len(AS_JSON), 5)]
    upstream.behave = stream(
        {"content": "ok"}, tool_delta(0, "", "call_w", "weather"), tool_delta(0, "{}"), tool_delta(1, "", "call_s", "sql"),
        *parts, finish="tool_calls",
    )  # fmt: skip
    async with client.responses.stream(model="groq", input="x", tools=[weather, SQL]) as events:
        async for _ in events:
            pass
        answer = await events.get_final_response()
    said, called, custom = answer.output
    assert (said.type, called.type, custom.type) == ("message", "function_call", "custom_tool_call")
    assert custom.type == "custom_tool_call" and (custom.call_id, custom.input) == ("call_s", QUERY)
    nested: Any = [{"type": "custom", "custom": {"name": "sql"}}]
    chunks = [
        one async for one in await client.chat.completions.create(
            model="groq", messages=[{"role": "user", "content": "x"}], tools=nested, stream=True,
            stream_options={"include_usage": True},
        )
    ]  # fmt: skip
    calls: Any = [call.model_dump() for one in chunks if one.choices for call in one.choices[0].delta.tool_calls or ()]
    assert [one["custom"] for one in calls if one["type"] == "custom"] == [{"name": "sql", "input": QUERY}]
    ends = [one.choices[0].finish_reason for one in chunks if one.choices]
    assert ends[-1] == "tool_calls" and not any(ends[:-1]) and chunks[-1].usage and chunks[-1].usage.total_tokens == 42


async def test_a_grammar_is_refused_by_name_or_told_on_demand(client: openai.AsyncOpenAI, upstream: Provider) -> None:
    with pytest.raises(openai.BadRequestError, match=r"grammar.*\(provider 'groq'\)") as caught:
        await client.responses.create(model="groq", input="x", tools=[GRAMMAR])
    assert isinstance(caught.value.body, dict) and caught.value.body["param"] == "tools[0].format"
    assert not upstream.seen
    upstream.behave = say({"content": "ok"})
    await client.responses.create(model="lax", input="x", tools=[GRAMMAR])
    assert "start: WORD" in upstream.seen[-1].body["tools"][0]["function"]["description"]


async def test_a_call_in_no_form_is_passed_on_as_it_is(client: openai.AsyncOpenAI, upstream: Provider) -> None:
    odd = {"id": "c", "type": "function", "function": {"name": "sql", "arguments": "SELECT 1"}}
    upstream.behave = say({"tool_calls": [odd]}, "tool_calls")
    answer = await client.responses.create(model="groq", input="x", tools=[SQL])
    assert answer.output[0].type == "custom_tool_call" and answer.output[0].input == "SELECT 1"


async def test_which_tools_are_allowed(client: openai.AsyncOpenAI, upstream: Provider) -> None:
    upstream.behave = say({"content": "ok"})
    named: Any = {"type": "allowed_tools", "mode": "auto", "tools": [{"type": "custom", "name": "sql"}]}
    for model, kind in (("first", "custom"), ("groq", "function")):
        await client.responses.create(model=model, input="x", tools=[SQL], tool_choice=named)
        allowed = {"mode": "auto", "tools": [{"type": kind, kind: {"name": "sql"}}]}
        assert upstream.seen[-1].body["tool_choice"] == {"type": "allowed_tools", "allowed_tools": allowed}
