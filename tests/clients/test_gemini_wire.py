"""Gemini's API as plain HTTP: what curl users write, and what no SDK shows."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest
from clients_helpers import answers, chunked, completion, streams
from gateway_server import KEY, Gateway
from scripted import Provider

from gateway.errors import BadRequest
from gateway.protocol.gemini.contents import chat_messages
from gateway.protocol.gemini.schema import closed, json_schema

HI: Any = {"contents": [{"parts": [{"text": "hi"}]}]}


@pytest.mark.parametrize("how", ["x-goog-api-key", "query", "bearer"])
async def test_three_places_for_the_key(served: Gateway, upstream: Provider, how: str) -> None:
    path, headers = "/v1beta/models/triage:generateContent", {}
    if how == "query":
        path += f"?key={KEY}"
    elif how == "bearer":
        headers = {"authorization": f"Bearer {KEY}"}
    else:
        headers = {"x-goog-api-key": KEY}
    async with httpx.AsyncClient(base_url=served.url, headers=headers) as http:
        answer = await http.post(path, json=HI)
        models = await http.get(path.replace("triage:generateContent", "triage"))
    assert answer.json()["candidates"][0]["content"]["parts"] == [{"text": "hello"}]
    assert models.json()["name"] == "models/triage"
    assert answer.headers["x-understudy-call-id"] == answer.json()["responseId"]
    assert KEY not in json.dumps([seen.headers for seen in upstream.seen]) + upstream.seen[0].path


@pytest.fixture
async def http(served: Gateway) -> Any:
    async with httpx.AsyncClient(base_url=served.url, headers={"x-goog-api-key": KEY}) as made:
        yield made


async def test_a_stream_without_sse_is_one_array(http: httpx.AsyncClient, upstream: Provider) -> None:
    upstream.behave = streams(chunked({"content": "hel"}, {"content": "lo"}))
    answer = await http.post("/v1beta/models/triage:streamGenerateContent", json=HI)
    assert answer.headers["content-type"].startswith("application/json")
    texts = [one["candidates"][0]["content"]["parts"][0]["text"] for one in answer.json()]
    assert texts == ["hel", "lo", ""]
    upstream.behave = streams(chunked({"content": "hel"}, done=False), cut=True)
    cut = (await http.post("/v1beta/models/triage:streamGenerateContent", json=HI)).json()
    assert cut[-1]["error"]["status"] in ("UNAVAILABLE", "INTERNAL")


async def test_events_have_googles_frames(http: httpx.AsyncClient, upstream: Provider) -> None:
    upstream.behave = streams(chunked({"content": "hello"}))
    answer = await http.post("/v1beta/models/triage:streamGenerateContent?alt=sse", json=HI)
    assert answer.headers["content-type"].startswith("text/event-stream")
    *frames, end = answer.text.split("\r\n\r\n")
    assert end == "" and all(frame.startswith("data: {") for frame in frames)


async def test_snake_case_and_single_objects_as_in_googles_examples(
    http: httpx.AsyncClient, upstream: Provider
) -> None:
    body = {
        "system_instruction": {"parts": {"text": "be brief"}},
        "contents": {
            "parts": [{"inline_data": {"mime_type": "image/png", "data": "-_A"}}, {"text": "what?"}]
        },
        "generation_config": {"max_output_tokens": 9, "response_mime_type": "application/json"},
        "tools": {"function_declarations": [{"name": "f", "parameters_json_schema": {"type": "object"}}]},
        "tool_config": {"function_calling_config": {"mode": "any"}},
    }
    answer = await http.post("/v1beta/models/triage:generateContent", json=body)
    assert answer.status_code == 200, answer.text
    sent = upstream.seen[0].body
    assert sent["messages"][0] == {"role": "system", "content": "be brief"}
    assert sent["messages"][1]["content"][0]["image_url"]["url"] == "data:image/png;base64,+/A="
    assert (sent["max_completion_tokens"], sent["tool_choice"]) == (9, "required")
    assert sent["response_format"] == {"type": "json_object"}


BAD: list[tuple[str, Any, int, str]] = [
    ("triage:generateContent", {}, 400, "contents"),
    ("triage:generateContent", {"contents": []}, 400, "contents"),
    ("triage:generateContent", {**HI, "surprise": 1}, 400, "surprise"),
    ("triage:generateContent", {**HI, "api_key": "x"}, 400, "api_key"),
    ("triage:generateContent", {**HI, "generationConfig": {"topP": "x"}}, 400, "topP"),
    ("triage:generateContent", {**HI, "generationConfig": {"speechConfig": {}}}, 400, "speechConfig"),
    ("triage:generateContent", {"contents": [{"role": "robot", "parts": [{"text": "x"}]}]}, 400, "role"),
    ("triage:generateContent", {"contents": [{"parts": [{"executableCode": {}}]}]}, 400, "executableCode"),
    ("triage:generateContent", {"contents": [{"parts": [{"functionResponse": {"name": "f"}}]}]}, 400, "open"),
    ("triage:generateContent", {"contents": [{"parts": "x"}]}, 400, "parts"),
    ("triage:embedContent", {"content": {"parts": [{"inlineData": {"mimeType": "image/png", "data": ""}}]}}, 400, "text"),
    ("triage:batchEmbedContents", {"requests": []}, 400, "input"),
    ("triage:countTokens", {"contents": 7}, 400, "contents"),
    ("triage:predict", HI, 404, "generateContent"),
    ("triage", HI, 404, "generateContent"),
]  # fmt: skip


async def test_bad_requests(http: httpx.AsyncClient, upstream: Provider) -> None:
    for path, body, status, word in BAD:
        answer = await http.post(f"/v1beta/models/{path}", json=body)
        error = answer.json()["error"]
        assert (answer.status_code, error["code"]) == (status, status), (path, body)
        assert word in error["message"] and error["status"] in ("INVALID_ARGUMENT", "NOT_FOUND")
    assert not upstream.seen


async def test_a_stranger_learns_nothing(served: Gateway) -> None:
    async with httpx.AsyncClient(base_url=served.url) as http:
        for answer in (
            await http.get("/v1beta/models"),
            await http.post("/v1beta/models/triage:countTokens", json=HI),
            await http.post("/v1beta/models/triage:generateContent?key=sk-us-wrong", json=HI),
        ):
            assert (answer.status_code, answer.json()["error"]["status"]) == (401, "UNAUTHENTICATED")
            assert "sk-us-wrong" not in answer.text


async def test_a_forced_count_is_said_to_be_an_estimate(http: httpx.AsyncClient) -> None:
    inner = {"model": "models/triage", **HI}
    for body in (HI, {"generateContentRequest": inner}):
        answer = await http.post("/v1beta/models/triage:countTokens", json=body)
        assert answer.json() == {"totalTokens": 3, "estimated": True}


def test_results_find_their_calls_by_name() -> None:
    """Clients that keep no ids: results go to the oldest open call of their function, and ids are made the same
    way every time."""

    def asked(name: str) -> dict[str, Any]:
        return {"functionCall": {"name": name, "args": {}}}

    def told(name: str, value: str) -> dict[str, Any]:
        return {"functionResponse": {"name": name, "response": {"result": value}}}

    contents = [
        {"role": "model", "parts": [{"text": "hm", "thought": True}, asked("f"), asked("g"), asked("f")]},
        {"role": "user", "parts": [told("g", "1"), told("f", "2"), told("f", "3"), {"text": "so?"}]},
    ]
    turns = chat_messages(None, contents)
    assert turns == chat_messages(None, contents)
    assert [call["id"] for call in turns[0]["tool_calls"]] == ["call_1", "call_2", "call_3"]
    assert [turn.get("tool_call_id") for turn in turns[1:]] == ["call_2", "call_1", "call_3", None]
    assert turns[0]["content"] is None and turns[-1] == {"role": "user", "content": "so?"}
    with pytest.raises(BadRequest, match="still open"):
        chat_messages(None, [*contents, {"parts": [told("f", "4")]}])


def test_schemas() -> None:
    told = {
        "type": "OBJECT", "propertyOrdering": ["b", "a"], "example": {}, "required": ["a"],
        "properties": {
            "a": {"type": "ARRAY", "items": {"type": "STRING"}, "minItems": "1"},
            "b": {"any_of": [{"type": "INTEGER"}, {"type": "STRING", "enum": ["x"]}], "nullable": True},
        },
    }  # fmt: skip
    schema = json_schema(told, "s")
    assert list(schema["properties"]) == ["b", "a"] and "example" not in schema
    assert schema["properties"]["a"] == {"type": "array", "items": {"type": "string"}, "minItems": 1}
    assert schema["properties"]["b"]["anyOf"][2] == {"type": "null"}
    narrow, strict = closed(schema)
    assert narrow["additionalProperties"] is False and not strict
    assert closed({**schema, "required": ["a", "b"]})[1]
    assert not closed({"type": "object"})[1]
    assert not closed({"type": "object", "properties": {}, "additionalProperties": True})[1]


async def test_pages(served: Gateway) -> None:
    async with httpx.AsyncClient(base_url=f"{served.url}/v1beta", headers={"x-goog-api-key": KEY}) as asking:
        names = [one["displayName"] for one in (await asking.get("/models?pageSize=1000")).json()["models"]]
        first = (await asking.get("/models?pageSize=2")).json()
        assert [one["displayName"] for one in first["models"]] == names[:2] and first["nextPageToken"] == "2"
        last = (await asking.get(f"/models?pageSize=2&pageToken={len(names) - 1}")).json()
        assert [one["displayName"] for one in last["models"]] == names[-1:] and "nextPageToken" not in last
        for junk in ("x", "9" * 5000):
            assert (await asking.get(f"/models?pageToken={junk}")).status_code == 400
            assert (await asking.get(f"/models?pageSize={junk}")).status_code == 400


async def test_a_call_that_is_no_json_is_shown(http: httpx.AsyncClient, upstream: Provider) -> None:
    broken = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{not"}}
    upstream.behave = answers(completion({"tool_calls": [broken]}, "tool_calls"))
    answer = (await http.post("/v1beta/models/triage:generateContent", json=HI)).json()
    call = answer["candidates"][0]["content"]["parts"][0]["functionCall"]
    assert call == {"id": "c", "name": "f", "args": {"_invalid_json": "{not"}}
