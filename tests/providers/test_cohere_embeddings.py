"""Cohere's embeddings behind OpenAI's path."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import openai
import pytest
from gateway_server import KEY, gateway
from scripted import Line, Provider, provider

FAILS = "unembeddable"


async def embed(line: Line) -> None:
    """A text's vector is (its length, 2)."""
    body = line.seen.body
    if FAILS in body["texts"]:
        await line.answer(400, {"message": "too many tokens: the text is longer than 512 tokens"})
        return
    tokens = float(sum(map(len, body["texts"])))
    await line.answer(200, {
        "id": "e-1", "texts": body["texts"], "embeddings": {"float": [[float(len(text)), 2.0] for text in body["texts"]]},
        "meta": {"api_version": {"version": "2"}, "billed_units": {"input_tokens": tokens}}, "response_type": "embeddings_by_type",
    })  # fmt: skip


@pytest.fixture
async def upstream() -> AsyncIterator[Provider]:
    async with provider() as made:
        made.behave = embed
        yield made


@pytest.fixture
async def client(tmp_path: Path, upstream: Provider) -> AsyncIterator[openai.AsyncOpenAI]:
    folder = tmp_path / "policies"
    folder.mkdir()
    (folder / "gateway.yaml").write_text(f"""
providers: {{cohere: {{type: cohere, base_url: "{upstream.url}", api_key: co-key}}}}
surface: {{embeddings: cohere}}
keys: [{{name: tests, key: {KEY}, project: default}}]
timeouts: {{connect: 30, first_byte: 30, chunk_gap: 30, total: 60}}
""")
    async with (
        gateway(tmp_path, folder) as served,
        openai.AsyncOpenAI(base_url=served.base_url, api_key=KEY, max_retries=0) as made,
    ):
        yield made


async def test_cohere_embeds_for_openais_clients(client: openai.AsyncOpenAI, upstream: Provider) -> None:
    found = await client.embeddings.create(model="embed-v4.0", input=["a", "bbb"], dimensions=256, user="u")
    assert [(one.index, one.embedding) for one in found.data] == [(0, [1.0, 2.0]), (1, [3.0, 2.0])]
    assert (found.usage.prompt_tokens, found.model) == (4, "embed-v4.0")
    (sent,) = upstream.seen
    assert (sent.path, sent.headers["authorization"]) == ("/v1/embed", "Bearer co-key")
    assert sent.body == {"model": "embed-v4.0", "texts": ["a", "bbb"], "input_type": "search_document", "truncate": "NONE",
                         "embedding_types": ["float"], "output_dimension": 256}  # fmt: skip
    own: Any = {"input_type": "search_query", "truncate": "END"}
    await client.embeddings.create(model="cohere/embed-v4.0", input="q", extra_body=own)
    assert (upstream.seen[1].body["input_type"], upstream.seen[1].body["truncate"]) == ("search_query", "END")


async def test_more_texts_than_cohere_takes_are_asked_side_by_side(client: openai.AsyncOpenAI, upstream: Provider) -> None:
    texts = ["x" * (at % 7 + 1) for at in range(200)]
    found = await client.embeddings.create(model="embed-v4.0", input=texts)
    assert [one.embedding[0] for one in found.data] == [float(len(text)) for text in texts]
    assert sorted(len(one.body["texts"]) for one in upstream.seen) == [8, 96, 96]
    assert found.usage.total_tokens == sum(map(len, texts))


async def test_what_cohere_cannot_embed_is_told_by_name(client: openai.AsyncOpenAI, upstream: Provider) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        await client.embeddings.create(model="embed-v4.0", input=[1, 2, 3])
    assert caught.value.param == "input" and "'cohere'" in caught.value.message and not upstream.seen
    with pytest.raises(openai.BadRequestError) as caught:
        await client.embeddings.create(model="embed-v4.0", input=["a", FAILS])
    assert caught.value.code == "context_length_exceeded"


async def test_half_an_answer_is_the_providers_failure(client: openai.AsyncOpenAI, upstream: Provider) -> None:
    async def half(line: Line) -> None:
        await line.answer(200, {"embeddings": {"float": [[1.0]]}, "meta": {}})

    upstream.behave = half
    with pytest.raises(openai.InternalServerError):
        await client.embeddings.create(model="embed-v4.0", input=["a", "b"])
