"""What Claude clears of a long conversation for its client, and what everybody else says of it."""

from __future__ import annotations

import json
from typing import Any

import anthropic
import pytest
from gateway_server import served_over
from scripted import Behaviour, Line, Provider
from test_messages_to_claude import message

POLICIES = """
providers:
  claude: {{type: anthropic, base_url: "{url}", api_key: sk-upstream-secret}}
  chat: {{type: openai, base_url: "{url}", api_key: sk-upstream-secret}}
  drops: {{type: openai, base_url: "{url}", api_key: sk-upstream-secret, drop_params: true}}
keys: [{{name: tests, key: {key}, project: default}}]
tasks:
  - {{name: captured, candidates: [{{provider: claude, model: claude-sonnet-4-5}}], capture: {{rate: 1.0}}}}
timeouts: {{connect: 30, first_byte: 30, chunk_gap: 30, total: 60}}
"""
served = served_over(POLICIES)

TOOL_USES: Any = {"type": "clear_tool_uses_20250919", "trigger": {"type": "input_tokens", "value": 30000}, "keep": {"type": "tool_uses", "value": 3}}
THINKING: Any = {"type": "clear_thinking_20251015", "keep": "all"}
APPLIED = {"applied_edits": [{"type": "clear_tool_uses_20250919", "cleared_tool_uses": 8, "cleared_input_tokens": 50000}]}
ASK: Any = {"max_tokens": 900, "messages": [{"role": "user", "content": "Go on."}]}
SAID = {"type": "text", "text": "Done."}


def streamed() -> bytes:
    told: list[dict[str, Any]] = [
        {"type": "message_start", "message": {**message(), "stop_reason": None}},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Done."}},
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn", "stop_sequence": None}, "usage": {"output_tokens": 7}, "context_management": APPLIED},
        {"type": "message_stop"},
    ]  # fmt: skip
    return "".join(f"event: {one['type']}\ndata: {json.dumps(one)}\n\n" for one in told).encode()


def clears() -> Behaviour:
    async def behave(line: Line) -> None:
        if line.seen.body.get("stream"):
            await line.stream(streamed(), piece=11)
        else:
            await line.answer(200, {**message(SAID), "context_management": APPLIED})

    return behave


@pytest.mark.parametrize("stream", [False, True])
async def test_claude_clears_what_its_client_asks_for_and_says_so(
    claude: anthropic.AsyncAnthropic, upstream: Provider, stream: bool
) -> None:
    upstream.behave = clears()
    ask = {**ASK, "model": "captured", "context_management": {"edits": [THINKING, TOOL_USES]}, "betas": ["context-management-2025-06-27"]}
    if stream:
        async with claude.beta.messages.stream(**ask) as told:
            found = await told.get_final_message()
    else:
        found = await claude.beta.messages.create(**ask)
    assert upstream.seen[0].body["context_management"] == {"edits": [THINKING, TOOL_USES]}
    assert upstream.seen[0].headers["anthropic-beta"] == "context-management-2025-06-27"
    assert found.context_management is not None and found.context_management.to_dict() == APPLIED


async def test_old_thinking_alone_is_left_out_for_everybody(claude: anthropic.AsyncAnthropic, upstream: Provider) -> None:
    upstream.behave = clears()
    await claude.beta.messages.create(**ASK, model="captured", context_management={"edits": [THINKING]})
    assert "context_management" not in upstream.seen[0].body and "anthropic-beta" not in upstream.seen[0].headers


async def test_others_say_that_they_cannot_or_leave_it_on_demand(claude: anthropic.AsyncAnthropic, upstream: Provider) -> None:
    ask = {**ASK, "context_management": {"edits": [TOOL_USES]}}
    with pytest.raises(anthropic.BadRequestError, match="context_management"):
        await claude.beta.messages.create(model="chat/m", **ask)
    assert upstream.seen == []
    await claude.beta.messages.create(model="drops/m", **ask)
    assert "context_management" not in upstream.seen[0].body


@pytest.mark.parametrize("edits", [[{"type": "compact_20260112"}], [{}], ["clear"], "clear", None])
async def test_other_edits_are_refused_by_name(claude: anthropic.AsyncAnthropic, upstream: Provider, edits: Any) -> None:
    with pytest.raises(anthropic.BadRequestError, match="other than clear_tool_uses and clear_thinking"):
        await claude.beta.messages.create(**ASK, model="captured", context_management={"edits": edits})
    assert upstream.seen == []
