"""What OpenAI's Responses API alone can do reaches it as its client wrote it, and nobody else; elsewhere it is refused by its name."""

from __future__ import annotations

from typing import Any

import openai
import pytest
from gateway_server import served_over
from openai_items import answers, spoken
from scripted import Provider

POLICIES = """
providers:
  openai: {{type: openai, api: responses, base_url: "{url}", api_key: sk-upstream-secret}}
  azure: {{type: azure, api: responses, base_url: "{url}", api_key: sk-upstream-secret}}
  chat: {{type: openai, base_url: "{url}", api_key: sk-upstream-secret}}
  xai: {{type: openai, profile: xai, api: responses, base_url: "{url}", api_key: sk-upstream-secret}}
  claude: {{type: anthropic, base_url: "{url}", api_key: sk-upstream-secret}}
  google: {{type: gemini, base_url: "{url}", api_key: sk-upstream-secret}}
  drops: {{type: openai, base_url: "{url}", api_key: sk-upstream-secret, drop_params: true}}
keys: [{{name: tests, key: {key}, project: default}}]
timeouts: {{connect: 30, first_byte: 30, chunk_gap: 30, total: 60}}
"""
THOUGHT = {"id": "rs_1", "type": "reasoning", "summary": [{"type": "summary_text", "text": "It may rain."}], "encrypted_content": "gAAA"}
WISHES: dict[str, Any] = {
    "truncation": "auto", "image": {"context_compression": "enabled"}, "access_programs": {"cyber": "standard"},
    "reasoning": {"effort": "low", "summary": "auto", "context": "all_turns", "mode": "pro"},
    "prompt_cache_key": "k", "prompt_cache_retention": "24h", "prompt_cache_options": {"mode": "explicit"}, "safety_identifier": "s",
    "text": {"verbosity": "low"}, "top_logprobs": 2,
}  # fmt: skip

served = served_over(POLICIES)


@pytest.mark.parametrize("model", ["openai/gpt-5", "azure/gpt-5"])
async def test_they_reach_openai_and_azure(client: openai.AsyncOpenAI, upstream: Provider, model: str) -> None:
    upstream.behave = answers(THOUGHT, spoken("It rains."))
    answer = await client.responses.create(model=model, input="Bonn?", **WISHES)
    sent = upstream.seen[0].body
    assert {name: sent[name] for name in WISHES} == WISHES
    assert "background_options" not in sent and "openai" not in sent
    assert answer.truncation == "auto" and answer.reasoning is not None and answer.reasoning.summary == "auto"
    thoughts = answer.output[0]
    assert thoughts.type == "reasoning" and thoughts.summary[0].text == "It may rain."
    await client.responses.create(model=model, input="Bonn?", truncation="disabled", reasoning={"summary": "concise"})
    assert "truncation" not in upstream.seen[1].body and upstream.seen[1].body["reasoning"] == {"summary": "concise"}


@pytest.mark.parametrize("model", ["chat/gpt-4o", "xai/grok-4.7", "claude/claude-sonnet-4-5", "google/gemini-2.5-flash"])
async def test_nobody_else_is_asked_in_silence(client: openai.AsyncOpenAI, upstream: Provider, model: str) -> None:
    wishes: list[tuple[str, dict[str, Any]]] = [
        ("truncation", {"truncation": "auto"}), ("image", {"image": {"context_compression": "enabled"}}),
        ("access_programs", {"access_programs": {"cyber": "standard"}}), ("reasoning.mode", {"reasoning": {"mode": "pro"}}),
    ]  # fmt: skip
    for name, wish in wishes:
        with pytest.raises(openai.BadRequestError, match="OpenAI's Responses API alone has it") as refused:
            await client.responses.create(model=model, input="x", **wish)
        assert refused.value.param == name
    assert not upstream.seen


async def test_what_asks_for_nothing_and_what_may_be_dropped_passes(client: openai.AsyncOpenAI, upstream: Provider) -> None:
    idle: dict[str, Any] = {"truncation": "disabled", "reasoning": {"summary": "auto", "mode": "standard", "context": "auto"},
                            "background_options": {"completion_window": "soonest", "continuation_id": "c"}, "context_management": []}  # fmt: skip
    await client.responses.create(model="chat/gpt-4o", input="x", **idle)
    await client.responses.create(model="drops/gpt-4o", input="x", truncation="auto")
    for one in upstream.seen:
        assert not {"truncation", "reasoning", "openai", "background_options", "context_management"} & one.body.keys()
