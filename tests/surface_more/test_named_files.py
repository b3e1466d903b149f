"""A file that was uploaded here and is named by id in a request: its content reaches every provider, in every API."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import anthropic
import openai
import pytest
from gateway_server import KEY, Gateway, gateway
from made_keys import key_with
from more_gateway import FOREIGN, client_of, jsonl
from scripted import Line, Provider

from gateway.storage.records import CallRecord

PDF, PNG = b"%PDF-1.7\nnot much of one", b"\x89PNG\r\n\x1a\n" + b"\0" * 20
WAV, DOCX = b"RIFF\x24\0\0\0WAVEfmt ", b"PK\x03\x04" + b"\1" * 30
POLICIES = """
providers:
  first: {{type: openai, base_url: "{url}", api_key: sk-upstream-secret}}
  native: {{type: openai, api: responses, base_url: "{url}", api_key: sk-upstream-secret}}
  claude: {{type: anthropic, base_url: "{url}", api_key: sk-upstream-secret}}
  google: {{type: gemini, base_url: "{url}", api_key: sk-upstream-secret}}
keys:
  - {{name: tests, key: {key}, project: default}}
  - {{name: foreign, key: {foreign}, project: elsewhere}}
timeouts: {{connect: 30, first_byte: 30, chunk_gap: 30, total: 60}}
server: {{max_body_bytes: 4096}}
"""
ROUTING = """
tasks:
  - {name: triage, candidates: [{provider: first, model: m}], capture: {rate: 1.0}}
  - {name: native, candidates: [{provider: native, model: m}]}
  - {name: claude, candidates: [{provider: claude, model: claude-sonnet-4-5}]}
  - {name: google, candidates: [{provider: google, model: gemini-2.5-flash}]}
"""
Part = dict[str, Any]


@pytest.fixture
async def served(tmp_path: Path, upstream: Provider) -> AsyncIterator[Gateway]:
    folder = tmp_path / "policies"
    folder.mkdir()
    (folder / "gateway.yaml").write_text(POLICIES.format(url=upstream.url, key=KEY, foreign=FOREIGN))
    (folder / "routing.yaml").write_text(ROUTING)
    async with gateway(tmp_path, folder) as made:
        yield made


async def uploaded(client: openai.AsyncOpenAI, name: str, data: bytes) -> str:
    return (await client.files.create(file=(name, data), purpose="user_data")).id


async def refused(line: Line) -> None:
    """What a provider is sent is looked at; what it answers does not matter."""
    await line.answer(400, {"error": {"message": "no", "type": "invalid_request_error"}})


async def sent(client: openai.AsyncOpenAI, upstream: Provider, model: str, *parts: Part) -> Any:
    """What the provider of ``model`` receives of a user's parts."""
    messages: Any = [{"role": "user", "content": [*parts, {"type": "text", "text": "What is it?"}]}]
    upstream.behave = refused
    with pytest.raises(openai.BadRequestError):
        await client.chat.completions.create(model=model, messages=messages)
    body: Any = upstream.seen[-1].body
    if "contents" in body:
        return body["contents"][0]["parts"][:-1]
    return (body.get("messages") or body["input"])[0]["content"][:-1]


def named(file_id: str) -> Part:
    return {"type": "file", "file": {"file_id": file_id}}


def url(kind: str, data: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


async def test_every_provider_gets_the_content_in_its_own_words(client: openai.AsyncOpenAI, upstream: Provider) -> None:
    text, pdf, png = [
        named(await uploaded(client, name, data))
        for name, data in (("notes.md", "# Größe\nL".encode()), ("a.pdf", PDF), ("a.png", PNG))
    ]
    said, base = "notes.md:\n\n# Größe\nL", {"pdf": base64.b64encode(PDF).decode(), "png": base64.b64encode(PNG).decode()}
    assert await sent(client, upstream, "triage", text, pdf, png) == [
        {"type": "text", "text": said},
        {"type": "file", "file": {"filename": "a.pdf", "file_data": url("application/pdf", PDF)}},
        {"type": "image_url", "image_url": {"url": url("image/png", PNG)}},
    ]
    assert await sent(client, upstream, "native", text, pdf, png) == [
        {"type": "input_text", "text": said},
        {"type": "input_file", "filename": "a.pdf", "file_data": url("application/pdf", PDF)},
        {"type": "input_image", "image_url": url("image/png", PNG), "detail": "auto"},
    ]
    document, paper, picture = await sent(client, upstream, "claude", text, pdf, png)
    assert document["source"] == {"type": "text", "media_type": "text/plain", "data": said}
    assert (document["title"], paper["title"]) == ("notes.md", "a.pdf")
    assert paper["source"] == {"type": "base64", "media_type": "application/pdf", "data": base["pdf"]}
    assert picture["source"] == {"type": "base64", "media_type": "image/png", "data": base["png"]}
    assert await sent(client, upstream, "google", text, pdf, png) == [
        {"text": said},
        {"inlineData": {"mimeType": "application/pdf", "data": base["pdf"]}},
        {"inlineData": {"mimeType": "image/png", "data": base["png"]}},
    ]


async def test_sounds_and_office_files_go_as_what_they_are(client: openai.AsyncOpenAI, upstream: Provider) -> None:
    sound, office = named(await uploaded(client, "a.wav", WAV)), named(await uploaded(client, "A.DOCX", DOCX))
    heard, read = await sent(client, upstream, "triage", sound, office)
    assert heard["input_audio"] == {"data": base64.b64encode(WAV).decode(), "format": "wav"}
    assert read["file"]["file_data"].startswith("data:application/vnd.openxmlformats-officedocument.wordprocessingml.document;")


async def test_responses_also_when_they_are_continued(client: openai.AsyncOpenAI, upstream: Provider) -> None:
    pdf, png = await uploaded(client, "a.pdf", PDF), await uploaded(client, "a.png", PNG)
    parts: Any = [
        {"type": "input_file", "file_id": pdf},
        {"type": "input_image", "file_id": png, "detail": "high"},
        {"type": "input_text", "text": "What is it?"},
    ]
    first = await client.responses.create(model="triage", input=[{"role": "user", "content": parts}])
    await client.responses.create(model="triage", input="And now?", previous_response_id=first.id)
    for one in upstream.seen:
        content = one.body["messages"][0]["content"]
        assert content[0]["file"] == {"filename": "a.pdf", "file_data": url("application/pdf", PDF)}
        assert content[1]["image_url"] == {"url": url("image/png", PNG), "detail": "high"}
    kept = await client.responses.input_items.list(first.id)
    assert json.loads(kept.data[0].model_dump_json())["content"][0]["file_id"] == pdf  # as the client said it


async def test_tokens_are_estimated_of_the_content(client: openai.AsyncOpenAI) -> None:
    parts: Any = [{"type": "input_file", "file_id": await uploaded(client, "notes.txt", b"word " * 400)}]
    counted = await client.responses.input_tokens.count(model="triage", input=[{"role": "user", "content": parts}])
    assert 400 < counted.input_tokens < 600


async def test_claudes_clients_name_them_too(
    claude: anthropic.AsyncAnthropic, client: openai.AsyncOpenAI, upstream: Provider
) -> None:
    text, png = await uploaded(client, "notes.txt", b"Parcels go at noon."), await uploaded(client, "a.png", PNG)
    content: Any = [
        {"type": "document", "source": {"type": "file", "file_id": text}, "title": "Rules", "citations": {"enabled": True}},
        {"type": "image", "source": {"type": "file", "file_id": png}},
        {"type": "text", "text": "When?"},
    ]
    upstream.behave = refused
    with pytest.raises(anthropic.BadRequestError):
        await claude.messages.create(model="claude", max_tokens=9, messages=[{"role": "user", "content": content}])
    document, picture, _ = upstream.seen[-1].body["messages"][0]["content"]
    assert (document["title"], document["citations"]) == ("Rules", {"enabled": True})
    assert document["source"]["data"] == "notes.txt:\n\nParcels go at noon."
    assert picture["source"]["media_type"] == "image/png"


async def test_a_line_of_a_batch_names_one(
    client: openai.AsyncOpenAI, upstream: Provider, served: Gateway
) -> None:
    text = await uploaded(client, "notes.txt", b"Parcels go at noon.")
    body = {"model": "triage", "messages": [{"role": "user", "content": [named(text)]}]}
    line = {"custom_id": "1", "method": "POST", "url": "/v1/chat/completions", "body": body}
    file = await client.files.create(file=("b.jsonl", jsonl([line])), purpose="batch")
    made = await client.batches.create(
        input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h"
    )
    while (made := await client.batches.retrieve(made.id)).status not in ("completed", "failed"):
        await asyncio.sleep(0.02)
    assert made.status == "completed" and made.request_counts and made.request_counts.completed == 1
    assert upstream.seen[0].body["messages"][0]["content"] == "notes.txt:\n\nParcels go at noon."


async def test_what_is_not_ours_goes_on_as_it_is(client: openai.AsyncOpenAI, upstream: Provider) -> None:
    theirs = named("file-6F2ksmvXxt4VdoqmHRw6kL")
    assert await sent(client, upstream, "triage", theirs) == [theirs]
    assert await sent(client, upstream, "native", theirs) == [{"type": "input_file", "file_id": theirs["file"]["file_id"]}]


async def test_only_ones_own_and_only_what_a_model_can_read(
    client: openai.AsyncOpenAI, upstream: Provider, served: Gateway
) -> None:
    text, odd = await uploaded(client, "notes.txt", b"secret"), await uploaded(client, "odd.bin", b"\0\1\2")
    large = await uploaded(client, "large.txt", b"x" * 3000)

    async def told(who: openai.AsyncOpenAI, *parts: Part) -> openai.APIStatusError:
        with pytest.raises(openai.APIStatusError) as caught:
            await who.chat.completions.create(model="triage", messages=[{"role": "user", "content": parts}])  # type: ignore[list-item]
        assert isinstance(caught.value.body, dict) and caught.value.body["param"] in ("file_id", None)
        return caught.value

    async with client_of(served, FOREIGN) as foreign:
        assert (await told(foreign, named(text))).status_code == 404
    assert "No such File object: file-" in (await told(client, named("file-" + "0" * 32))).message
    assert "odd.bin" in (await told(client, named(odd))).message
    assert (await told(client, named(large), named(large))).status_code == 413
    picture = {"type": "file", "file": {"file_id": text, "kind": "image"}}
    assert (await told(client, picture)).status_code == 400
    async with client_of(served, await key_with(served, "inference")) as narrow:
        refusal = await told(narrow, named(text))
        assert refusal.status_code == 403 and "scope 'data'" in refusal.message
    assert not upstream.seen and not [one for one in served.records() if isinstance(one, CallRecord)]
