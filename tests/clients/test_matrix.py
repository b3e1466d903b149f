"""Every API in front of every provider dialect: the same answer is read through each, whole and streamed, and the round of
tools goes on with what the client read."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio
from gateway_server import KEY, gateway
from matrix_asking import Api, Ask, Got, every_api
from matrix_said import CACHED, COMPLETION, DIALECTS, PROMPT, REASONING, URL, Said
from scripted import Line, Provider, provider

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.filterwarnings("ignore:Inheritance class:DeprecationWarning"),
]
POLICIES = """
providers:
  openai: {{type: openai, base_url: "{url}", api_key: sk-up}}
  responses: {{type: openai, api: responses, base_url: "{url}", api_key: sk-up}}
  anthropic: {{type: anthropic, base_url: "{url}", api_key: sk-up}}
  gemini: {{type: gemini, base_url: "{url}", api_key: sk-up}}
  bedrock: {{type: bedrock, base_url: "{url}", access_key_id: AKID, secret_access_key: sk-up}}
  cohere: {{type: cohere, base_url: "{url}", api_key: sk-up}}
  deepseek: {{type: openai, profile: deepseek, base_url: "{url}", api_key: sk-up}}
keys: [{{name: tests, key: {key}, project: default}}]
timeouts: {{connect: 30, first_byte: 30, chunk_gap: 30, total: 60}}
retries: {{attempts: 1, base_s: 0.01, cap_s: 0.05}}
"""
MODELS = {
    "openai": "openai/gpt-4o", "responses": "responses/gpt-5", "anthropic": "anthropic/claude-sonnet-4-5",
    "gemini": "gemini/gemini-2.5-flash", "bedrock": "bedrock/anthropic.claude-sonnet-4-5-20250929-v1:0",
    "cohere": "cohere/command-a-reasoning",
}  # fmt: skip
CALLS = (("call_a", "weather", {"city": "Bonn"}), ("call_b", "weather", {"city": "Köln"}))
THOUGHT = Said(("I ", "look."), "Let me think.", "c2lnbmF0dXJl", CALLS, end="calls")
CASES = {
    "text with its source": (Ask(), Said(("Grü", "ße 👩‍👩‍👧", " aus Bo", "nn"), cited=True)),
    "too long": (Ask(), Said(("ab", "c"), end="length")),
    "a stop sequence": (Ask(stop="END"), Said(("abc",), end="stop_sequence")),
    "filtered": (Ask(), Said(end="filter")),
    "parallel calls": (Ask(tools=True), Said(calls=CALLS, end="calls")),
    "thoughts, text and calls": (Ask(tools=True, thinks=True), THOUGHT),
}
LACKS = {
    ("cohere", "filtered"): "has no word for it",
}
"""What cannot be had, and why."""
SIGN = {"anthropic", "bedrock", "gemini", "responses"}
COUNT_THOUGHTS = {"openai", "responses", "gemini"}


class House:
    def __init__(self, url: str, upstream: Provider, apis: dict[str, Api]) -> None:
        self.url, self.upstream, self.apis = url, upstream, apis

    def answers(self, dialect: str, said: Said) -> None:
        whole, stream = DIALECTS[dialect]

        async def behave(line: Line) -> None:
            streamed = "stream" in line.seen.path.lower() or line.seen.body.get("stream")
            await (line.stream(stream(said), piece=7) if streamed else line.answer(200, whole(said)))

        self.upstream.behave = behave

    def sent(self) -> str:
        return json.dumps(self.upstream.seen[-1].body, ensure_ascii=False)


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def house(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[House]:
    tmp: Path = tmp_path_factory.mktemp("matrix")
    async with provider() as upstream:
        (tmp / "policies").mkdir()
        (tmp / "policies" / "gateway.yaml").write_text(POLICIES.format(url=upstream.url, key=KEY))
        async with gateway(tmp, tmp / "policies") as served, every_api(served.url) as apis:
            yield House(served.url, upstream, apis)


def encoded(raw: bytes) -> str:
    return base64.b64encode(raw).decode()


def expected(api: str, dialect: str, ask: Ask, said: Said, got: Got) -> dict[str, Any]:
    """What this API can say of the answer; a few things only some dialects tell."""
    met = said.end == "stop_sequence"
    knows = api == "messages" and dialect in ("anthropic", "bedrock", "cohere")
    found = {
        "text": said.whole, "calls": list(said.calls), "prompt": PROMPT, "cached": CACHED, "completion": COMPLETION,
        "end": ("stop_sequence" if knows else "stop") if met else said.end, "thought": said.thought,
        "cited": [URL] if said.cited and api != "completions" else [],
    }  # fmt: skip
    if api != "messages":  # Anthropic's usage has no place for them
        found["reasoning"] = REASONING if dialect in COUNT_THOUGHTS else 0
    return found


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("case", CASES)
async def test_every_api_over_every_dialect(house: House, case: str, dialect: str) -> None:
    if (dialect, case) in LACKS:
        return
    ask, said = CASES[case]
    house.answers(dialect, said)
    for name, api in house.apis.items():
        if (name == "completions" and ask.tools) or (name == "responses" and ask.stop):
            continue  # what these APIs do not have
        for stream in (False, True):
            got = await api.ask(MODELS[dialect], ask, stream=stream)
            wanted = expected(name, dialect, ask, said, got)
            assert {field: getattr(got, field) for field in wanted} == wanted, (name, stream)
            assert got.id.startswith(api.prefix), (name, stream)
            if ask.tools:
                await api.ask(MODELS[dialect], replace(ask, before=got.back), stream=stream)
                sent = house.sent()
                kept = ["sky of call_a", "sky of call_b", "Köln"]
                kept += [said.signature] if ask.thinks and dialect in SIGN else []
                kept += [said.thought] if ask.thinks and dialect in SIGN - {"gemini"} else []
                assert [one for one in kept if one not in sent] == [], (name, stream)
                assert "understudy:" not in sent and "google:" not in sent


@pytest.mark.parametrize("other", sorted(SIGN - {"bedrock"}))
@pytest.mark.parametrize("author", sorted(SIGN))
async def test_nobody_is_sent_what_somebody_else_signed(house: House, author: str, other: str) -> None:
    """A conversation moves to another provider in the middle of a round of tools."""
    if author == other or {author, other} == {"anthropic", "bedrock"}:
        return  # Claude's hosts understand each other
    ask = CASES["thoughts, text and calls"][0]
    for name, api in house.apis.items():
        if name == "completions":
            continue
        house.answers(author, THOUGHT)
        got = await api.ask(MODELS[author], ask, stream=True)
        house.answers(other, Said(("done",)))
        after = await api.ask(MODELS[other], replace(ask, before=got.back), stream=False)
        assert after.text == "done" and "sky of call_b" in house.sent()
        assert THOUGHT.signature not in house.sent(), name


async def test_thoughts_that_nobody_signs_go_back_to_who_wants_them(house: House) -> None:
    """DeepSeek asks for the thoughts of a round of tools."""
    ask, said = CASES["thoughts, text and calls"]
    house.answers("openai", said)
    for name, api in house.apis.items():
        if name == "completions":
            continue
        got = await api.ask("deepseek/deepseek-reasoner", ask, stream=True)
        await api.ask("deepseek/deepseek-reasoner", replace(ask, before=got.back), stream=False)
        (turn,) = [one for one in house.upstream.seen[-1].body["messages"] if one["role"] == "assistant"]
        assert turn["reasoning_content"] == said.thought, name


PNG, PDF = encoded(b"\x89PNG..."), encoded(b"%PDF-1.4")
PLAIN, WAV, WEB, PAPER = encoded("grüner".encode()), encoded(b"RIFF"), "https://a.example/p.png", "https://a.example/d.pdf"
PARTS: dict[str, tuple[str, dict[str, Any]]] = {
    "image": (PNG, {
        "chat": {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}},
        "responses": {"type": "input_image", "image_url": f"data:image/png;base64,{PNG}", "detail": "auto"},
        "messages": {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG}},
        "gemini": {"inlineData": {"mimeType": "image/png", "data": PNG}}}),
    "image by address": (WEB, {
        "chat": {"type": "image_url", "image_url": {"url": WEB}},
        "responses": {"type": "input_image", "image_url": WEB, "detail": "auto"},
        "messages": {"type": "image", "source": {"type": "url", "url": WEB}},
        "gemini": {"fileData": {"mimeType": "image/png", "fileUri": WEB}}}),
    "file": (PDF, {
        "chat": {"type": "file", "file": {"filename": "a.pdf", "file_data": f"data:application/pdf;base64,{PDF}"}},
        "responses": {"type": "input_file", "filename": "a.pdf", "file_data": f"data:application/pdf;base64,{PDF}"},
        "messages": {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": PDF}},
        "gemini": {"inlineData": {"mimeType": "application/pdf", "data": PDF}}}),
    "file by address": (PAPER, {
        "responses": {"type": "input_file", "file_url": PAPER},
        "messages": {"type": "document", "source": {"type": "url", "url": PAPER}},
        "gemini": {"fileData": {"mimeType": "application/pdf", "fileUri": PAPER}}}),
    "text file": (PLAIN, {
        "chat": {"type": "file", "file": {"filename": "a.txt", "file_data": f"data:text/plain;base64,{PLAIN}"}},
        "responses": {"type": "input_file", "filename": "a.txt", "file_data": f"data:text/plain;base64,{PLAIN}"},
        "gemini": {"inlineData": {"mimeType": "text/plain", "data": PLAIN}}}),
    "sound": (WAV, {
        "chat": {"type": "input_audio", "input_audio": {"data": WAV, "format": "wav"}},
        "gemini": {"inlineData": {"mimeType": "audio/wav", "data": WAV}}}),
}  # fmt: skip
CANNOT = {
    "image": set(), "image by address": {"bedrock"}, "file": {"cohere"}, "file by address": {"openai", "bedrock", "cohere"},
    "text file": set(), "sound": {"responses", "anthropic", "bedrock", "cohere"},
}  # fmt: skip
"""Who takes no such part: an error that names part and provider."""


def asking(api: str, model: str, part: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    if api == "responses":
        return "/v1/responses", {"model": model, "input": [{"role": "user", "content": [part]}]}
    if api == "gemini":
        return f"/v1beta/models/{model}:generateContent", {"contents": [{"role": "user", "parts": [part]}]}
    body: dict[str, Any] = {"model": model, "messages": [{"role": "user", "content": [part]}]}
    return ("/v1/messages", {**body, "max_tokens": 50}) if api == "messages" else ("/v1/chat/completions", body)


@pytest.mark.parametrize("kind", PARTS)
async def test_parts_reach_every_dialect_or_are_refused_by_name(house: House, kind: str) -> None:
    needle, forms = PARTS[kind]
    headers = {"authorization": f"Bearer {KEY}"}
    async with httpx.AsyncClient(base_url=house.url, headers=headers, timeout=30) as http:
        for dialect, model in MODELS.items():
            house.answers(dialect, Said(("ok",)))
            for api, part in forms.items():
                path, body = asking(api, model, part)
                answer = await http.post(path, json=body)
                if dialect not in CANNOT[kind]:
                    assert answer.status_code == 200, (dialect, api, answer.text)
                    assert needle in house.sent() or "grüner" in house.sent(), (dialect, api)
                    continue
                error = answer.json()["error"]
                assert answer.status_code == 400 and f"'{dialect}'" in error["message"], (dialect, api, error)
                if api == "responses" and "file_url" not in error["param"]:
                    assert error["param"].startswith("input[0].content[0]"), error
