"""/v1/embeddings and /v1/moderations through the unmodified openai client, over real sockets."""

from __future__ import annotations

import asyncio
import base64
import struct
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from gateway_server import KEY, Gateway
from hypothesis import given
from hypothesis import strategies as st
from more_gateway import client_of, served
from scripted import Line, Provider

from gateway.protocol.embeddings import from_base64, to_base64
from gateway.storage.records import CallRecord

VECTOR = [0.25, -1.5, 0.1]
USAGE = {"prompt_tokens": 8, "total_tokens": 8}
RESULT = {"id": "modr-1", "model": "omni-moderation-latest", "results": [{"flagged": True, "categories": {}}]}


def vectors(count: int = 1, encoded: bool = False) -> dict[str, Any]:
    one: Any = base64.b64encode(struct.pack("<3f", *VECTOR)).decode() if encoded else VECTOR
    data = [{"object": "embedding", "index": at, "embedding": one} for at in range(count)]
    return {"object": "list", "data": data, "model": "upstream-name", "usage": USAGE}


async def floats_only(line: Line) -> None:
    """A provider that knows no encodings."""
    given = line.seen.body["input"]
    await line.answer(body=vectors(len(given) if isinstance(given, list) and isinstance(given[0], str) else 1))


async def encoded(line: Line) -> None:
    await line.answer(body=vectors(encoded=True))


def calls(served: Gateway) -> list[CallRecord]:
    return [record for record in served.records() if isinstance(record, CallRecord)]


@pytest.mark.parametrize("behave", [floats_only, encoded])
@pytest.mark.parametrize("asked", ["float", "base64", None])
async def test_each_encoding_from_each_provider(
    client: openai.AsyncOpenAI, served: Gateway, upstream: Provider, behave: Any, asked: Any
) -> None:
    upstream.behave = behave
    options = {"encoding_format": asked} if asked else {}  # the client asks for base64 when nothing is said
    raw = await client.embeddings.with_raw_response.create(model="first/m", input="hello", dimensions=3, **options)
    answer = raw.parse()
    got = answer.data[0].embedding
    if asked == "base64":
        assert isinstance(got, str) and from_base64(got) == pytest.approx(VECTOR)
    else:
        assert got == pytest.approx(VECTOR)
    assert answer.model == "first/m" and answer.usage.prompt_tokens == 8
    assert raw.headers["x-understudy-cost-usd"] == "0.00002"
    assert upstream.seen[0].path == "/v1/embeddings"
    assert upstream.seen[0].headers["authorization"] == "Bearer sk-upstream-secret"
    assert upstream.seen[0].body == {
        "model": "m", "input": "hello", "dimensions": 3, "encoding_format": asked or "base64",
    }  # fmt: skip
    (call,) = calls(served)
    assert (call.endpoint, call.provider, call.prompt_tokens) == ("embeddings", "first", 8)
    assert call.cost_usd == pytest.approx(0.00002) and call.text is None


@pytest.mark.parametrize(
    "given", [["a", "b"], [1, 2, 3], [[1, 2], [3]], "text"], ids=["texts", "tokens", "token lists", "text"]
)
async def test_every_form_of_input(client: openai.AsyncOpenAI, upstream: Provider, given: Any) -> None:
    upstream.behave = floats_only
    answer = await client.embeddings.create(model="first/m", input=given, encoding_format="float")
    assert upstream.seen[0].body["input"] == given
    assert len(answer.data) == (2 if given == ["a", "b"] else 1)


async def test_null_is_never_sent_and_a_refused_encoding_is_remembered(
    served: Gateway, upstream: Provider
) -> None:
    async def picky(line: Line) -> None:
        if "encoding_format" in line.seen.body:
            error = {"message": "Unknown parameter: 'encoding_format'.", "type": "invalid_request_error"}
            await line.answer(400, {"error": error})
        else:
            await line.answer(body=vectors())

    upstream.behave = picky
    async with httpx.AsyncClient(headers={"authorization": f"Bearer {KEY}"}) as http:
        body = {"model": "first/m", "input": "a", "encoding_format": None}
        answer = await http.post(f"{served.base_url}/embeddings", json=body)
        assert answer.json()["data"][0]["embedding"] == VECTOR and len(upstream.seen) == 1
        for seen in (3, 4):  # refused once, then never sent again
            answer = await http.post(f"{served.base_url}/embeddings", json={**body, "encoding_format": "base64"})
            assert from_base64(answer.json()["data"][0]["embedding"]) == pytest.approx(VECTOR)
            assert len(upstream.seen) == seen


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"input": "a"}, "model"),
        ({"model": "first/m"}, "input"),
        ({"model": "first/m", "input": ""}, "input"),
        ({"model": "first/m", "input": []}, "input"),
        ({"model": "first/m", "input": ["a", 1]}, "input"),
        ({"model": "first/m", "input": [True]}, "input"),
        ({"model": "first/m", "input": ["a"] * 2049}, "input"),
        ({"model": "first/m", "input": "a", "encoding_format": "int8"}, "encoding_format"),
        ({"model": "first/m", "input": "a", "dimensions": 0}, "dimensions"),
        ({"model": "first/m", "input": "a", "base_url": "http://x"}, "base_url"),
    ],
)
async def test_what_is_refused(served: Gateway, upstream: Provider, body: Any, param: str) -> None:
    async with httpx.AsyncClient(headers={"authorization": f"Bearer {KEY}"}) as http:
        answer = await http.post(f"{served.base_url}/embeddings", json=body)
    assert answer.status_code == 400 and answer.json()["error"]["param"] == param
    assert upstream.seen == []


async def test_failures_are_told_and_recorded(
    client: openai.AsyncOpenAI, served: Gateway, upstream: Provider
) -> None:
    upstream.behave = lambda line: line.answer(401, {"error": {"message": "bad key sk-upstream-secret"}})
    with pytest.raises(openai.APIStatusError) as own:
        await client.embeddings.create(model="first/m", input="a")
    assert own.value.status_code == 502 and "sk-upstream" not in str(own.value)
    upstream.behave = lambda line: line.answer(500, {"error": {"message": "boom"}})
    with pytest.raises(openai.APIStatusError) as failed:
        await client.embeddings.create(model="first/m", input="a")
    assert failed.value.status_code == 502 and len(upstream.seen) >= 1
    upstream.behave = lambda line: line.answer(body={"object": "list", "data": [{"embedding": {}}]})
    with pytest.raises(openai.APIStatusError) as junk:
        await client.embeddings.create(model="first/m", input="a")
    assert junk.value.status_code == 502
    with pytest.raises(openai.NotFoundError):
        await client.embeddings.create(model="nobody/knows", input="a")
    assert [call.status for call in calls(served)] == ["error"] * 4


async def test_a_client_that_leaves_frees_the_upstream(served: Gateway, upstream: Provider) -> None:
    upstream.behave = Line.hang
    async with client_of(served) as client:
        asking = asyncio.create_task(client.embeddings.create(model="first/m", input="a"))
        while not upstream.seen:
            await asyncio.sleep(0.01)
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
    await asyncio.wait_for(upstream.seen[0].peer_left.wait(), 30)


async def test_the_surface_serves_models_nobody_listed(client: openai.AsyncOpenAI, upstream: Provider) -> None:
    upstream.behave = floats_only
    await client.embeddings.create(model="text-embedding-3-small", input="a")
    assert upstream.seen[0].body["model"] == "text-embedding-3-small"


async def test_guardrails_mask_and_block(tmp_path: Path, upstream: Provider) -> None:
    settings = "guardrails: {pii: {type: pii}, words: {type: blocklist, phrases: [forbidden fruit]}}\n"
    upstream.behave = floats_only
    async with served(tmp_path, upstream, settings) as made, client_of(made) as client:
        await client.embeddings.create(model="first/m", input=["write to ann@example.com", "b"])
        assert "ann@example.com" not in str(upstream.seen[0].body["input"])
        with pytest.raises(openai.BadRequestError) as told:
            await client.embeddings.create(model="first/m", input="forbidden fruit")
        assert told.value.code == "guardrail_blocked" and len(upstream.seen) == 1


async def test_moderations(client: openai.AsyncOpenAI, served: Gateway, upstream: Provider) -> None:
    upstream.behave = lambda line: line.answer(body=RESULT)
    answer = await client.moderations.create(input=["some", "texts"])
    assert answer.results[0].flagged and answer.model == "omni-moderation-latest"
    assert upstream.seen[0].path == "/v1/moderations"
    assert upstream.seen[0].body == {"input": ["some", "texts"], "model": "omni-moderation-latest"}
    answer = await client.moderations.create(input="a", model="omni-moderation-latest")
    assert answer.model == "omni-moderation-latest"
    assert [call.endpoint for call in calls(served)] == ["moderations", "moderations"]


async def test_moderations_without_a_provider_name_the_setting(tmp_path: Path, upstream: Provider) -> None:
    async with served(tmp_path, upstream, "") as made, client_of(made) as client:
        for options in ({}, {"model": "omni-moderation-latest"}):
            with pytest.raises(openai.APIStatusError) as told:
                await client.moderations.create(input="a", **options)
            assert told.value.status_code == 503 and "surface: {moderations:" in str(told.value)
    assert upstream.seen == []


@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), max_size=50))
def test_base64_is_little_endian_float32_both_ways(vector: list[float]) -> None:
    text = to_base64(vector)
    assert base64.b64decode(text) == struct.pack(f"<{len(vector)}f", *vector)
    assert from_base64(text) == vector
