"""Embeddings of Vertex AI behind OpenAI's path, and Google's own; the identity of a machine instead of a key file."""

from __future__ import annotations

import asyncio
import base64
import json
import struct
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from gateway_server import KEY, Gateway, gateway
from scripted import Line, Provider, provider

from gateway.policy.files import PolicyError, load
from gateway.providers import VertexProvider
from gateway.providers.codec import AttemptFailed
from gateway.resilience import grants

GEMINI = {
    "candidates": [{"content": {"role": "model", "parts": [{"text": "Bonn"}]}, "finishReason": "STOP"}],
    "usageMetadata": {"promptTokenCount": 4, "candidatesTokenCount": 2},
}


class Machine:
    """Google's metadata server and Vertex AI in one: a text's vector is (its length, 3, 4)."""

    def __init__(self) -> None:
        self.given, self.status, self.flavour, self.fails = 0, 200, "Google", ""

    async def __call__(self, line: Line) -> None:
        if line.seen.path.startswith("/computeMetadata/"):
            await self._token(line)
            return
        if self.fails and self.fails in json.dumps(line.seen.body):
            await line.answer(400, {"error": {"code": 400, "message": "too long", "status": "INVALID_ARGUMENT"}})
            return
        if line.seen.headers.get("authorization") != f"Bearer token-{self.given}":
            await line.answer(401, {"error": {"code": 401, "message": "no", "status": "UNAUTHENTICATED"}})
            return
        if not line.seen.path.endswith(":predict"):
            await line.answer(200, GEMINI)
            return
        texts = [one["content"] for one in line.seen.body["instances"]]
        await line.answer(200, {"predictions": [
            {"embeddings": {"values": [float(len(text)), 3.0, 4.0], "statistics": {"token_count": len(text), "truncated": False}}}
            for text in texts
        ]})  # fmt: skip

    async def _token(self, line: Line) -> None:
        assert line.seen.headers.get("metadata-flavor") == "Google"
        if self.status == 200:
            self.given += 1
        told = {"access_token": f"token-{self.given}", "expires_in": 3599, "token_type": "Bearer"}
        await line.answer(self.status, told, {"metadata-flavor": self.flavour})


@pytest.fixture
async def upstream(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Provider]:
    async with provider() as made:
        made.behave = Machine()
        monkeypatch.setenv("GCE_METADATA_HOST", made.url.removeprefix("http://").removesuffix("/v1"))
        yield made


@pytest.fixture
async def served(tmp_path: Path, upstream: Provider) -> AsyncIterator[Gateway]:
    folder = tmp_path / "policies"
    folder.mkdir()
    (folder / "gateway.yaml").write_text(f"""
providers:
  google: {{type: vertex, region: europe-west4, project: p-1, base_url: "{upstream.url}", credentials: metadata}}
surface: {{embeddings: google}}
keys: [{{name: tests, key: {KEY}, project: default}}]
timeouts: {{connect: 30, first_byte: 30, chunk_gap: 30, total: 60}}
retries: {{attempts: 1}}
prices: {{google: {{text-embedding-005: {{input: 1.0, output: 0}}}}}}
""")
    async with gateway(tmp_path, folder) as made:
        yield made


def machine_of(upstream: Provider) -> Machine:
    assert isinstance(upstream.behave, Machine)
    return upstream.behave


def predicted(upstream: Provider) -> list[Any]:
    return [one for one in upstream.seen if one.path.endswith(":predict")]


async def test_texts_are_embedded_in_one_request(client: openai.AsyncOpenAI, upstream: Provider) -> None:
    found = await client.embeddings.create(model="google/text-embedding-005", input=["a", "bbb"], user="u")
    assert [(one.index, one.embedding) for one in found.data] == [(0, [1.0, 3.0, 4.0]), (1, [3.0, 3.0, 4.0])]
    assert (found.usage.prompt_tokens, found.usage.total_tokens, found.model) == (4, 4, "google/text-embedding-005")
    (sent,) = predicted(upstream)
    assert sent.path == "/v1/projects/p-1/locations/europe-west4/publishers/google/models/text-embedding-005:predict"
    assert sent.body == {"instances": [{"content": "a"}, {"content": "bbb"}], "parameters": {"autoTruncate": False}}


async def test_numbers_base64_and_dimensions(client: openai.AsyncOpenAI, upstream: Provider) -> None:
    told: Any = await client.embeddings.create(model="text-embedding-005", input="x" * 12, encoding_format="base64")
    assert struct.unpack("<3f", base64.b64decode(told.data[0].embedding)) == (12.0, 3.0, 4.0)
    short = await client.embeddings.create(model="text-embedding-005", input="x" * 12, dimensions=3, encoding_format="float",
                                           extra_body={"task_type": "RETRIEVAL_QUERY"})  # fmt: skip
    assert short.data[0].embedding == pytest.approx([12 / 13, 3 / 13, 4 / 13]), "of length 1, as OpenAI's are"
    assert predicted(upstream)[1].body == {
        "instances": [{"content": "x" * 12, "task_type": "RETRIEVAL_QUERY"}],
        "parameters": {"autoTruncate": False, "outputDimensionality": 3},
    }


async def test_a_model_that_takes_one_text_is_asked_side_by_side(
    served: Gateway, client: openai.AsyncOpenAI, upstream: Provider
) -> None:
    texts = ["x" * at for at in range(1, 21)]
    found = await client.embeddings.create(model="google/gemini-embedding-001", input=texts)
    assert [(one.index, one.embedding[0]) for one in found.data] == [(at, at + 1.0) for at in range(20)]
    assert found.usage.prompt_tokens == sum(range(1, 21)) and len(predicted(upstream)) == 20
    assert machine_of(upstream).given == 1
    machine_of(upstream).fails = "x" * 20
    with pytest.raises(openai.BadRequestError, match="too long"):
        await client.embeddings.create(model="google/gemini-embedding-001", input=texts)
    async with httpx.AsyncClient(base_url=served.url, headers={"x-goog-api-key": KEY}) as google:
        body = {"content": {"parts": [{"text": "abc"}]}, "outputDimensionality": 3}
        told = await google.post("/v1beta/models/text-embedding-005:embedContent", json=body)
    assert told.json()["embedding"]["values"] == pytest.approx([3 / 34**0.5, 3 / 34**0.5, 4 / 34**0.5])


async def test_what_vertex_does_not_embed_is_told_by_name(client: openai.AsyncOpenAI, upstream: Provider) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        await client.embeddings.create(model="google/text-embedding-005", input=[[1, 2]])
    assert caught.value.param == "input" and "'google'" in caught.value.message
    with pytest.raises(openai.BadRequestError, match="128"):
        await client.embeddings.create(model="google/gemini-embedding-001", input=["a"] * 129)
    assert not predicted(upstream)


async def test_embeddings_are_priced_by_their_tokens(client: openai.AsyncOpenAI) -> None:
    told = await client.embeddings.with_raw_response.create(model="google/text-embedding-005", input="x" * 40)
    assert float(told.headers["x-understudy-cost-usd"]) == pytest.approx(40e-6)


async def test_a_machines_identity_opens_gemini_and_is_asked_for_once(client: openai.AsyncOpenAI, upstream: Provider) -> None:
    ask: Any = [{"role": "user", "content": "hi"}]
    told = await asyncio.gather(
        *(client.chat.completions.create(model="google/gemini-2.5-flash", messages=ask) for _ in range(6))
    )
    assert {one.choices[0].message.content for one in told} == {"Bonn"}
    tokens = [one.path for one in upstream.seen if "Metadata" in one.path]
    assert tokens == ["/computeMetadata/v1/instance/service-accounts/default/token"]


@pytest.mark.parametrize(("status", "flavour"), [(404, "Google"), (403, "Google"), (200, "nobody"), (500, "Google")])
async def test_a_machine_without_an_identity_is_the_operators_affair(
    client: openai.AsyncOpenAI, upstream: Provider, status: int, flavour: str
) -> None:
    machine = machine_of(upstream)
    machine.status, machine.flavour = status, flavour
    for _ in range(2):
        with pytest.raises(openai.InternalServerError) as caught:
            await client.chat.completions.create(model="google/gemini-2.5-flash", messages=[{"role": "user", "content": "hi"}])
        assert (caught.value.status_code, caught.value.code) == (502, "provider_credentials")
    assert len(upstream.seen) == 1, "who gave none is left in peace for a moment"


async def test_no_metadata_server_at_all(monkeypatch: pytest.MonkeyPatch, client: openai.AsyncOpenAI) -> None:
    monkeypatch.setenv("GCE_METADATA_HOST", "127.0.0.1:1")
    monkeypatch.setattr(grants, "_REST_S", 0.0)
    with pytest.raises(openai.InternalServerError, match="no access token"):
        await client.chat.completions.create(model="google/gemini-2.5-flash", messages=[{"role": "user", "content": "hi"}])


def test_claude_at_vertex_has_no_files_api_and_enforces_no_schema() -> None:
    codec = VertexProvider(region="global", project="p", publisher="anthropic", api_key="k").build("v", "")
    parts = [{"type": "file", "file": {"file_id": "file_011"}}]
    with pytest.raises(AttemptFailed, match="Files API"):
        codec.encode({"messages": [{"role": "user", "content": parts}]}, "claude-sonnet-4-5", stream=False)
    assert codec.enforces("claude-sonnet-4-5").schema == "prompt"


@pytest.mark.parametrize(
    ("settings", "said"),
    [("credentials: metadata", "needs a 'project'"), ("credentials: gcloud, project: p", "credentials"),
     ("credentials: metadata, project: p, api_keys: [a, b]", "api_keys"), ("project: p", "'credentials: metadata'")],
)  # fmt: skip
def test_the_policies_say_what_a_machine_lacks(tmp_path: Path, settings: str, said: str) -> None:
    (tmp_path / "gateway.yaml").write_text(f"providers:\n  v: {{type: vertex, region: global, {settings}}}\n")
    with pytest.raises(PolicyError, match=said):
        load(tmp_path, {})
