"""Documents and the places an answer rests on: Claude's own form for its clients, an error by name where nobody can tell."""

from __future__ import annotations

import json
from typing import Any

import anthropic
import openai
import pytest
from gateway_server import Gateway
from scripted import Line, Provider
from test_messages_to_claude import KEY, USAGE, events, served, upstream

__all__ = ["served", "upstream"]
DOCUMENTS: list[dict[str, Any]] = [
    {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "Grass is green."},
     "title": "Notes", "context": "of 2026", "citations": {"enabled": True}},
    {"type": "document", "source": {"type": "url", "url": "https://a.example/x.pdf"}, "title": "X"},
    {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": "aGk="}, "title": "Y"},
]  # fmt: skip
PLACE = {"type": "char_location", "cited_text": "Grass is green.", "document_index": 0, "document_title": "Notes",
         "start_char_index": 0, "end_char_index": 15, "file_id": None}  # fmt: skip
BLOCKS: list[dict[str, Any]] = [
    {"type": "text", "text": "As I read it, "}, {"type": "text", "text": "grass is green", "citations": [PLACE]},
    {"type": "text", "text": "."},
]  # fmt: skip


def streamed() -> bytes:
    """The message as Anthropic streams it: the citations of a text before its end."""
    raw = events(*({name: one[name] for name in ("type", "text")} for one in BLOCKS), stop="end_turn").decode()
    delta = {"type": "content_block_delta", "index": 1, "delta": {"type": "citations_delta", "citation": PLACE}}
    end = 'event: content_block_stop\ndata: {"type": "content_block_stop", "index": 1}'
    assert end in raw
    return raw.replace(end, f"event: content_block_delta\ndata: {json.dumps(delta)}\n\n{end}").encode()


def asked(model: str = "claude/claude-sonnet-4-5") -> dict[str, Any]:
    content: Any = [*DOCUMENTS, {"type": "text", "text": "What colour?"}]
    return {"model": model, "max_tokens": 900, "messages": [{"role": "user", "content": content}]}


@pytest.mark.parametrize("stream", [False, True])
async def test_claudes_citations_reach_its_clients_text_by_text(
    claude: anthropic.AsyncAnthropic, upstream: Provider, stream: bool
) -> None:
    async def behave(line: Line) -> None:
        if line.seen.body.get("stream"):
            await line.stream(streamed(), piece=9)
        else:
            await line.answer(200, {"id": "m", "type": "message", "role": "assistant", "model": "c", "content": BLOCKS,
                                    "stop_reason": "end_turn", "stop_sequence": None, "usage": USAGE})  # fmt: skip

    upstream.behave = behave
    if stream:
        async with claude.messages.stream(**asked()) as told:
            found = await told.get_final_message()
    else:
        found = await claude.messages.create(**asked())
    blocks = [one.model_dump() for one in found.content]
    assert [(one["text"], one.get("citations") or None) for one in blocks] == [
        (one["text"], one.get("citations")) for one in BLOCKS
    ]
    sent = upstream.seen[0].body["messages"][0]["content"]
    assert sent[:3] == DOCUMENTS
    again = [*asked()["messages"], {"role": "assistant", "content": found.content}, {"role": "user", "content": "Sure?"}]
    await claude.messages.create(**{**asked(), "messages": again})
    kept = upstream.seen[1].body["messages"][1]["content"]
    assert [(one["text"], one.get("citations")) for one in kept] == [(one["text"], one.get("citations")) for one in BLOCKS]


async def test_who_cannot_cite_is_told_by_name(claude: anthropic.AsyncAnthropic, upstream: Provider) -> None:
    plain = asked("groq/llama-3.3-70b-versatile")
    plain["messages"][0]["content"] = [DOCUMENTS[0]]
    with pytest.raises(anthropic.BadRequestError, match=r"citations.*groq"):
        await claude.messages.create(**plain)
    assert not upstream.seen
    plain["messages"][0]["content"] = [{**DOCUMENTS[0], "citations": None}, {"type": "text", "text": "What colour?"}]
    await claude.messages.create(**plain)
    (turn,) = upstream.seen[0].body["messages"]
    assert turn["content"] == [{"type": "text", "text": "Grass is green."}, {"type": "text", "text": "What colour?"}]


async def test_a_file_by_address_goes_to_who_opens_it(served: Gateway, upstream: Provider) -> None:
    file: Any = {"type": "input_file", "file_url": "https://a.example/x.pdf"}
    ask: Any = [{"role": "user", "content": [file, {"type": "input_text", "text": "What is it?"}]}]
    async with openai.AsyncOpenAI(base_url=served.base_url, api_key=KEY, max_retries=0) as client:
        await client.responses.create(model="claude/claude-sonnet-4-5", input=ask)
        (document, _) = upstream.seen[0].body["messages"][0]["content"]
        assert document["source"] == {"type": "url", "url": "https://a.example/x.pdf"}
        with pytest.raises(openai.BadRequestError) as refused:
            await client.responses.create(model="own/m", input=ask)
    assert refused.value.param == "file_url" and "'own'" in refused.value.message and len(upstream.seen) == 1
