"""Embeddings of models at Bedrock behind OpenAI's path."""

from __future__ import annotations

from typing import Any

import openai
import pytest
from gateway_server import Gateway, served_over
from scripted import Line, Provider

TITAN, COHERE = "amazon.titan-embed-text-v2:0", "us.cohere.embed-v4:0"


async def embed(line: Line) -> None:
    """A text's vector is (its length, 4)."""
    body = line.seen.body
    if "inputText" in body:
        vector = [float(len(body["inputText"])), 4.0]
        tokens = len(body["inputText"].split())
        await line.answer(body={"embedding": vector, "inputTextTokenCount": tokens, "embeddingsByType": {"float": vector}})
        return
    vectors: Any = [[float(len(text)), 4.0] for text in body["texts"]]
    found = {"float": vectors} if len(vectors) > 1 else vectors  # older models tell the list alone
    await line.answer(body={"id": "e", "texts": body["texts"], "embeddings": found})


@pytest.fixture(autouse=True)
def embedding(upstream: Provider) -> None:
    upstream.behave = embed


served = served_over("""
providers:
  aws: {{type: bedrock, base_url: "{url}", access_key_id: AKIDEXAMPLE, secret_access_key: a-secret}}
surface: {{embeddings: aws}}
prices:
  aws:
    "amazon.titan-embed-text-v2:0": {{input: 0.02, output: 0.0, as_of: "2026-11-30", source: "invented for this test"}}
keys: [{{name: tests, key: {key}, project: default}}]
timeouts: {{connect: 30, first_byte: 30, chunk_gap: 30, total: 60}}
""")


async def test_titan_takes_one_text_and_is_asked_side_by_side(
    client: openai.AsyncOpenAI, served: Gateway, upstream: Provider
) -> None:
    texts = ["a", "two words", "x" * 9]
    found = await client.embeddings.create(model=TITAN, input=texts, dimensions=256, extra_body={"normalize": False})
    assert [one.embedding for one in found.data] == [[float(len(text)), 4.0] for text in texts]
    assert (found.usage.total_tokens, found.model) == (4, TITAN)
    assert sorted(sent.body["inputText"] for sent in upstream.seen) == sorted(texts)
    for sent in upstream.seen:
        assert sent.path.endswith(f"/model/{TITAN}/invoke") and sent.headers["authorization"].startswith("AWS4-HMAC-SHA256")
        assert (sent.body["dimensions"], sent.body["normalize"]) == (256, False)
    assert served.records()[0].cost_usd == pytest.approx(4 * 0.02 / 1e6)


async def test_titan_that_tells_no_tokens_is_not_free(client: openai.AsyncOpenAI, served: Gateway, upstream: Provider) -> None:
    async def silent(line: Line) -> None:
        await line.answer(body={"embedding": [1.0]})

    upstream.behave = silent
    found = await client.embeddings.create(model=TITAN, input="abcdefgh")
    assert found.usage.total_tokens == 2 and served.records()[0].cost_usd == pytest.approx(2 * 0.02 / 1e6)


@pytest.mark.parametrize("texts", [["abcd", "abcdefgh"], ["abcd"]])
async def test_cohere_at_bedrock(client: openai.AsyncOpenAI, upstream: Provider, texts: list[str]) -> None:
    found = await client.embeddings.create(model=f"aws/{COHERE}", input=texts, extra_body={"input_type": "search_query"})
    assert [one.embedding[0] for one in found.data] == [float(len(text)) for text in texts]
    assert found.usage.total_tokens == sum(len(text) // 4 for text in texts), "estimated: nobody tells"
    (sent,) = upstream.seen
    assert sent.body == {"texts": texts, "input_type": "search_query", "truncate": "NONE", "embedding_types": ["float"]}


@pytest.mark.parametrize("model", ["anthropic.claude-sonnet-4-5", "amazon.titan-embed-image-v1", "..", "a b"])
async def test_who_embeds_no_texts_is_told_by_name(client: openai.AsyncOpenAI, upstream: Provider, model: str) -> None:
    with pytest.raises(openai.APIStatusError) as caught:
        await client.embeddings.create(model=f"aws/{model}", input="a")
    assert caught.value.status_code in (400, 404) and not upstream.seen


@pytest.mark.parametrize(
    "answer", [{}, {"embedding": 1}, {"embedding": ["x"]}, [], {"embeddings": {"float": []}}, {"embeddings": [1, 2]}]
)
@pytest.mark.parametrize("model", [TITAN, COHERE])
async def test_junk_is_the_providers_failure(
    client: openai.AsyncOpenAI, upstream: Provider, model: str, answer: Any
) -> None:
    async def junk(line: Line) -> None:
        await line.answer(body=answer)

    upstream.behave = junk
    with pytest.raises(openai.InternalServerError):
        await client.embeddings.create(model=model, input="a")
