"""The openai and anthropic clients, each over every provider dialect: parallel calls, images, usage, refusals, errors."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator
from typing import Any

import anthropic
import openai
import pytest
from clients_helpers import ARGS, CALLS, MODELS, PIXEL, answers, streams
from gateway_server import KEY, Gateway
from scripted import Provider

SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
CALLED = [("weather", args) for args in ARGS]
DATA = base64.b64encode(PIXEL).decode()
ASK: Any = [{"role": "user", "content": "Bonn and Köln?"}]
CACHED = {"openai": 10, "anthropic": 10, "gemini": 10, "cohere": 0}
REFUSED: dict[str, Any] = {
    "openai": {"id": "c", "object": "chat.completion", "created": 1, "model": "m", "choices": [
        {"index": 0, "message": {"role": "assistant", "content": None, "refusal": "No."}, "finish_reason": "stop"}]},
    "anthropic": {"id": "m", "type": "message", "role": "assistant", "model": "c", "content": [],
                  "stop_reason": "refusal", "usage": {"input_tokens": 3, "output_tokens": 1}},
    "gemini": {"promptFeedback": {"blockReason": "SAFETY"}, "usageMetadata": {"promptTokenCount": 3}},
}  # fmt: skip
"""Cohere has no way to say so."""
BUSY: dict[str, Any] = {
    "openai": {"error": {"message": "slow down", "type": "requests", "code": "rate_limit_exceeded"}},
    "anthropic": {"type": "error", "error": {"type": "rate_limit_error", "message": "slow down"}},
    "gemini": {"error": {"code": 429, "message": "slow down", "status": "RESOURCE_EXHAUSTED"}},
    "cohere": {"message": "slow down"},
}


@pytest.fixture
async def gpt(served: Gateway) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(base_url=served.base_url, api_key=KEY, max_retries=0) as made:
        yield made


@pytest.mark.parametrize("dialect", CALLS)
async def test_openai_over_every_dialect(gpt: openai.AsyncOpenAI, upstream: Provider, dialect: str) -> None:
    whole, stream = CALLS[dialect]
    model = MODELS[dialect]
    tools: Any = [{"type": "function", "function": {"name": "weather", "parameters": SCHEMA}}]
    upstream.behave = answers(whole)
    answer = await gpt.chat.completions.create(model=model, messages=ASK, tools=tools)
    calls = answer.choices[0].message.tool_calls or []
    assert [(one.function.name, json.loads(one.function.arguments)) for one in calls] == CALLED
    upstream.behave = streams(stream, piece=13)
    seen: dict[int, list[str]] = {}
    usage: Any = None
    async for chunk in await gpt.chat.completions.create(
        model=model, messages=ASK, tools=tools, stream=True, stream_options={"include_usage": True}
    ):
        usage = chunk.usage or usage
        for one in chunk.choices[0].delta.tool_calls or [] if chunk.choices else []:
            seen.setdefault(one.index, []).append(one.function.arguments or "" if one.function else "")
    assert [json.loads("".join(parts)) for _, parts in sorted(seen.items())] == list(ARGS)
    assert sorted(seen) == [0, 1]
    assert (usage.prompt_tokens, usage.completion_tokens) == (30, 12)
    assert usage.prompt_tokens_details.cached_tokens == CACHED[dialect]
    image: Any = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{DATA}"}}
    upstream.behave = answers(whole)
    turns: Any = [{"role": "user", "content": [{"type": "text", "text": "what?"}, image]}]
    await gpt.chat.completions.create(model=model, messages=turns)
    assert DATA in json.dumps(upstream.seen[-1].body)
    if dialect in REFUSED:
        upstream.behave = answers(REFUSED[dialect])
        refused = (await gpt.chat.completions.create(model=model, messages=ASK)).choices[0]
        assert refused.message.refusal and not refused.message.content
        assert refused.finish_reason == ("stop" if dialect == "openai" else "content_filter")
    upstream.behave = answers(BUSY[dialect], status=429, headers={"retry-after": "60"})
    with pytest.raises(openai.RateLimitError, match="slow down") as busy:
        await gpt.chat.completions.create(model=model, messages=ASK)
    assert busy.value.response.headers["retry-after"] == "60"


@pytest.mark.parametrize("dialect", CALLS)
async def test_anthropic_over_every_dialect(
    claude: anthropic.AsyncAnthropic, upstream: Provider, dialect: str
) -> None:
    whole, stream = CALLS[dialect]
    asked: Any = {"model": MODELS[dialect], "max_tokens": 500, "messages": ASK}
    tools: Any = [{"name": "weather", "input_schema": SCHEMA}]
    upstream.behave = answers(whole)
    answer = await claude.messages.create(**asked, tools=tools)
    assert [(one.name, one.input) for one in answer.content if one.type == "tool_use"] == CALLED
    upstream.behave = streams(stream, piece=13)
    async with claude.messages.stream(**asked, tools=tools) as events:
        final = await events.get_final_message()
    calls = [one for one in final.content if one.type == "tool_use"]
    assert [(one.name, one.input) for one in calls] == CALLED and final.stop_reason == "tool_use"
    used = final.usage
    assert (used.input_tokens + (used.cache_read_input_tokens or 0), used.output_tokens) == (30, 12)
    assert used.cache_read_input_tokens == CACHED[dialect]
    results = [
        {"type": "tool_result", "tool_use_id": one.id, "content": f"sky {at}"} for at, one in enumerate(calls)
    ]
    image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": DATA}}
    turns = [
        *ASK,
        {"role": "assistant", "content": final.content},
        {"role": "user", "content": [*results, image]},
    ]
    upstream.behave = answers(whole)
    await claude.messages.create(**{**asked, "messages": turns}, tools=tools)
    sent = json.dumps(upstream.seen[-1].body)
    assert DATA in sent and sent.index("sky 0") < sent.index("sky 1")
    if dialect in REFUSED:
        upstream.behave = answers(REFUSED[dialect])
        assert (await claude.messages.create(**asked)).stop_reason == "refusal"
    upstream.behave = answers(BUSY[dialect], status=429, headers={"retry-after": "60"})
    with pytest.raises(anthropic.RateLimitError, match="slow down") as busy:
        await claude.messages.create(**asked)
    assert busy.value.response.headers["retry-after"] == "60"
