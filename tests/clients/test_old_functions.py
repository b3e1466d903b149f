"""Functions as chat called them before there were tools, asked of providers that know tools alone."""

from __future__ import annotations

import json
from typing import Any

import openai
import pytest
from gateway_server import served_over
from matrix_said import COMPLETION, DIALECTS, PROMPT, Said
from scripted import Line, Provider

served = served_over("""
providers:
  openai: {{type: openai, base_url: "{url}", profile: groq, api_key: sk-up}}
  responses: {{type: openai, api: responses, base_url: "{url}", api_key: sk-up}}
  anthropic: {{type: anthropic, base_url: "{url}", api_key: sk-up}}
  gemini: {{type: gemini, base_url: "{url}", api_key: sk-up}}
  bedrock: {{type: bedrock, base_url: "{url}", access_key_id: AKID, secret_access_key: sk-up}}
  cohere: {{type: cohere, base_url: "{url}", api_key: sk-up}}
  own: {{type: openai, base_url: "{url}"}}
  home: {{type: azure, base_url: "{url}", api_key: sk-up}}
keys: [{{name: tests, key: {key}, project: default}}]
""")
MODELS = {
    "openai": "openai/m", "responses": "responses/gpt-5", "anthropic": "anthropic/claude-sonnet-4-5",
    "gemini": "gemini/gemini-2.5-flash", "bedrock": "bedrock/amazon.nova-pro-v1:0", "cohere": "cohere/command-a",
}  # fmt: skip
FUNCTION: Any = {"name": "weather", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}}
CALLS = (("call_a", "weather", {"city": "Bonn"}), ("call_b", "weather", {"city": "Köln"}))
QUESTION: Any = {"role": "user", "content": "Bonn?"}


def says(upstream: Provider, dialect: str, said: Said) -> None:
    whole, stream = DIALECTS[dialect]

    async def behave(line: Line) -> None:
        streamed = "stream" in line.seen.path.lower() or line.seen.body.get("stream")
        await (line.stream(stream(said), piece=7) if streamed else line.answer(200, whole(said)))

    upstream.behave = behave


async def asked(client: openai.AsyncOpenAI, stream: bool, **body: Any) -> tuple[dict[str, Any], str, Any]:
    """(message, why it ended, usage), put together as clients of those days did it."""
    if not stream:
        found = await client.chat.completions.create(**body)
        return found.choices[0].message.model_dump(exclude_none=True), found.choices[0].finish_reason, found.usage
    message: dict[str, Any] = {"role": "assistant", "content": ""}
    called: dict[str, str] = {}
    end, usage = "", None
    async for one in await client.chat.completions.create(**body, stream=True, stream_options={"include_usage": True}):
        usage = one.usage or usage
        for choice in one.choices:
            assert not choice.delta.tool_calls
            message["content"] += choice.delta.content or ""
            if piece := choice.delta.function_call:
                called["name"] = called.get("name", "") + (piece.name or "")
                called["arguments"] = called.get("arguments", "") + (piece.arguments or "")
            end = choice.finish_reason or end
    return {**message, **({"function_call": called} if called else {})}, end, usage


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("dialect", MODELS)
async def test_a_function_is_called_and_its_result_told(
    client: openai.AsyncOpenAI, upstream: Provider, dialect: str, stream: bool
) -> None:
    """Each answer has one call at most, as it had then."""
    says(upstream, dialect, Said(calls=CALLS, end="calls"))
    body: dict[str, Any] = {"model": MODELS[dialect], "functions": [FUNCTION], "function_call": "auto"}
    message, end, usage = await asked(client, stream, messages=[QUESTION], **body)
    assert (message["function_call"]["name"], json.loads(message["function_call"]["arguments"])) == CALLS[0][1:]
    assert "tool_calls" not in message and end == "function_call"
    assert (usage.prompt_tokens, usage.completion_tokens) == (PROMPT, COMPLETION)
    sent = json.dumps(upstream.seen[-1].body)
    assert '"weather"' in sent and '"functions"' not in sent and "function_call_output" not in sent

    says(upstream, dialect, Said(("It ", "rains.")))
    result = {"role": "function", "name": "weather", "content": "rain all day"}
    message, end, _ = await asked(client, stream, messages=[QUESTION, message, result], **body)
    assert (message["content"], end) == ("It rains.", "stop")
    sent = json.dumps(upstream.seen[-1].body)
    assert "rain all day" in sent and "Bonn" in sent and '"role": "function"' not in sent


async def test_one_may_be_demanded_or_none(client: openai.AsyncOpenAI, upstream: Provider) -> None:
    says(upstream, "anthropic", Said(("no",)))
    for demanded, choice in (({"name": "weather"}, {"type": "tool", "name": "weather"}), ("none", {"type": "none"})):
        body: dict[str, Any] = {"functions": [FUNCTION], "function_call": demanded}
        await client.chat.completions.create(model=MODELS["anthropic"], messages=[QUESTION], **body)
        told = upstream.seen[-1].body["tool_choice"]
        assert {name: told[name] for name in choice} == choice


async def test_who_knows_functions_is_told_them_as_they_are(client: openai.AsyncOpenAI, upstream: Provider) -> None:
    says(upstream, "openai", Said(("no",)))
    body: dict[str, Any] = {"functions": [FUNCTION], "function_call": {"name": "weather"}}
    await client.chat.completions.create(model="home/gpt-4o", messages=[QUESTION], **body)
    assert {name: upstream.seen[-1].body[name] for name in body} == body


async def test_a_result_without_its_call_is_refused_by_its_place(client: openai.AsyncOpenAI) -> None:
    result: Any = {"role": "function", "name": "weather", "content": "rain"}
    with pytest.raises(openai.BadRequestError) as caught:
        await client.chat.completions.create(
            model=MODELS["gemini"], messages=[QUESTION, result], functions=[FUNCTION]
        )
    assert caught.value.param == "messages[1]"


# ---------------------------------------------------------------- what turns may hold besides
@pytest.mark.parametrize("dialect", ["responses", "anthropic", "gemini", "bedrock", "cohere"])
async def test_what_was_refused_and_what_was_no_json_goes_back(
    client: openai.AsyncOpenAI, upstream: Provider, dialect: str
) -> None:
    """As SDKs send an answer back: a refusal beside no content; arguments that were cut; a turn that says nothing."""
    says(upstream, dialect, Said(("ok",)))
    call = {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Bo'}}
    turns: Any = [
        QUESTION, {"role": "assistant", "content": None, "refusal": "I would rather not."}, QUESTION,
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c1", "content": "no JSON"}, QUESTION, {"role": "assistant", "content": None},
        QUESTION,
    ]  # fmt: skip
    tools: Any = [{"type": "function", "function": FUNCTION}]
    found = await client.chat.completions.create(model=MODELS[dialect], messages=turns, tools=tools)
    assert found.choices[0].message.content == "ok"
    sent = json.dumps(upstream.seen[-1].body)
    assert sent.count("I would rather not.") == 1 and sent.count('Bo') == 4 + 1 and '{"role": "assistant"}' not in sent


@pytest.mark.parametrize(("model", "mended"), [("openai/m", True), ("own/m", True), ("home/gpt-4o", False)])
async def test_servers_that_read_arguments_as_json_are_sent_json(
    client: openai.AsyncOpenAI, upstream: Provider, model: str, mended: bool
) -> None:
    """vLLM and llama.cpp refuse the conversation for good; OpenAI takes what was written."""
    says(upstream, "openai", Said(("ok",)))
    written = ['{"city": "Bo', "[1]", '{"city": "Ulm"}', ""]
    calls = [
        {"id": f"c{at}", "type": "function", "function": {"name": "weather", "arguments": one}}
        for at, one in enumerate(written)
    ]
    results = [{"role": "tool", "tool_call_id": f"c{at}", "content": "?"} for at in range(len(written))]
    turns: Any = [QUESTION, {"role": "assistant", "content": None, "tool_calls": calls}, *results]
    await client.chat.completions.create(model=model, messages=turns)
    sent = [one["function"]["arguments"] for one in upstream.seen[-1].body["messages"][1]["tool_calls"]]
    assert sent[2:] == written[2:]
    if mended:
        assert [json.loads(one) for one in sent[:2]] == [{"_invalid_json": one} for one in written[:2]]
    else:
        assert sent == written


async def test_a_conversation_may_begin_with_a_greeting(client: openai.AsyncOpenAI, upstream: Provider) -> None:
    """Bedrock wants the user to speak first."""
    says(upstream, "bedrock", Said(("ok",)))
    turns: Any = [{"role": "system", "content": "Be kind."}, {"role": "assistant", "content": "How can I help?"}, QUESTION]
    await client.chat.completions.create(model=MODELS["bedrock"], messages=turns)
    sent = upstream.seen[-1].body["messages"]
    assert [one["role"] for one in sent] == ["user", "assistant", "user"]
    assert sent[1]["content"] == [{"text": "How can I help?"}]


@pytest.mark.parametrize("dialect", MODELS)
async def test_pictures_of_several_results_stand_behind_all_of_them(
    client: openai.AsyncOpenAI, upstream: Provider, dialect: str
) -> None:
    """No provider takes anything between the results of one round of calls."""
    says(upstream, dialect, Said(("ok",)))
    picture = {"type": "input_image", "image_url": "data:image/png;base64,iVBORw0KGgo="}
    calls = [{"type": "function_call", "call_id": one, "name": "look", "arguments": "{}"} for one in ("c1", "c2", "c3")]
    outputs: list[Any] = [[{"type": "input_text", "text": "first"}, picture], "second", [picture]]
    results = [
        {"type": "function_call_output", "call_id": call["call_id"], "output": output}
        for call, output in zip(calls, outputs, strict=True)
    ]
    tool = {"type": "function", "name": "look", "parameters": {"type": "object", "properties": {}}, "strict": False}
    items: Any = [QUESTION, *calls, *results, {"role": "user", "content": "and now?"}]
    await client.responses.create(model=MODELS[dialect], input=items, tools=[tool])
    sent = json.dumps(upstream.seen[-1].body)
    places = [sent.index("first"), sent.index("second"), sent.rindex("See the next message."), sent.index("iVBORw0KGgo=")]
    assert places == sorted(places) and sent.count("iVBORw0KGgo=") == 2 and sent.rindex("and now?") > places[-1]
