"""/v1/conversations through the unmodified openai client: items, responses that continue them, restarts, strangers."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from gateway_server import KEY, Gateway, gateway, write_policies
from scripted import Provider
from surface_helpers import say, stream

from gateway.storage.engine import write_engine
from gateway.storage.home import Home
from gateway.storage.spooling.ingester import Ingester
from gateway.storage.writing.writer import SqlWriter

STRANGER = "a-key-for-the-tests-0002"


def ingest(home: Home) -> None:
    writer = SqlWriter(write_engine(home.database_url))
    try:
        Ingester(home, writer, threading.Event()).drain()
    finally:
        writer.close()


def said(text: str, role: str = "user") -> Any:
    return {"type": "message", "role": role, "content": text}


async def test_the_life_of_a_conversation(client: openai.AsyncOpenAI) -> None:
    made = await client.conversations.create(items=[said("one")], metadata={"topic": "moon"})
    assert made.id.startswith("conv_") and made.object == "conversation" and made.metadata == {"topic": "moon"}
    added = await client.conversations.items.create(made.id, items=[said("two"), said("three", "assistant")])
    assert [item.content[0].text for item in added.data] == ["two", "three"]  # type: ignore[union-attr]
    newest = [item async for item in client.conversations.items.list(made.id, limit=1)]
    assert [item.content[0].text for item in newest] == ["three", "two", "one"]  # type: ignore[union-attr]
    page = await client.conversations.items.list(made.id, order="asc", limit=2)
    assert page.has_more and page.last_id == newest[1].id
    kept = await client.conversations.items.retrieve(newest[1].id, conversation_id=made.id)
    assert kept == newest[1]
    left = await client.conversations.items.delete(newest[1].id, conversation_id=made.id)
    assert left.id == made.id and len((await client.conversations.items.list(made.id)).data) == 2
    changed = await client.conversations.update(made.id, metadata={"topic": "sun"})
    assert changed.metadata == {"topic": "sun"} == (await client.conversations.retrieve(made.id)).metadata
    gone = await client.conversations.delete(made.id)
    assert gone.deleted and gone.object == "conversation.deleted"
    for refused in (
        client.conversations.retrieve(made.id),
        client.conversations.items.create(made.id, items=[said("x")]),
        client.responses.create(model="triage", input="x", conversation=made.id),
    ):
        with pytest.raises(openai.NotFoundError):
            await refused


@pytest.mark.parametrize("order", ["asc", "desc"])
async def test_who_deletes_items_while_listing_them_reaches_the_end(client: openai.AsyncOpenAI, order: Any) -> None:
    made = await client.conversations.create(items=[said(str(at)) for at in range(6)])
    seen = []
    async for item in client.conversations.items.list(made.id, order=order, limit=2):
        assert item.id is not None
        await client.conversations.items.delete(item.id, conversation_id=made.id)
        seen.append(item.content[0].text)  # type: ignore[union-attr]
    assert seen == [str(at) for at in (range(6) if order == "asc" else range(5, -1, -1))]
    assert (await client.conversations.items.list(made.id)).data == []
    with pytest.raises(openai.BadRequestError):
        await client.conversations.items.list(made.id, after="msg_none")


async def test_responses_go_on_in_their_conversation(client: openai.AsyncOpenAI, upstream: Provider) -> None:
    upstream.script = [say({"content": "Bonn."}), stream({"content": "Rain."}), say({"content": "Yes."})]
    made = await client.conversations.create(items=[said("be brief", "developer")])
    first = await client.responses.create(model="triage", input="Where?", conversation=made.id)
    assert first.conversation is not None and first.conversation.id == made.id
    async with client.responses.stream(model="triage", input="Weather?", conversation=made.id) as events:
        assert (await events.get_final_response()).output_text == "Rain."
    await client.responses.create(model="triage", input="Sure?", conversation=made.id, store=False)
    assert [(turn["role"], turn["content"]) for turn in upstream.seen[2].body["messages"]] == [
        ("developer", "be brief"), ("user", "Where?"), ("assistant", "Bonn."), ("user", "Weather?"),
        ("assistant", "Rain."), ("user", "Sure?"),
    ]  # fmt: skip
    items = [item async for item in client.conversations.items.list(made.id, order="asc")]
    assert len(items) == 7 and len({item.id for item in items}) == 7
    assert [item.id for item in first.output] == [items[2].id]


async def test_a_call_that_fails_leaves_the_conversation_as_it_was(
    client: openai.AsyncOpenAI, upstream: Provider
) -> None:
    made = await client.conversations.create()
    upstream.behave = lambda line: line.answer(400, {"error": {"message": "no", "type": "x", "code": "y"}})
    with pytest.raises(openai.BadRequestError):
        await client.responses.create(model="triage", input="x", conversation=made.id)
    assert (await client.conversations.items.list(made.id)).data == []


async def test_it_outlives_the_process_and_is_nobody_elses(tmp_path: Path, upstream: Provider) -> None:
    policies = write_policies(tmp_path / "policies", {"first": upstream.url})
    main = policies / "gateway.yaml"
    one = f"keys: [{{name: tests, key: {KEY}, project: default}}"
    main.write_text(main.read_text().replace(one, f"{one}, {{name: other, key: {STRANGER}, project: elsewhere}}"))
    async with gateway(tmp_path, policies) as made, _client(made) as client:
        conversation = await client.conversations.create(items=[said("the moon is made of basalt")])
        await client.responses.create(model="first/m", input="hi", conversation=conversation.id)  # not captured
        doomed = await client.conversations.create()
        await client.conversations.delete(doomed.id)
        home = made.home
    await asyncio.to_thread(ingest, home)
    assert b"basalt" not in b"".join(path.read_bytes() for path in home.root.rglob("*") if path.is_file())
    async with gateway(tmp_path, policies) as made, _client(made) as client:
        assert len((await client.conversations.items.list(conversation.id)).data) == 3
        added = [client.conversations.items.create(conversation.id, items=[said(str(at))]) for at in range(8)]
        await asyncio.gather(*added)
        assert len((await client.conversations.items.list(conversation.id)).data) == 11
        with pytest.raises(openai.NotFoundError):
            await client.conversations.retrieve(doomed.id)
        async with _client(made, STRANGER) as stranger:
            with pytest.raises(openai.NotFoundError):
                await stranger.conversations.items.list(conversation.id)
            with pytest.raises(openai.NotFoundError):
                await stranger.responses.create(model="triage", input="x", conversation=conversation.id)


def _client(made: Gateway, key: str = KEY) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(base_url=made.base_url, api_key=key, max_retries=0)


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"items": [said("x")] * 21}, "items"),
        ({"items": [{"type": "hologram"}]}, "items[0]"),
        ({"items": [said("x", "king")]}, "items[0].role"),
        ({"items": "x"}, "items"),
        ({"metadata": {"a": 1}}, "metadata.a"),
        ({"items": [said("x" * 9_000_000)]}, "items"),
    ],
)
async def test_what_is_wrong_is_named(http: httpx.AsyncClient, body: dict[str, Any], param: str) -> None:
    answer = await http.post("/v1/conversations", json=body)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)


async def test_input_tokens_are_estimated(client: openai.AsyncOpenAI, upstream: Provider) -> None:
    made = await client.conversations.create(items=[said("x" * 400)])
    short = await client.responses.input_tokens.count(model="triage", input="y" * 400)
    long = await client.responses.input_tokens.count(input="y" * 400, conversation=made.id)
    assert short.object == "response.input_tokens" and 100 <= short.input_tokens < long.input_tokens
    assert not upstream.seen
