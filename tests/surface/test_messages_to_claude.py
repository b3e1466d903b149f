"""Anthropic's client in front, Claude behind: what only Claude understands survives both ways; others never see it."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import anthropic
import openai
import pytest
from gateway_server import KEY, Gateway, gateway, served_over
from scripted import Line, Provider, provider

POLICIES = """
providers:
  claude: {{type: anthropic, base_url: "{url}", api_key: sk-upstream-secret}}
  groq: {{type: openai, profile: groq, base_url: "{url}", api_key: sk-upstream-secret}}
  own: {{type: openai, base_url: "{url}", api_key: sk-upstream-secret}}
keys: [{{name: tests, key: {key}, project: default}}]
timeouts: {{connect: 30, first_byte: 30, chunk_gap: 30, total: 60}}
"""
CACHED: Any = {"type": "ephemeral"}
BLOCKS: list[dict[str, Any]] = [
    {"type": "thinking", "thinking": "hm, rain", "signature": "c2lnLTE="},
    {"type": "redacted_thinking", "data": "b3BhcXVl"},
    {"type": "text", "text": "Let me look."},
    {"type": "tool_use", "id": "toolu_1", "name": "weather", "input": {"city": "Bonn"}},
]
USAGE = {
    "input_tokens": 10,
    "cache_creation_input_tokens": 5,
    "cache_read_input_tokens": 20,
    "output_tokens": 7,
}
TOOLS: Any = [{"name": "weather", "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}},
               "cache_control": CACHED}]  # fmt: skip


def message(*blocks: dict[str, Any], stop: str = "end_turn") -> dict[str, Any]:
    return {"id": "msg_1", "type": "message", "role": "assistant", "model": "claude-sonnet-4-5", "content": list(blocks),
            "stop_reason": stop, "stop_sequence": None, "usage": USAGE}  # fmt: skip


def events(*blocks: dict[str, Any], stop: str) -> bytes:
    """A message as Anthropic streams it, texts in two pieces."""
    found: list[dict[str, Any]] = [{"type": "message_start", "message": {**message(), "stop_reason": None}}]
    for index, block in enumerate(blocks):
        kind = block["type"]
        empty = {
            "thinking": {"thinking": "", "signature": ""},
            "text": {"text": ""},
            "tool_use": {"input": {}},
        }.get(kind, {})
        found.append({"type": "content_block_start", "index": index, "content_block": {**block, **empty}})
        deltas: list[dict[str, Any]] = []
        if kind == "thinking":
            deltas = [
                {"type": "thinking_delta", "thinking": one}
                for one in (block["thinking"][:3], block["thinking"][3:])
            ]
            deltas.append({"type": "signature_delta", "signature": block["signature"]})
        elif kind == "text":
            deltas = [{"type": "text_delta", "text": one} for one in (block["text"][:3], block["text"][3:])]
        elif kind == "tool_use":
            deltas = [{"type": "input_json_delta", "partial_json": json.dumps(block["input"])}]
        found += [{"type": "content_block_delta", "index": index, "delta": one} for one in deltas]
        found.append({"type": "content_block_stop", "index": index})
    found.append(
        {
            "type": "message_delta",
            "delta": {"stop_reason": stop, "stop_sequence": None},
            "usage": {"output_tokens": 7},
        }
    )
    found.append({"type": "message_stop"})
    return "".join(f"event: {one['type']}\ndata: {json.dumps(one)}\n\n" for one in found).encode()


@pytest.fixture
async def upstream() -> AsyncIterator[Provider]:
    async with provider() as made:

        async def behave(line: Line) -> None:
            if line.seen.path.endswith("/messages"):
                if line.seen.body.get("stream"):
                    await line.stream(events(*BLOCKS, stop="tool_use"), piece=11)
                else:
                    await line.answer(200, message(*BLOCKS, stop="tool_use"))
            else:
                await line.answer()

        made.behave = behave
        yield made


served = served_over(POLICIES)


def turns(content: Any) -> Any:
    result = {
        "type": "tool_result",
        "tool_use_id": "toolu_1",
        "content": "no such city",
        "is_error": True,
        "cache_control": CACHED,
    }
    first = {"type": "text", "text": "Bonn?", "cache_control": CACHED}
    return [
        {"role": "user", "content": [first]},
        {"role": "assistant", "content": content},
        {"role": "user", "content": [result]},
    ]


ASKED: Any = {
    "model": "claude/claude-sonnet-4-5", "max_tokens": 9000, "tools": TOOLS, "thinking": {"type": "enabled", "budget_tokens": 4321},
    "system": [{"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral", "ttl": "1h"}}],
}  # fmt: skip


@pytest.mark.parametrize("streamed", [False, True])
async def test_signed_thoughts_and_cache_marks_survive_a_round_of_tools(
    claude: anthropic.AsyncAnthropic, upstream: Provider, streamed: bool
) -> None:
    asked = {**ASKED, "messages": [{"role": "user", "content": "Bonn?"}]}
    if streamed:
        async with claude.messages.stream(**asked) as stream:
            first = await stream.get_final_message()
    else:
        first = await claude.messages.create(**asked)
    shown = [one.model_dump(exclude_none=True) for one in first.content]
    assert [{name: one[name] for name in block} for one, block in zip(shown, BLOCKS, strict=True)] == BLOCKS
    assert (first.usage.cache_read_input_tokens, first.usage.cache_creation_input_tokens) == (20, 5)
    await claude.messages.create(**ASKED, messages=turns(first.content))
    sent = upstream.seen[-1].body
    assert sent["thinking"] == {"type": "enabled", "budget_tokens": 4321}
    assert sent["system"] == ASKED["system"]
    assert sent["tools"][0]["cache_control"] == CACHED
    assert sent["messages"][0]["content"] == [{"type": "text", "text": "Bonn?", "cache_control": CACHED}]
    assert sent["messages"][1]["content"] == BLOCKS
    (result,) = sent["messages"][2]["content"]
    assert (result["is_error"], result["cache_control"]) == (True, CACHED)


@pytest.mark.parametrize("model", ["groq/llama-3.3-70b-versatile", "own/m"])
async def test_others_are_not_sent_what_only_claude_reads(
    claude: anthropic.AsyncAnthropic, upstream: Provider, model: str
) -> None:
    answer = await claude.messages.create(**{**ASKED, "model": model}, messages=turns(BLOCKS))
    assert answer.content[0].type == "text"
    sent = upstream.seen[-1].body
    raw = json.dumps(sent)
    assert not [one for one in ("cache_control", "is_error", "anthropic") if one in raw]
    assert sent["messages"][1] == {"role": "user", "content": "Bonn?"}
    assert sent["reasoning_effort"] == "medium"
    if model.startswith("groq"):
        assert "thinking" not in raw


async def test_effort_and_adaptive_thinking_reach_claude_in_its_own_words(
    claude: anthropic.AsyncAnthropic, upstream: Provider
) -> None:
    await claude.messages.create(
        model="claude/claude-opus-5", max_tokens=900, messages=[{"role": "user", "content": "hi"}],
        extra_body={"thinking": {"type": "adaptive", "display": "summarized"}, "output_config": {"effort": "max"},
                    "cache_control": CACHED},
    )  # fmt: skip
    sent = upstream.seen[-1].body
    assert sent["thinking"] == {"type": "adaptive", "display": "summarized"}
    assert sent["output_config"] == {"effort": "max"}
    assert sent["cache_control"] == CACHED
    await claude.messages.create(
        model="claude/claude-opus-5", max_tokens=900, messages=[{"role": "user", "content": "hi"}],
        thinking={"type": "disabled"},
    )  # fmt: skip
    assert upstream.seen[-1].body["thinking"] == {"type": "disabled"}


async def test_masking_never_breaks_a_signature(tmp_path: Path, upstream: Provider) -> None:
    folder = tmp_path / "guarded"
    folder.mkdir()
    (folder / "gateway.yaml").write_text(
        POLICIES.format(url=upstream.url, key=KEY) + "guardrails: {pii: {type: pii, action: mask}}\n"
    )
    private = [{**BLOCKS[0], "thinking": "write to anna.schmidt@example.com"}, *BLOCKS[2:]]
    async with (
        gateway(tmp_path / "other", folder) as made,
        anthropic.AsyncAnthropic(base_url=made.url, api_key=KEY, max_retries=0) as claude,
    ):
        await claude.messages.create(**ASKED, messages=turns(private))
        kinds = [one["type"] for one in upstream.seen[-1].body["messages"][1]["content"]]
        assert kinds == ["text", "tool_use"]
        assert "thinking" not in upstream.seen[-1].body  # it pauses for this round, as Anthropic wants it
        await claude.messages.create(**ASKED, messages=turns(BLOCKS))
        assert upstream.seen[-1].body["messages"][1]["content"] == BLOCKS


async def test_a_chat_client_keeps_streamed_thoughts_whole(served: Gateway, upstream: Provider) -> None:
    async with openai.AsyncOpenAI(base_url=served.base_url, api_key=KEY, max_retries=0) as client:
        stream = await client.chat.completions.create(
            model="claude/claude-sonnet-4-5", messages=[{"role": "user", "content": "hi"}], stream=True
        )
        told = [one.choices[0].delta.model_dump() async for one in stream if one.choices]
    assert "".join(one.get("reasoning_content") or "" for one in told) == "hm, rain"
    blocks = [block for one in told for block in one.get("thinking_blocks") or ()]
    assert blocks == [{"index": at, **BLOCKS[at]} for at in range(2)]
