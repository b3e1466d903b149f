"""POST /v1/messages through the unmodified anthropic client, over real sockets."""

from __future__ import annotations

import json
from typing import Any

import anthropic
import httpx
import openai
import pytest
from gateway_server import KEY, Gateway
from scripted import COMPLETION, Line, Provider
from surface_helpers import INTERLEAVED, PARALLEL, WEATHER, call, say, stream

from gateway.storage.records import CallRecord

ASK: Any = [{"role": "user", "content": "hi"}]
TOOLS: Any = [{"name": "weather", "description": "of a city", "input_schema": WEATHER}]


async def test_a_whole_message(claude: anthropic.AsyncAnthropic, served: Gateway, upstream: Provider) -> None:
    raw = await claude.messages.with_raw_response.create(
        model="triage", max_tokens=64, system="be brief", messages=ASK, extra_body={"temperature": 0.2},
        stop_sequences=["END"], metadata={"user_id": "u-1"},
    )  # fmt: skip
    answer = await raw.parse()
    assert answer.type == "message" and answer.role == "assistant" and answer.id.startswith("msg_")
    assert answer.content[0].text == "hello"
    assert (answer.stop_reason, answer.stop_sequence, answer.model) == ("end_turn", None, "triage")
    assert (answer.usage.input_tokens, answer.usage.cache_read_input_tokens) == (600, 400)
    assert answer.usage.output_tokens == 100
    assert raw.headers["request-id"] == raw.headers["x-request-id"]
    assert float(raw.headers["x-understudy-cost-usd"]) == pytest.approx(0.003)
    assert upstream.seen[0].body == {
        "model": "m", "temperature": 0.2, "max_completion_tokens": 64, "stop": ["END"], "user": "u-1",
        "messages": [{"role": "system", "content": "be brief"}, {"role": "user", "content": "hi"}],
    }  # fmt: skip
    (record,) = [one for one in served.records() if isinstance(one, CallRecord)]
    assert (record.id, record.endpoint, record.end_user, record.status) == (
        answer.id,
        "messages",
        "u-1",
        "ok",
    )


async def test_a_streamed_message(
    claude: anthropic.AsyncAnthropic, served: Gateway, upstream: Provider
) -> None:
    upstream.behave = stream({"content": "hel"}, {"content": "lo"}, piece=7)
    async with claude.messages.stream(model="triage", max_tokens=64, messages=ASK) as events:
        texts = [text async for text in events.text_stream]
        final = await events.get_final_message()
    assert texts == ["hel", "lo"]
    assert final.content[0].text == "hello"
    assert (final.stop_reason, final.usage.output_tokens) == ("end_turn", 12)
    assert (final.usage.input_tokens, final.usage.cache_read_input_tokens) == (20, 10)
    (record,) = [one for one in served.records() if isinstance(one, CallRecord)]
    assert (record.id, record.stream, record.completion_tokens) == (final.id, True, 12)


async def test_event_names_and_order(http: httpx.AsyncClient, upstream: Provider) -> None:
    upstream.behave = stream({"content": "hello"}, *PARALLEL, finish="tool_calls")
    body = {"model": "triage", "max_tokens": 9, "messages": ASK, "stream": True, "tools": TOOLS}
    answer = await http.post("/v1/messages", json=body)
    names, seen = [], []
    for frame in answer.text.split("\n\n")[:-1]:
        name, data = frame.split("\n")
        names.append(name.removeprefix("event: "))
        seen.append(json.loads(data.removeprefix("data: ")))
    assert names == [one["type"] for one in seen]
    assert names == [
        "message_start", "ping",
        "content_block_start", "content_block_delta", "content_block_stop",
        "content_block_start", "content_block_delta", "content_block_delta", "content_block_stop",
        "content_block_start", "content_block_delta", "content_block_stop",
        "message_delta", "message_stop",
    ]  # fmt: skip
    assert [one["index"] for one in seen if one["type"] == "content_block_start"] == [0, 1, 2]


@pytest.mark.parametrize("deltas", [PARALLEL, INTERLEAVED])
async def test_parallel_tool_calls_in_a_stream(
    claude: anthropic.AsyncAnthropic, upstream: Provider, deltas: Any
) -> None:
    upstream.behave = stream(*deltas, finish="tool_calls")
    async with claude.messages.stream(model="triage", max_tokens=64, messages=ASK, tools=TOOLS) as events:
        final = await events.get_final_message()
    assert [(one.id, one.name, one.input) for one in final.content] == [
        ("call_a", "weather", {"city": "Bonn"}),
        ("call_b", "weather", {"city": "Kiel"}),
    ]
    assert final.stop_reason == "tool_use"


async def test_a_tool_loop(claude: anthropic.AsyncAnthropic, upstream: Provider) -> None:
    upstream.script = [
        say(
            {"content": "Let me look.", "tool_calls": [call("call_a", "weather", '{"city":"Bonn"}')]},
            "tool_calls",
        ),
        say({"content": "It rains."}),
    ]
    turns: list[Any] = [
        {
            "role": "user",
            "content": [{"type": "text", "text": "Bonn?", "cache_control": {"type": "ephemeral"}}],
        }
    ]
    first = await claude.messages.create(
        model="triage", max_tokens=64, messages=turns, tools=TOOLS,
        tool_choice={"type": "any", "disable_parallel_tool_use": True},
    )  # fmt: skip
    assert first.stop_reason == "tool_use"
    assert [block.type for block in first.content] == ["text", "tool_use"]
    result = {"type": "tool_result", "tool_use_id": "call_a", "content": [{"type": "text", "text": "rain"}]}
    turns += [
        {"role": "assistant", "content": first.content},
        {"role": "user", "content": [result, {"type": "text", "text": "and?"}]},
    ]
    last = await claude.messages.create(model="triage", max_tokens=64, messages=turns, tools=TOOLS)
    assert last.content[0].text == "It rains."
    sent = upstream.seen[0].body
    assert (sent["tool_choice"], sent["parallel_tool_calls"]) == ("required", False)
    assert sent["tools"] == [
        {
            "type": "function",
            "function": {"name": "weather", "description": "of a city", "parameters": WEATHER},
        }
    ]
    assert upstream.seen[1].body["messages"] == [
        {"role": "user", "content": "Bonn?"},
        {
            "role": "assistant",
            "content": "Let me look.",
            "tool_calls": [call("call_a", "weather", '{"city":"Bonn"}')],
        },
        {"role": "tool", "tool_call_id": "call_a", "content": "rain"},
        {"role": "user", "content": "and?"},
    ]


async def test_images_documents_and_thinking(claude: anthropic.AsyncAnthropic, upstream: Provider) -> None:
    upstream.behave = say({"content": "a cat", "reasoning_content": "fur, whiskers"})
    image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"}}
    linked = {"type": "image", "source": {"type": "url", "url": "https://example.org/cat.png"}}
    paper = {
        "type": "document",
        "title": "a.pdf",
        "source": {"type": "base64", "media_type": "application/pdf", "data": "BBBB"},
    }
    turns: Any = [{"role": "user", "content": [image, linked, paper, {"type": "text", "text": "what?"}]}]
    answer = await claude.messages.create(
        model="triage", max_tokens=9000, messages=turns, thinking={"type": "enabled", "budget_tokens": 4096}
    )
    assert [(one.type, getattr(one, "thinking", None)) for one in answer.content] == [
        ("thinking", "fur, whiskers"), ("text", None),
    ]  # fmt: skip
    sent = upstream.seen[0].body
    assert sent["reasoning_effort"] == "low"
    assert sent["messages"][0]["content"] == [
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}},
        {"type": "image_url", "image_url": {"url": "https://example.org/cat.png"}},
        {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,BBBB"}},
        {"type": "text", "text": "what?"},
    ]
    plain = await claude.messages.create(model="triage", max_tokens=9, messages=turns)
    assert [one.type for one in plain.content] == ["text"]


async def test_thinking_in_a_stream(claude: anthropic.AsyncAnthropic, upstream: Provider) -> None:
    upstream.behave = stream({"reasoning_content": "hm"}, {"reasoning_content": "m"}, {"content": "yes"})
    async with claude.messages.stream(
        model="triage", max_tokens=9000, messages=ASK, thinking={"type": "enabled", "budget_tokens": 2048}
    ) as events:
        final = await events.get_final_message()
    assert [one.type for one in final.content] == ["thinking", "text"]
    assert final.content[0].thinking == "hmm"


@pytest.mark.parametrize(
    ("finish", "more", "expected"),
    [
        ("length", {}, ("max_tokens", None)),
        ("content_filter", {}, ("refusal", None)),
        ("stop", {"stop_reason": "END"}, ("stop_sequence", "END")),
        ("stop", {"stop_reason": ""}, ("stop_sequence", None)),  # one was met, and the provider does not say which
        ("stop", {}, ("end_turn", None)),
    ],
)
async def test_stop_reasons(
    claude: anthropic.AsyncAnthropic, upstream: Provider, finish: str, more: Any, expected: Any
) -> None:
    upstream.behave = say({"content": "x"}, finish, **more)
    answer = await claude.messages.create(model="triage", max_tokens=9, messages=ASK, stop_sequences=["END"])
    assert (answer.stop_reason, answer.stop_sequence) == expected


@pytest.mark.parametrize("status", [503, 529])
async def test_an_overloaded_provider_is_told_in_each_apis_own_word(
    claude: anthropic.AsyncAnthropic, client: openai.AsyncOpenAI, upstream: Provider, status: int
) -> None:
    async def busy(line: Line) -> None:
        await line.answer(status, {"error": {"message": "busy"}}, {"retry-after": "7"})

    upstream.behave = busy
    with pytest.raises(anthropic.InternalServerError) as told:
        await claude.messages.create(model="triage", max_tokens=9, messages=ASK)
    assert (told.value.status_code, told.value.body["error"]["type"]) == (529, "overloaded_error")
    with pytest.raises(openai.InternalServerError) as other:
        await client.chat.completions.create(model="triage", messages=ASK)  # type: ignore[arg-type]
    assert (other.value.status_code, other.value.code) == (503, "upstream_overloaded")
    assert told.value.response.headers["retry-after"] == other.value.response.headers["retry-after"] == "7"


async def test_errors_have_anthropics_shape(
    claude: anthropic.AsyncAnthropic, served: Gateway, upstream: Provider
) -> None:
    stranger = claude.with_options(api_key="sk-nobody")
    with pytest.raises(anthropic.AuthenticationError) as wrong:
        await stranger.messages.create(model="triage", max_tokens=9, messages=ASK)
    assert wrong.value.body["error"]["type"] == "authentication_error"
    assert wrong.value.request_id
    with pytest.raises(anthropic.NotFoundError):
        await claude.messages.create(model="nobody", max_tokens=9, messages=ASK)
    with pytest.raises(anthropic.BadRequestError, match=r"tools\.0"):
        tools: Any = [{"type": "invention_20300101", "name": "invention"}]
        await claude.messages.create(model="triage", max_tokens=9, messages=ASK, tools=tools)
    with pytest.raises(anthropic.BadRequestError, match="max_tokens"):
        await claude.post("/v1/messages", body={"model": "triage", "messages": ASK}, cast_to=object)
    with pytest.raises(anthropic.BadRequestError, match="mcp_servers"):
        await claude.messages.create(
            model="triage", max_tokens=9, messages=ASK, extra_body={"mcp_servers": [{"type": "url"}]}
        )

    async def busy(line: Line) -> None:
        await line.answer(429, {"error": {"message": "slow down"}}, {"retry-after": "60"})

    upstream.behave = busy
    with pytest.raises(anthropic.RateLimitError, match="slow down") as limited:
        await claude.messages.create(model="triage", max_tokens=9, messages=ASK)
    assert limited.value.response.headers["retry-after"] == "60"
    bearer = anthropic.AsyncAnthropic(base_url=served.url, auth_token=KEY, max_retries=0)
    upstream.behave = say({"content": "x"})
    async with bearer:
        assert (await bearer.messages.create(model="triage", max_tokens=9, messages=ASK)).content


async def test_a_cut_stream_ends_in_an_error(
    claude: anthropic.AsyncAnthropic, served: Gateway, upstream: Provider
) -> None:
    upstream.behave = stream({"content": "hel"}, cut=True)
    with pytest.raises(anthropic.APIStatusError) as cut:
        async with claude.messages.stream(model="triage", max_tokens=9, messages=ASK) as events:
            await events.get_final_message()
    assert cut.value.body["error"]["type"] == "api_error"
    (record,) = [one for one in served.records() if isinstance(one, CallRecord)]
    assert record.status == "upstream_cut"


async def test_counting_is_an_estimate_and_says_so(
    claude: anthropic.AsyncAnthropic, http: httpx.AsyncClient
) -> None:
    found = await claude.messages.count_tokens(model="triage", system="x" * 400, messages=ASK, tools=TOOLS)
    assert 100 < found.input_tokens < 200
    assert found.model_dump()["estimated"] is True
    refused = await http.post(
        "/v1/messages/count_tokens", json={"model": "triage"}, headers={"authorization": "Bearer x"}
    )
    assert refused.status_code == 401 and refused.json()["type"] == "error"


async def test_json_schema_reaches_the_provider(claude: anthropic.AsyncAnthropic, upstream: Provider) -> None:
    await claude.messages.create(
        model="triage", max_tokens=9, messages=ASK,
        extra_body={"output_config": {"effort": "high", "format": {"type": "json_schema", "schema": WEATHER}}},
    )  # fmt: skip
    sent = upstream.seen[0].body
    assert sent["reasoning_effort"] == "high"
    assert sent["response_format"]["json_schema"]["schema"] == WEATHER


async def test_a_schema_may_have_the_name_of_its_beta(claude: anthropic.AsyncAnthropic, upstream: Provider) -> None:
    schema = {"type": "json_schema", "schema": WEATHER}
    await claude.messages.create(model="triage", max_tokens=9, messages=ASK, extra_body={"output_format": schema})
    assert upstream.seen[0].body["response_format"]["json_schema"]["schema"] == WEATHER
    with pytest.raises(anthropic.BadRequestError, match="'output_format' must be of type 'json_schema'"):
        await claude.messages.create(
            model="triage", max_tokens=9, messages=ASK, extra_body={"output_format": {"type": "xml"}}
        )


async def test_what_was_written_to_a_cache_stands_beside_the_input(
    claude: anthropic.AsyncAnthropic, upstream: Provider
) -> None:
    usage = {"prompt_tokens": 100, "completion_tokens": 5, "prompt_tokens_details": {"cached_tokens": 30, "cache_write_tokens": 20}}
    upstream.behave = lambda line: line.answer(200, {**COMPLETION, "usage": usage})
    ask: Any = [{"role": "user", "content": "hi"}]
    told = (await claude.messages.create(model="triage", max_tokens=9, messages=ask)).usage
    assert (told.input_tokens, told.cache_read_input_tokens, told.cache_creation_input_tokens) == (50, 30, 20)
