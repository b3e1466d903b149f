"""Tools that clients of the Responses API group in namespaces, add on the way or let their model look for, as codex
does: every provider is offered them flat, and calls come back under the names that the client knows."""

from __future__ import annotations

import json
from typing import Any

import openai
import pytest
from gateway_server import served_over
from scripted import Line, Provider
from surface_helpers import call, say, stream, tool_delta

served = served_over("""
providers:
  first: {{type: openai, base_url: "{url}", api_key: sk-upstream-secret}}
  native: {{type: openai, api: responses, base_url: "{url}", api_key: sk-upstream-secret}}
  claude: {{type: anthropic, base_url: "{url}", api_key: sk-upstream-secret}}
keys: [{{name: tests, key: {key}, project: default}}]
timeouts: {{connect: 30, first_byte: 30, chunk_gap: 30, total: 60}}
""")
CITY: Any = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
FORECAST: Any = {"type": "function", "name": "forecast", "description": "Tells it.", "strict": False, "parameters": CITY}
PATCH: Any = {"type": "custom", "name": "patch", "description": "Edits files."}
WEATHER: Any = {"type": "namespace", "name": "mcp__weather", "description": "Of cities.", "tools": [FORECAST, PATCH]}
PLAIN: Any = {"type": "function", "name": "shell", "strict": False, "parameters": {"type": "object", "properties": {}}}
SEARCH: Any = {
    "type": "tool_search", "execution": "client", "description": "Finds tools.",
    "parameters": {"type": "object", "properties": {"query": {"type": "string"}}},
}  # fmt: skip
BONN = '{"city": "Bonn"}'
LONG = "a_namespace_with_quite_a_long_name_indeed"


def names(upstream: Provider) -> list[str]:
    """What the provider was offered last."""
    return [tool[tool["type"]]["name"] for tool in upstream.seen[-1].body["tools"]]


async def refused(line: Line) -> None:
    await line.answer(400, {"error": {"message": "no", "type": "invalid_request_error"}})


async def test_a_namespace_is_offered_flat_and_called_by_both_names(
    client: openai.AsyncOpenAI, upstream: Provider
) -> None:
    upstream.behave = say({"tool_calls": [call("call_1", "mcp__weather__forecast", BONN)]}, "tool_calls")
    answer = await client.responses.create(model="first/m", input="x", tools=[PLAIN, WEATHER])
    assert names(upstream) == ["shell", "mcp__weather__forecast", "mcp__weather__patch"]
    first = upstream.seen[-1].body["tools"][1]["function"]
    assert first["description"] == "Of cities.\n\nTells it." and first["parameters"] == CITY
    (item,) = answer.output
    assert item.type == "function_call"
    assert (item.namespace, item.name, item.arguments) == ("mcp__weather", "forecast", BONN)
    assert answer.tools[1].type == "namespace" and answer.tools[1].tools[0].name == "forecast"

    upstream.behave = say({"content": "sunny"})
    output: Any = {"type": "function_call_output", "call_id": "call_1", "output": "sun"}
    await client.responses.create(model="first/m", input=[{"role": "user", "content": "x"}, item.to_dict(), output],  # type: ignore[list-item]
                                  tools=[PLAIN, WEATHER])  # fmt: skip
    called = upstream.seen[-1].body["messages"][1]["tool_calls"]
    assert called == [call("call_1", "mcp__weather__forecast", BONN)]
    await client.responses.create(model="first/m", previous_response_id=answer.id, input=[output], tools=[PLAIN, WEATHER])
    assert upstream.seen[-1].body["messages"][1]["tool_calls"] == called


async def test_a_streamed_call_in_a_namespace(client: openai.AsyncOpenAI, upstream: Provider) -> None:
    upstream.behave = stream(
        tool_delta(0, "", "call_1", "mcp__weather__forecast"), tool_delta(0, BONN),
        tool_delta(1, "{}", "call_2", "shell"), finish="tool_calls",
    )  # fmt: skip
    async with client.responses.stream(model="first/m", input="x", tools=[PLAIN, WEATHER]) as events:
        seen = [event async for event in events]
    added = [event.item for event in seen if event.type == "response.output_item.added"]
    assert [(one.namespace, one.name) for one in added if one.type == "function_call"] == [  # type: ignore[union-attr]
        ("mcp__weather", "forecast"), (None, "shell"),
    ]  # fmt: skip
    done = [event for event in seen if event.type == "response.function_call_arguments.done"]
    assert [(one.name, one.arguments) for one in done] == [("forecast", BONN), ("shell", "{}")]


async def test_a_custom_tool_in_a_namespace_and_an_added_one(client: openai.AsyncOpenAI, upstream: Provider) -> None:
    custom = {"id": "call_1", "type": "custom", "custom": {"name": "mcp__weather__patch", "input": "*** Begin"}}
    upstream.behave = say({"tool_calls": [custom]}, "tool_calls")
    added: Any = {"type": "additional_tools", "role": "developer", "tools": [WEATHER]}
    answer = await client.responses.create(model="first/m", input=[added, {"role": "user", "content": "x"}])
    assert names(upstream) == ["mcp__weather__forecast", "mcp__weather__patch"]
    assert [turn["role"] for turn in upstream.seen[-1].body["messages"]] == ["user"]
    (item,) = answer.output
    assert item.type == "custom_tool_call"
    assert (item.namespace, item.name, item.input) == ("mcp__weather", "patch", "*** Begin")
    listed = await client.responses.input_items.list(answer.id, order="asc")
    assert [one.type for one in listed.data] == ["additional_tools", "message"]

    newer: Any = {**added, "tools": [{**WEATHER, "tools": [{**FORECAST, "description": "Newer."}]}]}
    output: Any = {"type": "custom_tool_call_output", "call_id": "call_1", "output": "ok"}
    upstream.behave = say({"content": "done"})
    await client.responses.create(model="first/m", previous_response_id=answer.id, input=[output, newer])
    assert names(upstream) == ["mcp__weather__forecast", "mcp__weather__patch"], "tools stay, the newest counts"
    assert upstream.seen[-1].body["tools"][0]["function"]["description"] == "Of cities.\n\nNewer."


async def test_a_client_searches_for_tools(client: openai.AsyncOpenAI, upstream: Provider) -> None:
    upstream.behave = stream(
        tool_delta(0, "", "call_1", "tool_search"), tool_delta(0, '{"query": "wea'), tool_delta(0, 'ther"}'),
        finish="tool_calls",
    )  # fmt: skip
    async with client.responses.stream(model="first/m", input="x", tools=[SEARCH]) as events:
        answer = await events.get_final_response()
    assert names(upstream) == ["tool_search"]
    (item,) = answer.output
    assert item.type == "tool_search_call" and (item.execution, item.call_id) == ("client", "call_1")
    assert item.arguments == {"query": "weather"} and item.status == "completed"

    found: Any = {"type": "tool_search_output", "call_id": "call_1", "execution": "client", "status": "completed",
                  "tools": [{**WEATHER, "tools": [{**FORECAST, "defer_loading": True}]}]}  # fmt: skip
    upstream.behave = say({"tool_calls": [call("call_2", "mcp__weather__forecast", BONN)]}, "tool_calls")
    turns: Any = [{"role": "user", "content": "x"}, item.to_dict(), found]
    answer = await client.responses.create(model="first/m", input=turns, tools=[SEARCH])
    assert names(upstream) == ["tool_search", "mcp__weather__forecast"]
    _, asked, told = upstream.seen[-1].body["messages"]
    assert json.loads(asked["tool_calls"][0]["function"]["arguments"]) == {"query": "weather"}
    assert told["role"] == "tool" and "mcp__weather__forecast" in told["content"]
    assert answer.output[0].type == "function_call" and answer.output[0].namespace == "mcp__weather"


async def test_a_question_that_is_no_json_or_too_deep_stays_text(client: openai.AsyncOpenAI, upstream: Provider) -> None:
    for question in ("{not", "[" * 20_000):
        upstream.behave = say({"tool_calls": [call("call_1", "tool_search", question)]}, "tool_calls")
        (item,) = (await client.responses.create(model="first/m", input="x", tools=[SEARCH])).output
        assert item.type == "tool_search_call" and item.arguments == question


async def test_a_search_that_openai_would_make_needs_nobody(client: openai.AsyncOpenAI, upstream: Provider) -> None:
    upstream.behave = say({"content": "hi"})
    deferred: Any = {**FORECAST, "defer_loading": True}
    await client.responses.create(model="first/m", input="x", tools=[{"type": "tool_search"}, deferred])
    assert names(upstream) == ["forecast"], "all of them are offered at once"


@pytest.mark.parametrize("model", ["claude/claude-sonnet-4-5", "native/gpt-5.1"])
async def test_other_providers_are_offered_the_same(
    client: openai.AsyncOpenAI, upstream: Provider, model: str
) -> None:
    upstream.behave = refused
    with pytest.raises(openai.BadRequestError):
        await client.responses.create(
            model=model, input="x", tools=[WEATHER], tool_choice={"type": "function", "name": "forecast"},
            extra_body={"client_metadata": {"session_id": "1"}},
        )  # fmt: skip
    body = upstream.seen[-1].body
    assert [tool["name"] for tool in body["tools"]] == ["mcp__weather__forecast", "mcp__weather__patch"]
    assert body["tool_choice"]["name"] == "mcp__weather__forecast" and "client_metadata" not in body


async def test_how_thoughts_are_shown_is_told_to_openai_alone(client: openai.AsyncOpenAI, upstream: Provider) -> None:
    upstream.behave = refused
    wish: Any = {"effort": "low", "summary": "auto", "context": "all_turns"}
    for model in ("native/gpt-6.2-sol", "first/m"):
        with pytest.raises(openai.BadRequestError):
            await client.responses.create(model=model, input="x", reasoning=wish)
    native, chat = (one.body for one in upstream.seen)
    assert native["reasoning"] == wish and native["include"] == ["reasoning.encrypted_content"]
    assert chat["reasoning_effort"] == "low" and "reasoning" not in chat and "openai" not in chat


async def test_long_names_stay_within_what_providers_take(client: openai.AsyncOpenAI, upstream: Provider) -> None:
    upstream.behave = say({"content": "hi"})
    grouped: Any = [{**WEATHER, "name": LONG, "tools": [{**FORECAST, "name": f"forecast_of_the_day_{n}"} for n in (1, 2)]}]
    await client.responses.create(model="first/m", input="x", tools=grouped)
    first, second = names(upstream)
    assert first != second and len(first) == len(second) == 64
    asked = first
    upstream.behave = say({"tool_calls": [call("call_1", asked, BONN)]}, "tool_calls")
    (item,) = (await client.responses.create(model="first/m", input="x", tools=grouped)).output
    assert item.type == "function_call" and (item.namespace, item.name) == (LONG, "forecast_of_the_day_1")


@pytest.mark.parametrize(
    ("tools", "items", "param"),
    [
        ([{**WEATHER, "tools": [{"type": "web_search"}]}], [], "tools[0].tools[0].type"),
        ([{**WEATHER, "name": None}], [], "tools[0].name"),
        ([WEATHER, {**PLAIN, "name": "mcp__weather__forecast"}], [], "tools[0].tools[0].name"),
        ([{**PLAIN, "name": "mcp__weather__forecast"}, WEATHER], [], "tools[1].tools[0].name"),
        ([SEARCH], [{"type": "additional_tools", "tools": [{**PLAIN, "name": "tool_search"}]}], "input[1].tools[0].name"),
        ([PLAIN], [{"type": "additional_tools", "tools": [{**WEATHER, "tools": [7]}]}], "input[1].tools[0].tools[0].type"),
        ([PLAIN], [{"type": "additional_tools", "tools": [{"type": "web_search"}]}], "input[1].tools[0]"),
        ([PLAIN], [{"type": "tool_search_output", "call_id": "call_9", "tools": []}], "input"),
    ],
)  # fmt: skip
async def test_what_cannot_be_offered_is_named(
    client: openai.AsyncOpenAI, upstream: Provider, tools: Any, items: Any, param: str
) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        await client.responses.create(model="first/m", input=[{"role": "user", "content": "x"}, *items], tools=tools)
    assert caught.value.param == param and not upstream.seen
