"""What popular frameworks send and look for beyond what a plain client does, over every provider dialect
(docs/conformance.md tells which of them were run by hand)."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import anthropic
import httpx
import openai
import pytest
import pytest_asyncio
from gateway_server import KEY, gateway
from matrix_asking import SCHEMA
from matrix_said import COMPLETION, DIALECTS, PROMPT, Said
from scripted import Line, Provider, provider

pytestmark = pytest.mark.asyncio(loop_scope="module")
POLICIES = """
providers:
  openai: {{type: openai, base_url: "{url}", api_key: sk-up}}
  responses: {{type: openai, api: responses, base_url: "{url}", api_key: sk-up}}
  anthropic: {{type: anthropic, base_url: "{url}", api_key: sk-up}}
  gemini: {{type: gemini, base_url: "{url}", api_key: sk-up}}
  bedrock: {{type: bedrock, base_url: "{url}", access_key_id: AKID, secret_access_key: sk-up}}
  cohere: {{type: cohere, base_url: "{url}", api_key: sk-up}}
keys: [{{name: tests, key: {key}, project: default}}]
timeouts: {{connect: 30, first_byte: 30, chunk_gap: 30, total: 60}}
retries: {{attempts: 1, base_s: 0.01, cap_s: 0.05}}
"""
MODELS = {
    "openai": "openai/gpt-4o", "responses": "responses/gpt-5", "anthropic": "anthropic/claude-sonnet-4-5", "gemini": "gemini/gemini-2.5-flash",
    "bedrock": "bedrock/amazon.nova-pro-v1:0", "cohere": "cohere/command-a",
}  # fmt: skip
CALLS = (("call_a", "weather", {"city": "Bonn"}), ("call_b", "weather", {"city": "Köln"}))


class House:
    def __init__(self, url: str, upstream: Provider) -> None:
        self.url, self.upstream = url, upstream
        self.gpt = openai.AsyncOpenAI(base_url=f"{url}/v1", api_key=KEY, max_retries=0)
        self.claude = anthropic.AsyncAnthropic(base_url=url, api_key=KEY, max_retries=0)

    def answers(self, dialect: str, said: Said) -> None:
        whole, stream = DIALECTS[dialect]

        async def behave(line: Line) -> None:
            streamed = "stream" in line.seen.path.lower() or line.seen.body.get("stream")
            await (line.stream(stream(said), piece=7) if streamed else line.answer(200, whole(said)))

        self.upstream.behave = behave

    def refuses(self, body: dict[str, Any], headers: dict[str, str]) -> None:
        async def behave(line: Line) -> None:
            await line.answer(400, body, headers)

        self.upstream.behave = behave


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def house(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[House]:
    tmp: Path = tmp_path_factory.mktemp("frameworks")
    (tmp / "policies").mkdir()
    async with provider() as upstream:
        (tmp / "policies" / "gateway.yaml").write_text(POLICIES.format(url=upstream.url, key=KEY))
        async with gateway(tmp, tmp / "policies") as served:
            made = House(served.url, upstream)
            async with made.gpt, made.claude:
                yield made


# ---------------------------------------------------------------- one call at a time
async def chat_calls(house: House, model: str, *, stream: bool) -> tuple[list[Any], str, int]:
    tool: Any = {"type": "function", "function": {"name": "weather", "parameters": SCHEMA}}
    asked: dict[str, Any] = {"model": model, "messages": [{"role": "user", "content": "Bonn and Köln?"}], "tools": [tool]}
    asked["parallel_tool_calls"] = False
    if stream:
        async with house.gpt.chat.completions.stream(**asked, stream_options={"include_usage": True}) as events:
            found: Any = await events.get_final_completion()
    else:
        found = await house.gpt.chat.completions.create(**asked)
    (choice,) = found.choices
    calls = [(one.id, one.function.name, json.loads(one.function.arguments)) for one in choice.message.tool_calls]
    return calls, choice.finish_reason, found.usage.completion_tokens


async def responses_calls(house: House, model: str, *, stream: bool) -> tuple[list[Any], str, int]:
    tool: Any = {"type": "function", "name": "weather", "parameters": SCHEMA, "strict": False}
    asked: dict[str, Any] = {"model": model, "input": "Bonn and Köln?", "tools": [tool], "parallel_tool_calls": False}
    if stream:
        async with house.gpt.responses.stream(**asked) as events:
            found: Any = await events.get_final_response()
    else:
        found = await house.gpt.responses.create(**asked)
    assert found.parallel_tool_calls is False
    calls = [(one.call_id, one.name, json.loads(one.arguments)) for one in found.output if one.type == "function_call"]
    return calls, "tool_calls", found.usage.output_tokens


async def messages_calls(house: House, model: str, *, stream: bool) -> tuple[list[Any], str, int]:
    asked: dict[str, Any] = {
        "model": model, "max_tokens": 500, "messages": [{"role": "user", "content": "Bonn and Köln?"}],
        "tools": [{"name": "weather", "input_schema": SCHEMA}],
        "tool_choice": {"type": "auto", "disable_parallel_tool_use": True},
    }  # fmt: skip
    if stream:
        async with house.claude.messages.stream(**asked) as events:
            found: Any = await events.get_final_message()
    else:
        found = await house.claude.messages.create(**asked)
    calls = [(one.id, one.name, one.input) for one in found.content if one.type == "tool_use"]
    return calls, {"tool_use": "tool_calls"}[found.stop_reason], found.usage.output_tokens


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("dialect", ["gemini", "bedrock", "cohere"])
async def test_one_call_at_a_time_where_the_provider_has_no_word_for_it(
    house: House, dialect: str, stream: bool
) -> None:
    """LangChain's ``with_structured_output(method="function_calling")`` always asks for it."""
    house.answers(dialect, Said(calls=CALLS, end="calls"))
    for asking in (chat_calls, responses_calls, messages_calls):
        calls, end, completion = await asking(house, MODELS[dialect], stream=stream)
        assert (calls, end, completion) == ([CALLS[0]], "tool_calls", COMPLETION), asking.__name__
        assert "parallel" not in json.dumps(house.upstream.seen[-1].body)


@pytest.mark.parametrize("dialect", ["gemini", "bedrock", "cohere"])
async def test_who_does_not_ask_for_one_call_gets_them_all(house: House, dialect: str) -> None:
    house.answers(dialect, Said(calls=CALLS, end="calls"))
    tool: Any = {"type": "function", "function": {"name": "weather", "parameters": SCHEMA}}
    for more in ({}, {"parallel_tool_calls": True}):
        found = await house.gpt.chat.completions.create(
            model=MODELS[dialect], messages=[{"role": "user", "content": "Bonn and Köln?"}], tools=[tool], **more
        )
        assert [one.id for one in found.choices[0].message.tool_calls or []] == ["call_a", "call_b"]
        assert found.usage and found.usage.prompt_tokens == PROMPT


# ---------------------------------------------------------------- where to stop
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
async def test_an_answer_of_the_responses_api_ends_at_a_stop_sequence(house: House, stream: bool) -> None:
    """smolagents and ReAct agents send one to every model whose name they do not know."""
    house.answers("responses", Said(("Thought: look\nObser", "vation: it ", "rains"), thought="hm", signature="s"))
    turns: Any = [{"role": "user", "content": "Bonn?"}]
    asked: dict[str, Any] = {"model": MODELS["responses"], "messages": turns, "stop": ["\nObservation:", "Calling tools:"]}
    if stream:
        async with house.gpt.chat.completions.stream(**asked, stream_options={"include_usage": True}) as events:
            found: Any = await events.get_final_completion()
    else:
        found = await house.gpt.chat.completions.create(**asked)
    (choice,) = found.choices
    assert (choice.message.content, choice.finish_reason) == ("Thought: look", "stop")
    assert found.usage.completion_tokens == COMPLETION and "stop" not in house.upstream.seen[-1].body
    message: dict[str, Any] = {"model": MODELS["responses"], "max_tokens": 99, "messages": turns, "stop_sequences": asked["stop"]}
    if stream:
        async with house.claude.messages.stream(**message) as told:
            read: Any = await told.get_final_message()
    else:
        read = await house.claude.messages.create(**message)
    assert (read.content[-1].text, read.stop_reason, read.stop_sequence) == ("Thought: look", "stop_sequence", "\nObservation:")


# ---------------------------------------------------------------- a conversation that is too long
TOO_LONG: dict[str, tuple[dict[str, Any], dict[str, str]]] = {
    "openai": ({"error": {
        "message": "This model's maximum context length is 8192 tokens. However, your messages resulted in 9000 tokens.",
        "type": "invalid_request_error", "param": "messages", "code": "context_length_exceeded"}}, {}),
    "anthropic": ({"type": "error", "error": {
        "type": "invalid_request_error", "message": "prompt is too long: 210000 tokens > 200000 maximum"}}, {}),
    "gemini": ({"error": {"code": 400, "status": "INVALID_ARGUMENT", "message":
        "The input token count (1200000) exceeds the maximum number of tokens allowed (1048576)."}}, {}),
    "bedrock": ({"message": "Input is too long for requested model."}, {"x-amzn-errortype": "ValidationException"}),
    "cohere": ({"message": "too many tokens: total number of tokens in the prompt exceeds the limit of 128000"}, {}),
}  # fmt: skip
SENTENCES = {
    "chat": ("maximum context length", "prompt is too long"),
    "messages": ("prompt is too long",),
    "gemini": ("input token count", "exceeds the maximum number of tokens allowed"),
}
"""By which agents know, in each API, that a conversation has to be shortened: any of chat's, all of the others'."""


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("dialect", TOO_LONG)
async def test_that_a_conversation_is_too_long_is_said_as_each_apis_clients_know_it(
    house: House, dialect: str, stream: bool
) -> None:
    house.refuses(*TOO_LONG[dialect])
    turns: Any = [{"role": "user", "content": "hi"}]
    with pytest.raises(openai.BadRequestError) as chat:
        await house.gpt.chat.completions.create(model=MODELS[dialect], messages=turns, stream=stream)
    assert (chat.value.code, chat.value.param) == ("context_length_exceeded", "messages")
    assert any(one in chat.value.message for one in SENTENCES["chat"]), chat.value.message
    with pytest.raises(openai.BadRequestError) as responses:
        await house.gpt.responses.create(model=MODELS[dialect], input="hi", stream=stream)
    assert responses.value.code == "context_length_exceeded"
    with pytest.raises(anthropic.BadRequestError) as messages:
        await house.claude.messages.create(model=MODELS[dialect], max_tokens=9, messages=turns, stream=stream)
    assert all(one in messages.value.message for one in SENTENCES["messages"]), messages.value.message
    verb = "streamGenerateContent?alt=sse" if stream else "generateContent"
    async with httpx.AsyncClient(timeout=30) as http:
        google = await http.post(
            f"{house.url}/v1beta/models/{MODELS[dialect]}:{verb}",
            json={"contents": [{"role": "user", "parts": [{"text": "hi"}]}]}, headers={"x-goog-api-key": KEY},
        )  # fmt: skip
    assert google.status_code == 400, google.text
    assert all(one in google.json()["error"]["message"] for one in SENTENCES["gemini"]), google.text


async def test_an_answer_that_would_be_too_long_is_not_called_a_prompt_that_is(house: House) -> None:
    """Claude's clients read the numbers in it and ask for a shorter answer."""
    told = "input length and `max_tokens` exceed context limit: 199000 + 8000 > 200000, decrease input length or `max_tokens`"
    house.refuses({"type": "error", "error": {"type": "invalid_request_error", "message": told}}, {})
    turns: Any = [{"role": "user", "content": "hi"}]
    with pytest.raises(anthropic.BadRequestError) as caught:
        await house.claude.messages.create(model=MODELS["anthropic"], max_tokens=8000, messages=turns)
    body: Any = caught.value.body
    assert body["error"]["message"] == told


# ---------------------------------------------------------------- an address with the version twice, or without
async def test_a_base_url_with_the_version_twice_or_without_it_is_told_what_is_wrong(house: House) -> None:
    turns: Any = [{"role": "user", "content": "hi"}]
    async with anthropic.AsyncAnthropic(base_url=f"{house.url}/v1", api_key=KEY, max_retries=0) as claude:
        with pytest.raises(anthropic.NotFoundError, match="its base_url ends before '/v1'"):
            await claude.messages.create(model=MODELS["openai"], max_tokens=9, messages=turns)
    async with openai.AsyncOpenAI(base_url=house.url, api_key=KEY, max_retries=0) as gpt:
        with pytest.raises(openai.NotFoundError, match="base_url ends with '/v1'") as caught:
            await gpt.chat.completions.create(model=MODELS["openai"], messages=turns)
        assert caught.value.code == "unknown_url"
        with pytest.raises(openai.NotFoundError, match="Check the path"):
            await gpt.get("/v1/nothing", cast_to=object)
