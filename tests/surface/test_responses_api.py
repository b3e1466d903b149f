"""POST /v1/responses through the unmodified openai client, whole and streamed, over real sockets."""

from __future__ import annotations

import json
from typing import Any

import httpx
import openai
import pytest
from gateway_server import Gateway
from pydantic import BaseModel
from scripted import Line, Provider
from surface_helpers import INTERLEAVED, PARALLEL, WEATHER, call, completion, say, stream

from gateway.storage.records import CallRecord

TOOLS: Any = [
    {"type": "function", "name": "weather", "description": "of a city", "parameters": WEATHER, "strict": True}
]


class Weather(BaseModel):
    city: str


async def events_of(http: httpx.AsyncClient, **body: Any) -> list[dict[str, Any]]:
    """The raw events; their names, numbers and lifecycle are checked on the way."""
    answer = await http.post("/v1/responses", json={"model": "triage", "input": "hi", "stream": True, **body})
    assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
    found = []
    for frame in answer.text.split("\n\n")[:-1]:
        name, data = frame.split("\n")
        event = json.loads(data.removeprefix("data: "))
        assert name == f"event: {event['type']}"
        found.append(event)
    assert [one["sequence_number"] for one in found] == list(range(len(found)))
    ids = {one["response"]["id"] for one in found if "response" in one}
    assert len(ids) == 1
    return found


def kinds(events: list[dict[str, Any]]) -> list[str]:
    return [one["type"].removeprefix("response.") for one in events]


async def test_a_whole_response(client: openai.AsyncOpenAI, served: Gateway, upstream: Provider) -> None:
    raw = await client.responses.with_raw_response.create(
        model="triage", instructions="be brief", input="hi", max_output_tokens=50, temperature=0.1, top_p=0.9,
        metadata={"session_id": "s1"}, safety_identifier="u-1", reasoning={"effort": "low"}, text={"verbosity": "low"},
        extra_body={"born_after_us": 1},
    )  # fmt: skip
    answer = raw.parse()
    assert (answer.object, answer.status, answer.model) == ("response", "completed", "triage")
    assert answer.output_text == "hello"
    assert answer.usage and (answer.usage.input_tokens, answer.usage.output_tokens) == (1000, 100)
    assert answer.usage.input_tokens_details.cached_tokens == 400
    assert (answer.instructions, answer.metadata, answer.max_output_tokens) == (
        "be brief",
        {"session_id": "s1"},
        50,
    )
    assert float(raw.headers["x-understudy-cost-usd"]) == pytest.approx(0.003)
    assert upstream.seen[0].body == {
        "model": "m", "temperature": 0.1, "top_p": 0.9, "metadata": {"session_id": "s1"}, "safety_identifier": "u-1",
        "born_after_us": 1, "max_completion_tokens": 50, "reasoning_effort": "low", "verbosity": "low",
        "messages": [{"role": "system", "content": "be brief"}, {"role": "user", "content": "hi"}],
    }  # fmt: skip
    (record,) = [one for one in served.records() if isinstance(one, CallRecord)]
    assert (record.id, record.endpoint, record.session) == (answer.id, "responses", "s1")
    assert record.text is not None and record.text.trainable is False


async def test_text_events_in_order(http: httpx.AsyncClient, upstream: Provider) -> None:
    upstream.behave = stream({"content": "hel"}, {"content": "lo"}, piece=11)
    events = await events_of(http)
    assert kinds(events) == [
        "created", "in_progress", "output_item.added", "content_part.added", "output_text.delta", "output_text.delta",
        "output_text.done", "content_part.done", "output_item.done", "completed",
    ]  # fmt: skip
    assert all(one["logprobs"] == [] for one in events if one["type"].startswith("response.output_text"))
    final = events[-1]["response"]
    assert final["output"] == [events[-2]["item"]]
    assert final["usage"]["output_tokens_details"] == {"reasoning_tokens": 4}


@pytest.mark.parametrize("deltas", [PARALLEL, INTERLEAVED])
async def test_parallel_calls_through_the_stream_helper(
    client: openai.AsyncOpenAI, upstream: Provider, deltas: Any
) -> None:
    upstream.behave = stream({"content": "Looking."}, *deltas, finish="tool_calls")
    async with client.responses.stream(model="triage", input="hi", tools=TOOLS) as events:
        seen = [event async for event in events]
        final = await events.get_final_response()
    added = [event.output_index for event in seen if event.type == "response.output_item.added"]
    done = [event.output_index for event in seen if event.type == "response.output_item.done"]
    assert added == done == [0, 1, 2]
    names = [event.name for event in seen if event.type == "response.function_call_arguments.done"]
    assert names == ["weather", "weather"]
    assert [(one.call_id, json.loads(one.arguments)) for one in final.output if one.type == "function_call"] == [
        ("call_a", {"city": "Bonn"}), ("call_b", {"city": "Kiel"}),
    ]  # fmt: skip


async def test_calls_that_share_an_index_or_an_id_stay_apart(
    client: openai.AsyncOpenAI, upstream: Provider
) -> None:
    one = {"index": 0, "id": "same", "function": {"name": "weather", "arguments": '{"city":"Bonn"}'}}
    upstream.behave = stream(
        {"tool_calls": [one]}, {"tool_calls": [{**one, "id": "other"}]}, finish="tool_calls"
    )
    async with client.responses.stream(model="triage", input="hi", tools=TOOLS) as events:
        final = await events.get_final_response()
    assert [one.call_id for one in final.output] == ["same", "other"]
    twice = [call("same", "weather", "{}"), call("same", "weather", "{}")]
    upstream.behave = say({"tool_calls": twice}, "tool_calls")
    answer = await client.responses.create(model="triage", input="hi", tools=TOOLS)
    assert len({one.call_id for one in answer.output}) == 2


async def test_reasoning_then_text(
    http: httpx.AsyncClient, client: openai.AsyncOpenAI, upstream: Provider
) -> None:
    upstream.behave = stream({"reasoning_content": "hm"}, {"content": "yes"})
    events = await events_of(http)
    assert kinds(events)[2:9] == [
        "output_item.added", "reasoning_summary_part.added", "reasoning_summary_text.delta",
        "reasoning_summary_text.done", "reasoning_summary_part.done", "output_item.done", "output_item.added",
    ]  # fmt: skip
    upstream.behave = say({"content": "yes", "reasoning_content": "hm"})
    answer = await client.responses.create(model="triage", input="hi")
    assert [one.type for one in answer.output] == ["reasoning", "message"]
    assert answer.output[0].summary[0].text == "hm"


async def test_refusals_and_what_was_cut_short(
    http: httpx.AsyncClient, client: openai.AsyncOpenAI, upstream: Provider
) -> None:
    upstream.behave = stream({"refusal": "No"}, {"refusal": "."})
    events = await events_of(http)
    assert kinds(events)[3:7] == ["content_part.added", "refusal.delta", "refusal.delta", "refusal.done"]
    assert events[-1]["response"]["output"][0]["content"] == [{"type": "refusal", "refusal": "No."}]
    upstream.behave = stream({"content": "hel"}, finish="length")
    events = await events_of(http)
    assert events[-1]["type"] == "response.incomplete"
    assert events[-1]["response"]["incomplete_details"] == {"reason": "max_output_tokens"}
    assert events[-1]["response"]["output"][0]["status"] == "incomplete"
    upstream.behave = say({"content": "x"}, "content_filter")
    answer = await client.responses.create(model="triage", input="hi")
    assert answer.incomplete_details and answer.incomplete_details.reason == "content_filter"


async def test_a_cut_stream_fails_and_is_not_kept(
    http: httpx.AsyncClient, client: openai.AsyncOpenAI, served: Gateway, upstream: Provider
) -> None:
    upstream.behave = stream({"content": "hel"}, cut=True)
    events = await events_of(http)
    assert kinds(events)[-1] == "failed"
    failed = events[-1]["response"]
    assert (failed["status"], failed["error"]["code"]) == ("failed", "upstream_error")
    (message,) = failed["output"]
    assert (message["status"], message["content"][0]["text"]) == ("incomplete", "hel")
    with pytest.raises(openai.NotFoundError):
        await client.responses.retrieve(failed["id"])
    (record,) = [one for one in served.records() if isinstance(one, CallRecord)]
    assert record.status == "upstream_cut"


@pytest.mark.parametrize(
    ("delta", "shown"),
    [
        ({"refusal": "I can"}, {"type": "message", "content": [{"type": "refusal", "refusal": "I can"}]}),
        ({"reasoning_content": "so far"}, {"type": "reasoning", "summary": [{"type": "summary_text", "text": "so far"}]}),
        ({"tool_calls": [{"index": 0, **call("c", "weather", '{"ci')}]}, {"type": "function_call", "arguments": '{"ci'}),
        ({"tool_calls": [{"index": 0, **call("c", "apply_patch", '{"ty')}]}, {"type": "message", "status": "completed"}),
    ],
)
async def test_what_was_said_before_a_cut_stands_in_the_output(
    http: httpx.AsyncClient, upstream: Provider, delta: dict[str, Any], shown: dict[str, Any]
) -> None:
    upstream.behave = stream({"content": "I look."}, delta, cut=True)
    failed = (await events_of(http, tools=[*TOOLS, {"type": "apply_patch"}]))[-1]["response"]
    first, last = failed["output"][0], failed["output"][-1]
    assert failed["status"] == "failed" and first["content"][0]["text"] == "I look."
    status = {} if shown["type"] == "reasoning" else {"status": "incomplete"}
    expected = {**status, **shown}
    if "refusal" in delta:
        expected["content"] = [first["content"][0], *shown["content"]]
    assert {name: last[name] for name in expected} == expected


async def test_logprobs_and_citations(http: httpx.AsyncClient, upstream: Provider) -> None:
    token = {"token": "hi", "logprob": -0.1, "bytes": [104, 105], "top_logprobs": []}
    cited = {
        "type": "url_citation",
        "url_citation": {"url": "https://example.org", "title": "t", "start_index": 0, "end_index": 2},
    }
    upstream.behave = say(
        {"content": "hi", "annotations": [cited]}, logprobs={"content": [token], "refusal": None}
    )
    body = {"model": "triage", "input": "x", "include": ["message.output_text.logprobs"], "top_logprobs": 2}
    answer = (await http.post("/v1/responses", json=body)).json()
    part = answer["output"][0]["content"][0]
    assert part["logprobs"] == [token]
    assert part["annotations"] == [{"type": "url_citation", **cited["url_citation"]}]
    assert (upstream.seen[0].body["logprobs"], upstream.seen[0].body["top_logprobs"]) == (True, 2)


async def test_parse_and_json_schema(client: openai.AsyncOpenAI, upstream: Provider) -> None:
    upstream.behave = say({"content": '{"city":"Bonn"}'})
    answer = await client.responses.parse(model="triage", input="where?", text_format=Weather)
    assert answer.output_parsed == Weather(city="Bonn")
    sent = upstream.seen[0].body["response_format"]
    assert (sent["type"], sent["json_schema"]["name"], sent["json_schema"]["strict"]) == (
        "json_schema",
        "Weather",
        True,
    )
    upstream.behave = stream({"content": '{"city":'}, {"content": '"Kiel"}'})
    async with client.responses.stream(model="triage", input="where?", text_format=Weather) as events:
        final = await events.get_final_response()
    assert final.output_parsed == Weather(city="Kiel")


async def test_items_become_turns(client: openai.AsyncOpenAI, upstream: Provider) -> None:
    items: Any = [
        {"role": "developer", "content": "rules"},
        {"role": "user", "content": [
            {"type": "input_text", "text": "look"},
            {"type": "input_image", "image_url": "https://example.org/a.png", "detail": "low"},
            {"type": "input_file", "filename": "a.pdf", "file_data": "data:application/pdf;base64,AA"},
        ]},
        {"type": "reasoning", "id": "rs_1", "summary": []},
        {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "ok", "annotations": []}]},
        {"type": "function_call", "call_id": "call_a", "name": "weather", "arguments": "{}"},
        {"type": "function_call", "call_id": "call_b", "name": "weather", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "call_a", "output": "rain"},
        {"type": "function_call_output", "call_id": "call_b", "output": [{"type": "input_text", "text": "sun"}]},
    ]  # fmt: skip
    await client.responses.create(
        model="triage", input=items, tools=TOOLS, tool_choice={"type": "function", "name": "weather"}
    )
    sent = upstream.seen[0].body
    assert sent["messages"] == [
        {"role": "developer", "content": "rules"},
        {"role": "user", "content": [
            {"type": "text", "text": "look"},
            {"type": "image_url", "image_url": {"url": "https://example.org/a.png", "detail": "low"}},
            {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,AA"}},
        ]},
        {"role": "assistant", "content": "ok", "tool_calls": [call("call_a", "weather", "{}"), call("call_b", "weather", "{}")]},
        {"role": "tool", "tool_call_id": "call_a", "content": "rain"},
        {"role": "tool", "tool_call_id": "call_b", "content": "sun"},
    ]  # fmt: skip
    assert sent["tool_choice"] == {"type": "function", "function": {"name": "weather"}}
    assert sent["tools"][0]["function"]["strict"] is True


REFUSED: list[tuple[str, dict[str, Any]]] = [
    ("store", {"background": True, "store": False}),
    ("previous_response_id", {"conversation": "conv_1", "previous_response_id": "resp_1"}),
    ("truncation", {"truncation": "auto"}),
    ("truncation", {"truncation": "middle"}),
    ("image", {"image": {"context_compression": "enabled"}}),
    ("access_programs", {"access_programs": {"cyber": "standard"}}),
    ("reasoning.mode", {"reasoning": {"mode": "pro"}}),
    ("context_management", {"context_management": [{"type": "compaction", "compact_threshold": 1000}]}),
    ("background_options.completion_window", {"background_options": {"completion_window": "8h"}}),
    ("tools", {"tools": [{"type": "image_generation"}]}),
    ("tools[0].type", {"tools": [{"type": "programmatic_tool_calling"}]}),
    ("tools[0].environment", {"tools": [{"type": "shell", "environment": {"type": "container_auto"}}]}),
    ("tools", {"tools": [{"type": "computer"}]}),
    ("tools[0].name", {"tools": [{"type": "apply_patch"}, {"type": "function", "name": "apply_patch"}]}),
    ("tools[1].name", {"tools": [TOOLS[0], {"type": "function"}]}),
    ("text.format.schema", {"text": {"format": {"type": "json_schema", "name": "x"}}}),
    ("input[0].content[0]", {"input": [{"role": "user", "content": [{"type": "hologram"}]}]}),
    ("input[1].role", {"input": [{"role": "user", "content": "x"}, {"role": "king", "content": "x"}]}),
    ("input", {"input": [{"type": "function_call_output", "call_id": "nobody", "output": "x"}]}),
    ("input", {"input": []}),
    ("include[0]", {"include": ["everything"]}),
    ("messages", {"messages": []}),
    ("messages", {"messages": [{"role": "user", "content": "x"}]}),
    ("temperature", {"temperature": 9}),
    ("max_output_tokens", {"max_output_tokens": 0}),
    ("n", {"n": 2}),
    ("api_base", {"api_base": "http://elsewhere"}),
]


async def test_what_is_not_supported_is_named(http: httpx.AsyncClient, upstream: Provider) -> None:
    for param, body in REFUSED:
        answer = await http.post("/v1/responses", json={"model": "triage", "input": "hi", **body})
        assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)
    assert not upstream.seen


async def test_errors_speak_this_apis_names(
    client: openai.AsyncOpenAI, http: httpx.AsyncClient, upstream: Provider
) -> None:
    with pytest.raises(openai.BadRequestError) as unknown:
        await client.responses.create(model="nobody", input="hi")
    assert (unknown.value.code, unknown.value.param) == ("model_not_found", "model")
    nobody = await http.post(
        "/v1/responses", json={"model": "triage", "input": "x"}, headers={"authorization": "Bearer x"}
    )
    assert nobody.status_code == 401

    async def refuse(line: Line) -> None:
        error = {
            "message": "too long",
            "type": "invalid_request_error",
            "param": "messages[0].content",
            "code": "context_length_exceeded",
        }
        await line.answer(400, {"error": error})

    upstream.behave = refuse
    with pytest.raises(openai.BadRequestError) as long:
        await client.responses.create(model="triage", input="hi")
    assert (long.value.code, long.value.param) == ("context_length_exceeded", "input[0].content")


async def test_guardrails_mask_what_goes_out_and_put_it_back(
    client: openai.AsyncOpenAI, served: Gateway, upstream: Provider
) -> None:
    policies = served.policies / "guardrails.yaml"
    policies.write_text("guardrails: {pii: {type: pii}}\n")

    async def repeat(line: Line) -> None:
        await line.answer(200, completion({"content": line.seen.body["messages"][-1]["content"]}))

    upstream.behave = repeat
    for _ in range(400):
        answer = await client.responses.create(model="triage", input="I am bob@example.org")
        assert answer.output_text == "I am bob@example.org"
        if "bob@" not in json.dumps(upstream.seen[-1].body):
            break
        import asyncio

        await asyncio.sleep(0.1)
    else:
        pytest.fail("the guardrail did not mask")
    again = await client.responses.create(model="triage", input="and?", previous_response_id=answer.id)
    assert again.output_text == "and?"
    assert "bob@" not in json.dumps(upstream.seen[-1].body)
