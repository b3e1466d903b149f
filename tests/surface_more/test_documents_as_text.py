"""Files of a type that a provider does not take: their text goes in their place, else who asked is told."""

from __future__ import annotations

import base64
import json
from typing import Any

import anthropic
import openai
import pytest
from gateway_server import ADMIN, served_over
from made_documents import locked, pdf, slides, word
from scripted import Line, Provider

from gateway.providers.codec import DocumentRefused
from gateway.providers.openai.provider import OpenAIProvider
from gateway.retrieval import documents, enclosed_documents
from gateway.routing import foreseen

POLICIES = """
providers:
  plain: {{type: openai, profile: groq, base_url: "{url}", api_key: sk-upstream-secret}}
  lenient: {{type: openai, profile: groq, base_url: "{url}", api_key: sk-upstream-secret, drop_params: true}}
  keyed: {{type: openai, profile: groq, base_url: "{url}", api_keys: [{{key: sk-first-secret}}, {{key: sk-second-secret}}]}}
  papers: {{type: openai, base_url: "{url}", api_key: sk-upstream-secret, traits: {{documents: [pdf]}}}}
  unknown: {{type: openai, base_url: "{url}", api_key: sk-upstream-secret}}
  native: {{type: openai, api: responses, base_url: "{url}", api_key: sk-upstream-secret}}
  claude: {{type: anthropic, base_url: "{url}", api_key: sk-upstream-secret}}
  google: {{type: gemini, base_url: "{url}", api_key: sk-upstream-secret}}
  cohere: {{type: cohere, base_url: "{url}", api_key: sk-upstream-secret}}
  amazon: {{type: bedrock, base_url: "{url}", region: us-east-1, api_key: bedrock-secret}}
keys: [{{name: tests, key: {key}, project: default}}]
timeouts: {{connect: 30, first_byte: 30, chunk_gap: 30, total: 60}}
guardrails: {{attacks: {{type: injection, action: block, unread_documents: allow}}}}
policies:
  - {{name: fitting, constraints: {{}}, candidates: [{{provider: plain, model: llama-3.1-8b-instant}}]}}
  - name: choosing
    constraints: {{}}
    candidates: [{{provider: plain, model: llama-3.1-8b-instant}}, {{provider: google, model: gemini-2.5-flash}}]
tasks:
  - {{name: fits, policy: fitting}}
  - {{name: prefers, policy: choosing}}
  - {{name: falls-back, candidates: [{{provider: plain, model: m}}, {{provider: unknown, model: m}}]}}
"""
OFFICE = "application/vnd.openxmlformats-officedocument."
PDF, WORD, SLIDES = "application/pdf", f"{OFFICE}wordprocessingml.document", f"{OFFICE}presentationml.presentation"
SAID = "Refunds\nRefunds take fourteen days.\ncountry\tdays\nNorway\t21\nAsk the shop.\n"


def part(raw: bytes, kind: str, name: str) -> dict[str, Any]:
    data = f"data:{kind};base64,{base64.b64encode(raw).decode()}"
    return {"type": "file", "file": {"filename": name, "file_data": data}}


PAPER, LETTER = part(pdf("Refunds take days"), PDF, "a.pdf"), part(word(), WORD, "b.docx")
TALK = part(slides(), SLIDES, "c.pptx")


served = served_over(POLICIES)


async def refused(line: Line) -> None:
    """What a provider is sent is looked at; what it answers does not matter."""
    await line.answer(400, {"message": "no", "error": {"message": "no", "type": "invalid_request_error"}})


async def sent(client: openai.AsyncOpenAI, upstream: Provider, model: str, *parts: Any) -> str:
    """The body that the provider of ``model`` receives."""
    upstream.behave = refused
    with pytest.raises(openai.BadRequestError):
        await client.chat.completions.create(
            model=model, messages=[{"role": "user", "content": [*parts, {"type": "text", "text": "What is it?"}]}]
        )
    return json.dumps(upstream.seen[-1].body)


async def told(client: openai.AsyncOpenAI, upstream: Provider, model: str, *parts: Any) -> openai.BadRequestError:
    """What the client is told before anybody is asked."""
    with pytest.raises(openai.BadRequestError) as caught:
        await client.chat.completions.create(model=model, messages=[{"role": "user", "content": [*parts]}])
    assert not upstream.seen
    return caught.value


def quoted(text: str) -> str:
    return json.dumps(text)[1:-1]


@pytest.mark.parametrize(("model", "takes"), [
    ("plain/m", ""), ("keyed/m", ""), ("papers/m", "pdf"), ("native/m", "pdf docx pptx"), ("unknown/m", "pdf docx pptx"),
    ("claude/claude-sonnet-4-5", "pdf"), ("google/gemini-2.5-flash", "pdf"), ("cohere/command-a-03-2025", ""),
    ("amazon/anthropic.claude-sonnet-4-5-20250929-v1:0", "pdf docx"),
])  # fmt: skip
async def test_each_provider_gets_the_files_that_it_takes_and_the_text_of_others(
    client: openai.AsyncOpenAI, upstream: Provider, model: str, takes: str
) -> None:
    body = await sent(client, upstream, model, PAPER, LETTER, TALK)
    texts = {"pdf": "a.pdf:\n\nRefunds take days", "docx": f"b.docx:\n\n{SAID}", "pptx": "c.pptx:\n\nSlide 1\nShipping"}
    for kind, one in (("pdf", PAPER), ("docx", LETTER), ("pptx", TALK)):
        raw = one["file"]["file_data"].partition(",")[2]
        assert (raw in body, quoted(texts[kind]) in body) == ((True, False) if kind in takes else (False, True)), kind


async def test_what_is_named_by_id_or_comes_by_another_api_likewise(
    client: openai.AsyncOpenAI, claude: anthropic.AsyncAnthropic, upstream: Provider
) -> None:
    named = (await client.files.create(file=("b.docx", word()), purpose="user_data")).id
    upstream.behave = refused
    asked: Any = [{"role": "user", "content": [{"type": "input_file", "file_id": named}]}]
    with pytest.raises(openai.BadRequestError):
        await client.responses.create(model="papers/m", input=asked)
    assert upstream.seen[-1].body["messages"][0]["content"] == f"b.docx:\n\n{SAID}"
    source = {"type": "base64", "media_type": PDF, "data": PAPER["file"]["file_data"].partition(",")[2]}
    content: Any = [{"type": "document", "source": source, "title": "Rules"}]
    with pytest.raises(anthropic.BadRequestError):
        await claude.messages.create(model="plain/m", max_tokens=9, messages=[{"role": "user", "content": content}])
    assert upstream.seen[-1].body["messages"][0]["content"].startswith("Rules:\n\nRefunds take days")


async def test_files_in_the_results_of_tools_and_in_instructions_likewise(
    client: openai.AsyncOpenAI, upstream: Provider
) -> None:
    call = {"id": "call_1", "type": "function", "function": {"name": "look", "arguments": "{}"}}
    turns: Any = [
        {"role": "system", "content": [LETTER]}, {"role": "user", "content": "Look."},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "call_1", "content": [TALK]},
    ]  # fmt: skip
    upstream.behave = refused
    for model in ("plain/m", "claude/claude-sonnet-4-5", "cohere/command-a-03-2025"):
        with pytest.raises(openai.BadRequestError):
            await client.chat.completions.create(model=model, messages=turns)
        body = json.dumps(upstream.seen[-1].body)
        assert quoted("b.docx:\n\nRefunds") in body and quoted("c.pptx:\n\nSlide 1") in body, model


async def test_texts_of_any_type_need_no_reader(
    client: openai.AsyncOpenAI, upstream: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(documents, "find_spec", lambda name: None)
    table = part(b"country,days\nNorway,21\n", "text/csv", "days.csv")
    for model in ("plain/m", "claude/claude-sonnet-4-5", "papers/m"):
        assert quoted("days.csv:\n\ncountry,days\nNorway,21\n") in await sent(client, upstream, model, table)


async def test_a_streamed_answer_and_a_document_that_a_guardrail_has_read(
    client: openai.AsyncOpenAI, upstream: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    times, real = 0, enclosed_documents.document_text

    async def counted(*given: Any) -> str:
        nonlocal times
        times += 1
        return await real(*given)

    monkeypatch.setattr(enclosed_documents, "document_text", counted)
    messages: Any = [{"role": "user", "content": [LETTER]}]
    for _ in range(2):
        stream = await client.chat.completions.create(model="plain/m", messages=messages, stream=True)
        assert [chunk async for chunk in stream]
        assert upstream.seen[-1].body["messages"][0]["content"] == f"b.docx:\n\n{SAID}"
    assert times == 1


UNREAD = part(locked(), PDF, "a.pdf")


async def test_who_cannot_be_helped_is_told_which_parameter_and_provider(
    client: openai.AsyncOpenAI, upstream: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    picture = part(b"\x89PNG\r\n\x1a\n" + b"\0" * 20, "image/png", "a.png")
    for model in ("plain/m", "cohere/command-a-03-2025"):
        problem = await told(client, upstream, model, picture)
        assert problem.param == "messages[0].content[0].file" and f"provider '{model.partition('/')[0]}'" in problem.message
        assert "is no PDF, docx, pptx or xlsx" in problem.message and problem.code == "unsupported_parameter"
    monkeypatch.setattr(documents, "find_spec", lambda name: None)
    assert "pip install 'understudy[documents]'" in (await told(client, upstream, "plain/m", PAPER)).message


async def test_the_next_candidate_is_asked_or_the_file_is_left_out(
    client: openai.AsyncOpenAI, upstream: Provider
) -> None:
    assert "needs a password" in (await told(client, upstream, "plain/m", UNREAD)).message
    assert UNREAD["file"]["file_data"] in await sent(client, upstream, "falls-back", UNREAD)
    upstream.seen.clear()
    await sent(client, upstream, "lenient/m", UNREAD)
    assert upstream.seen[-1].body["messages"][0]["content"] == [{"type": "text", "text": "What is it?"}]
    upstream.seen.clear()
    assert "provider 'lenient'" in (await told(client, upstream, "lenient/m", UNREAD)).message, "nothing would be left"


async def test_who_takes_files_comes_first_where_a_policy_looks_at_abilities(
    client: openai.AsyncOpenAI, upstream: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "b.docx:" in await sent(client, upstream, "fits", LETTER)
    assert "inlineData" in await sent(client, upstream, "prefers", PAPER)
    upstream.seen.clear()
    elsewhere = {"type": "file", "file": {"file_id": "file-6F2ksmvXxt4VdoqmHRw6kL"}}
    assert (await told(client, upstream, "fits", elsewhere)).code == "no_suitable_candidate"
    monkeypatch.setattr(documents, "find_spec", lambda name: None)
    assert (await told(client, upstream, "fits", LETTER)).code == "no_suitable_candidate"


def test_models_of_openai_that_take_no_files() -> None:
    codec = OpenAIProvider(api_key="sk-upstream-secret").build("openai", "")
    body = {"messages": [{"role": "user", "content": [PAPER]}]}
    assert PAPER["file"]["file_data"].encode() in codec.encode(body, "gpt-4o", stream=False).body
    with pytest.raises(DocumentRefused) as caught:
        codec.encode(body, "o3-mini", stream=False)
    assert not caught.value.takes("application/pdf") and "not taken" in caught.value.error.message


async def test_explain_knows_that_a_text_goes_in_a_files_place(
    http: Any, upstream: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = (await http.post("/admin/login", json={"key": ADMIN})).json()["csrf"]
    body = {"model": "falls-back", "messages": [{"role": "user", "content": [PAPER]}]}

    async def passed_over() -> list[bool]:
        told = await http.post("/admin/explain", json={"body": body}, headers={"x-csrf-token": token})
        return [bool(one["passed_over"]) for one in told.json()["plan"]]

    assert await passed_over() == [False, False]
    await http.post("/v1/chat/completions", json=body)
    assert upstream.seen[0].body["model"] == "m" and "Refunds take days" in str(upstream.seen[0].body)
    monkeypatch.setattr(foreseen, "missing", lambda: ["pypdf"])
    assert await passed_over() == [True, False]
