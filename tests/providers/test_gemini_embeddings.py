"""Embeddings of the Gemini API behind OpenAI's path, and behind its own."""

from __future__ import annotations

from typing import Any

import httpx
import openai
import pytest
from gateway_server import KEY, Gateway, served_over
from scripted import Line, Provider

FAILS = "unembeddable"
TELLS = "tells"


async def embed(line: Line) -> None:
    """A text's vector is (its length, 3); the tokens of what holds TELLS are told."""
    texts = [one["content"]["parts"][0]["text"] for one in line.seen.body["requests"]]
    if FAILS in texts:
        error = {"code": 400, "message": "The text is too large.", "status": "INVALID_ARGUMENT"}
        await line.answer(400, {"error": error})
        return
    told = {"usageMetadata": {"promptTokenCount": 11}} if TELLS in texts else {}
    await line.answer(200, {"embeddings": [{"values": [float(len(text)), 3.0]} for text in texts], **told})


@pytest.fixture(autouse=True)
def embedding(upstream: Provider) -> None:
    upstream.behave = embed


served = served_over("""
providers: {{gemini: {{type: gemini, base_url: "{url}", api_key: g-key}}}}
surface: {{embeddings: gemini}}
keys: [{{name: tests, key: {key}, project: default}}]
timeouts: {{connect: 30, first_byte: 30, chunk_gap: 30, total: 60}}
""")


async def test_gemini_embeds_for_openais_clients(
    client: openai.AsyncOpenAI, served: Gateway, upstream: Provider
) -> None:
    found = await client.embeddings.create(model="gemini-embedding-001", input=["a", TELLS], user="u")
    assert [(one.index, one.embedding) for one in found.data] == [(0, [1.0, 3.0]), (1, [5.0, 3.0])]
    assert (found.usage.prompt_tokens, found.model) == (11, "gemini-embedding-001")
    (sent,) = upstream.seen
    assert sent.path.endswith("/models/gemini-embedding-001:batchEmbedContents")
    assert sent.headers["x-goog-api-key"] == "g-key"
    name = "models/gemini-embedding-001"
    assert sent.body == {"requests": [{"model": name, "content": {"parts": [{"text": text}]}} for text in ("a", TELLS)]}
    (record,) = served.records()
    assert record.cost_usd == pytest.approx(11 * 0.15 / 1e6)


async def test_what_it_does_not_tell_is_estimated_and_short_vectors_have_the_length_one(
    client: openai.AsyncOpenAI, served: Gateway, upstream: Provider
) -> None:
    own: Any = {"task_type": "RETRIEVAL_QUERY"}
    found = await client.embeddings.create(
        model="gemini/gemini-embedding-001", input="abcd" * 10, dimensions=768, extra_body=own
    )
    assert sum(one * one for one in found.data[0].embedding) == pytest.approx(1.0)
    assert found.usage.total_tokens == 10 and served.records()[0].cost_usd == pytest.approx(10 * 0.15 / 1e6)
    (asked,) = upstream.seen[0].body["requests"]
    assert (asked["outputDimensionality"], asked["taskType"]) == (768, "RETRIEVAL_QUERY")


async def test_more_texts_than_gemini_takes_are_asked_side_by_side(
    client: openai.AsyncOpenAI, upstream: Provider
) -> None:
    texts = ["x" * (at % 7 + 1) for at in range(230)]
    found = await client.embeddings.create(model="gemini-embedding-001", input=texts)
    assert [one.embedding[0] for one in found.data] == [float(len(text)) for text in texts]
    assert sorted(len(one.body["requests"]) for one in upstream.seen) == [30, 100, 100]


async def test_its_own_clients_embed_at_it_too(served: Gateway, upstream: Provider) -> None:
    model = "models/gemini-embedding-001"
    texts = [{"model": model, "content": {"parts": [{"text": text}]}} for text in ("a", "bb")]
    async with httpx.AsyncClient(base_url=served.url, headers={"x-goog-api-key": KEY}, timeout=60) as http:
        many = await http.post(f"/v1beta/{model}:batchEmbedContents", json={"requests": texts})
        one = await http.post(f"/v1beta/{model}:embedContent", json=texts[1])
    assert [found["values"] for found in many.json()["embeddings"]] == [[1.0, 3.0], [2.0, 3.0]]
    assert one.json()["embedding"]["values"] == [2.0, 3.0]
    assert [len(sent.body["requests"]) for sent in upstream.seen] == [2, 1]


@pytest.mark.parametrize("answer", [{}, {"embeddings": [{"values": [1.0]}]}, {"embeddings": "none"}, []])
async def test_what_is_no_answer_is_the_providers_failure(
    client: openai.AsyncOpenAI, upstream: Provider, answer: Any
) -> None:
    async def junk(line: Line) -> None:
        await line.answer(200, answer)

    upstream.behave = junk
    with pytest.raises(openai.InternalServerError):
        await client.embeddings.create(model="gemini-embedding-001", input=["a", "b"])


async def test_what_gemini_cannot_embed_is_told(client: openai.AsyncOpenAI, upstream: Provider) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        await client.embeddings.create(model="gemini-embedding-001", input=[1, 2, 3])
    assert caught.value.param == "input" and "'gemini'" in caught.value.message and not upstream.seen
    with pytest.raises(openai.BadRequestError):
        await client.embeddings.create(model="gemini-embedding-001", input=["a", FAILS])
