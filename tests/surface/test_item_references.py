"""A client names items of responses that are kept here, as Vercel's ``ai`` does in each round of tools."""

from __future__ import annotations

from typing import Any

import openai
import pytest
from gateway_server import Gateway
from scripted import Provider
from surface_helpers import WEATHER, call, say

TOOLS: Any = [{"type": "function", "name": "weather", "parameters": WEATHER, "strict": False}]
BONN = '{"city":"Bonn"}'


def reference(id_: str | None) -> Any:
    return {"type": "item_reference", "id": id_}


async def test_a_round_of_tools_by_reference(client: openai.AsyncOpenAI, upstream: Provider) -> None:
    thought = {"type": "thinking", "thinking": "hm", "signature": "mine"}
    said = {"content": "Let me look.", "tool_calls": [call("call_a", "weather", BONN)], "thinking_blocks": [thought]}
    upstream.script = [say(said, "tool_calls"), say({"content": "Rain."}), say({"content": "Yes."})]
    first = await client.responses.create(model="triage", input="Bonn?", tools=TOOLS)
    assert [item.type for item in first.output] == ["reasoning", "message", "function_call"]
    output: Any = {"type": "function_call_output", "call_id": "call_a", "output": "rain"}
    asked: Any = [{"role": "user", "content": "Bonn?"}, *(reference(item.id) for item in first.output), output]
    second = await client.responses.create(model="triage", input=asked, tools=TOOLS)
    whole: Any = [{"role": "user", "content": "Bonn?"}, *(item.to_dict() for item in first.output), output]
    written = await client.responses.create(model="triage", input=whole, tools=TOOLS)
    assert second.output_text == "Rain." and written.output_text == "Yes."
    assert upstream.seen[1].body["messages"] == upstream.seen[2].body["messages"]

    await client.responses.delete(first.id)
    listed = await client.responses.input_items.list(second.id, order="asc")
    assert [item.type for item in listed.data] == [
        "message", "reasoning", "message", "function_call", "function_call_output",
    ], "they are kept with the response that named them"  # fmt: skip


async def test_ids_of_input_items_and_of_conversations(client: openai.AsyncOpenAI, upstream: Provider) -> None:
    upstream.behave = say({"content": "hello"})
    made = await client.responses.create(model="triage", input="first words")
    (own,) = (await client.responses.input_items.list(made.id)).data
    await client.responses.create(model="triage", input=[reference(own.id), {"role": "user", "content": "and?"}])
    told = [turn["content"] for turn in upstream.seen[-1].body["messages"]]
    assert told == ["first words", "and?"]
    talk = await client.conversations.create(items=[{"type": "message", "role": "user", "content": "noted"}])
    (item,) = (await client.conversations.items.list(talk.id)).data
    await client.responses.create(model="triage", conversation=talk.id, input=[reference(item.id)])
    assert [turn["content"] for turn in upstream.seen[-1].body["messages"]] == ["noted", "noted"]


async def test_what_is_not_kept_is_not_found(
    client: openai.AsyncOpenAI, served: Gateway, upstream: Provider
) -> None:
    upstream.behave = say({"content": "hello"})
    loose = await client.responses.create(model="triage", input="hi", store=False)
    gone = await client.responses.create(model="triage", input="hi")
    await client.responses.delete(gone.id)
    kept = await client.responses.create(model="triage", input="hi")
    asked = len(upstream.seen)
    for id_ in (loose.output[0].id, gone.output[0].id, kept.output[0].id + "1", "msg_of_nobody", "x" * 300):
        with pytest.raises(openai.BadRequestError, match="not found") as caught:
            await client.responses.create(model="triage", input=[reference(id_)])
        assert caught.value.param == "input[0].id"
    with pytest.raises(openai.BadRequestError, match="Missing required parameter"):
        await client.responses.create(model="triage", input=[reference(None)])
    assert len(upstream.seen) == asked


async def test_an_item_is_named_once(client: openai.AsyncOpenAI, upstream: Provider) -> None:
    upstream.behave = say({"content": "hello"})
    made = await client.responses.create(model="triage", input="hi")
    with pytest.raises(openai.BadRequestError, match="Duplicate item found") as caught:
        await client.responses.create(model="triage", input=[reference(made.output[0].id)] * 2)
    assert caught.value.param == "input[1].id" and len(upstream.seen) == 1
