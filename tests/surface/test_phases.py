"""What OpenAI's newer models say of each of their messages, a comment on the work or the answer, comes back to them: a
model that is not told takes its own comment for an answer, and stops early."""

from __future__ import annotations

import contextlib
from typing import Any

import anthropic
import openai
import pytest
from gateway_server import served_over
from scripted import Line, Provider, sse

served = served_over("""
providers:
  home: {{type: openai, api: responses, base_url: "{url}", api_key: sk-up}}
  chat: {{type: openai, profile: openai, base_url: "{url}", api_key: sk-up}}
  grok: {{type: openai, profile: xai, api: responses, base_url: "{url}", api_key: sk-up}}
  claude: {{type: anthropic, base_url: "{url}", api_key: sk-up}}
keys: [{{name: tests, key: {key}, project: default}}]
""")
SAID = [("Let me look.", "commentary"), ("It rains.", "final_answer")]
CALL = {"id": "fc_1", "type": "function_call", "status": "completed", "call_id": "c1", "name": "look", "arguments": "{}"}
TOOLS: Any = [{"type": "function", "name": "look", "parameters": {"type": "object", "properties": {}}, "strict": False}]
RESULT: Any = {"type": "function_call_output", "call_id": "c1", "output": "rain"}


def message(at: int, text: str, phase: str | None) -> dict[str, Any]:
    part = {"type": "output_text", "text": text, "annotations": [], "logprobs": []}
    head = {"id": f"msg_{at}", "type": "message", "status": "completed", "role": "assistant"}
    return {**head, "phase": phase, "content": [part]}


OUTPUT: list[dict[str, Any]] = [*(message(at, *one) for at, one in enumerate(SAID)), CALL]


def response(output: list[dict[str, Any]], status: str = "completed") -> dict[str, Any]:
    usage = {"input_tokens": 5, "output_tokens": 5, "total_tokens": 10}
    head = {"id": "resp_up", "object": "response", "created_at": 1, "model": "m", "error": None}
    return {**head, "output": output, "usage": usage, "status": status, "incomplete_details": None}


def streamed() -> bytes:
    told: list[dict[str, Any]] = [{"type": "response.created", "response": response([], "in_progress")}]
    for at, item in enumerate(OUTPUT):
        told.append({"type": "response.output_item.added", "output_index": at, "item": {**item, "content": []}})
        for part in item.get("content", ()):
            place = {"output_index": at, "item_id": item["id"], "content_index": 0}
            told.append({"type": "response.output_text.delta", **place, "delta": part["text"], "logprobs": []})
        told.append({"type": "response.output_item.done", "output_index": at, "item": item})
    return sse([*told, {"type": "response.completed", "response": response(OUTPUT)}], done=False)


@pytest.fixture
def model(upstream: Provider) -> str:
    async def behave(line: Line) -> None:
        await (line.stream(streamed(), piece=11) if line.seen.body.get("stream") else line.answer(200, response(OUTPUT)))

    upstream.behave = behave
    return "home/gpt-5.4"


def sent(upstream: Provider) -> list[tuple[str, Any]]:
    """The assistant's messages as the provider was told them last."""
    items = [one for one in upstream.seen[-1].body["input"] if one.get("role") == "assistant"]
    return [(one["content"][0]["text"], one.get("phase")) for one in items]


async def answered(client: openai.AsyncOpenAI, stream: bool, **asked: Any) -> Any:
    if not stream:
        return await client.responses.create(**asked)
    async with client.responses.stream(**asked) as events:
        return await events.get_final_response()


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
async def test_the_phase_of_each_message_reaches_the_client_and_goes_back(
    client: openai.AsyncOpenAI, upstream: Provider, model: str, stream: bool
) -> None:
    found = await answered(client, stream, model=model, input="Bonn?", tools=TOOLS)
    messages = [one for one in found.output if one.type == "message"]
    assert [(one.content[0].text, one.phase) for one in messages] == SAID
    items = [{"role": "user", "content": "Bonn?"}, *(one.model_dump() for one in found.output), RESULT]
    await client.responses.create(model=model, input=items, tools=TOOLS, store=False)
    assert sent(upstream) == SAID
    await client.responses.create(model=model, previous_response_id=found.id, input=[RESULT], tools=TOOLS)
    assert sent(upstream) == SAID


async def test_what_a_client_wrote_itself_has_its_phase_too(
    client: openai.AsyncOpenAI, upstream: Provider, model: str
) -> None:
    turns: Any = [
        {"role": "user", "content": "Bonn?"}, {"role": "assistant", "content": "Looking.", "phase": "commentary"},
        {"role": "assistant", "content": "Rain.", "phase": None}, {"role": "user", "content": "And Ulm?"},
    ]  # fmt: skip
    await client.responses.create(model=model, input=turns)
    assert sent(upstream) == [("Looking.", "commentary"), ("Rain.", None)]


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
async def test_clients_of_chat_send_it_back_with_the_message(
    client: openai.AsyncOpenAI, upstream: Provider, model: str, stream: bool
) -> None:
    turns: Any = [{"role": "user", "content": "Bonn?"}]
    if stream:
        async with client.chat.completions.stream(model=model, messages=turns) as events:
            found: Any = await events.get_final_completion()
    else:
        found = await client.chat.completions.create(model=model, messages=turns)
    said = found.choices[0].message
    assert said.content == "Let me look.\n\nIt rains."
    turns += [said.model_dump(exclude_none=True), {"role": "tool", "tool_call_id": "c1", "content": "rain"}]
    await client.chat.completions.create(model=model, messages=turns)
    assert sent(upstream) == SAID


async def test_clients_of_anthropics_see_two_texts(claude: anthropic.AsyncAnthropic, model: str) -> None:
    asked: dict[str, Any] = {"model": model, "max_tokens": 99, "messages": [{"role": "user", "content": "Bonn?"}]}
    whole = (await claude.messages.create(**asked)).content
    async with claude.messages.stream(**asked) as events:
        pieces = (await events.get_final_message()).content
    for found in (whole, pieces):
        assert [(one.type, getattr(one, "text", "")) for one in found] == [
            ("text", "Let me look."), ("text", "It rains."), ("tool_use", ""),
        ]  # fmt: skip


@pytest.mark.parametrize("other", ["chat/gpt-4o", "grok/grok-4", "claude/claude-sonnet-4-5"])
async def test_nobody_else_is_told(client: openai.AsyncOpenAI, upstream: Provider, model: str, other: str) -> None:
    found = await client.responses.create(model=model, input="Bonn?", tools=TOOLS)
    items: Any = [{"role": "user", "content": "Bonn?"}, *(one.model_dump() for one in found.output), RESULT]
    with contextlib.suppress(openai.APIError):  # the answer is in OpenAI's words; what was asked is the point
        await client.responses.create(model=other, input=items, tools=TOOLS)
    assert "phase" not in str(upstream.seen[-1].body) and "Let me look." in str(upstream.seen[-1].body)
