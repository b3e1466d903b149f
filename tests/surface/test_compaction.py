"""``POST /v1/responses/compact``: the user's messages and one sealed item that stands for all the rest."""

from __future__ import annotations

import json
from typing import Any

import httpx
import openai
import pytest
from gateway_server import Gateway
from openai.types.responses import CompactedResponse, ResponseCompactionItem
from scripted import Line, Provider
from sdk_types import strictly
from surface_helpers import completion, say

from gateway.storage.records import CallRecord

TALK: list[Any] = [
    {"role": "developer", "content": "Be brief."},
    {"role": "user", "content": "Where is my parcel 4711?"},
    {"type": "function_call", "call_id": "call_1", "name": "track", "arguments": '{"id": 4711}'},
    {"type": "function_call_output", "call_id": "call_1", "output": "in Bonn"},
    {"role": "assistant", "content": "It is in Bonn."},
    {"role": "user", "content": [{"type": "input_text", "text": "Thanks."}, {"type": "input_image", "image_url": "https://x.de/a.png"}]},
]  # fmt: skip
SUMMARY = "Parcel 4711 is in Bonn (track)."


async def test_a_conversation_is_made_shorter_and_goes_on(
    client: openai.AsyncOpenAI, served: Gateway, upstream: Provider
) -> None:
    upstream.behave = say({"content": SUMMARY})
    raw = await client.responses.with_raw_response.compact(model="triage", input=TALK)
    made, items = raw.parse(), json.loads(raw.text)["output"]
    asked = upstream.seen[0].body
    said = asked["messages"][1]["content"]
    assert [one["role"] for one in asked["messages"]] == ["system", "user"] and "tools" not in asked
    for part in ("Be brief.", "parcel 4711", 'calls track with {"id": 4711}', "in Bonn", "Thanks.", "[image_url]"):
        assert part in said
    assert made.object == "response.compaction" and made.usage.total_tokens == 42
    assert [one["content"][0]["text"] for one in items[:-1]] == ["Where is my parcel 4711?", "Thanks."]
    item = made.output[-1]
    assert isinstance(item, ResponseCompactionItem) and SUMMARY not in item.encrypted_content
    # The type has no user's message among its items, though OpenAI describes them there.
    strictly(CompactedResponse, json.dumps({**json.loads(raw.text), "output": items[-1:]}))

    # Another request goes on with what came back, as it came back; so does one that continues that.
    went_on = await client.responses.create(model="triage", input=[*items, {"role": "user", "content": "And now?"}])
    turns = upstream.seen[1].body["messages"]
    assert [one["role"] for one in turns] == ["user"] * 4 and SUMMARY in turns[2]["content"]
    await client.responses.create(model="triage", previous_response_id=went_on.id, input="And then?")
    assert SUMMARY in upstream.seen[2].body["messages"][2]["content"]
    listed = await client.responses.input_items.list(went_on.id)
    assert "compaction" in [one.type for one in listed.data]
    again = await client.responses.compact(model="triage", previous_response_id=went_on.id)
    assert SUMMARY in upstream.seen[3].body["messages"][1]["content"] and len(again.output) == 4

    calls = [one for one in served.records() if isinstance(one, CallRecord)]
    assert [one.endpoint for one in calls] == ["responses"] * 4 and all(one.cost_usd for one in calls)
    assert calls[0].text is None and calls[3].text is None  # never captured: it is no call of the task's kind


async def test_a_compaction_is_its_projects_and_nobody_can_change_it(
    client: openai.AsyncOpenAI, upstream: Provider
) -> None:
    upstream.behave = say({"content": SUMMARY})
    made = await client.responses.compact(model="triage", input="hello")
    item = made.output[-1]
    assert isinstance(item, ResponseCompactionItem)
    sealed = item.encrypted_content
    for broken in ("", "x", sealed[:-8] + "AAAAAAA=", sealed[8:]):
        with pytest.raises(openai.BadRequestError) as caught:
            await client.responses.create(
                model="triage", input=[{"type": "compaction", "encrypted_content": broken}, {"role": "user", "content": "?"}]
            )
        assert (caught.value.code, caught.value.param) == ("invalid_encrypted_content", "input[0].encrypted_content")
    assert len(upstream.seen) == 1


async def test_what_cannot_be_compacted(http: httpx.AsyncClient, upstream: Provider) -> None:
    async def nothing(line: Line) -> None:
        await line.answer(200, completion({"content": " "}))

    upstream.behave = nothing
    for body, status, param in (
        ({}, 400, "input"), ({"input": []}, 400, "input"), ({"input": "x", "stream": True}, 400, "stream"),
        ({"input": "x", "background": True}, 400, "background"), ({"input": "x"}, 502, None),
        ({"previous_response_id": "resp_0"}, 400, "previous_response_id"),
    ):  # fmt: skip
        answer = await http.post("/v1/responses/compact", json={"model": "triage", **body})
        assert (answer.status_code, answer.json()["error"]["param"]) == (status, param)
    answer = await http.post("/v1/responses/compact", json={"input": "x"})
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "model")
    answer = await http.post("/v1/responses/compact", json={"model": "triage", "input": "x"}, headers={"authorization": ""})
    assert answer.status_code == 401
