"""What a client keeps here: readable at once, after a restart, only by its project, and until it is deleted."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from typing import Any

import openai
import pytest
import sqlalchemy as sa
from gateway_server import KEY, Gateway, gateway, write_policies
from scripted import Provider
from surface_helpers import WEATHER, call, say, stream

from gateway.storage.engine import write_engine
from gateway.storage.home import Home
from gateway.storage.reading.reader import open_reader
from gateway.storage.records import ClientStateRecord, StateDeletionRecord
from gateway.storage.spooling.ingester import Ingester
from gateway.storage.tables import CAPTURES, CLIENT_STATE
from gateway.storage.writing.erase import erase_expired
from gateway.storage.writing.writer import SqlWriter

STRANGER = "a-key-for-the-tests-0002"
SECRET = "the moon is made of basalt"
TOOLS: Any = [{"type": "function", "name": "weather", "parameters": WEATHER, "strict": True}]


def ingest(home: Home) -> None:
    writer = SqlWriter(write_engine(home.database_url))
    try:
        Ingester(home, writer, threading.Event()).drain()
    finally:
        writer.close()


async def test_a_conversation_continues(client: openai.AsyncOpenAI, upstream: Provider) -> None:
    upstream.script = [
        say(
            {"content": "Let me look.", "tool_calls": [call("call_a", "weather", '{"city":"Bonn"}')]},
            "tool_calls",
        ),
        stream({"content": "It rains."}),
        say({"content": "Yes."}),
    ]
    first = await client.responses.create(model="triage", instructions="be brief", input="Bonn?", tools=TOOLS)
    output: Any = [{"type": "function_call_output", "call_id": "call_a", "output": "rain"}]
    async with client.responses.stream(
        model="triage", input=output, previous_response_id=first.id, tools=TOOLS
    ) as events:
        second = await events.get_final_response()
    third = await client.responses.create(model="triage", input="sure?", previous_response_id=second.id)
    assert third.previous_response_id == second.id
    assert upstream.seen[2].body["messages"] == [  # instructions are of one call only
        {"role": "user", "content": "Bonn?"},
        {
            "role": "assistant",
            "content": "Let me look.",
            "tool_calls": [call("call_a", "weather", '{"city":"Bonn"}')],
        },
        {"role": "tool", "tool_call_id": "call_a", "content": "rain"},
        {"role": "assistant", "content": "It rains."},
        {"role": "user", "content": "sure?"},
    ]
    again = await client.responses.retrieve(second.id)
    assert again.model_dump(exclude_none=True) == second.model_dump(
        exclude={"output": {"__all__": {"content": {"__all__": {"parsed"}}}}}, exclude_none=True
    )


async def test_input_items_are_paged(client: openai.AsyncOpenAI) -> None:
    items: Any = [{"role": "user", "content": f"turn {n}"} for n in range(5)]
    made = await client.responses.create(model="triage", input=items)
    page = await client.responses.input_items.list(made.id, limit=2)
    assert page.has_more and len(page.data) == 2
    texts = [
        item.content[0].text
        async for item in client.responses.input_items.list(made.id, limit=2, order="asc")
    ]
    assert texts == [f"turn {n}" for n in range(5)]
    newest = [item.content[0].text async for item in page]
    assert newest == [f"turn {n}" for n in reversed(range(5))]
    with pytest.raises(openai.BadRequestError):
        await client.responses.input_items.list(made.id, after="nobody")


async def test_delete_cancel_and_what_was_never_kept(client: openai.AsyncOpenAI, upstream: Provider) -> None:
    made = await client.responses.create(model="triage", input="hi")
    with pytest.raises(openai.BadRequestError, match="synchronous"):
        await client.responses.cancel(made.id)
    await client.responses.delete(made.id)
    loose = await client.responses.create(model="triage", input="hi", store=False)
    assert loose.store is False
    assert upstream.seen[-1].body["store"] is False
    for gone in (made.id, loose.id, "resp_nobody"):
        with pytest.raises(openai.NotFoundError):
            await client.responses.retrieve(gone)
        with pytest.raises(openai.NotFoundError):
            await client.responses.cancel(gone)
        with pytest.raises(openai.BadRequestError) as missing:
            await client.responses.create(model="triage", input="hi", previous_response_id=gone)
        assert (missing.value.code, missing.value.param) == (
            "previous_response_not_found",
            "previous_response_id",
        )


async def test_state_survives_a_restart_sealed_and_stays_in_its_project(
    tmp_path: Path, upstream: Provider
) -> None:
    stranger = f"- {{name: other, key: {STRANGER}, project: elsewhere}}"
    policies = write_policies(tmp_path / "policies", {"first": upstream.url})
    text = (policies / "gateway.yaml").read_text()
    mine = f"keys: [{{name: tests, key: {KEY}, project: default}}]"
    (policies / "gateway.yaml").write_text(
        text.replace(mine, f"keys:\n- {{name: tests, key: {KEY}, project: default}}\n{stranger}")
    )
    async with (
        gateway(tmp_path, policies) as served,
        openai.AsyncOpenAI(base_url=served.base_url, api_key=KEY) as one,
    ):
        kept = await one.responses.create(model="triage", input=SECRET)
        dropped = await one.responses.create(model="triage", input=SECRET)
        await one.responses.delete(dropped.id)
        home = served.home
        records = served.records()
    assert len([one for one in records if isinstance(one, ClientStateRecord)]) == 2
    assert len([one for one in records if isinstance(one, StateDeletionRecord)]) == 1
    await asyncio.to_thread(ingest, home)
    async with gateway(tmp_path, policies) as served:
        async with openai.AsyncOpenAI(base_url=served.base_url, api_key=KEY) as one:
            again = await one.responses.retrieve(kept.id)
            assert again.output_text == "hello"
            await one.responses.create(model="triage", input="more", previous_response_id=kept.id)
            assert upstream.seen[-1].body["messages"][0]["content"] == SECRET
            with pytest.raises(openai.NotFoundError):
                await one.responses.retrieve(dropped.id)
        async with openai.AsyncOpenAI(base_url=served.base_url, api_key=STRANGER) as other:
            with pytest.raises(openai.NotFoundError):
                await other.responses.retrieve(kept.id)
            with pytest.raises(openai.BadRequestError):
                await other.responses.create(model="triage", input="x", previous_response_id=kept.id)
    engine = write_engine(home.database_url)
    try:
        with engine.begin() as connection:
            rows = connection.execute(sa.select(CLIENT_STATE)).mappings().all()
            assert {row["id"] for row in rows} == {kept.id, dropped.id}
            assert all(SECRET.encode() not in row["sealed"] for row in rows)
            assert next(row["sealed"] for row in rows if row["id"] == dropped.id) == b""
            lessons = connection.execute(
                sa.select(sa.func.count()).select_from(CAPTURES).where(CAPTURES.c.lesson)
            ).scalar()
            assert lessons == 0
            erase_expired(connection, rows[0]["expires_at"] - 1)
            assert connection.execute(sa.select(sa.func.count()).select_from(CLIENT_STATE)).scalar() == 2
            erase_expired(connection, max(row["expires_at"] for row in rows))
            assert connection.execute(sa.select(sa.func.count()).select_from(CLIENT_STATE)).scalar() == 0
    finally:
        engine.dispose()


async def test_a_deletion_that_overtakes_its_document_wins(tmp_path: Path) -> None:
    from gateway.storage.client_state import add_state, delete_state
    from gateway.storage.migrations import migrate

    home = Home(tmp_path / "home").prepare()
    migrate(home.database_url)
    engine = write_engine(home.database_url)
    try:
        with engine.begin() as connection:
            delete_state(connection, StateDeletionRecord(id="r", project="p", at=10.0))
            add_state(connection, ClientStateRecord("r", "p", "response", 9.0, 1e6, b"sealed"))
            add_state(connection, ClientStateRecord("empty", "p", "response", 9.0, 1e6, b""))
    finally:
        engine.dispose()
    reader = open_reader(home)
    try:
        assert reader.client_state("p", "r", now=11.0) == b""
        assert reader.client_state("q", "r", now=11.0) is None
        assert reader.client_state("p", "empty", now=11.0) is None
        assert reader.client_state("p", "r", now=1e9) is None
    finally:
        reader.close()


async def test_memory_is_bounded(served: Gateway) -> None:
    from memory_recorder import MemoryRecorder

    from gateway.client_data.client_state import ClientStates, ResponseState

    class Away:
        recorder = MemoryRecorder()

        class reader:  # noqa: N801
            @staticmethod
            def client_state(project: str, state_id: str, *, now: float) -> bytes | None:
                return None

    class Plain:
        def seal(self, record: bytes) -> bytes:
            return record

        open = seal

    states = ClientStates(Away, Plain(), max_count=3, max_bytes=2000)  # type: ignore[arg-type]
    for n in range(5):
        states.keep(ResponseState(f"r{n}", "p", "", [], {"output": []}))
    assert [bool(await states.get("p", f"r{n}")) for n in range(5)] == [False, False, True, True, True]
    states.keep(ResponseState("big", "p", "", [], {"output": ["x" * 3000]}))
    assert await states.get("p", "r4") is None
    assert await states.get("p", "big") is not None
