"""Every endpoint's answers against the official SDK's own types, strictly: what is required is there, in its type."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import openai
import pytest
from anthropic import types as anthropic_types
from gateway_server import KEY, Gateway
from openai import types
from openai.types import chat, conversations, responses
from openai.types.conversations import conversation_item
from openai.types.responses import input_token_count_response
from scripted import COMPLETION, Line, Provider, chunk, sse, usual
from sdk_types import strictly

CATEGORIES = (
    "harassment", "harassment/threatening", "hate", "hate/threatening", "illicit", "illicit/violent", "self-harm",
    "self-harm/instructions", "self-harm/intent", "sexual", "sexual/minors", "violence", "violence/graphic",
)  # fmt: skip
RESULT = {
    "flagged": False,
    "categories": dict.fromkeys(CATEGORIES, False),
    "category_scores": dict.fromkeys(CATEGORIES, 0.1),
    "category_applied_input_types": {name: ["text"] for name in CATEGORIES},
}


BEYOND = frozenset({"estimated", "store"})
"""What our answers have beyond the SDK's types: that a count of tokens is an estimate, and (as OpenAI's own responses
have it, though the types do not) whether a response is kept."""
STORED = BEYOND | {
    "input_user", "temperature", "top_p", "presence_penalty", "frequency_penalty", "response_format", "seed", "tools",
    "tool_choice",
}  # fmt: skip
"""A stored completion tells what it was asked with, as OpenAI's do."""
NAMED = BEYOND | {"name"}
"""``function_call_arguments.done`` had a ``name`` in the types of older SDKs, whose helpers read it."""


async def behave(line: Line) -> None:
    if line.seen.path.endswith("/embeddings"):
        data = [{"object": "embedding", "index": 0, "embedding": [1.0, 0.5]}]
        usage = {"prompt_tokens": 3, "total_tokens": 3}
        await line.answer(body={"object": "list", "model": "m", "data": data, "usage": usage})
    elif line.seen.path.endswith("/moderations"):
        await line.answer(body={"id": "modr", "model": "m", "results": [RESULT]})
    elif line.seen.path.endswith("/images/generations"):
        await line.answer(body={"created": 1, "data": [{"b64_json": "eA=="}]})
    else:
        await usual(line)


@pytest.fixture
async def http(served: Gateway, upstream: Provider) -> AsyncIterator[httpx.AsyncClient]:
    upstream.behave = behave
    async with httpx.AsyncClient(base_url=served.url, headers={"authorization": f"Bearer {KEY}"}) as made:
        yield made


ASK: dict[str, Any] = {"model": "triage", "messages": [{"role": "user", "content": "hi"}], "store": True}
SAY: dict[str, Any] = {"type": "message", "role": "user", "content": "hi"}
LINE = json.dumps({"custom_id": "a", "method": "POST", "url": "/v1/chat/completions", "body": ASK}).encode()

MAKE: dict[str, tuple[str, Any]] = {
    "chat": ("/chat/completions", ASK),
    "response": ("/responses", {"model": "triage", "input": "hi"}),
    "background": ("/responses", {"model": "triage", "input": "hi", "background": True}),
    "conversation": ("/conversations", {"items": [SAY], "metadata": {"a": "b"}}),
    "file": ("/files", {"data": {"purpose": "batch"}, "files": {"file": ("in.jsonl", LINE)}}),
}
POSTED: list[tuple[str, Any, Any]] = [
    ("/chat/completions", ASK, chat.ChatCompletion),
    ("/responses", {"model": "triage", "input": "hi"}, responses.Response),
    ("/responses", {"model": "triage", "input": "hi", "background": True}, responses.Response),
    ("/responses/input_tokens", {"input": "hi"}, input_token_count_response.InputTokenCountResponse),
    ("/completions", {"model": "triage", "prompt": "hi"}, types.Completion),
    ("/embeddings", {"model": "first/m", "input": "hi", "encoding_format": "float"}, types.CreateEmbeddingResponse),
    ("/moderations", {"input": "hi"}, types.ModerationCreateResponse),
    ("/images/generations", {"model": "first/m", "prompt": "hi"}, types.ImagesResponse),
    ("/conversations", {"items": [SAY]}, conversations.Conversation),
]
READ: list[tuple[str, str, Any]] = [
    ("chat", "/chat/completions/{}", chat.ChatCompletion),
    ("response", "/responses/{}", responses.Response),
    ("background", "/responses/{}", responses.Response),
    ("conversation", "/conversations/{}", conversations.Conversation),
    ("file", "/files/{}", types.FileObject),
    ("", "/models/triage", types.Model),
]
LISTED: list[tuple[str, str, Any]] = [
    ("chat", "/chat/completions", chat.ChatCompletion),
    ("chat", "/chat/completions/{}/messages", dict[str, Any]),  # the type knows assistants only
    ("response", "/responses/{}/input_items", responses.ResponseItem),
    ("conversation", "/conversations/{}/items", conversation_item.ConversationItem),
    ("file", "/files", types.FileObject),
    ("batch", "/batches", types.Batch),
]
DELETED: list[tuple[str, str, Any]] = [
    ("chat", "/chat/completions/{}", chat.ChatCompletionDeleted),
    ("conversation", "/conversations/{}", conversations.ConversationDeletedResource),
    ("file", "/files/{}", types.FileDeleted),
]


def fits(answer: httpx.Response, kind: Any) -> Any:
    assert answer.status_code == 200, answer.text
    assert answer.headers["x-request-id"].startswith("req_")
    return strictly(kind, answer.content, beyond=STORED if kind is chat.ChatCompletion else BEYOND)


async def make(http: httpx.AsyncClient, kind: str) -> str:
    if not kind:
        return ""
    if kind == "batch":
        body = {"input_file_id": await make(http, "file"), "endpoint": "/v1/chat/completions", "completion_window": "24h"}
        made = await http.post("/v1/batches", json=body)
        fits(made, types.Batch)
        return str(made.json()["id"])
    path, body = MAKE[kind]
    made = await (http.post(f"/v1{path}", **body) if kind == "file" else http.post(f"/v1{path}", json=body))
    assert made.status_code == 200, made.text
    return str(made.json()["id"])


async def test_what_is_posted(http: httpx.AsyncClient) -> None:
    for path, body, kind in POSTED:
        fits(await http.post(f"/v1{path}", json=body), kind)


async def test_what_is_read(http: httpx.AsyncClient) -> None:
    for made, path, kind in READ:
        fits(await http.get("/v1" + path.format(await make(http, made))), kind)


async def test_what_is_listed_and_its_pages(http: httpx.AsyncClient) -> None:
    for made, path, kind in LISTED:
        first, second = await make(http, made), await make(http, made)
        url = "/v1" + path.format(second)
        if path.endswith("/items"):
            await http.post(url, json={"items": [SAY]})
        whole = fits(await http.get(url), dict[str, Any])
        assert set(whole) == {"object", "data", "first_id", "last_id", "has_more"} and whole["object"] == "list"
        for item in whole["data"]:
            strictly(kind, json.dumps(item), beyond=STORED)
        ids = [item["id"] for item in whole["data"]]
        assert (whole["first_id"], whole["last_id"], whole["has_more"]) == (ids[0], ids[-1], False)
        if len(ids) > 1:
            page = fits(await http.get(url, params={"limit": 1}), dict[str, Any])
            assert [item["id"] for item in page["data"]] == ids[:1] and page["has_more"]
            rest = fits(await http.get(url, params={"after": ids[0]}), dict[str, Any])
            assert [item["id"] for item in rest["data"]] == ids[1:] and not rest["has_more"]
        wrong = await http.get(url, params={"limit": 0})
        assert (wrong.status_code, wrong.json()["error"]["param"]) == (400, "limit")
        assert first != second


async def test_what_is_deleted(http: httpx.AsyncClient) -> None:
    for made, path, kind in DELETED:
        url = "/v1" + path.format(await make(http, made))
        assert fits(await http.delete(url), kind).deleted
        assert (await http.get(url)).status_code == 404


TOOL_CALLS = (
    {"tool_calls": [{"index": 0, "id": "call_a", "type": "function", "function": {"name": "weather", "arguments": ""}}]},
    {"tool_calls": [{"index": 0, "function": {"arguments": '{"city":"Bonn"}'}}]},
    {"tool_calls": [{"index": 1, "id": "call_b", "type": "function", "function": {"name": "weather", "arguments": "{}"}}]},
)  # fmt: skip
LOGPROBS = {"content": [{"token": "hi", "logprob": -0.5, "bytes": [104, 105], "top_logprobs": []}], "refusal": None}
STREAMS: dict[str, bytes] = {
    "text": sse(),
    "calls": sse([chunk({"role": "assistant", "content": None}), *map(chunk, TOOL_CALLS), chunk({}, "tool_calls")]),
    "refusal": sse([chunk({"role": "assistant", "content": ""}), chunk({"refusal": "No."}), chunk({}, "stop")]),
    "cut short": sse([chunk({"role": "assistant", "content": "a"}), chunk({}, "length")]),
    "logprobs": sse(
        [{**chunk({}), "choices": [{"index": 0, "delta": {"content": "hi"}, "logprobs": LOGPROBS, "finish_reason": None}]},
         chunk({}, "stop")]
    ),
}  # fmt: skip
PING = '{"type":"ping"}'
"""Anthropic documents it; the SDK reads past it."""
STREAMED: list[tuple[str, Any, Any]] = [
    ("/chat/completions", {**ASK, "stream_options": {"include_usage": True}}, chat.ChatCompletionChunk),
    ("/chat/completions", {**ASK, "logprobs": True}, chat.ChatCompletionChunk),
    ("/completions", {"model": "triage", "prompt": "hi"}, dict[str, Any]),  # the type allows no null before the end
    ("/responses", {"model": "triage", "input": "hi"}, responses.ResponseStreamEvent),
    ("/responses", {"model": "triage", "input": "hi", "background": True}, responses.ResponseStreamEvent),
    ("/messages", {"model": "triage", "max_tokens": 9, "messages": ASK["messages"]}, anthropic_types.RawMessageStreamEvent),
]  # fmt: skip


@pytest.mark.parametrize("what", STREAMS)
async def test_what_is_streamed(http: httpx.AsyncClient, upstream: Provider, what: str) -> None:
    async def speak(line: Line) -> None:
        await line.stream(STREAMS[what], piece=50)

    upstream.behave = speak
    for path, body, kind in STREAMED:
        answer = await http.post(f"/v1{path}", json={**body, "stream": True})
        assert answer.status_code == 200, answer.text
        assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
        assert answer.headers["x-request-id" if path != "/messages" else "request-id"].startswith("req_")
        lines = [line[6:] for line in answer.text.splitlines() if line.startswith("data: ")]
        ends = path not in ("/responses", "/messages")
        assert (lines[-1] == "[DONE]") == ends
        found = [strictly(kind, line, beyond=NAMED) for line in lines[: len(lines) - ends] if line != PING]
        if path == "/responses":
            assert [event.sequence_number for event in found] == list(range(len(found)))


async def test_whole_answers_of_every_form(http: httpx.AsyncClient, upstream: Provider) -> None:
    """Calls, refusals, log-probabilities and several choices, in each API that can say them."""
    said = {"role": "assistant", "content": None, "refusal": None}
    calls = [
        {"id": f"call_{at}", "type": "function", "function": {"name": "weather", "arguments": "{}"}} for at in range(2)
    ]
    forms = [
        ({**said, "tool_calls": calls}, "tool_calls", {}), ({**said, "refusal": "No."}, "stop", {}),
        ({**said, "content": "hi"}, "length", {"logprobs": LOGPROBS}), ({**said, "content": "hi"}, "content_filter", {}),
        ({**said, "content": "hi", "annotations": [], "reasoning_content": "hm"}, "stop", {}),
    ]  # fmt: skip
    for message, finish, more in forms:

        async def speak(line: Line, message: Any = message, finish: str = finish, more: Any = more) -> None:
            one = {"index": 0, "message": message, "logprobs": None, "finish_reason": finish, **more}
            await line.answer(body={**COMPLETION, "choices": [one, {**one, "index": 1}][: line.seen.body.get("n") or 1]})

        upstream.behave = speak
        whole = await http.post("/v1/chat/completions", json={**ASK, "n": 2, "logprobs": bool(more)})
        strictly(chat.ChatCompletion, whole.content, beyond=frozenset({"reasoning_content"}))
        asked = {"model": "triage", "input": "hi"}
        strictly(responses.Response, (await http.post("/v1/responses", json=asked)).content, beyond=BEYOND)
        asked = {"model": "triage", "max_tokens": 9, "messages": ASK["messages"]}
        strictly(anthropic_types.Message, (await http.post("/v1/messages", json=asked)).content)


PATHS = (
    [("POST", path) for path, _, _ in POSTED]
    + [("GET", path.format("x")) for _, path, _ in [*READ, *LISTED]]
    + [("DELETE", path.format("x")) for _, path, _ in DELETED]
    + [("GET", "/models"), ("POST", "/files"), ("POST", "/batches"), ("POST", "/batches/x/cancel")]
)


async def test_errors_have_one_shape_everywhere(http: httpx.AsyncClient) -> None:
    body: Any
    for method, path in PATHS:
        body = next((body for one, body, _ in POSTED if one == path), {})
        more = {"json": body} if method == "POST" else {}
        answer = await http.request(
            method, f"/v1{path}", headers={"authorization": "Bearer sk-wrong-key-of-nobody"}, **more
        )
        told(answer, 401, path)
        assert answer.json()["error"]["code"] == "invalid_api_key" and "key-of" not in answer.text
    for _, path, _ in READ[:-1]:
        told(await http.get("/v1" + path.format("nothing")), 404, path)
    told(await http.get("/v1/models/nothing"), 404, "/models")
    told(await http.get("/v1/nowhere"), 404, "/nowhere")
    told(await http.put("/v1/responses"), 405, "/responses")
    for path, _, _ in POSTED:
        told(await http.post(f"/v1{path}", content=b"{", headers={"content-type": "application/json"}), 400, path)


def told(answer: httpx.Response, status: int, path: str) -> None:
    assert answer.status_code == status, (path, answer.text)
    assert answer.headers["x-request-id"].startswith("req_") and answer.headers["content-type"] == "application/json"
    error = answer.json()["error"]
    assert set(error) == {"message", "type", "param", "code"} and error["message"] and error["type"]


async def test_the_clients_raw_and_streaming_responses(client: openai.AsyncOpenAI, upstream: Provider) -> None:
    upstream.behave = usual
    ask: Any = {"model": "triage", "messages": [{"role": "user", "content": "hi"}]}
    chat = client.chat.completions
    raw = await chat.with_raw_response.create(**ask, extra_body={"vendor": {"a": [1]}}, extra_query={"beta": "true"})
    assert raw.headers["x-request-id"] == raw.request_id and raw.parse().choices[0].message.content == "hello"
    assert upstream.seen[-1].body["vendor"] == {"a": [1]}
    async with chat.with_streaming_response.create(**ask) as streamed:
        assert json.loads(await streamed.read())["choices"][0]["message"]["content"] == "hello"
    async with chat.with_streaming_response.create(**ask, stream=True) as streamed:
        lines = [line async for line in streamed.iter_lines() if line]
    assert streamed.headers["content-type"].startswith("text/event-stream") and lines[-1] == "data: [DONE]"
    again = {"extra_headers": {"Idempotency-Key": "one"}}
    asked = len(upstream.seen)
    first, second = await chat.create(**ask, **again), await chat.create(**ask, **again)
    assert first.id == second.id and len(upstream.seen) == asked + 1
