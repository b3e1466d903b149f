"""Where no prose belongs: names of fields, the protocol's own words, what says who is calling, single words, and events
that are no JSON."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from scripted import Line
from test_guards_by_every_door import MAIL, guarded, scripted

PHRASE = "project falcon"
SECRET = "sk-proj-" + "a1B2c3D4" * 5
USER = {"role": "user", "content": "hi"}
TOOL = {"name": "f", "description": "d", "parameters": {"type": "object", "properties": {PHRASE: {"type": "string"}}}}
CHAT, IMAGES = "/v1/chat/completions", "/v1/images/generations"
ODD: list[tuple[str, dict[str, Any]]] = [
    (CHAT, {"messages": [{**USER, PHRASE: 1}]}),
    (CHAT, {"messages": [{"role": "user", "content": [{"type": "text", "text": "hi", "more": [{"deep": {PHRASE: None}}]}]}]}),
    (CHAT, {"messages": [USER], "tools": [{"type": "function", "function": TOOL}]}),
    (CHAT, {"messages": [USER], "tools": [{"type": PHRASE, "function": {"name": "f"}}]}),
    (CHAT, {"messages": [USER, {"role": "assistant", "tool_calls": [
        {"id": PHRASE, "type": "function", "function": {"name": "f", "arguments": "{}"}}]},
        {"role": "tool", "tool_call_id": PHRASE, "content": "x"}]}),
    (CHAT, {"messages": [USER], PHRASE: True}),
    (CHAT, {"messages": [USER], "user": PHRASE}), (CHAT, {"messages": [USER], "safety_identifier": PHRASE}),
    (CHAT, {"messages": [USER], "metadata": {"k": PHRASE}}), (CHAT, {"messages": [USER], "metadata": {PHRASE: "v"}}),
    (CHAT, {"messages": [USER], "prompt_cache_key": "project\\u0020falcon"}),
    ("/v1/responses", {"input": "hi", "metadata": {"k": PHRASE}}), ("/v1/responses", {"input": "hi", "user": PHRASE}),
    ("/v1/messages", {"max_tokens": 9, "messages": [USER], "metadata": {"user_id": PHRASE}}),
    ("/v1/messages", {"max_tokens": 9, "messages": [USER], "tools": [
        {"name": "f", "input_schema": {"type": "object", "properties": {PHRASE: {}}}}]}),
    ("/v1beta/models/triage:generateContent", {"contents": [{"role": "user", "parts": [{"text": "x"}]}], "tools": [
        {"functionDeclarations": [{"name": "f", "parameters": {"type": "OBJECT", "properties": {PHRASE: {"type": "STRING"}}}}]}]}),
    (IMAGES, {"prompt": "p", "user": PHRASE}), (IMAGES, {"prompt": "p", PHRASE: "word"}),
    (IMAGES, {"prompt": "p", "more": {"a": [{PHRASE: 1}]}}), (IMAGES, {"prompt": "p", "style": "falconry"}),
    ("/v1/embeddings", {"input": ["a"], "metadata": {"k": PHRASE}}),
    ("/v1/audio/speech", {"input": "a", "voice": "alloy", PHRASE: "b"}),
]  # fmt: skip


async def test_nothing_is_smuggled_past_the_prose(tmp_path: Path) -> None:
    words = f"guardrails: {{words: {{type: blocklist, phrases: [{PHRASE}, falconry]}}}}"
    async with guarded(tmp_path, words) as (upstream, ask):
        upstream.behave = scripted({"content": "fine"})
        for path, body in ODD:
            got = await ask(path, copy.deepcopy(body))
            assert got.status_code == 400, (path, body, got.text)
            assert "blocked by the guardrail 'words'" in got.text or "Invalid" in got.text or "must" in got.text, got.text
            assert PHRASE not in json.dumps([one.body for one in upstream.seen]), (path, body)


async def test_who_is_calling_stays_who_it_is(tmp_path: Path) -> None:
    """What is only masked or rewritten elsewhere is left there, a secret that is blocked is not."""
    async with guarded(tmp_path) as (upstream, ask):
        upstream.behave = scripted({"content": "fine"})
        got = await ask(CHAT, {"messages": [USER], "user": MAIL, "metadata": {"bird": "blue heron"}})
        assert got.status_code == 200
        sent = upstream.seen[-1].body
        assert sent["user"] == MAIL and sent["metadata"] == {"bird": "blue heron"}


@pytest.mark.parametrize("field", ["user", "metadata"])
async def test_personal_data_that_is_blocked_may_say_who_is_calling(tmp_path: Path, field: str) -> None:
    async with guarded(tmp_path, "guardrails: {privacy: {type: pii, action: block}}") as (upstream, ask):
        upstream.behave = scripted({"content": "fine"})
        named = MAIL if field == "user" else {"who": MAIL}
        assert (await ask(CHAT, {"messages": [USER], field: named})).status_code == 200
        refused = await ask(CHAT, {"messages": [{"role": "user", "content": MAIL}], field: named})
        assert refused.status_code == 400


async def test_a_name_that_would_be_masked_is_stopped(tmp_path: Path) -> None:
    async with guarded(tmp_path) as (upstream, ask):
        upstream.behave = scripted({"content": "fine"})
        schema = {"type": "object", "properties": {MAIL: {"type": "string"}}}
        tools = [{"type": "function", "function": {"name": "f", "parameters": schema}}]
        got = await ask(CHAT, {"messages": [USER], "tools": tools})
        assert got.status_code == 400 and "'privacy'" in got.text and not upstream.seen
        ordinary = {"type": "object", "$defs": {"x-y": {}}, "properties": {"user-id": {"$ref": "#/$defs/x-y"}}}
        tools = [{"type": "function", "function": {"name": "f", "parameters": ordinary}}]
        assert (await ask(CHAT, {"messages": [USER], "tools": tools})).status_code == 200
        got = await ask(IMAGES, {"prompt": "p", "style": SECRET})
        assert SECRET not in json.dumps(upstream.seen[-1].body)


async def test_events_that_are_no_json_are_judged_as_they_stand(tmp_path: Path) -> None:
    async with guarded(tmp_path) as (upstream, ask):

        async def behave(line: Line) -> None:
            await line.stream(b"data: see project falcon\n\ndata: [DONE]\n\n")

        upstream.behave = behave
        got = await ask("/v1/audio/transcriptions", None, files={"file": ("a.wav", b"RIFF")}, data={
            "model": "whisper-1", "stream": "true"})  # fmt: skip
        assert got.status_code == 400 and "falcon" not in got.text
