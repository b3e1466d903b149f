"""Which tier answered may be another than was asked for, and costs otherwise: clients of the Responses API are told."""

from __future__ import annotations

from typing import Any

import openai
import pytest
from gateway_server import served_over
from openai_items import response, spoken
from scripted import Line, Provider, sse

served = served_over("""
providers:
  home: {{type: openai, api: responses, base_url: "{url}", api_key: sk-up}}
  chat: {{type: openai, profile: openai, base_url: "{url}", api_key: sk-up}}
keys: [{{name: tests, key: {key}, project: default}}]
""")


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("model", ["home/gpt-5.4", "chat/gpt-4o"])
async def test_a_response_says_which_tier_answered(client: openai.AsyncOpenAI, upstream: Provider, model: str,
                                                   stream: bool) -> None:  # fmt: skip
    choice = {"index": 0, "message": {"role": "assistant", "content": "hi"}, "finish_reason": "stop"}
    chat = {"id": "c", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice]}
    said = {**chat, "object": "chat.completion.chunk", "choices": [{**choice, "delta": choice["message"]}]}

    async def behave(line: Line) -> None:
        own = line.seen.path.endswith("/responses")
        whole = {**(response(spoken("hi")) if own else chat), "service_tier": "flex"}
        events = [{"type": "response.completed", "response": whole}] if own else [{**said, "service_tier": "flex"}]
        told = line.stream(sse(events, done=not own)) if stream else line.answer(200, whole)
        await told

    upstream.behave = behave
    if stream:
        async with client.responses.stream(model=model, input="hi", service_tier="auto") as pieces:
            found: Any = await pieces.get_final_response()
    else:
        found = await client.responses.create(model=model, input="hi", service_tier="auto")
    assert found.service_tier == "flex"
