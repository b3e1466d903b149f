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
