"""What a stream of Anthropic's API says was used when it begins: Claude Code and others read the input tokens there."""

from __future__ import annotations

from typing import Any

import anthropic
import pytest
from gateway_server import served_over
from matrix_said import CACHED, COMPLETION, DIALECTS, PROMPT, Said
from scripted import Line, Provider

served = served_over("""
providers:
  openai: {{type: openai, base_url: "{url}"}}
  gemini: {{type: gemini, base_url: "{url}", api_key: sk-up}}
  anthropic: {{type: anthropic, base_url: "{url}", api_key: sk-up}}
keys: [{{name: tests, key: {key}, project: default}}]
""")
MODELS = {"openai": "openai/m", "gemini": "gemini/gemini-2.5-flash", "anthropic": "anthropic/claude-sonnet-4-5"}
TURNS: Any = [{"role": "user", "content": "word " * 400}]


async def begun(claude: anthropic.AsyncAnthropic, upstream: Provider, dialect: str) -> tuple[Any, Any]:
    """What was used, as the first event tells it and as the client has it at the end."""

    async def behave(line: Line) -> None:
        await line.stream(DIALECTS[dialect][1](Said(("Hello ", "there"))), piece=9)

    upstream.behave = behave
    first: Any = None
    async with claude.messages.stream(model=MODELS[dialect], max_tokens=99, messages=TURNS) as events:
        async for one in events:
            if one.type == "message_start":
                first = one.message.usage.model_copy()
        return first, (await events.get_final_message()).usage


async def test_claude_has_counted_the_input_when_it_begins(
    claude: anthropic.AsyncAnthropic, upstream: Provider
) -> None:
    first, last = await begun(claude, upstream, "anthropic")
    assert (first.input_tokens, first.cache_read_input_tokens, first.output_tokens) == (PROMPT - CACHED, CACHED, 1)
    assert (last.input_tokens, last.cache_read_input_tokens, last.output_tokens) == (PROMPT - CACHED, CACHED, COMPLETION)


@pytest.mark.parametrize("dialect", ["openai", "gemini"])
async def test_others_count_at_the_end_and_until_then_it_is_an_estimate(
    claude: anthropic.AsyncAnthropic, upstream: Provider, dialect: str
) -> None:
    counted = await claude.messages.count_tokens(model=MODELS[dialect], messages=TURNS)
    first, last = await begun(claude, upstream, dialect)
    assert (first.input_tokens, first.output_tokens) == (counted.input_tokens, 0) and counted.input_tokens > 400
    assert (last.input_tokens, last.cache_read_input_tokens, last.output_tokens) == (PROMPT - CACHED, CACHED, COMPLETION)
