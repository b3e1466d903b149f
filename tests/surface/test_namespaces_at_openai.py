"""OpenAI's newer models know namespaces of tools: they are told them as their client wrote them, and calls go back and
forth under both names. Who does not know them is told flat names (``test_grouped_tools.py``)."""

from __future__ import annotations

import json
from typing import Any

import openai
import pytest
from gateway_server import served_over
from scripted import Line, Provider, sse

served = served_over("""
providers:
  home: {{type: openai, api: responses, base_url: "{url}", api_key: sk-up}}
  grok: {{type: openai, profile: xai, api: responses, base_url: "{url}", api_key: sk-up}}
  azure: {{type: azure, api: responses, base_url: "{url}", api_key: sk-up}}
keys: [{{name: tests, key: {key}, project: default}}]
tasks: [{{name: masked, teacher: {{provider: home, model: gpt-5.4}}}}]
guardrails: {{hide: {{type: pii, tasks: [masked]}}}}
timeouts: {{connect: 30, first_byte: 30, chunk_gap: 30, total: 60}}
""")
CITY: Any = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
FORECAST: Any = {"type": "function", "name": "forecast", "description": "Tells it.\n\nOf one.", "strict": False,
                 "parameters": CITY}  # fmt: skip
PATCH: Any = {"type": "custom", "name": "patch", "description": "Edits files."}
WEATHER: Any = {"type": "namespace", "name": "weather", "description": "Of cities.\n\nAll.", "tools": [FORECAST, PATCH]}
BARE: Any = {"type": "namespace", "name": "bare", "tools": [{"type": "function", "name": "run", "strict": False}]}
PLAIN: Any = {"type": "function", "name": "shell", "strict": False, "parameters": {"type": "object", "properties": {}}}
BONN = '{"city": "Bonn"}'
CALLED: list[dict[str, Any]] = [
    {"id": "fc_1", "type": "function_call", "status": "completed", "call_id": "c1", "namespace": "weather",
     "name": "forecast", "arguments": BONN},
    {"id": "ctc_1", "type": "custom_tool_call", "status": "completed", "call_id": "c2", "namespace": "weather",
     "name": "patch", "input": "*** Begin"},
    {"id": "fc_2", "type": "function_call", "status": "completed", "call_id": "c3", "name": "shell", "arguments": "{}"},
]  # fmt: skip
RESULTS: Any = [
    {"type": "function_call_output", "call_id": "c1", "output": "sun"},
    {"type": "custom_tool_call_output", "call_id": "c2", "output": "ok"},
    {"type": "function_call_output", "call_id": "c3", "output": "ok"},
]


def _response(output: list[dict[str, Any]], status: str = "completed") -> dict[str, Any]:
    usage = {"input_tokens": 5, "output_tokens": 5, "total_tokens": 10}
    head = {"id": "resp_up", "object": "response", "created_at": 1, "model": "m", "error": None}
    return {**head, "output": output, "usage": usage, "status": status, "incomplete_details": None}


def _streamed() -> bytes:
    told: list[dict[str, Any]] = [{"type": "response.created", "response": _response([], "in_progress")}]
    for at, item in enumerate(CALLED):
        field = "input" if "input" in item else "arguments"
        kind = "custom_tool_call_input" if field == "input" else "function_call_arguments"
        told += [
            {"type": "response.output_item.added", "output_index": at, "item": {**item, field: ""}},
            {"type": f"response.{kind}.delta", "output_index": at, "item_id": item["id"], "delta": item[field]},
            {"type": "response.output_item.done", "output_index": at, "item": item},
        ]
    return sse([*told, {"type": "response.completed", "response": _response(CALLED)}], done=False)


@pytest.fixture(autouse=True)
def _answering(upstream: Provider) -> None:
    async def behave(line: Line) -> None:
        streams = line.seen.body.get("stream")
        await (line.stream(_streamed(), piece=97) if streams else line.answer(200, _response(CALLED)))

    upstream.behave = behave


def _tools(upstream: Provider) -> list[Any]:
    """What the provider was offered last."""
    return [
        (one["name"], [inner["name"] for inner in one["tools"]]) if one["type"] == "namespace" else one["name"]
        for one in upstream.seen[-1].body["tools"]
    ]


@pytest.mark.parametrize("model", ["home/gpt-5.4", "home/gpt-6-astra", "azure/gpt-5.5", "masked"])
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
async def test_newer_models_are_told_namespaces_and_call_by_both_names(
    client: openai.AsyncOpenAI, upstream: Provider, model: str, stream: bool
) -> None:
    tools: Any = [PLAIN, WEATHER]
    if stream:
        async with client.responses.stream(model=model, input="x", tools=tools) as events:
            found: Any = await events.get_final_response()
    else:
        found = await client.responses.create(model=model, input="x", tools=tools)
    assert upstream.seen[-1].body["tools"] == tools
    assert [(one.namespace, one.name) for one in found.output] == [
        ("weather", "forecast"), ("weather", "patch"), (None, "shell"),
    ]  # fmt: skip
    assert (found.output[0].arguments, found.output[1].input) == (BONN, "*** Begin")
    turns: Any = [{"role": "user", "content": "x"}, *(one.to_dict() for one in found.output), *RESULTS]
    for more in ({"input": turns}, {"previous_response_id": found.id, "input": RESULTS}):
        await client.responses.create(model=model, tools=tools, **more)
        sent = upstream.seen[-1].body["input"]
        calls = [one for one in sent if one.get("type") in ("function_call", "custom_tool_call")]
        assert [(one.get("namespace"), one["name"]) for one in calls] == [
            ("weather", "forecast"), ("weather", "patch"), (None, "shell"),
        ]  # fmt: skip


async def test_one_without_a_description_and_tools_that_items_bring(
    client: openai.AsyncOpenAI, upstream: Provider
) -> None:
    added: Any = {"type": "additional_tools", "role": "developer", "tools": [WEATHER]}
    turns: Any = [added, {"role": "user", "content": "x"}]
    await client.responses.create(model="home/gpt-5.4", input=turns, tools=[BARE, PLAIN])
    assert _tools(upstream) == [("bare", ["run"]), "shell", ("weather", ["forecast", "patch"])]
    assert upstream.seen[-1].body["tools"][0]["description"] == "bare"


@pytest.mark.parametrize("model", ["home/gpt-5.1", "home/my-deployment", "grok/grok-4"])
async def test_models_that_may_not_know_them_are_told_flat_names(
    client: openai.AsyncOpenAI, upstream: Provider, model: str
) -> None:
    tools: Any = [PLAIN, {**WEATHER, "tools": [FORECAST]}]
    await client.responses.create(model=model, input="x", tools=tools)
    assert _tools(upstream) == ["shell", "weather__forecast"]
    assert "namespaces" not in json.dumps(upstream.seen[-1].body)


@pytest.mark.parametrize("listed", [False, True])
async def test_a_choice_of_one_needs_a_flat_name(client: openai.AsyncOpenAI, upstream: Provider, listed: bool) -> None:
    one: Any = {"type": "function", "name": "forecast"}
    choice: Any = {"type": "allowed_tools", "mode": "auto", "tools": [one]} if listed else one
    found = await client.responses.create(model="home/gpt-5.4", input="x", tools=[WEATHER], tool_choice=choice)
    assert _tools(upstream) == ["weather__forecast", "weather__patch"]
    told = upstream.seen[-1].body["tool_choice"]
    assert (told["tools"][0] if listed else told)["name"] == "weather__forecast"
    assert found.output[0].to_dict()["name"] == "forecast"


@pytest.mark.parametrize("junk", [7, {"a": 7}, {"shell": {"namespace": "", "name": "x"}}, {"shell": {"namespace": 1}}])
async def test_what_no_client_of_responses_wrote_is_left_out(
    client: openai.AsyncOpenAI, upstream: Provider, junk: Any
) -> None:
    inner = {name: PLAIN[name] for name in ("name", "parameters")}
    await client.chat.completions.create(
        model="home/gpt-5.4", messages=[{"role": "user", "content": "x"}], extra_body={"openai": {"namespaces": junk}},
        tools=[{"type": "function", "function": inner}],
    )  # fmt: skip
    assert _tools(upstream) == ["shell"]
