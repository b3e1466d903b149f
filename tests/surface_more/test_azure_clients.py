"""Clients of Azure's are pointed at the gateway as they are: the deployment is a model's name."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import openai
import pytest
from gateway_server import KEY, Gateway
from more_gateway import jsonl, line
from scripted import Provider
from test_batches_api import ended, lines_of
from test_realtime import Upstream, house
from test_realtime import upstream as speaking  # noqa: F401 - a fixture
from websockets.asyncio.client import connect

from gateway.api.azure import at_openai
from gateway.storage.records import CallRecord

ASK = [{"role": "user", "content": "hi"}]
VERSION = "api-version=2024-10-21"


def azure_of(made: Gateway, key: str = KEY) -> openai.AsyncAzureOpenAI:
    return openai.AsyncAzureOpenAI(azure_endpoint=made.url, api_key=key, api_version="2024-10-21", max_retries=0)


@pytest.fixture
async def azure(served: Gateway) -> AsyncIterator[openai.AsyncAzureOpenAI]:
    async with azure_of(served) as made:
        yield made


@pytest.fixture
async def http(served: Gateway) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=served.url, headers={"api-key": KEY}) as made:
        yield made


async def test_chat_whole_and_streamed(azure: openai.AsyncAzureOpenAI, served: Gateway) -> None:
    for model in ("triage", "first/m"):  # a task, and a model of a provider's
        answer = await azure.chat.completions.create(model=model, messages=ASK)  # type: ignore[call-overload]
        assert (answer.choices[0].message.content, answer.model) == ("hello", model)
        stream = await azure.chat.completions.create(  # type: ignore[call-overload]
            model=model, messages=ASK, stream=True, stream_options={"include_usage": True}
        )
        chunks = [one async for one in stream]
        assert "".join(one.choices[0].delta.content or "" for one in chunks if one.choices) == "hello"
        assert chunks[-1].usage.prompt_tokens == 1000
    calls = [one for one in served.records() if isinstance(one, CallRecord)]
    assert [(one.endpoint, one.model_asked, one.task) for one in calls] == [
        *[("chat", "triage", "triage")] * 2, *[("chat", "first/m", "")] * 2,
    ]  # fmt: skip


async def test_the_deployment_counts_and_no_model_is_needed(http: httpx.AsyncClient, upstream: Provider) -> None:
    for more in ({}, {"model": "gpt-35-turbo"}):
        url = f"/openai/deployments/first/m/chat/completions?{VERSION}"
        answer = await http.post(url, json={"messages": ASK, **more})
        assert (answer.status_code, answer.json()["model"]) == (200, "first/m")
        assert upstream.seen[-1].body["model"] == "m"


async def test_completions_embeddings_and_what_is_passed_on(
    azure: openai.AsyncAzureOpenAI, http: httpx.AsyncClient, upstream: Provider
) -> None:
    answer = await azure.completions.create(model="triage", prompt="hi")
    assert (answer.choices[0].text, answer.model) == ("hello", "triage")
    vector = {"object": "embedding", "index": 0, "embedding": [0.5]}
    vectors = {"object": "list", "model": "e", "data": [vector], "usage": {"prompt_tokens": 1, "total_tokens": 1}}
    upstream.behave = lambda line: line.answer(body=vectors)
    told = await azure.embeddings.create(model="first/e", input="x", encoding_format="float")
    assert (told.data[0].embedding, told.model, upstream.seen[-1].body["model"]) == ([0.5], "first/e", "e")
    upstream.behave = lambda line: line.answer(body={"created": 1, "data": [{"b64_json": "eA=="}]})
    assert (await azure.images.generate(model="first/dall-e", prompt="a cat")).data
    assert upstream.seen[-1].body == {"model": "dall-e", "prompt": "a cat"}
    upstream.behave = lambda line: line.answer(body={"text": "heard"})
    heard = await azure.audio.transcriptions.create(model="first/w", file=("a.wav", b"sound", "audio/wav"))
    assert heard.text == "heard" and upstream.seen[-1].path == "/v1/audio/transcriptions"
    for more in ({}, {"model": "whisper"}):  # its REST examples name no model in the form
        url = f"/openai/deployments/first/w/audio/transcriptions?{VERSION}"
        assert (await http.post(url, data=more, files={"file": ("a.wav", b"sound")})).json() == {"text": "heard"}
        assert upstream.seen[-1].body.count(b'name="model"\r\n\r\nw\r\n') == 1
        assert upstream.seen[-1].body.count(b'name="model"') == 1


async def test_what_has_no_deployment_is_where_openai_has_it(
    azure: openai.AsyncAzureOpenAI, served: Gateway, upstream: Provider
) -> None:
    names = [one.id async for one in azure.models.list()]
    assert "triage" in names
    told = await azure.responses.create(model="triage", input="hi")
    assert told.output_text == "hello"
    assert (await azure.responses.retrieve(told.id)).output_text == "hello"
    async with openai.AsyncOpenAI(base_url=f"{served.url}/openai/v1/", api_key=KEY) as newest:
        answer = await newest.chat.completions.create(model="triage", messages=ASK)  # type: ignore[arg-type]
        assert answer.choices[0].message.content == "hello"


async def test_a_batch_of_paths_without_a_version(azure: openai.AsyncAzureOpenAI) -> None:
    content = jsonl([line("a", "/chat/completions"), line("b", "/v1/chat/completions")])
    file = await azure.files.create(file=("in.jsonl", content), purpose="batch")
    made = await azure.batches.create(
        input_file_id=file.id, endpoint="/chat/completions", completion_window="24h"  # type: ignore[arg-type]
    )
    batch = await ended(azure, made.id)
    assert (batch.status, batch.endpoint) == ("completed", "/v1/chat/completions")
    assert set(await lines_of(azure, batch.output_file_id)) == {"a", "b"}


async def test_errors(azure: openai.AsyncAzureOpenAI, http: httpx.AsyncClient, served: Gateway) -> None:
    with pytest.raises(openai.NotFoundError, match="does not exist"):
        await azure.chat.completions.create(model="nobody", messages=ASK)  # type: ignore[call-overload]
    async with azure_of(served, "sk-wrong") as stranger:
        for model in ("triage", "nobody"):
            with pytest.raises(openai.AuthenticationError):
                await stranger.chat.completions.create(model=model, messages=ASK)  # type: ignore[call-overload]
        with pytest.raises(openai.AuthenticationError):
            await stranger.models.list()
    for path in ("deployments/triage/extensions/chat", "deployments/chat/completions", "deployments", "assistants"):
        answer = await http.post(f"/openai/{path}?{VERSION}", json={"messages": ASK})
        assert answer.status_code == 404 and answer.json()["error"]["code"] == "unknown_url", path
    wrong = await http.post(f"/openai/deployments/triage/chat/completions?{VERSION}", json={"messages": "hi"})
    assert wrong.status_code == 400 and wrong.json()["error"]["param"] == "messages"
    assert (await http.get("/openai/deployments/triage/chat/completions")).status_code == 405


async def test_a_repeated_request_is_answered_for_its_own_deployment(
    http: httpx.AsyncClient, upstream: Provider
) -> None:
    ids = []
    for model in ("triage", "triage", "first/m"):
        url = f"/openai/deployments/{model}/chat/completions?{VERSION}"
        answer = await http.post(url, json={"messages": ASK}, headers={"idempotency-key": f"k-{model}"})
        ids.append(answer.json()["id"])
    assert ids[0] == ids[1] != ids[2] and len(upstream.seen) == 2


@pytest.mark.parametrize(
    "path", ["realtime?api-version=2024-10-01-preview&deployment=first/m", "v1/realtime?model=first/m"]
)
async def test_realtime(tmp_path: Path, speaking: Upstream, path: str) -> None:  # noqa: F811
    async with house(tmp_path, speaking) as made:
        url = f"ws{made.url.removeprefix('http')}/openai/{path}"
        async with connect(url, additional_headers={"api-key": KEY}) as socket:
            assert "session.created" in str(await socket.recv())


def test_paths() -> None:
    def moved(path: str, query: bytes = b"") -> tuple[str, bytes]:
        scope = at_openai({"path": path, "query_string": query})
        return scope["path"], scope["query_string"]

    assert moved("/openai/files") == ("/v1/files", b"")
    assert moved("/openai/v1/files/f-1", b"after=a%26b") == ("/v1/files/f-1", b"after=a%26b")
    assert moved("/openai/realtime", b"deployment=a/b&x=1") == ("/v1/realtime", b"x=1&model=a%2Fb")
    assert moved("/openai/") == ("/v1/", b"")
