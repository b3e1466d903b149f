"""Azure's Responses API: what goes there and comes back in the shape of its documentation, whole, cut anywhere, refused, filtered, and
by real clients through a running gateway."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import openai
import pytest
from dialects import WEATHER, named
from gateway_server import KEY, Gateway, gateway
from openai_items import answers, asked, events, response, spoken
from scripted import Line, Provider, provider

from gateway.protocol.assemble import assemble
from gateway.providers import AnthropicProvider, AzureProvider, OpenAIProvider
from gateway.providers.azure.responses import AzureResponsesCodec
from gateway.providers.codec import AttemptFailed
from gateway.storage.records import CallRecord

HERE = "https://x.openai.azure.com"
HI = [{"role": "user", "content": "hi"}]
THOUGHT = {"id": "rs_1", "type": "reasoning", "summary": [{"type": "summary_text", "text": "hm"}], "encrypted_content": "gAAA"}
SOUGHT = {"id": "ws_1", "type": "web_search_call", "status": "completed",
          "action": {"type": "search", "query": "Bonn", "sources": [{"type": "url", "url": "https://b.de"}]}}  # fmt: skip
CODED = {"id": "ci_1", "type": "code_interpreter_call", "status": "completed", "code": "1+1", "container_id": "c",
         "outputs": [{"type": "logs", "logs": "2"}]}  # fmt: skip
FOUND = {"id": "fs_1", "type": "file_search_call", "status": "completed", "queries": ["refunds"], "results": None}
LISTED = {"id": "mcpl_1", "type": "mcp_list_tools", "server_label": "deepwiki", "tools": []}
CALLED = {"id": "mcp_1", "type": "mcp_call", "status": "completed", "server_label": "deepwiki", "name": "ask", "arguments": "{}",
          "output": "It is.", "error": None, "approval_request_id": None}  # fmt: skip
NOTE = {"type": "url_citation", "start_index": 3, "end_index": 8, "url": "https://b.de", "title": "B"}
SAID = spoken("It räins.", NOTE)
SAFE = {"hate": {"filtered": False, "severity": "safe"}}
FILTERS = [{"blocked": False, "source_type": source, "content_filter_results": SAFE, "content_filter_raw": [],
            "content_filter_offsets": {"start_offset": 0, "end_offset": 9, "check_offset": 0}} for source in ("prompt", "completion")]  # fmt: skip
STOPPED = {"message": "The response was filtered due to the prompt triggering Azure OpenAI's content management policy.",
           "type": None, "param": "prompt", "code": "content_filter", "status": 400,
           "innererror": {"code": "ResponsibleAIPolicyViolation", "content_filter_result": SAFE}}  # fmt: skip


def codec(**settings: Any) -> AzureResponsesCodec:
    made = AzureProvider(base_url=HERE, api_key="sk-secret", api="responses", **settings).build("azure", "")
    assert isinstance(made, AzureResponsesCodec)
    return made


def sent(body: dict[str, Any], model: str = "gpt-5-mini", *, stream: bool = False) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(codec().encode(body, model, stream=stream).body)
    return found


@pytest.mark.parametrize("base", [HERE, f"{HERE}/openai/v1/", f"{HERE}/openai"])
def test_it_stands_under_the_v1_address(base: str) -> None:
    made = AzureProvider(base_url=base, api_key="k", api="responses").build("azure", "")
    request = made.encode({"messages": HI}, "mine", stream=True)
    assert request.url == f"{HERE}/openai/v1/responses"
    assert request.headers["api-key"] == "k" and "authorization" not in request.headers
    assert json.loads(request.body)["model"] == "mine" and json.loads(request.body)["stream"] is True
    assert made.located("mine").url == f"{HERE}/openai/v1/chat/completions"


def test_versions_of_the_v1_api_are_named() -> None:
    made = codec(api_version="preview")
    assert made.encode({"messages": HI}, "m", stream=False).url == f"{HERE}/openai/v1/responses?api-version=preview"
    assert made.located("m").url == f"{HERE}/openai/v1/chat/completions?api-version=preview"


@pytest.mark.parametrize("version", ["2025-03-01-preview", "2025-04-01-preview", "2026-01-01"])
def test_dated_versions_have_addresses_of_their_own(version: str) -> None:
    made = codec(api_version=version)
    request = made.encode({"messages": HI}, "mine", stream=False)
    assert request.url == f"{HERE}/openai/responses?api-version={version}" and json.loads(request.body)["model"] == "mine"
    assert made.located("mine").url == f"{HERE}/openai/deployments/mine/chat/completions?api-version={version}"
    with pytest.raises(AttemptFailed) as refused:
        made.located("../other")
    assert refused.value.error.param == "model"


@pytest.mark.parametrize("version", ["2024-10-21", "2025-02-01-preview", "v2", "2025-04-01-preview&x=y"])
def test_versions_without_it_are_a_mistake(version: str) -> None:
    dated = {"type": "azure", "base_url": HERE, "api": "responses", "api_version": version}
    with pytest.raises(msgspec.ValidationError, match="name '2025-03-01-preview' or a later one, or leave it out"):
        msgspec.convert(dated, AzureProvider)


def test_a_token_of_entra_goes_in_the_headers() -> None:
    made = AzureProvider(base_url=HERE, api="responses", headers={"authorization": "Bearer t"}).build("azure", "")
    headers = made.encode({"messages": HI}, "m", stream=False).headers
    assert headers["authorization"] == "Bearer t" and "api-key" not in headers


def test_a_request_is_openais() -> None:
    search = {"filters": {"allowed_domains": ["a.de"], "blocked_domains": ["b.de"]}, "user_location": {"approximate": {"country": "DE"}}}
    asked = {"messages": HI, "reasoning_effort": "low", "max_completion_tokens": 9, "tools": [WEATHER, {"type": "code_interpreter", "container": {"type": "auto"}}],
             "web_search_options": search}  # fmt: skip
    assert sent(asked) == {
        "model": "gpt-5-mini", "store": False, "max_output_tokens": 9, "reasoning": {"effort": "low"},
        "include": ["reasoning.encrypted_content", "web_search_call.action.sources"],
        "input": [{"type": "message", "role": "user", "content": [{"type": "input_text", "text": "hi"}]}],
        "tools": [
            {"type": "function", "strict": False, **WEATHER["function"]},  # type: ignore[dict-item]
            {"type": "code_interpreter", "container": {"type": "auto"}},
            {"type": "web_search", **search, "user_location": {"type": "approximate", "country": "DE"}},
        ],
    }  # fmt: skip


IMAGE = {"type": "file", "file": {"file_id": "assistant-1", "kind": "image"}}
SERVED = {"openai": {"server_tools": [{"at": 0, "tool": {"type": "x_search"}}]}}


@pytest.mark.parametrize(
    ("asked", "stream", "param", "words"),
    [
        ({"messages": [{"role": "user", "content": [IMAGE]}]}, False, "messages[0].content[0].file_id", "no image by a file's id"),
        ({"tools": [{"type": "image_generation"}]}, True, "stream", "'image_generation'"),
        ({"seed": 3}, False, "seed", "'seed'"),
        ({"n": 2}, False, "n", "'n'"),
        ({"web_search_options": {"max_uses": 2}}, False, "web_search_options.max_uses", "max_uses"),
        (SERVED, False, "tools", "x_search"),
    ],
)
def test_what_azure_has_not_is_refused_by_its_name(asked: dict[str, Any], stream: bool, param: str, words: str) -> None:
    with pytest.raises(AttemptFailed) as caught:
        sent({"messages": HI, **asked}, stream=stream)
    error = caught.value.error
    assert (caught.value.failure.kind, error.param, error.code) == ("unsupported", param, "unsupported_parameter")
    assert words in error.message and "(provider 'azure')" in error.message


def test_thoughts_go_back_to_their_author_alone() -> None:
    """Nobody can read what another one has encrypted, though all speak the same API."""
    authors = ("azure", "openai", "xai")
    blocks = [{"type": "thinking", "thinking": "hm", "signature": f"{who}:rs_{who}:gAAA"} for who in authors]
    turns = [*HI, {"role": "assistant", "content": "So.", "thinking_blocks": blocks}, *HI]
    said = {"azure": sent({"messages": turns})["input"]}
    for who, model in (("openai", "gpt-5"), ("xai", "grok-4")):
        codec_of = OpenAIProvider(api_key="k", api="responses", profile=who).build(who, "")
        said[who] = json.loads(codec_of.encode({"messages": turns}, model, stream=False).body)["input"]
    for who, items in said.items():
        assert [one["id"] for one in items if one["type"] == "reasoning"] == [f"rs_{who}"]
    claudes = AnthropicProvider(api_key="k").build("claude", "").encode({"messages": turns, "max_tokens": 9}, "claude-sonnet-4-5", stream=False)
    assert b"gAAA" not in claudes.body


def test_pictures_are_drawn_whole() -> None:
    assert sent({"messages": HI, "tools": [{"type": "image_generation"}]})["tools"] == [{"type": "image_generation"}]


def test_an_answer_is_the_same_wherever_its_stream_is_cut() -> None:
    items = (THOUGHT, SOUGHT, CODED, FOUND, LISTED, CALLED, SAID)
    data = {**response(*items), "content_filters": FILTERS}
    whole = codec().decode(200, {}, json.dumps(data).encode(), now=0.0)
    choice = whole.data["choices"][0]
    message = choice["message"]
    assert (message["content"], choice["finish_reason"], message["reasoning_content"]) == ("It räins.", "stop", "hm")
    assert message["annotations"][0]["url_citation"]["url"] == "https://b.de"
    ran = [one["block"]["type"] for one in message["server_blocks"]]
    assert len(ran) == 9 and ran[:2] == ["server_tool_use", "web_search_tool_result"]
    assert whole.usage is not None
    assert (whole.usage.prompt, whole.usage.completion, whole.usage.searches, whole.usage.file_searches) == (100, 10, 1, 1)
    thinks = b'"response.reasoning_summary_text.delta", "summary_index": 0, "delta": "hm"'
    raw = events(*items).replace(b'"response.reasoning.in_progress"', thinks)
    for at in range(1, len(raw)):
        decoder = codec().stream()
        chunks = [*decoder.feed(raw[:at]), *decoder.feed(raw[at:]), *decoder.finish()]
        told = assemble([one.data for one in chunks])["choices"][0]
        assert (told["message"], told["finish_reason"]) == (message, "stop")
        assert chunks[-1].usage == whole.usage
    for cut in (0, len(raw) // 2, len(raw) - 2):
        decoder = codec().stream()
        with pytest.raises(AttemptFailed):
            decoder.feed(raw[:cut])
            decoder.finish()


@pytest.mark.parametrize(
    ("told", "finish"),
    [({"content_filters": FILTERS}, "stop"),
     ({"content_filters": [FILTERS[0], {**FILTERS[1], "blocked": True}]}, "content_filter"),
     ({"content_filters": [{**FILTERS[0], "blocked": True}]}, "stop"),
     ({"content_filters": "junk"}, "stop"),
     ({"status": "incomplete", "incomplete_details": {"reason": "content_filter"}}, "content_filter"),
     ({"status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}}, "length")],
)  # fmt: skip
def test_what_the_filter_cut_says_so(told: dict[str, Any], finish: str) -> None:
    data = {**response(SAID), **told}
    assert codec().decode(200, {}, json.dumps(data).encode(), now=0.0).data["choices"][0]["finish_reason"] == finish
    raw = events(SAID).replace(json.dumps(response(SAID), ensure_ascii=False).encode(), json.dumps(data).encode())
    decoder = codec().stream()
    chunks = [*decoder.feed(raw), *decoder.finish()]
    assert assemble([one.data for one in chunks])["choices"][0]["finish_reason"] == finish


def test_a_prompt_that_the_filter_stopped_is_its_senders_to_change() -> None:
    problem = codec().refuse(400, {}, json.dumps({"error": STOPPED}).encode(), now=0.0)
    for event in ({"type": "error", "error": STOPPED}, {"type": "error", **{name: STOPPED[name] for name in ("message", "param", "code")}},
                  {"type": "response.failed", "response": {**response(status="failed"), "error": STOPPED}}):  # fmt: skip
        with pytest.raises(AttemptFailed) as caught:
            codec().stream().feed(named([event]))
        for one in (caught.value, problem):
            assert (one.failure.kind, one.error.status, one.error.code, one.error.param) == ("refused", 400, "content_filter", "prompt")
            assert one.error.kind == "invalid_request_error" and "innererror" not in one.error.message


@pytest.mark.parametrize(
    ("code", "kind", "status"),
    [("rate_limit_exceeded", "throttled", 429), ("too_many_requests", "throttled", 429), ("server_error", "failed", 502)],
)
def test_errors_that_come_after_the_status(code: str, kind: str, status: int) -> None:
    data = {**response(status="failed"), "error": {"code": code, "message": "broke"}}
    with pytest.raises(AttemptFailed) as caught:
        codec().decode(200, {}, json.dumps(data).encode(), now=0.0)
    with pytest.raises(AttemptFailed) as streamed:
        codec().stream().feed(named([{"type": "response.failed", "response": data}]))
    for one in (caught.value, streamed.value):
        assert (one.failure.kind, one.error.status, one.error.message) == (kind, status, "broke")


def test_a_failure_may_come_before_its_reason() -> None:
    nameless = {"type": "response.failed", "response": {**response(status="failed"), "usage": None}}
    limit = {"type": "too_many_requests", "code": None, "message": "Your requests have exceeded rate limit.", "param": None,
             "headers": {"x-ms-fe-error": "true"}}  # fmt: skip
    raw = named([nameless, {"type": "error", "error": limit}])
    for at in range(1, len(raw)):
        decoder = codec().stream()
        with pytest.raises(AttemptFailed) as caught:
            decoder.feed(raw[:at])
            decoder.feed(raw[at:])
        failure, error = caught.value.failure, caught.value.error
        assert (failure.kind, error.code, error.message) == ("throttled", "rate_limit_exceeded", limit["message"])
    alone = codec().stream()
    assert alone.feed(named([nameless])) == []
    with pytest.raises(AttemptFailed) as cut:
        alone.finish()
    assert cut.value.failure.kind == "failed"


def test_waits_and_limits_are_passed_on_and_keys_are_the_operators() -> None:
    headers = {"retry-after-ms": "1500", "retry-after": "60", "x-ratelimit-remaining-tokens": "0", "x-ms-region": "no"}
    problem = codec().refuse(429, headers, b'{"error": {"code": "429", "message": "Requests have exceeded the limit."}}', now=0)
    assert (problem.failure.kind, problem.failure.retry_after, problem.error.code) == ("throttled", 1.5, "rate_limit_exceeded")
    assert problem.error.headers["x-ratelimit-remaining-tokens"] == "0" and "x-ms-region" not in problem.error.headers
    assert codec().refuse(401, {}, b'{"error": {"code": "401", "message": "sk-secret"}}', now=0).failure.kind == "credentials"
    assert codec().refuse(503, {}, b"<html>", now=0).error.code == "upstream_overloaded"


POLICIES = """
providers:
  azure: {{type: azure, api: responses, base_url: "{url}", api_key: sk-upstream-secret}}
prices: {{azure: {{mine: {{input: 1.0, output: 2.0, search: 10.0, file_search: 2.5, as_of: "2026-11-30", source: test}}}}}}
mcp: {{hosts: [mcp.deepwiki.com]}}
keys: [{{name: tests, key: {key}, project: default}}]
timeouts: {{connect: 30, first_byte: 30, chunk_gap: 30, total: 60}}
retries: {{attempts: 1}}
"""
TOOLS: Any = [
    {"type": "file_search", "vector_store_ids": ["vs_at_azure"]},
    {"type": "mcp", "server_label": "deepwiki", "server_url": "https://mcp.deepwiki.com/mcp", "require_approval": "never"},
    {"type": "web_search"},
]


@pytest.fixture
async def upstream() -> AsyncIterator[Provider]:
    async with provider() as made:
        yield made


@pytest.fixture
async def served(tmp_path: Path, upstream: Provider) -> AsyncIterator[Gateway]:
    folder = tmp_path / "policies"
    folder.mkdir()
    (folder / "gateway.yaml").write_text(POLICIES.format(url=upstream.url.removesuffix("/v1"), key=KEY))
    async with gateway(tmp_path, folder) as made:
        yield made


@pytest.fixture
async def client(served: Gateway) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(base_url=served.base_url, api_key=KEY, max_retries=0) as made:
        yield made


@pytest.mark.parametrize("stream", [False, True])
async def test_tools_run_at_azure_as_they_do_at_openai(
    client: openai.AsyncOpenAI, served: Gateway, upstream: Provider, stream: bool
) -> None:
    upstream.script = [answers(THOUGHT, LISTED, CALLED, SOUGHT, FOUND, SAID)]
    ask: Any = {"model": "azure/mine", "input": "Refunds?", "tools": TOOLS, "max_tool_calls": 3, "store": False, "reasoning": {"effort": "low"}}
    answer = await asked(client, ask, stream=stream)
    (seen,) = upstream.seen
    assert seen.path == "/openai/v1/responses" and seen.headers["api-key"] == "sk-upstream-secret"
    assert seen.body["tools"] == TOOLS and seen.body["max_tool_calls"] == 3 and seen.body["store"] is False
    kinds = [one.type for one in answer.output]
    assert kinds == ["reasoning", "mcp_list_tools", "mcp_call", "web_search_call", "file_search_call", "message"]
    assert answer.output[0].encrypted_content == "azure:rs_1:gAAA" and answer.output_text == "It räins."
    (record,) = [one for one in served.records() if isinstance(one, CallRecord)]
    assert record.cost_usd == pytest.approx((100 + 20) / 1e6 + 0.01 + 0.0025)


async def test_the_filter_and_limits_reach_the_client(client: openai.AsyncOpenAI, upstream: Provider) -> None:
    async def filtered(line: Line) -> None:
        await line.answer(400, {"error": STOPPED})

    async def limited(line: Line) -> None:
        error = {"code": "429", "message": "Requests have exceeded the limit."}
        await line.answer(429, {"error": error}, headers={"retry-after-ms": "1500", "x-ratelimit-remaining-requests": "0"})

    upstream.behave = filtered
    with pytest.raises(openai.BadRequestError) as refused:
        await client.responses.create(model="azure/mine", input="hi")
    assert (refused.value.code, refused.value.param) == ("content_filter", "prompt")
    upstream.behave = limited
    with pytest.raises(openai.RateLimitError) as slow:
        await client.responses.create(model="azure/mine", input="hi")
    assert slow.value.response.headers["x-ratelimit-remaining-requests"] == "0"


async def test_other_endpoints_stay_where_they_are(client: openai.AsyncOpenAI, upstream: Provider) -> None:
    async def embeds(line: Line) -> None:
        data = [{"object": "embedding", "index": 0, "embedding": [0.5]}]
        await line.answer(200, {"object": "list", "data": data, "model": "m", "usage": {"prompt_tokens": 1, "total_tokens": 1}})

    upstream.behave = embeds
    vectors = await client.embeddings.create(model="azure/small", input="x")
    assert vectors.data[0].embedding == [0.5]
    assert upstream.seen[-1].path == "/openai/v1/embeddings"
