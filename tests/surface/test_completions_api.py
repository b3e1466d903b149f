"""POST /v1/completions, the legacy API, through the unmodified openai client."""

from __future__ import annotations

from typing import Any

import openai
import pytest
from gateway_server import Gateway
from scripted import Line, Provider
from surface_helpers import completion, stream

from gateway.storage.records import CallRecord


async def echo(line: Line) -> None:
    """Answers each prompt in capitals, as often as it was asked."""
    text = line.seen.body["messages"][0]["content"].upper()
    answer = completion({"content": text})
    answer["choices"] = [{**answer["choices"][0], "index": at} for at in range(line.seen.body.get("n", 1))]
    await line.answer(200, answer)


async def test_one_prompt(client: openai.AsyncOpenAI, served: Gateway, upstream: Provider) -> None:
    upstream.behave = echo
    answer = await client.completions.create(model="triage", prompt="hello", stop=["."], temperature=0)
    assert (answer.object, answer.model, answer.id[:5]) == ("text_completion", "triage", "cmpl-")
    assert [(one.index, one.text, one.finish_reason) for one in answer.choices] == [(0, "HELLO", "stop")]
    assert answer.usage and answer.usage.total_tokens == 42
    assert upstream.seen[0].body == {
        "model": "m", "stop": ["."], "temperature": 0, "max_completion_tokens": 16,
        "messages": [{"role": "user", "content": "hello"}],
    }  # fmt: skip
    (record,) = [one for one in served.records() if isinstance(one, CallRecord)]
    assert (record.id, record.endpoint) == (answer.id, "completions")


async def test_several_prompts_are_several_calls(
    client: openai.AsyncOpenAI, served: Gateway, upstream: Provider
) -> None:
    upstream.behave = echo
    raw = await client.completions.with_raw_response.create(model="triage", prompt=["a", "b", "c"], n=2)
    answer = raw.parse()
    assert [(one.index, one.text) for one in answer.choices] == [
        (0, "A"), (1, "A"), (2, "B"), (3, "B"), (4, "C"), (5, "C"),
    ]  # fmt: skip
    assert answer.usage and answer.usage.prompt_tokens == 90
    calls = [one for one in served.records() if isinstance(one, CallRecord)]
    assert len({one.id for one in calls}) == 3
    assert float(raw.headers["x-understudy-cost-usd"]) == pytest.approx(
        sum(one.cost_usd or 0 for one in calls)
    )


@pytest.mark.parametrize("usage", [True, False])
async def test_a_stream_over_prompts(client: openai.AsyncOpenAI, upstream: Provider, usage: bool) -> None:
    upstream.behave = stream({"content": "x"}, {"content": "y"})
    options: Any = {"stream_options": {"include_usage": True}} if usage else {}
    chunks = [
        one
        async for one in await client.completions.create(
            model="triage", prompt=["a", "b"], stream=True, **options
        )
    ]
    texts = {0: "", 1: ""}
    for one in chunks:
        for choice in one.choices:
            texts[choice.index] += choice.text
    assert texts == {0: "xy", 1: "xy"}
    assert len({one.id for one in chunks}) == 1
    ends = [choice.index for one in chunks for choice in one.choices if choice.finish_reason]
    assert ends == [0, 1]
    totals = [one.usage.total_tokens for one in chunks if one.usage]
    assert totals == ([84] if usage else [])


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("echo", True),
        ("logprobs", 1),
        ("suffix", "end"),
        ("best_of", 3),
        ("prompt", [[1, 2]]),
        ("prompt", []),
    ],
)
async def test_what_a_chat_model_cannot_do(client: openai.AsyncOpenAI, name: str, value: Any) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        await client.completions.create(**{"model": "triage", "prompt": "x", name: value})
    assert refused.value.param == name


async def test_one_refused_prompt_refuses_the_call(client: openai.AsyncOpenAI, upstream: Provider) -> None:
    async def picky(line: Line) -> None:
        if line.seen.body["messages"][0]["content"] == "b":
            await line.answer(400, {"error": {"message": "not b", "code": "no_b", "param": "messages"}})
        else:
            await echo(line)

    upstream.behave = picky
    with pytest.raises(openai.BadRequestError, match="not b") as refused:
        await client.completions.create(model="triage", prompt=["a", "b"])
    assert refused.value.code == "no_b"


async def test_a_cut_stream_ends_in_an_error(client: openai.AsyncOpenAI, upstream: Provider) -> None:
    upstream.behave = stream({"content": "x"}, cut=True)
    with pytest.raises(openai.APIError):
        _ = [one async for one in await client.completions.create(model="triage", prompt="a", stream=True)]
