"""Searches of the web by real clients: asked for in each API's own words, made at Claude, told in each API's own shape."""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

import anthropic
import openai
import pytest
from gateway_server import KEY, Gateway, served_over
from google import genai
from google.genai import types
from openai.types.responses import Response, ResponseStreamEvent
from scripted import Line, Provider, provider
from sdk_types import strictly
from test_messages_to_claude import events, message

from gateway.storage.records import CallRecord

POLICIES = """
providers:
  claude: {{type: anthropic, base_url: "{url}", api_key: sk-upstream-secret}}
  google: {{type: gemini, base_url: "{url}", api_key: sk-upstream-secret}}
  openai: {{type: openai, base_url: "{url}", api_key: sk-upstream-secret}}
  thinker: {{type: openai, api: responses, base_url: "{url}", api_key: sk-upstream-secret}}
  router: {{type: openai, profile: openrouter, base_url: "{url}", api_key: sk-upstream-secret}}
  perplex: {{type: openai, profile: perplexity, base_url: "{url}", api_key: sk-upstream-secret}}
  groq: {{type: openai, profile: groq, base_url: "{url}", api_key: sk-upstream-secret}}
prices: {{claude: {{claude-sonnet-4-5: {{input: 1.0, output: 2.0, search: 10.0, as_of: "2026-11-30", source: test}}}}}}
keys: [{{name: tests, key: {key}, project: default}}]
timeouts: {{connect: 30, first_byte: 30, chunk_gap: 30, total: 60}}
"""
MODEL = "claude/claude-sonnet-4-5"
PAGE = {"type": "web_search_result", "url": "https://dwd.example/bonn", "title": "Bonn", "encrypted_content": "RXJm", "page_age": "May 1, 2026"}
CITED = {"type": "web_search_result_location", "url": PAGE["url"], "title": "Bonn", "cited_text": "Rain.", "encrypted_index": "SWR4"}
BLOCKS: list[dict[str, Any]] = [
    {"type": "thinking", "thinking": "hm, rain", "signature": "c2lnLTE="},
    {"type": "text", "text": "I look. "},
    {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {"query": "weather Bonn"}},
    {"type": "web_search_tool_result", "tool_use_id": "srvtoolu_1", "content": [PAGE]},
    {"type": "thinking", "thinking": "so it is", "signature": "c2lnLTI="},
    {"type": "text", "text": "In Bonn "},
    {"type": "text", "text": "it rains", "citations": [CITED]},
    {"type": "text", "text": "."},
    {"type": "server_tool_use", "id": "srvtoolu_2", "name": "code_execution", "input": {"code": "1+1"}},
    {"type": "code_execution_tool_result", "tool_use_id": "srvtoolu_2", "content":
        {"type": "code_execution_result", "stdout": "2\n", "stderr": "", "return_code": 0, "content": []}},
]  # fmt: skip
TEXT = "I look. In Bonn it rains."
SEARCHES = {"server_tool_use": {"web_search_requests": 1, "web_fetch_requests": 0}}


def whole(stop: str = "end_turn", blocks: list[dict[str, Any]] = BLOCKS) -> dict[str, Any]:
    made = message(*blocks, stop=stop)
    return {**made, "usage": {**made["usage"], **SEARCHES}}


def streamed(stop: str = "end_turn", blocks: list[dict[str, Any]] = BLOCKS) -> bytes:
    """As Anthropic streams it: what a server tool is asked comes in pieces, what came of it at once, citations one by one."""
    plain = [{name: value for name, value in one.items() if name != "citations"} for one in blocks]
    said = [json.loads(line[6:]) for line in events(*plain, stop=stop).decode().splitlines() if line.startswith("data: ")]
    told: list[dict[str, Any]] = []
    for event in said:
        one, block = event, event.get("content_block", {})
        more: list[dict[str, Any]] = []
        if block.get("type") == "server_tool_use":
            asked = json.dumps(block["input"])
            one = {**one, "content_block": {**block, "input": {}}}
            more = [{"type": "input_json_delta", "partial_json": piece} for piece in ("", asked[:4], asked[4:])]
        if one["type"] == "content_block_stop":
            told += [{"type": "content_block_delta", "index": one["index"], "delta": {"type": "citations_delta", "citation": cited}}
                     for cited in blocks[one["index"]].get("citations", ())]  # fmt: skip
        if one["type"] == "message_delta":
            one = {**one, "usage": {**one["usage"], **SEARCHES}}
        told += [one, *({"type": "content_block_delta", "index": one["index"], "delta": delta} for delta in more)]
    return "".join(f"event: {one['type']}\ndata: {json.dumps(one)}\n\n" for one in told).encode()


@pytest.fixture
async def upstream() -> AsyncIterator[Provider]:
    async with provider() as made:

        async def behave(line: Line) -> None:
            if not line.seen.path.endswith("/messages"):
                await line.answer()
            elif line.seen.body.get("stream"):
                await line.stream(streamed(), piece=13)
            else:
                await line.answer(200, whole())

        made.behave = behave
        yield made


served = served_over(POLICIES)


SEARCH: Any = {"type": "web_search_20250305", "name": "web_search", "max_uses": 3, "allowed_domains": ["dwd.example"]}
RUNS: Any = {"type": "code_execution_20250825", "name": "code_execution"}
OWN: Any = {"name": "now", "input_schema": {"type": "object", "properties": {}}}


def without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: without_nulls(one) for name, one in value.items() if one is not None and name != "caller"}
    return [without_nulls(one) for one in value] if isinstance(value, list) else value


@pytest.mark.parametrize("stream", [False, True])
async def test_what_ran_at_anthropic_passes_untouched_and_goes_back_as_it_came(
    claude: anthropic.AsyncAnthropic, served: Gateway, upstream: Provider, stream: bool
) -> None:
    ask: Any = {"model": MODEL, "max_tokens": 9000, "tools": [SEARCH, OWN, RUNS], "messages": [{"role": "user", "content": "Bonn?"}],
                "thinking": {"type": "enabled", "budget_tokens": 2000}}  # fmt: skip
    if stream:
        async with claude.messages.stream(**ask) as told:
            found = await told.get_final_message()
    else:
        found = await claude.messages.create(**ask)
    assert upstream.seen[0].body["tools"] == [SEARCH, OWN, RUNS]
    blocks = [without_nulls(one.model_dump()) for one in found.content]
    assert blocks == BLOCKS
    assert found.stop_reason == "end_turn" and found.usage.server_tool_use is not None
    assert found.usage.server_tool_use.web_search_requests == 1
    again = [*ask["messages"], {"role": "assistant", "content": found.content}, {"role": "user", "content": "Sure?"}]
    await claude.messages.create(**{**ask, "messages": again})
    assert without_nulls(upstream.seen[1].body["messages"][1]["content"]) == BLOCKS
    calls = [one for one in served.records() if isinstance(one, CallRecord)]
    assert calls[0].cost_usd == pytest.approx((10 + 5 + 20 + 2 * 7) / 1e6 + 0.01)


@pytest.mark.parametrize("stream", [False, True])
async def test_a_turn_that_pauses_says_so_and_goes_on(claude: anthropic.AsyncAnthropic, upstream: Provider, stream: bool) -> None:
    async def behave(line: Line) -> None:
        if line.seen.body.get("stream"):
            await line.stream(streamed("pause_turn", BLOCKS[1:4]))
        else:
            await line.answer(200, whole("pause_turn", BLOCKS[1:4]))

    upstream.behave = behave
    ask: Any = {"model": MODEL, "max_tokens": 900, "tools": [SEARCH], "messages": [{"role": "user", "content": "Bonn?"}]}
    if stream:
        async with claude.messages.stream(**ask) as told:
            found = await told.get_final_message()
    else:
        found = await claude.messages.create(**ask)
    assert found.stop_reason == "pause_turn"
    await claude.messages.create(**{**ask, "messages": [*ask["messages"], {"role": "assistant", "content": found.content}]})
    assert without_nulls(upstream.seen[1].body["messages"][1]["content"]) == BLOCKS[1:4]


ANNOTATION = {"type": "url_citation", "url_citation": {"start_index": 16, "end_index": 24, "url": PAGE["url"], "title": "Bonn"}}


@pytest.mark.parametrize("stream", [False, True])
async def test_chat_clients_search_with_options_and_are_told_pages(served: Gateway, upstream: Provider, stream: bool) -> None:
    where: Any = {"type": "approximate", "approximate": {"city": "Bonn", "country": "DE"}}
    async with openai.AsyncOpenAI(base_url=served.base_url, api_key=KEY, max_retries=0) as client:
        ask: Any = {"model": MODEL, "messages": [{"role": "user", "content": "Bonn?"}], "web_search_options": {"user_location": where}}
        if stream:
            async with client.chat.completions.stream(**ask) as told:  # the helper that fails over lists told twice
                async for _ in told:
                    pass
                found = (await told.get_final_completion()).choices[0].message.model_dump()
        else:
            found = (await client.chat.completions.create(**ask)).choices[0].message.model_dump()
        assert found["content"] == TEXT and found["annotations"] == [ANNOTATION]
        assert upstream.seen[0].body["tools"] == [
            {"type": "web_search_20250305", "name": "web_search", "user_location": {"type": "approximate", "city": "Bonn", "country": "DE"}}
        ]
        found = {name: value for name, value in found.items() if value is not None and name != "parsed"}
        await client.chat.completions.create(**{**ask, "messages": [*ask["messages"], found, {"role": "user", "content": "Sure?"}]})
        kept = upstream.seen[1].body["messages"][1]["content"]
        assert [one["type"] for one in kept].count("web_search_tool_result") == 1
        assert "".join(one.get("text", "") for one in kept) == TEXT and kept[2:4] == BLOCKS[2:4]
        await client.chat.completions.create(model="groq/m", messages=[*ask["messages"], found, {"role": "user", "content": "Sure?"}])
        assert upstream.seen[2].body["messages"][1].keys() <= {"role", "content", "annotations", "refusal", "reasoning"}


async def test_responses_clients_are_told_the_search_as_an_item(served: Gateway, upstream: Provider) -> None:
    tool: Any = {"type": "web_search", "filters": {"allowed_domains": ["dwd.example"]}}
    ask: Any = {"model": MODEL, "input": "Bonn?", "tools": [tool], "include": ["web_search_call.action.sources", "code_interpreter_call.outputs"]}
    async with openai.AsyncOpenAI(base_url=served.base_url, api_key=KEY, max_retries=0) as client:
        raw = await client.responses.with_raw_response.create(**ask)
        found = strictly(Response, raw.content, beyond=frozenset({"store"}))
        async with client.responses.stream(**ask) as told:
            seen = [event async for event in told]
            last = await told.get_final_response()
        assert upstream.seen[0].body["tools"] == [{"type": "web_search_20250305", "name": "web_search", "allowed_domains": ["dwd.example"]}]
        for one in (found, last):
            items = [item.model_dump() for item in one.output]
            assert [item["type"] for item in items] == ["reasoning", "message", "web_search_call", "reasoning", "message", "code_interpreter_call"]
            assert items[2]["action"] == {"type": "search", "query": "weather Bonn", "queries": None, "sources": [{"type": "url", "url": PAGE["url"]}]}
            assert items[2]["status"] == items[5]["status"] == "completed" and items[5]["code"] == "1+1"
            assert items[5]["outputs"] == [{"type": "logs", "logs": "2\n"}]
            (part,) = items[4]["content"]
            (note,) = part["annotations"]
            assert part["text"][note["start_index"] : note["end_index"]] == "it rains" and note["url"] == PAGE["url"]
            assert one.output_text == TEXT
        kinds = [event.type for event in seen if "web_search_call" in event.type]
        assert kinds == [f"response.web_search_call.{one}" for one in ("in_progress", "searching", "completed")]
        again = await client.responses.create(model=MODEL, input="Sure?", previous_response_id=found.id, tools=[tool])
        assert again.output_text == TEXT
        assert "".join(one.get("text", "") for one in upstream.seen[2].body["messages"][1]["content"]) == TEXT


async def test_every_event_is_by_the_sdks_types(served: Gateway, upstream: Provider) -> None:
    ask: Any = {"model": MODEL, "input": "Bonn?", "tools": [{"type": "web_search_preview"}], "stream": True}
    async with openai.AsyncOpenAI(base_url=served.base_url, api_key=KEY, max_retries=0) as client:
        raw = await client.responses.with_raw_response.create(**ask)
        lines = [line async for line in raw.http_response.aiter_lines()]
    told = [line[6:] for line in lines if line.startswith("data: ")]
    numbers = [strictly(ResponseStreamEvent, one, beyond=frozenset({"store"})).sequence_number for one in told]
    assert numbers == list(range(len(told)))


async def asked_of(client: openai.AsyncOpenAI, upstream: Provider, model: str, options: dict[str, Any]) -> dict[str, Any]:
    try:
        await client.chat.completions.create(model=model, messages=[{"role": "user", "content": "Bonn?"}],
                                             extra_body={"web_search_options": options})  # fmt: skip
    except (openai.InternalServerError, openai.APIError) as problem:
        if isinstance(problem, openai.BadRequestError):
            raise
    return dict(upstream.seen[-1].body)


WHERE = {"type": "approximate", "approximate": {"country": "DE"}}


async def test_each_provider_is_asked_in_its_own_words(served: Gateway, upstream: Provider) -> None:
    domains = {"filters": {"allowed_domains": ["a.de"]}}
    async with openai.AsyncOpenAI(base_url=served.base_url, api_key=KEY, max_retries=0) as client:
        sent = await asked_of(client, upstream, "google/gemini-2.5-flash", {})
        assert sent["tools"] == [{"googleSearch": {}}]
        sent = await asked_of(client, upstream, "openai/gpt-4o-search-preview", {"search_context_size": "low", "user_location": WHERE})
        assert sent["web_search_options"] == {"search_context_size": "low", "user_location": WHERE}
        sent = await asked_of(client, upstream, "thinker/gpt-5.1", {"search_context_size": "high", "user_location": WHERE, **domains})
        assert sent["tools"] == [{"type": "web_search", "search_context_size": "high", "filters": domains["filters"],
                                  "user_location": {"type": "approximate", "country": "DE"}}]  # fmt: skip
        sent = await asked_of(client, upstream, "router/x", {"search_context_size": "low", **domains})
        assert sent["plugins"] == [{"id": "web", "include_domains": ["a.de"]}]
        assert sent["web_search_options"] == {"search_context_size": "low"}
        blocked = {"filters": {"blocked_domains": ["b.de"]}}
        sent = await asked_of(client, upstream, "perplex/sonar", {"search_context_size": "low", "user_location": WHERE, **blocked})
        assert sent["web_search_options"] == {"search_context_size": "low", "user_location": {"country": "DE"}}
        assert sent["search_domain_filter"] == ["-b.de"]


async def test_a_clients_most_uses_go_where_there_is_a_word_for_them(served: Gateway, upstream: Provider) -> None:
    async def asked_for(model: str, most: int) -> dict[str, Any]:
        with contextlib.suppress(openai.InternalServerError):  # what is sent is the point
            await client.responses.create(model=model, input="Bonn?", tools=[{"type": "web_search"}], max_tool_calls=most)
        return upstream.seen[-1].body

    async with openai.AsyncOpenAI(base_url=served.base_url, api_key=KEY, max_retries=0) as client:
        sent = await asked_for("thinker/gpt-5.1", 2)
        assert sent["max_tool_calls"] == 2 and sent["tools"] == [{"type": "web_search"}]
        sent = await asked_for(MODEL, 2)
        assert sent["tools"][-1]["max_uses"] == 2 and "max_tool_calls" not in sent
        assert "max_tool_calls" not in await asked_for("google/gemini-2.5-flash", 2)
        assert "max_tool_calls" not in await asked_for("openai/gpt-4o-search-preview", 2)
        seen = len(upstream.seen)
        with pytest.raises(openai.BadRequestError, match="claude") as refused:
            await client.responses.create(model=MODEL, input="Bonn?", tools=[{"type": "web_search"}], max_tool_calls=0)
        assert refused.value.param == "max_tool_calls" and len(upstream.seen) == seen


NOT_SAID = [
    ("groq/m", {}, "web_search_options"),
    ("google/gemini-2.5-flash", {"user_location": WHERE}, "web_search_options.user_location"),
    ("google/gemini-2.5-flash", {"filters": {"allowed_domains": ["a.de"]}}, "web_search_options.filters.allowed_domains"),
    (MODEL, {"search_context_size": "low"}, "web_search_options.search_context_size"),
    ("openai/m", {"filters": {"allowed_domains": ["a.de"]}}, "web_search_options.filters.allowed_domains"),
    ("thinker/m", {"max_uses": 2}, "web_search_options.max_uses"),
    (MODEL, 3, "web_search_options"),
]  # fmt: skip


async def test_what_a_provider_has_no_word_for_is_refused_by_name(served: Gateway, upstream: Provider) -> None:
    async with openai.AsyncOpenAI(base_url=served.base_url, api_key=KEY, max_retries=0) as client:
        for model, options, param in NOT_SAID:
            with pytest.raises(openai.BadRequestError, match=model.partition("/")[0]) as refused:
                await asked_of(client, upstream, model, options)  # type: ignore[arg-type]
            assert refused.value.param == param
    assert not upstream.seen


async def test_a_search_may_be_demanded_and_tools_of_anthropic_stay_there(
    claude: anthropic.AsyncAnthropic, served: Gateway, upstream: Provider
) -> None:
    ask: Any = {"max_tokens": 900, "messages": [{"role": "user", "content": "Bonn?"}]}
    search: Any = {"type": "web_search_20250305", "name": "web_search"}
    await claude.messages.create(model=MODEL, tools=[search], tool_choice={"type": "tool", "name": "web_search"}, **ask)
    assert upstream.seen[0].body["tool_choice"] == {"type": "tool", "name": "web_search"}
    async with openai.AsyncOpenAI(base_url=served.base_url, api_key=KEY, max_retries=0) as client:
        await client.responses.create(model=MODEL, input="Bonn?", tools=[{"type": "web_search"}], tool_choice={"type": "web_search_preview"})
    assert upstream.seen[1].body["tool_choice"] == {"type": "tool", "name": "web_search"}
    with pytest.raises(anthropic.BadRequestError, match=r"code_execution_20250825.*groq"):
        await claude.messages.create(model="groq/m", tools=[RUNS], **ask)
    with pytest.raises(anthropic.BadRequestError, match="web_search_options"):
        await claude.messages.create(model="groq/m", tools=[search], **ask)
    assert len(upstream.seen) == 2


GOOGLES = {"candidates": [{"content": {"role": "model", "parts": [
    {"text": "So: "}, {"executableCode": {"language": "PYTHON", "code": "1+1"}}, {"codeExecutionResult": {"outcome": "OUTCOME_OK", "output": "2\n"}},
    {"text": "It rains."}]}, "finishReason": "STOP", "index": 0, "groundingMetadata": {
        "webSearchQueries": ["weather Bonn"], "groundingChunks": [{"web": {"uri": "https://dwd.example", "title": "DWD"}}],
        "groundingSupports": [{"segment": {"partIndex": 3, "startIndex": 0, "endIndex": 9, "text": "It rains."}, "groundingChunkIndices": [0]}]}}],
    "usageMetadata": {"promptTokenCount": 5, "candidatesTokenCount": 7}, "modelVersion": "gemini-2.5-flash", "responseId": "r1"}  # fmt: skip


@pytest.mark.filterwarnings("ignore:Inheritance class AiohttpClientSession:DeprecationWarning")  # Google's own doing
@pytest.mark.parametrize("stream", [False, True])
async def test_what_ran_at_google_in_every_api(
    claude: anthropic.AsyncAnthropic, served: Gateway, upstream: Provider, stream: bool
) -> None:
    async def behave(line: Line) -> None:
        if "streamGenerateContent" in line.seen.path:
            await line.stream(b"data: " + json.dumps(GOOGLES).encode() + b"\r\n\r\n", piece=50)
        else:
            await line.answer(200, GOOGLES)

    upstream.behave = behave
    model, search = "google/gemini-2.5-flash", [{"type": "web_search_20250305", "name": "web_search"}]
    ask: Any = {"model": model, "max_tokens": 900, "tools": search, "messages": [{"role": "user", "content": "Bonn?"}]}
    if stream:
        async with claude.messages.stream(**ask) as told:
            message_found = await told.get_final_message()
    else:
        message_found = await claude.messages.create(**ask)
    kinds = [one.type for one in message_found.content]
    assert sorted(kinds) == ["code_execution_tool_result", "server_tool_use", "server_tool_use", "text", "text", "web_search_tool_result"]
    cited = [one for block in message_found.content if block.type == "text" for one in block.citations or ()]
    assert [(one.type, one.cited_text) for one in cited] == [("web_search_result_location", "It rains.")]
    again = [*ask["messages"], {"role": "assistant", "content": message_found.content}, {"role": "user", "content": "Sure?"}]
    await claude.messages.create(**{**ask, "messages": again})
    assert upstream.seen[1].body["contents"][1]["parts"] == GOOGLES["candidates"][0]["content"]["parts"]  # type: ignore[index]
    options: Any = {"base_url": served.url}
    async with genai.Client(api_key=KEY, http_options=options).aio as google:
        config = types.GenerateContentConfig(tools=[types.Tool(google_search=types.GoogleSearch()), types.Tool(code_execution=types.ToolCodeExecution())])
        if stream:
            parts = [part async for one in await google.models.generate_content_stream(model=model, contents="Bonn?", config=config)
                     for part in one.candidates[0].content.parts]  # fmt: skip
        else:
            made = await google.models.generate_content(model=model, contents="Bonn?", config=config)
            grounding, parts = made.candidates[0].grounding_metadata, made.candidates[0].content.parts
            assert grounding.web_search_queries == ["weather Bonn"] and grounding.grounding_chunks[0].web.uri == "https://dwd.example"
        assert upstream.seen[2].body["tools"] == [{"googleSearch": {}}, {"codeExecution": {}}]
        assert [one.executable_code.code for one in parts if one.executable_code] == ["1+1"]
        assert [one.code_execution_result.output for one in parts if one.code_execution_result] == ["2\n"]
        history = [types.Content(role="user", parts=[types.Part(text="Bonn?")]), types.Content(role="model", parts=parts),
                   types.Content(role="user", parts=[types.Part(text="Sure?")])]  # fmt: skip
        await google.models.generate_content(model=model, contents=history, config=config)
        kept = upstream.seen[3].body["contents"][1]["parts"]
        assert [one for one in kept if "text" not in one] == GOOGLES["candidates"][0]["content"]["parts"][1:3]  # type: ignore[index]
        with pytest.raises(genai.errors.ClientError, match=r"codeExecution.*groq"):
            code = types.GenerateContentConfig(tools=[types.Tool(code_execution=types.ToolCodeExecution())])
            await google.models.generate_content(model="groq/m", contents="x", config=code)


async def test_google_searches_for_chat_and_responses(served: Gateway, upstream: Provider) -> None:
    async def behave(line: Line) -> None:
        await line.answer(200, GOOGLES)

    upstream.behave = behave
    async with openai.AsyncOpenAI(base_url=served.base_url, api_key=KEY, max_retries=0) as client:
        found = await client.responses.create(model="google/gemini-2.5-flash", input="Bonn?", tools=[{"type": "web_search"}])
        kinds = [one.type for one in found.output]
        assert kinds == ["web_search_call", "message", "code_interpreter_call", "message"]
        (part,) = found.output[3].content
        (note,) = part.annotations
        assert part.text[note.start_index : note.end_index] == "It rains." and note.url == "https://dwd.example"


async def test_pictures_in_an_answer_are_items(served: Gateway, upstream: Provider) -> None:
    parts = [{"text": "Here: "}, {"inlineData": {"mimeType": "image/png", "data": "aGk="}}]
    said = {**GOOGLES, "candidates": [{"content": {"role": "model", "parts": parts}, "finishReason": "STOP", "index": 0}]}

    async def behave(line: Line) -> None:
        if "streamGenerateContent" in line.seen.path:
            await line.stream(b"data: " + json.dumps(said).encode() + b"\r\n\r\n", piece=50)
        else:
            await line.answer(200, said)

    upstream.behave = behave
    ask: Any = {"model": "google/gemini-2.5-flash-image", "input": "Draw."}
    async with openai.AsyncOpenAI(base_url=served.base_url, api_key=KEY, max_retries=0) as client:
        raw = await client.responses.with_raw_response.create(**ask)
        found = strictly(Response, raw.content, beyond=frozenset({"store"}))
        async with client.responses.stream(**ask) as told:
            kinds = [event.type async for event in told]
            last = await told.get_final_response()
        for one in (found, last):
            assert [item.type for item in one.output] == ["message", "image_generation_call"] and one.output_text == "Here: "
            assert (one.output[1].result, one.output[1].status) == ("aGk=", "completed")  # type: ignore[union-attr]
        assert kinds[-5:-2] == [f"response.image_generation_call.{one}" for one in ("in_progress", "generating", "completed")]
        await client.responses.create(model="google/gemini-2.5-flash", input="Sure?", previous_response_id=found.id)
