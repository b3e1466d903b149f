"""What tools are called with, where a compatible server does not write it as OpenAI does: as an object, as null, or not
at all. Clients put the pieces together and read the whole as JSON."""

from __future__ import annotations

import json
from typing import Any

import anthropic
import openai
import pytest
from clients_helpers import answers, completion, streams
from gateway_server import served_over
from scripted import Behaviour, Provider, chunk, sse

served = served_over("""
providers: {{local: {{type: openai, base_url: "{url}"}}}}
keys: [{{name: tests, key: {key}, project: default}}]
""")
TOOL = {"type": "object", "properties": {"city": {"type": "string"}}}
WRITTEN = [({"city": "Bonn"}, {"city": "Bonn"}), ("", {}), (None, {}), (..., {})]
"""What the server writes, and what the client is to read; ``...``: nothing at all."""


def call(at: int, arguments: Any) -> dict[str, Any]:
    said = {} if arguments is ... else {"arguments": arguments}
    return {"index": at, "id": f"call_{at}", "type": "function", "function": {"name": "weather", **said}}


def said(arguments: Any, *, stream: bool) -> Behaviour:
    """Two calls: the first as ``arguments`` say, the second as OpenAI would write it."""
    made = [call(0, arguments), call(1, '{"city": "Ulm"}')]
    if not stream:
        message = {"role": "assistant", "tool_calls": made}
        return answers({**completion({}), "choices": [{"index": 0, "message": message, "finish_reason": "tool_calls"}]})
    pieces = [chunk({"role": "assistant", "tool_calls": [made[0]]}), chunk({"tool_calls": [made[1]]})]
    return streams(sse([*pieces, chunk({}, "tool_calls")]), piece=7)


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize(("written", "read"), WRITTEN, ids=["object", "empty", "null", "absent"])
async def test_arguments_are_the_text_of_an_object_however_they_were_written(
    client: openai.AsyncOpenAI, claude: anthropic.AsyncAnthropic, upstream: Provider, written: Any, read: Any, stream: bool
) -> None:
    upstream.behave = said(written, stream=stream)
    turns: Any = [{"role": "user", "content": "Bonn and Ulm?"}]
    asked: dict[str, Any] = {"model": "local/m", "messages": turns}
    asked["tools"] = [{"type": "function", "function": {"name": "weather", "parameters": TOOL}}]
    expected = [read, {"city": "Ulm"}]
    if stream:
        texts = ["", ""]
        async for one in await client.chat.completions.create(**asked, stream=True):
            for piece in one.choices[0].delta.tool_calls or []:
                texts[piece.index] += piece.function.arguments  # as everybody's loop does: null would end it
    else:
        whole = (await client.chat.completions.create(**asked)).choices[0].message
        assert "content" in whole.model_fields_set and whole.content is None
        texts = [one.function.arguments for one in whole.tool_calls or [] if one.type == "function"]
    assert [json.loads(one) for one in texts] == expected

    tool: Any = {"type": "function", "name": "weather", "parameters": TOOL, "strict": False}
    if stream:
        async with client.responses.stream(model="local/m", input="Bonn and Ulm?", tools=[tool]) as events:
            response: Any = await events.get_final_response()
    else:
        response = await client.responses.create(model="local/m", input="Bonn and Ulm?", tools=[tool])
    assert [json.loads(one.arguments) for one in response.output] == expected

    of_claude: dict[str, Any] = {"model": "local/m", "max_tokens": 99, "messages": turns}
    of_claude["tools"] = [{"name": "weather", "input_schema": TOOL}]
    if stream:
        async with claude.messages.stream(**of_claude) as parts:
            message: Any = await parts.get_final_message()
    else:
        message = await claude.messages.create(**of_claude)
    assert [one.input for one in message.content] == expected


async def test_a_call_that_was_cut_is_not_made_whole(client: openai.AsyncOpenAI, upstream: Provider) -> None:
    """Arguments that never came because the limit was met are not an empty object."""
    pieces = [chunk({"role": "assistant", "tool_calls": [call(0, "")]}), chunk({}, "length")]
    upstream.behave = streams(sse(pieces))
    asked: Any = {"model": "local/m", "messages": [{"role": "user", "content": "Bonn?"}], "stream": True}
    found = [one async for one in await client.chat.completions.create(**asked)]
    deltas = [piece for one in found for piece in one.choices[0].delta.tool_calls or []]
    assert [one.function.arguments for one in deltas] == [""]
    assert found[-1].choices[0].finish_reason == "length"


# ---------------------------------------------------------------- the deltas themselves
def delta(name: Any = None, arguments: Any = None, **more: Any) -> dict[str, Any]:
    function = {"name": name, "arguments": arguments}
    return {"index": 0, **more, "function": {key: value for key, value in function.items() if value is not None}}


DELTAS: dict[str, list[dict[str, Any]]] = {
    "all of it again": [
        delta("weather", '{"city":', id="c1", type="function"), delta("weather", ' "Bonn"}', id="c1", type="function"),
    ],
    "empty again": [
        delta("weather", '{"city":', id="c1", type="function"), delta("", ' "Bonn"}', id="", type="function"),
        {"index": 0, "id": None, "type": None, "function": {"name": None, "arguments": None}},
    ],
    "the name late": [
        delta(None, '{"city":', id="c1", type="function"), delta("weather", ' "Bo'), delta(None, 'nn"}'),
    ],
    "without a type": [delta("weather", '{"city": "Bonn"}', id="c1")],
}  # fmt: skip


@pytest.mark.parametrize("written", DELTAS)
async def test_id_type_and_name_stand_in_the_first_delta_alone(
    client: openai.AsyncOpenAI, upstream: Provider, written: str
) -> None:
    """Clients add deltas up, names too, and some cannot begin a call without one."""
    pieces = [chunk({"role": "assistant", "tool_calls": [one]}) for one in DELTAS[written]]
    upstream.behave = streams(sse([*pieces, chunk({}, "tool_calls")]), piece=7)
    asked: dict[str, Any] = {"model": "local/m", "messages": [{"role": "user", "content": "Bonn?"}]}
    async with client.chat.completions.stream(**asked) as events:
        (found,) = (await events.get_final_completion()).choices[0].message.tool_calls or []
    assert (found.id, found.type, found.function.name) == ("c1", "function", "weather")
    assert json.loads(found.function.arguments) == {"city": "Bonn"}
    told = [one async for one in await client.chat.completions.create(**asked, stream=True)]
    first, *others = [piece for one in told for piece in one.choices[0].delta.tool_calls or []]
    assert first.id == "c1" and all((one.id, one.type, one.function.name) == (None, None, None) for one in others)


@pytest.mark.parametrize(("own", "told"), [("eos", "stop"), ("end_turn", "stop"), ("model_length", "length")])
async def test_an_answer_ends_with_a_word_of_openais(
    client: openai.AsyncOpenAI, upstream: Provider, own: str, told: str
) -> None:
    asked: dict[str, Any] = {"model": "local/m", "messages": [{"role": "user", "content": "Bonn?"}]}
    upstream.behave = answers(completion({"content": "rain"}, own))
    assert (await client.chat.completions.create(**asked)).choices[0].finish_reason == told
    upstream.behave = streams(sse([chunk({"content": "rain"}), chunk({}, own)]))
    ends = [one.choices[0].finish_reason async for one in await client.chat.completions.create(**asked, stream=True)]
    assert ends == [None, told]


async def test_what_a_provider_counts_beside_its_words_is_told_whole(
    client: openai.AsyncOpenAI, upstream: Provider
) -> None:
    """Some tell what was used with the last piece of the answer, or with each; nothing of it is lost."""
    details = {"accepted_prediction_tokens": 3, "rejected_prediction_tokens": 1, "reasoning_tokens": 2}
    used = {"prompt_tokens": 5, "completion_tokens": 7, "total_tokens": 12, "completion_tokens_details": details}
    early = {**used, "completion_tokens": 1, "total_tokens": 6}
    upstream.behave = streams(sse([chunk({"content": "a"}, usage=early), chunk({"content": "b"}, "stop", usage=used)]))
    asked: dict[str, Any] = {"model": "local/m", "messages": [{"role": "user", "content": "Bonn?"}]}
    made = await client.chat.completions.create(**asked, stream=True, stream_options={"include_usage": True})
    found = [one async for one in made]
    assert [one.usage is None for one in found] == [True, True, False] and found[-1].choices == []
    assert found[-1].usage is not None and found[-1].usage.model_dump(exclude_none=True, exclude={"prompt_tokens_details"}) == {
        **used, "completion_tokens_details": {**details}}  # fmt: skip
