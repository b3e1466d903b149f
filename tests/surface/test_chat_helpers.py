"""Chat completions through the helpers of the unmodified openai client: streams, tools, parsing, several answers."""

from __future__ import annotations

import json
from typing import Any

import openai
import pytest
from pydantic import BaseModel
from scripted import Line, Provider, chunk, sse
from surface_helpers import INTERLEAVED, PARALLEL, USAGE, WEATHER, completion, say, stream

ASK: Any = [{"role": "user", "content": "hi"}]
TOOLS: Any = [{"type": "function", "function": {"name": "weather", "parameters": WEATHER, "strict": True}}]
LOGPROBS = {
    "content": [{"token": "hi", "logprob": -0.25, "bytes": [104, 105], "top_logprobs": []}],
    "refusal": None,
}


class Weather(BaseModel):
    city: str


async def test_streamed_tool_calls_through_the_helper(client: openai.AsyncOpenAI, upstream: Provider) -> None:
    upstream.behave = stream(*PARALLEL, finish="tool_calls", piece=13)
    async with client.chat.completions.stream(model="triage", messages=ASK, tools=TOOLS) as events:
        final = await events.get_final_completion()
    calls = final.choices[0].message.tool_calls or []
    assert [(one.id, one.function.parsed_arguments) for one in calls] == [
        ("call_a", {"city": "Bonn"}),
        ("call_b", {"city": "Kiel"}),
    ]
    assert final.choices[0].finish_reason == "tool_calls"


@pytest.mark.parametrize("deltas", [PARALLEL, INTERLEAVED])
async def test_streamed_tool_calls_keep_their_indexes(
    client: openai.AsyncOpenAI, upstream: Provider, deltas: Any
) -> None:
    upstream.behave = stream(*deltas, finish="tool_calls")
    arguments, ids = {0: "", 1: ""}, {}
    async for one in await client.chat.completions.create(
        model="triage", messages=ASK, tools=TOOLS, stream=True
    ):
        for call in one.choices[0].delta.tool_calls or []:
            arguments[call.index] += call.function.arguments if call.function else ""
            if call.id:
                ids[call.index] = call.id
    assert ids == {0: "call_a", 1: "call_b"}
    assert [json.loads(arguments[at])["city"] for at in (0, 1)] == ["Bonn", "Kiel"]


async def test_a_parsed_stream_and_a_parsed_answer(client: openai.AsyncOpenAI, upstream: Provider) -> None:
    upstream.behave = stream({"content": '{"city":'}, {"content": '"Kiel"}'})
    async with client.chat.completions.stream(
        model="triage", messages=ASK, response_format=Weather, stream_options={"include_usage": True}
    ) as events:
        final = await events.get_final_completion()
    assert final.choices[0].message.parsed == Weather(city="Kiel")
    assert final.usage and final.usage.completion_tokens_details
    assert final.usage.completion_tokens_details.reasoning_tokens == 4
    upstream.behave = say({"content": '{"city":"Bonn"}'})
    answer = await client.chat.completions.parse(model="triage", messages=ASK, response_format=Weather)
    assert answer.choices[0].message.parsed == Weather(city="Bonn")
    assert upstream.seen[-1].body["response_format"]["json_schema"]["strict"] is True


async def test_several_answers_and_logprobs(client: openai.AsyncOpenAI, upstream: Provider) -> None:
    async def several(line: Line) -> None:
        base = completion({"content": "hi"}, logprobs=LOGPROBS)
        base["choices"] = [{**base["choices"][0], "index": at} for at in range(line.seen.body["n"])]
        await line.answer(200, base)

    upstream.behave = several
    answer = await client.chat.completions.create(
        model="triage", messages=ASK, n=3, logprobs=True, top_logprobs=0, seed=7, logit_bias={"50256": -100}
    )
    assert [one.index for one in answer.choices] == [0, 1, 2]
    assert answer.choices[2].logprobs and answer.choices[2].logprobs.content[0].logprob == -0.25
    sent = upstream.seen[0].body
    assert (sent["n"], sent["logprobs"], sent["seed"], sent["logit_bias"]) == (3, True, 7, {"50256": -100})


async def test_a_stream_of_several_answers(client: openai.AsyncOpenAI, upstream: Provider) -> None:
    def piece(index: int, delta: dict[str, Any], finish: str | None = None) -> dict[str, Any]:
        one = chunk(delta, finish)
        one["choices"][0] |= {"index": index, "logprobs": LOGPROBS if delta else None}
        return one

    chunks = [
        piece(0, {"role": "assistant", "content": "a"}), piece(1, {"role": "assistant", "content": "b"}),
        piece(1, {"content": "d"}), piece(0, {"content": "c"}), piece(1, {}, "stop"), piece(0, {}, "length"),
        {**chunk({}), "choices": [], "usage": USAGE},
    ]  # fmt: skip

    async def interleave(line: Line) -> None:
        await line.stream(sse(chunks), piece=17)

    upstream.behave = interleave
    texts: dict[int, str] = {0: "", 1: ""}
    ends: dict[int, str] = {}
    async for one in await client.chat.completions.create(
        model="triage", messages=ASK, n=2, stream=True, logprobs=True
    ):
        for choice in one.choices:
            texts[choice.index] += choice.delta.content or ""
            if choice.finish_reason:
                ends[choice.index] = choice.finish_reason
            elif choice.delta.content:
                assert choice.logprobs and choice.logprobs.content
    assert (texts, ends) == ({0: "ac", 1: "bd"}, {0: "length", 1: "stop"})


async def test_nothing_a_client_may_say_is_lost(client: openai.AsyncOpenAI, upstream: Provider) -> None:
    asked: Any = {
        "messages": [{"role": "developer", "content": "x"}, {"role": "user", "content": [
            {"type": "text", "text": "y"}, {"type": "image_url", "image_url": {"url": "https://example.org/a.png"}},
            {"type": "input_audio", "input_audio": {"data": "AA", "format": "wav"}},
            {"type": "file", "file": {"file_id": "file-1"}}]}],
        "reasoning_effort": "low", "prediction": {"type": "content", "content": "z"}, "service_tier": "auto",
        "prompt_cache_key": "k", "safety_identifier": "u", "verbosity": "low", "parallel_tool_calls": False,
        "stop": ["a", "b"], "presence_penalty": 0.1, "frequency_penalty": 0.2, "tools": TOOLS, "tool_choice": "required",
        "response_format": {"type": "json_object"}, "modalities": ["text"], "max_completion_tokens": 5,
    }  # fmt: skip
    await client.chat.completions.create(model="triage", **asked)
    assert upstream.seen[0].body == json.loads(json.dumps({**asked, "model": "m"}))
