"""What OpenAI's Responses API alone can do reaches it as its client wrote it, and nobody else; elsewhere it is refused by its name."""

from __future__ import annotations

from typing import Any

import openai
import pytest
from gateway_server import Gateway, served_over
from openai_items import answers, spoken
from scripted import Provider

from gateway.storage.records import CallRecord

POLICIES = """
providers:
  openai: {{type: openai, api: responses, base_url: "{url}", api_key: sk-upstream-secret}}
  azure: {{type: azure, api: responses, base_url: "{url}", api_key: sk-upstream-secret}}
  chat: {{type: openai, base_url: "{url}", api_key: sk-upstream-secret}}
  xai: {{type: openai, profile: xai, api: responses, base_url: "{url}", api_key: sk-upstream-secret}}
  claude: {{type: anthropic, base_url: "{url}", api_key: sk-upstream-secret}}
  google: {{type: gemini, base_url: "{url}", api_key: sk-upstream-secret}}
  drops: {{type: openai, base_url: "{url}", api_key: sk-upstream-secret, drop_params: true}}
prices: {{openai: {{gpt-5: {{input: 1.0, output: 2.0, as_of: "2026-11-30", source: test}}}}}}
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


CODED = {"id": "ci_1", "type": "code_interpreter_call", "status": "completed", "code": "1+1", "container_id": "c",
         "outputs": [{"type": "logs", "logs": "2"}]}  # fmt: skip
DRAWN = {"id": "ig_1", "type": "image_generation_call", "status": "completed", "result": "iVBORw0KGgo=", "output_format": "png"}
CODE: Any = {"type": "code_interpreter", "container": {"type": "auto", "file_ids": ["file-at-openai"]}}
DRAW: Any = {"type": "image_generation", "size": "1024x1024"}


@pytest.mark.parametrize("stream", [False, True])
async def test_code_and_pictures_are_made_at_openai(
    client: openai.AsyncOpenAI, served: Gateway, upstream: Provider, stream: bool
) -> None:
    upstream.behave = answers(CODED, DRAWN, spoken("It is 2."))
    ask: Any = {"model": "openai/gpt-5", "input": "1+1?", "tools": [CODE, DRAW], "include": ["code_interpreter_call.outputs"]}
    if stream:
        async with client.responses.stream(**ask) as told:
            answer: Any = await told.get_final_response()
    else:
        answer = await client.responses.create(**ask)
    sent = upstream.seen[0].body
    assert sent["tools"] == [CODE, DRAW] and "code_interpreter_call.outputs" in sent["include"]
    by_type = {one.type: one for one in answer.output}
    assert by_type["code_interpreter_call"].code == "1+1" and by_type["code_interpreter_call"].outputs[0].logs == "2"
    assert by_type["image_generation_call"].result == "iVBORw0KGgo=" and answer.output_text == "It is 2."
    (call,) = [one for one in served.records() if isinstance(one, CallRecord)]
    assert call.prompt_tokens == 100 and call.cost_usd is None, "what a container and a picture cost is not known"
    await client.responses.create(**ask | {"tool_choice": {"type": "code_interpreter"}, "stream": False})
    assert upstream.seen[1].body["tool_choice"] == {"type": "code_interpreter"}
    for model in ("chat/gpt-4o", "xai/grok-4.7", "claude/claude-sonnet-4-5"):
        for tool in (CODE, DRAW):
            with pytest.raises(openai.BadRequestError, match="is OpenAI's alone"):
                await client.responses.create(model=model, input="x", tools=[tool])


async def test_an_answer_in_which_nothing_ran_has_its_price(client: openai.AsyncOpenAI, served: Gateway, upstream: Provider) -> None:
    upstream.behave = answers(spoken("It is 2."))
    await client.responses.create(model="openai/gpt-5", input="1+1?", tools=[CODE])
    (call,) = [one for one in served.records() if isinstance(one, CallRecord)]
    assert call.cost_usd is not None and call.cost_usd > 0


@pytest.mark.parametrize("junk", ["high", 5, True, ["a"], {"a": 1}, [{"at": 10**30, "tool": {"type": "code_interpreter"}}]])
async def test_junk_in_a_hint_is_nothing(client: openai.AsyncOpenAI, upstream: Provider, junk: Any) -> None:
    """A client of chat may write to a vendor by name, and what no vendor's own API could have said is passed over."""
    upstream.behave = answers(spoken("hi"))
    turns: Any = [{"role": "user", "content": "x"}]
    for name in ("reasoning", "include", "server_tools"):
        await client.chat.completions.create(model="openai/gpt-5", messages=turns, extra_body={"openai": {name: junk}})
        sent = upstream.seen[-1].body
        assert all(isinstance(one, str) for one in sent["include"]) and isinstance(sent.get("reasoning", {}), dict)
    hint = {"anthropic": {"effort": junk, "server_tools": junk}}
    with pytest.raises(openai.APIStatusError) as answered:  # this upstream's answer is none of Claude's: it was asked
        await client.chat.completions.create(model="claude/claude-sonnet-4-5", messages=turns, max_tokens=9, extra_body=hint)
    assert answered.value.status_code == 502 and upstream.seen[-1].path.endswith("/messages")
