"""MCP servers that clients name, called by Claude and by OpenAI: who may be named, what is passed on and told, and that what opens them
is kept nowhere."""

from __future__ import annotations

import json
import logging
from typing import Any

import anthropic
import msgspec
import openai
import pytest
from gateway_server import Gateway, served_over
from openai.types.responses import Response, ResponseStreamEvent
from openai_items import answers, response, spoken
from openai_items import events as openais
from scripted import Behaviour, Line, Provider
from sdk_types import strictly
from test_messages_to_claude import message

from gateway.errors import BadRequest
from gateway.protocol.assemble import assemble
from gateway.protocol.mcp import opened, sealed
from gateway.providers import AnthropicProvider, OpenAIProvider

POLICIES = """
providers:
  claude: {{type: anthropic, base_url: "{url}", api_key: sk-upstream-secret}}
  beta: {{type: anthropic, base_url: "{url}", api_key: sk-upstream-secret, headers: {{anthropic-beta: "files-api-2025-04-14,mcp-client-2026-09-15"}}}}
  openai: {{type: openai, api: responses, base_url: "{url}", api_key: sk-upstream-secret}}
  chat: {{type: openai, base_url: "{url}", api_key: sk-upstream-secret}}
  drops: {{type: openai, base_url: "{url}", api_key: sk-upstream-secret, drop_params: true}}
  xai: {{type: openai, profile: xai, api: responses, base_url: "{url}", api_key: sk-upstream-secret}}
  google: {{type: gemini, base_url: "{url}", api_key: sk-upstream-secret}}
mcp: {{hosts: [docs.example, "tools.example:8443"], connectors: [connector_dropbox]}}
cache: {{enabled: true}}
keys: [{{name: tests, key: {key}, project: default}}]
tasks:
  - name: captured
    candidates: [{{provider: claude, model: claude-sonnet-4-5}}]
    capture: {{rate: 1.0}}
  - name: recorded
    candidates: [{{provider: openai, model: gpt-4.1}}]
    capture: {{rate: 1.0}}
timeouts: {{connect: 30, first_byte: 30, chunk_gap: 30, total: 60}}
"""
TOKEN, PATH = "tok-very-secret-0123456789", "hooks/path-secret-987/mcp"
URL = f"https://docs.example/{PATH}?key=query-secret-5"
SECRETS = (TOKEN, "path-secret-987", "query-secret-5", "header-secret-7")
SERVER: Any = {"type": "url", "url": URL, "name": "docs", "authorization_token": TOKEN}
TOOLSET: Any = {"type": "mcp_toolset", "mcp_server_name": "docs", "configs": {"search": {"enabled": True}}}
OWN: Any = {"name": "now", "input_schema": {"type": "object", "properties": {}}}
CONTAINER = {"id": "container_1", "expires_at": "2026-12-01T00:00:00Z", "skills": None}
USED = [
    {"type": "mcp_tool_listing", "mcp_server_name": "docs", "tools": [{"name": "search", "description": "d", "input_schema": {"type": "object"}}]},
    {"type": "text", "text": "I look. "},
    {"type": "mcp_tool_use", "id": "mcptoolu_1", "name": "search", "server_name": "docs", "input": {"query": "rain"}},
    {"type": "mcp_tool_result", "tool_use_id": "mcptoolu_1", "is_error": False, "content": [{"type": "text", "text": "It rains."}]},
    {"type": "mcp_tool_use", "id": "mcptoolu_2", "name": "search", "server_name": "docs", "input": {}},
    {"type": "mcp_tool_result", "tool_use_id": "mcptoolu_2", "is_error": True, "content": [{"type": "text", "text": "gone"}]},
    {"type": "text", "text": "It räins."},
]  # fmt: skip
ASK: Any = [{"role": "user", "content": "Bonn?"}]


def streamed(blocks: list[dict[str, Any]] = USED) -> bytes:
    """As Anthropic streams it."""
    told: list[dict[str, Any]] = [{"type": "message_start", "message": {**message(), "stop_reason": None}}]
    for at, block in enumerate(blocks):
        deltas: list[dict[str, Any]] = []
        empty: dict[str, Any] = {}
        if block["type"] == "text":
            deltas, empty = [{"type": "text_delta", "text": one} for one in (block["text"][:3], block["text"][3:])], {"text": ""}
        elif block["type"] == "mcp_tool_use":
            asked = json.dumps(block["input"])
            deltas, empty = [{"type": "input_json_delta", "partial_json": one} for one in ("", asked[:4], asked[4:])], {"input": {}}
        told.append({"type": "content_block_start", "index": at, "content_block": {**block, **empty}})
        told += [{"type": "content_block_delta", "index": at, "delta": one} for one in deltas]
        told.append({"type": "content_block_stop", "index": at})
    last = {"stop_reason": "end_turn", "stop_sequence": None, "container": CONTAINER}
    told += [{"type": "message_delta", "delta": last, "usage": {"output_tokens": 7}}, {"type": "message_stop"}]
    return "".join(f"event: {one['type']}\ndata: {json.dumps(one, ensure_ascii=False)}\n\n" for one in told).encode()


def claudes(blocks: list[dict[str, Any]] = USED) -> Behaviour:
    async def behave(line: Line) -> None:
        if line.seen.body.get("stream"):
            await line.stream(streamed(blocks), piece=11)
        else:
            await line.answer(200, {**message(*blocks), "container": CONTAINER})

    return behave


served = served_over(POLICIES)


def kept(served: Gateway) -> str:
    """Everything in the spool, texts included, as one text."""
    return "".join(str(msgspec.to_builtins(one, str_keys=True)) + str(getattr(one, "text", "")) for one in served.records())


def logged(caplog: pytest.LogCaptureFixture) -> str:
    """What the gateway logged; the clients' own packages run in this process too."""
    return "".join(one.getMessage() for one in caplog.records if one.name.partition(".")[0] not in ("anthropic", "openai", "httpcore2", "httpx2", "httpx", "httpcore"))


def test_an_answer_is_the_same_wherever_its_stream_is_cut() -> None:
    codec = AnthropicProvider(api_key="sk-secret").build("claude", "")
    whole = codec.decode(200, {}, json.dumps({**message(*USED), "container": CONTAINER}).encode(), now=0.0)
    said = whole.data["choices"][0]["message"]
    assert [one["block"] for one in said["server_blocks"]] == [one for one in USED if one["type"] != "text"]
    raw = streamed()
    for at in range(1, len(raw)):
        decoder = codec.stream()
        chunks = [*decoder.feed(raw[:at]), *decoder.feed(raw[at:]), *decoder.finish()]
        found = assemble([one.data for one in chunks])["choices"][0]["message"]
        assert {name: value for name, value in found.items() if name != "citations"} == said


@pytest.mark.parametrize("stream", [False, True])
async def test_what_claude_called_passes_untouched(
    claude: anthropic.AsyncAnthropic, served: Gateway, upstream: Provider, stream: bool, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    upstream.behave = claudes()
    ask: Any = {"model": "captured", "max_tokens": 900, "messages": ASK, "mcp_servers": [SERVER], "tools": [OWN, TOOLSET],
                "container": {"id": "container_1", "skills": [{"type": "anthropic", "skill_id": "pptx", "version": "latest"}]}}  # fmt: skip
    if stream:
        async with claude.beta.messages.stream(**ask) as told:
            found = await told.get_final_message()
    else:
        found = await claude.beta.messages.create(**ask)
    sent = upstream.seen[0]
    assert sent.body["mcp_servers"] == [SERVER] and sent.body["tools"] == [OWN, TOOLSET] and sent.body["container"] == ask["container"]
    assert sent.headers["anthropic-beta"] == "mcp-client-2025-11-20"
    assert [one.model_dump(exclude_none=True) for one in found.content] == USED
    if not stream:
        assert found.container is not None and found.container.id == "container_1"
    again = [*ASK, {"role": "assistant", "content": [one.model_dump(exclude_none=True) for one in found.content]}, {"role": "user", "content": "Sure?"}]
    await claude.beta.messages.create(**{**ask, "model": "beta/claude-sonnet-4-5", "messages": again})
    assert upstream.seen[1].body["messages"][1]["content"] == USED
    assert upstream.seen[1].headers["anthropic-beta"] == "files-api-2025-04-14,mcp-client-2026-09-15"
    spool = kept(served)
    assert "docs.example/sealed-1" in spool and not any(one in spool + logged(caplog) for one in SECRETS)


async def test_a_streams_last_event_tells_the_container(http: Any, upstream: Provider) -> None:
    upstream.behave = claudes()
    body = {"model": "captured", "max_tokens": 9, "messages": ASK, "mcp_servers": [SERVER], "tools": [TOOLSET], "stream": True}
    raw = (await http.post("/v1/messages", json=body)).text
    last = next(json.loads(line[6:]) for line in raw.splitlines() if line.startswith("data: ") and "message_delta" in line)
    assert last["delta"]["container"] == CONTAINER


MCP: Any = {"type": "mcp", "server_label": "docs", "server_url": URL, "authorization": TOKEN, "require_approval": "never",
            "allowed_tools": ["search"]}  # fmt: skip
LISTED = {"id": "mcpl_1", "type": "mcp_list_tools", "server_label": "docs", "error": None,
          "tools": [{"name": "search", "description": "d", "input_schema": {"type": "object"}, "annotations": None}]}  # fmt: skip
CALLED = {"id": "mcp_1", "type": "mcp_call", "status": "completed", "name": "search", "server_label": "docs",
          "arguments": '{"query":"rain"}', "output": "It rains.", "error": None, "approval_request_id": None}  # fmt: skip
BROKE = {**CALLED, "id": "mcp_2", "status": "failed", "output": None, "error": {"type": "http_error", "code": 500, "message": "down"}}
WISHED = {"id": "mcpr_1", "type": "mcp_approval_request", "name": "search", "server_label": "docs", "arguments": '{"query":"rain"}'}
REPEATED = {"type": "mcp", "server_label": "docs", "server_url": "https://docs.example/<redacted>", "require_approval": "never",
            "allowed_tools": ["search"]}  # fmt: skip


def test_openais_answer_is_the_same_wherever_its_stream_is_cut() -> None:
    codec = OpenAIProvider(api_key="sk-secret", api="responses").build("openai", "")
    items = (LISTED, CALLED, BROKE, WISHED, spoken("It räins."))
    whole = codec.decode(200, {}, json.dumps(response(*items)).encode(), now=0.0).data["choices"][0]["message"]
    assert len(whole["server_blocks"]) == 6
    raw = openais(*items)
    for at in range(1, len(raw)):
        decoder = codec.stream()
        chunks = [*decoder.feed(raw[:at]), *decoder.feed(raw[at:]), *decoder.finish()]
        assert assemble([one.data for one in chunks])["choices"][0]["message"] == whole


@pytest.mark.parametrize("stream", [False, True])
async def test_openai_calls_what_its_client_names(
    client: openai.AsyncOpenAI, served: Gateway, upstream: Provider, stream: bool, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    items = [LISTED, CALLED, BROKE, spoken("It rains.")]
    upstream.script = [answers(*items), answers(spoken("Yes."))]
    tool = {**MCP, "headers": {"x-team": "header-secret-7"}}
    ask: Any = {"model": "recorded", "input": "Bonn?", "tools": [tool], "tool_choice": {"type": "mcp", "server_label": "docs"}}
    if stream:
        async with client.responses.stream(**ask) as told:
            kinds = [event.type.removeprefix("response.") async for event in told]
            answer: Any = await told.get_final_response()
        assert kinds[2:5] == ["output_item.added", "mcp_list_tools.in_progress", "mcp_list_tools.completed"]
        at = kinds.index("mcp_call.in_progress")
        assert kinds[at : at + 5] == ["mcp_call.in_progress", "mcp_call_arguments.delta", "mcp_call_arguments.done", "mcp_call.completed", "output_item.done"]
        assert "mcp_call.failed" in kinds
    else:
        raw = await client.responses.with_raw_response.create(**ask)
        strictly(Response, raw.text, beyond=frozenset({"store"}))
        answer = raw.parse()
    assert upstream.seen[0].body["tools"] == [tool] and upstream.seen[0].body["tool_choice"] == ask["tool_choice"]
    assert [one.model_dump(mode="json") for one in answer.output[:3]] == [LISTED, CALLED, BROKE]
    assert [one.model_dump(exclude_none=True) for one in answer.tools] == [REPEATED]
    await client.responses.create(model="recorded", input="Sure?", previous_response_id=answer.id, tools=[tool])
    back = upstream.seen[1].body["input"]
    assert [one["type"] for one in back] == ["message", "mcp_list_tools", "mcp_call", "mcp_call", "message", "message"]
    assert [back[2][name] for name in ("id", "arguments", "output")] == ["mcp_1", CALLED["arguments"], "It rains."]
    assert back[3]["error"] == BROKE["error"]
    stored = await client.responses.retrieve(answer.id)
    spool = kept(served) + stored.model_dump_json()
    assert not any(one in spool + logged(caplog) for one in SECRETS)


async def test_every_event_is_by_the_sdks_types(http: Any, upstream: Provider) -> None:
    upstream.script = [answers(LISTED, CALLED, BROKE, WISHED)]
    raw = (await http.post("/v1/responses", json={"model": "recorded", "input": "Bonn?", "tools": [MCP], "stream": True})).text
    for line in raw.splitlines():
        if line.startswith("data: "):
            strictly(ResponseStreamEvent, line[6:], beyond=frozenset({"store"}))


async def test_a_call_waits_for_its_clients_word(client: openai.AsyncOpenAI, upstream: Provider) -> None:
    tool = {**MCP, "require_approval": "always"}
    upstream.script = [answers(LISTED, WISHED), answers({**CALLED, "approval_request_id": "mcpr_1"}, spoken("It rains."))]
    first = await client.responses.create(model="recorded", input="Bonn?", tools=[tool])
    wish = first.output[1]
    assert wish.type == "mcp_approval_request" and wish.id == "mcpr_1"
    word: Any = [{"type": "mcp_approval_response", "approval_request_id": wish.id, "approve": True}]
    second = await client.responses.create(model="recorded", input=word, previous_response_id=first.id, tools=[tool])
    assert [one["type"] for one in upstream.seen[1].body["input"]] == ["message", "mcp_list_tools", "mcp_approval_request", "mcp_approval_response"]
    assert upstream.seen[1].body["input"][-1] == word[0]
    assert second.output[0].type == "mcp_call" and second.output[0].approval_request_id == "mcpr_1"


@pytest.mark.parametrize("stream", [False, True])
async def test_claude_calls_what_a_client_of_openais_names(client: openai.AsyncOpenAI, upstream: Provider, stream: bool) -> None:
    upstream.behave = claudes()
    ask: Any = {"model": "captured", "input": "Bonn?", "tools": [MCP]}
    if stream:
        async with client.responses.stream(**ask) as told:
            answer: Any = await told.get_final_response()
    else:
        answer = await client.responses.create(**ask)
    sent = upstream.seen[0].body
    assert sent["mcp_servers"] == [SERVER]
    assert sent["tools"] == [{"type": "mcp_toolset", "mcp_server_name": "docs", "default_config": {"enabled": False}, "configs": {"search": {"enabled": True}}}]
    listed, said, call, broke, last = answer.output
    assert listed.type == "mcp_list_tools" and listed.server_label == "docs" and said.type == last.type == "message"
    assert (call.type, call.id, call.arguments, call.output, call.status) == ("mcp_call", "mcptoolu_1", '{"query":"rain"}', "It rains.", "completed")
    assert broke.status == "failed" and broke.error.type == "mcp_tool_execution_error"
    await client.responses.create(model="captured", input="Sure?", previous_response_id=answer.id, tools=[MCP])
    back = [one for turn in upstream.seen[1].body["messages"] if turn["role"] == "assistant" for one in turn["content"]]
    assert [one["type"] for one in back] == ["text", "mcp_tool_use", "mcp_tool_result", "mcp_tool_use", "mcp_tool_result", "text"]
    assert back[1] == USED[2] and back[2] == USED[3] and back[4]["is_error"] is True


async def test_chat_clients_name_servers_in_either_words(client: openai.AsyncOpenAI, upstream: Provider) -> None:
    upstream.behave = claudes()
    for extra in ({"mcp_servers": [SERVER], "tools": [TOOLSET]}, {"tools": [MCP]}):
        raw = await client.chat.completions.with_raw_response.create(model="captured", messages=ASK, extra_body=extra)
        assert upstream.seen[-1].body["mcp_servers"] == [SERVER]
        blocks = json.loads(raw.text)["choices"][0]["message"]["server_blocks"]
        assert [one["block"] for one in blocks] == [one for one in USED if one["type"] != "text"]


async def test_only_hosts_of_the_operators_list_are_called(
    client: openai.AsyncOpenAI, claude: anthropic.AsyncAnthropic, upstream: Provider, http: Any
) -> None:
    elsewhere = "https://evil.example/mcp"
    doors: list[tuple[str, dict[str, Any]]] = [
        ("/v1/messages", {"model": "captured", "max_tokens": 9, "messages": ASK, "mcp_servers": [{**SERVER, "url": elsewhere}]}),
        ("/v1/responses", {"model": "recorded", "input": "x", "tools": [{**MCP, "server_url": elsewhere}]}),
        ("/v1/chat/completions", {"model": "captured", "messages": ASK, "mcp_servers": [SERVER, {**SERVER, "url": elsewhere}]}),
        ("/v1/chat/completions", {"model": "chat/m", "messages": ASK, "tools": [{**MCP, "server_url": elsewhere}]}),
        ("/v1/chat/completions", {"model": "captured", "messages": ASK, "anthropic": {"mcp_servers": [{**SERVER, "url": elsewhere}]}}),
        ("/v1/chat/completions", {"model": "recorded", "messages": ASK, "openai": {"server_tools": [{"at": 0, "tool": {**MCP, "server_url": elsewhere}}]}}),
    ]  # fmt: skip
    for path, body in doors:
        found = await http.post(path, json=body)
        assert found.status_code == 403 and "evil.example" in found.text, (path, found.text)
    google = {"model": "google/g", "messages": ASK, "google": {"tools": [{"mcpServers": [{"name": "x"}]}]}}
    assert (await http.post("/v1/chat/completions", json=google)).status_code == 400
    assert not upstream.seen


MINE: Any = {"type": "mcp", "server_label": "docs", "server_url": URL, "require_approval": "never"}
JUNK: list[dict[str, Any]] = [
    {"tools": [{"type": "mcp", "server_label": "docs", "server_url": URL}, "f", None, 7]},
    {"tools": {"type": "mcp"}, "mcp_servers": [SERVER]},
    {"tools": "mcp", "mcp_servers": [SERVER]},
    {"tools": [[]], "mcp_servers": [SERVER]},
    {"mcp_servers": {"url": URL}},
    {"mcp_servers": ["docs"]},
    {"openai": {"server_tools": 5}, "tools": [{**MINE, "server_url": "https://evil.example"}]},
    {"tools": [{**MINE, "headers": "x-key: header-secret-7"}]},
    {"tools": [{**MINE, "headers": [["x-key", "header-secret-7"]]}]},
    {"tools": [{**MINE, "headers": {"authorization": ["Bearer x"]}}]},
    {"tools": [{**MINE, "authorization": {"token": TOKEN}}]},
    {"mcp_servers": [{**SERVER, "authorization_token": {"token": TOKEN}}]},
]


@pytest.mark.parametrize("junk", JUNK)
@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages", "/v1/responses"])
async def test_junk_beside_servers_is_the_clients_mistake(http: Any, path: str, junk: dict[str, Any]) -> None:
    asked = {"input": "Bonn?"} if path.endswith("responses") else {"messages": ASK, "max_tokens": 9}
    answer = await http.post(path, json={"model": "claude/claude-sonnet-4-5", **asked, **junk})
    assert answer.status_code in (400, 403), answer.text


def test_an_address_is_what_it_says() -> None:
    hosts = ["docs.example", "tools.example:8443"]

    def body(url: Any) -> dict[str, Any]:
        return {"mcp_servers": [{"type": "url", "name": "x", "url": url, "authorization_token": "t"}]}

    odd: list[Any] = ["http://docs.example/x", "https://docs.example@evil.example/", "https://docs.example\\@evil.example/", "https://docs.example:8443/", "docs.example",
           "https://evil.example#docs.example", "https://docs.example.evil.example/", "https://tools.example/", "https://docs.example/\n", None, "https://döcs.example/", "//docs.example/"]  # fmt: skip
    for url in odd:
        with pytest.raises(Exception, match=r"mcp_servers|Servers at"):
            sealed(body(url), hosts)
    for url in (URL, "https://docs.example", "https://DOCS.example/mcp", "https://tools.example:8443/a?b=c"):
        told, taken = sealed(body(url), hosts)
        assert taken is not None and opened(told, taken)["anthropic"]["mcp_servers"] == body(url)["mcp_servers"]
        assert "t" not in [one.get("authorization_token") for one in told["anthropic"]["mcp_servers"]]
    with pytest.raises(BadRequest, match="tunnel_id"):
        sealed({"tools": [{"type": "mcp", "server_label": "x", "tunnel_id": "t"}]}, hosts)
    plain = {"messages": ASK, "tools": [{"type": "function"}]}
    assert sealed(plain, hosts) == (plain, None)


async def test_who_calls_no_servers_says_so_by_name_or_drops_them(client: openai.AsyncOpenAI, claude: anthropic.AsyncAnthropic, upstream: Provider) -> None:
    for model in ("chat/m", "google/gemini-2.5-flash"):
        with pytest.raises(openai.BadRequestError, match=rf"'tools'.*MCP servers.*{model.partition('/')[0]}"):
            await client.responses.create(model=model, input="x", tools=[MCP])
        with pytest.raises(anthropic.BadRequestError, match="mcp_servers"):
            await claude.beta.messages.create(model=model, max_tokens=9, messages=ASK, mcp_servers=[SERVER], tools=[TOOLSET])
    with pytest.raises(anthropic.BadRequestError, match="container"):
        await claude.beta.messages.create(model="chat/m", max_tokens=9, messages=ASK, container="container_1")
    with pytest.raises(anthropic.BadRequestError, match="mcp_servers"):
        await claude.beta.messages.create(model="recorded", max_tokens=9, messages=ASK, mcp_servers=[SERVER], tools=[TOOLSET])
    with pytest.raises(openai.BadRequestError, match="require_approval"):
        await client.responses.create(model="captured", input="x", tools=[{**MCP, "require_approval": "always"}])
    with pytest.raises(openai.BadRequestError, match="no header"):
        await client.responses.create(model="captured", input="x", tools=[{**MCP, "headers": {"x-team": "a"}}])
    assert not upstream.seen
    await client.responses.create(model="drops/m", input="x", tools=[MCP])
    await claude.beta.messages.create(model="drops/m", max_tokens=9, messages=ASK, mcp_servers=[SERVER], tools=[TOOLSET])
    assert all("tools" not in one.body and "mcp_servers" not in one.body for one in upstream.seen) and len(upstream.seen) == 2


async def test_connectors_are_openais_and_the_operators_to_allow(
    client: openai.AsyncOpenAI, served: Gateway, upstream: Provider, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    upstream.behave = answers(CALLED, spoken("It rains."))
    tool: Any = {"type": "mcp", "server_label": "files", "connector_id": "connector_dropbox", "authorization": TOKEN, "require_approval": "never"}
    answer = await client.responses.create(model="recorded", input="x", tools=[tool])
    assert upstream.seen[0].body["tools"] == [tool]
    assert answer.tools[0].to_dict() == {name: value for name, value in tool.items() if name != "authorization"}
    assert TOKEN not in kept(served) + logged(caplog)
    for wrong, problem in (({**tool, "connector_id": "connector_gmail"}, openai.PermissionDeniedError), ({**tool, "server_url": URL}, openai.BadRequestError)):
        with pytest.raises(problem, match="connector"):
            await client.responses.create(model="recorded", input="x", tools=[wrong])
    for model in ("captured", "xai/grok-4.7"):
        with pytest.raises(openai.BadRequestError, match="Connectors are OpenAI's alone"):
            await client.responses.create(model=model, input="x", tools=[tool])
    assert len(upstream.seen) == 1


ATXAI = {"id": "mcp_7", "type": "mcp_call", "status": "completed", "name": "docs.search", "arguments": '{"query":"rain"}', "output": "It rains."}
FELL = {"id": "mcp_8", "type": "mcp_call", "status": "failed", "server_label": "docs", "name": "docs.search"}


@pytest.mark.parametrize("stream", [False, True])
async def test_xai_calls_what_its_client_names(client: openai.AsyncOpenAI, upstream: Provider, stream: bool) -> None:
    upstream.script = [answers(ATXAI, FELL, spoken("It rains.")), answers(spoken("Yes."))]
    tool: Any = {**MCP, "headers": {"x-team": "a"}, "server_description": "d", "allowed_tools": {"tool_names": ["search"]}}
    ask: Any = {"model": "xai/grok-4.7", "input": "Bonn?", "tools": [tool]}
    if stream:
        async with client.responses.stream(**ask) as told:
            answer: Any = await told.get_final_response()
    else:
        answer = await client.responses.create(**ask)
    sent = {name: value for name, value in tool.items() if name != "require_approval"}
    assert upstream.seen[0].body["tools"] == [{**sent, "allowed_tools": ["search"]}]
    first, second, said = answer.output
    assert (first.type, first.name, first.output, first.server_label, first.error) == ("mcp_call", "docs.search", "It rains.", "", None)
    assert (second.status, bool(second.error), said.type) == ("failed", True, "message")
    await client.responses.create(model="xai/grok-4.7", input="Sure?", previous_response_id=answer.id)
    assert [one["type"] for one in upstream.seen[1].body["input"]] == ["message", "message", "message"]
    wrong: list[dict[str, Any]] = [{**MCP, "require_approval": "always"}, {**MCP, "allowed_tools": {"read_only": True}}, {**MCP, "defer_loading": True}]
    for one in wrong:
        with pytest.raises(openai.BadRequestError, match="xai"):
            await client.responses.create(model="xai/grok-4.7", input="x", tools=[one])
    with pytest.raises(openai.BadRequestError, match="tool_choice"):
        await client.responses.create(**ask | {"tool_choice": {"type": "mcp", "server_label": "docs"}})
    assert len(upstream.seen) == 2


async def test_what_a_server_told_is_not_given_to_others(client: openai.AsyncOpenAI, upstream: Provider) -> None:
    upstream.behave = answers(CALLED, spoken("It rains."))
    for tool in (MCP, MCP, {**MCP, "authorization": "another"}):
        await client.responses.create(model="recorded", input="Bonn?", tools=[tool], temperature=0)
    assert len(upstream.seen) == 3
