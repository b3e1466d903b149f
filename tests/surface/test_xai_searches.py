"""Searches by xAI's Responses API, asked for in OpenAI's words and told in them; shapes as xAI documents and sends them."""

from __future__ import annotations

import json
from typing import Any

import openai
import pytest
from gateway_server import Gateway, served_over
from openai_items import USAGE, answers, asked, events, response, spoken
from scripted import Provider

from gateway.catalog import vendor
from gateway.protocol.assemble import assemble
from gateway.providers import OpenAIProvider
from gateway.providers.responses.xai_items import searched
from gateway.storage.records import CallRecord

POLICIES = """
providers:
  xai: {{type: openai, profile: xai, api: responses, base_url: "{url}", api_key: sk-upstream-secret}}
  chat: {{type: openai, profile: xai, base_url: "{url}", api_key: sk-upstream-secret}}
  drops: {{type: openai, profile: xai, api: responses, base_url: "{url}", api_key: sk-upstream-secret, drop_params: true}}
  openai: {{type: openai, api: responses, base_url: "{url}", api_key: sk-upstream-secret}}
keys: [{{name: tests, key: {key}, project: default}}]
timeouts: {{connect: 30, first_byte: 30, chunk_gap: 30, total: 60}}
"""
MODEL = "xai/grok-4.7"
CITED = {"type": "url_citation", "url": "https://x.ai/news"}
SAID = spoken("It räins.", CITED)
SEARCH = {"id": "ws_1", "type": "web_search_call", "status": "completed", "action": {"type": "search", "query": "rain Bonn", "sources": []}}
OLDER = {"id": "fc_2", "type": "web_search_call", "status": "completed", "call_id": "", "name": "web_search", "arguments": '{"query":"rain Kiel","num_results":5}'}
OWN = {"id": "fc_3", "type": "x_search_call", "status": "completed", "call_id": "", "name": "x_semantic_search", "arguments": '{"query":"rain","limit":20}'}
KEYWORD = {"id": "ctc_4", "type": "custom_tool_call", "status": "completed", "call_id": "xs_call_4", "name": "x_keyword_search", "input": '{"query":"from:xai rain"}'}
VIEWED = {"id": "ctc_5", "type": "custom_tool_call", "status": "completed", "call_id": "xs_call_5", "name": "view_x_video", "input": '{"video_url":"https://video.example/1.mp4"}'}
LOOKED = {"id": "ws_6", "type": "web_search_call", "status": "completed", "action": {"type": "search", "query": "", "sources": []}}
ITEMS = (SEARCH, OLDER, OWN, KEYWORD, VIEWED, LOOKED, SAID)
DETAILS = {"web_search_calls": 2, "x_search_calls": 1, "code_interpreter_calls": 0, "file_search_calls": 0, "mcp_calls": 0}
PAID = {**USAGE, "num_sources_used": 0, "num_server_side_tools_used": 6, "server_side_tool_usage_details": DETAILS, "cost_in_usd_ticks": 37_756_000}
QUERIES = ["rain Bonn", "rain Kiel", "rain", "from:xai rain"]


served = served_over(POLICIES)


def streamed() -> bytes:
    """As xAI streams it: what a custom tool was asked comes as deltas."""
    raw = events(*ITEMS).decode()
    told = [json.loads(line[6:]) for line in raw.splitlines() if line.startswith("data: ")]
    found: list[dict[str, Any]] = []
    for one in told:
        item = one.get("item", {})
        if one["type"] == "response.output_item.done" and item.get("type") == "custom_tool_call":
            found.append({"type": "response.custom_tool_call_input.delta", "output_index": one["output_index"], "item_id": item["id"], "delta": item["input"]})
        if one["type"] == "response.completed":
            one["response"]["usage"] = PAID
        found.append(one)
    return "".join(f"data: {json.dumps(one, ensure_ascii=False)}\n\n" for one in found).encode()


def test_an_answer_is_the_same_wherever_its_stream_is_cut() -> None:
    codec = OpenAIProvider(api_key="sk-secret", profile="xai", api="responses").build("xai", "")
    whole = codec.decode(200, {}, json.dumps({**response(*ITEMS), "usage": PAID}).encode(), now=0.0)
    said = whole.data["choices"][0]["message"]
    assert "tool_calls" not in said and whole.finish_reason == "stop"  # nobody is asked to answer xAI's own calls
    asked = [one["block"]["input"]["query"] for one in said["server_blocks"] if one["block"]["type"] == "server_tool_use"]
    assert asked == QUERIES
    assert whole.usage is not None and whole.usage.searches == 3 and whole.usage.told_usd == pytest.approx(0.0037756)
    raw = streamed()
    for at in range(1, len(raw)):
        decoder = codec.stream()
        chunks = [*decoder.feed(raw[:at]), *decoder.feed(raw[at:]), *decoder.finish()]
        assert assemble([one.data for one in chunks])["choices"][0]["message"] == said
        assert chunks[-1].usage == whole.usage


def test_without_details_each_item_is_a_search() -> None:
    codec = OpenAIProvider(api_key="sk-secret", profile="xai", api="responses").build("xai", "")
    whole = codec.decode(200, {}, json.dumps(response(SEARCH, OWN, SAID)).encode(), now=0.0)
    assert whole.usage is not None and (whole.usage.searches, whole.usage.told_usd) == (2, None)


def test_what_is_the_clients_own_stays_its_own_elsewhere() -> None:
    codec = OpenAIProvider(api_key="sk-secret", api="responses").build("openai", "")
    whole = codec.decode(200, {}, json.dumps(response(KEYWORD)).encode(), now=0.0)
    (call,) = whole.data["choices"][0]["message"]["tool_calls"]
    assert call["custom"]["name"] == "x_keyword_search"


def test_the_catalog_knows_what_a_search_costs() -> None:
    known = vendor("xai")
    assert known is not None and known.prices is not None
    assert {one.search for one in known.prices.models.values()} == {5.0}


@pytest.mark.parametrize("stream", [False, True])
async def test_responses_clients_search_the_web_and_x(client: openai.AsyncOpenAI, served: Gateway, upstream: Provider, stream: bool) -> None:
    async def behave(line: Any) -> None:
        if line.seen.body.get("stream"):
            await line.stream(streamed(), piece=9)
        else:
            await line.answer(200, {**response(*ITEMS), "usage": PAID})

    upstream.behave = behave
    own: Any = {"type": "x_search", "allowed_x_handles": ["xai"], "from_date": "2026-11-01"}
    web: Any = {"type": "web_search", "filters": {"allowed_domains": ["dwd.example"]}}
    ask: Any = {"model": MODEL, "input": "Rain?", "tools": [own, web]}
    answer = await asked(client, ask, stream=stream)
    sent = upstream.seen[0].body
    assert sent["tools"] == [own, {"type": "web_search", "allowed_domains": ["dwd.example"]}]
    assert "web_search_call.action.sources" not in sent.get("include", [])
    assert [one.type for one in answer.output] == ["web_search_call"] * 4 + ["message"]
    assert [one.action.query for one in answer.output[:4]] == QUERIES
    (note,) = answer.output[-1].content[0].annotations
    assert note.type == "url_citation" and note.url == CITED["url"]
    (record,) = [one for one in served.records() if isinstance(one, CallRecord)]
    assert record.cost_usd == pytest.approx((100 * 2 + 10 * 6) / 1e6 + 3 * 0.005)


async def test_chat_clients_ask_in_openais_words(client: openai.AsyncOpenAI, upstream: Provider) -> None:
    upstream.behave = answers(*ITEMS)
    options: Any = {"filters": {"allowed_domains": ["a.example"], "blocked_domains": ["b.example"]}, "search_context_size": "medium"}
    answer = await client.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": "Rain?"}], web_search_options=options)
    assert upstream.seen[0].body["tools"] == [{"type": "web_search", "allowed_domains": ["a.example"], "excluded_domains": ["b.example"]}]
    notes = answer.choices[0].message.annotations
    assert notes is not None and notes[0].url_citation.url == CITED["url"] and answer.choices[0].finish_reason == "stop"


async def test_what_xai_does_not_know_and_what_is_its_own_is_refused_by_name(client: openai.AsyncOpenAI, upstream: Provider) -> None:
    ask: Any = {"messages": [{"role": "user", "content": "Rain?"}]}
    for model, more in (
        (MODEL, {"web_search_options": {"search_context_size": "high"}}),
        ("chat/grok-4.7", {"web_search_options": {}}),
    ):
        with pytest.raises(openai.BadRequestError, match="web_search_options"):
            await client.chat.completions.create(model=model, **ask, **more)
    for model in (MODEL, "chat/grok-4.7"):
        with pytest.raises(openai.BadRequestError, match="search_parameters"):
            await client.chat.completions.create(model=model, **ask, extra_body={"search_parameters": {"mode": "auto"}})
    with pytest.raises(openai.BadRequestError, match=r"x_search.*xAI's alone"):
        await client.responses.create(model="openai/gpt-4.1", input="Rain?", tools=[{"type": "x_search"}])  # type: ignore[list-item, misc]
    assert not upstream.seen
    upstream.behave = answers(SAID)
    await client.chat.completions.create(model="drops/grok-4.7", **ask, extra_body={"search_parameters": {"mode": "auto"}})
    assert "search_parameters" not in upstream.seen[0].body


def test_nobody_is_paid_for_a_count_that_is_none() -> None:
    for junk in (-5, True - 2, "7", None, 2.5, [3]):
        told = {"web_search_calls": junk, "x_search_calls": 1, "file_search_calls": junk}
        assert searched({"server_side_tool_usage_details": told}) == (1, 0)
