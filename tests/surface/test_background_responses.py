"""Responses in the background through the unmodified openai client: polled, followed, cancelled, lost with a process."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from typing import Any

import openai
import pytest
from gateway_server import KEY, Gateway, gateway, write_policies
from scripted import CHUNKS, Line, Provider, sse
from surface_helpers import say

from gateway.storage.engine import write_engine
from gateway.storage.home import Home
from gateway.storage.records import CallRecord
from gateway.storage.spooling.ingester import Ingester
from gateway.storage.writing.writer import SqlWriter


async def ended(client: openai.AsyncOpenAI, response_id: str) -> Any:
    for _ in range(10000):
        found = await client.responses.retrieve(response_id)
        if found.status not in ("queued", "in_progress"):
            return found
        await asyncio.sleep(0.01)
    pytest.fail("the response never ended")


class Slow:
    """Streams its answer when it is allowed to."""

    def __init__(self) -> None:
        self.go = asyncio.Event()

    async def __call__(self, line: Line) -> None:
        await line.start(200, {"content-type": "text/event-stream", "transfer-encoding": "chunked"})
        for part in (sse(CHUNKS[:2], done=False), sse(CHUNKS[2:])):
            line.writer.write(f"{len(part):x}\r\n".encode() + part + b"\r\n")
            await line.writer.drain()
            left = asyncio.create_task(line.seen.peer_left.wait())
            await asyncio.wait([left, asyncio.create_task(self.go.wait())], return_when="FIRST_COMPLETED")
        line.writer.write(b"0\r\n\r\n")


async def test_it_is_queued_and_then_done(client: openai.AsyncOpenAI, served: Gateway, upstream: Provider) -> None:
    slow = upstream.behave = Slow()
    made = await client.responses.create(model="triage", input="hi", background=True)
    assert (made.status, made.background, made.output) == ("queued", True, [])
    while (now := await client.responses.retrieve(made.id)).status == "queued":
        await asyncio.sleep(0.01)
    assert now.status == "in_progress"
    slow.go.set()
    done = await ended(client, made.id)
    assert (done.status, done.output_text, done.background) == ("completed", "hello", True)
    assert done.usage is not None and done.usage.output_tokens == 100
    (call,) = [one for one in served.records() if isinstance(one, CallRecord)]
    assert (call.id, call.status, call.endpoint) == (made.id, "ok", "responses")
    upstream.behave = say({"content": "again"})
    more = await client.responses.create(model="triage", input="and?", previous_response_id=made.id)
    assert more.output_text and len(upstream.seen[-1].body["messages"]) == 3


async def test_it_is_followed_from_where_one_left(client: openai.AsyncOpenAI, upstream: Provider) -> None:
    slow = upstream.behave = Slow()
    seen: list[Any] = []
    response_id = ""
    async with await client.responses.create(
        model="triage", input="hi", background=True, stream=True
    ) as events:
        async for event in events:
            seen.append(event)
            response_id = event.response.id if event.type == "response.created" else response_id
            if event.type == "response.output_text.delta":
                break  # the client leaves; the response goes on
    slow.go.set()
    rest = await client.responses.retrieve(response_id, stream=True, starting_after=seen[-1].sequence_number)
    seen += [event async for event in rest]
    assert [event.sequence_number for event in seen] == list(range(len(seen)))
    assert [event.type for event in seen[:3]] == ["response.created", "response.queued", "response.in_progress"]
    assert seen[-1].type == "response.completed" and seen[-1].response.output_text == "hello"
    assert (await ended(client, response_id)).status == "completed"


async def test_cancelling_frees_the_provider(client: openai.AsyncOpenAI, upstream: Provider) -> None:
    upstream.behave = Slow()
    made = await client.responses.create(model="triage", input="hi", background=True)
    while not upstream.seen:
        await asyncio.sleep(0.01)
    stopped = await client.responses.cancel(made.id)
    assert (stopped.id, stopped.status) == (made.id, "cancelled")
    await asyncio.wait_for(upstream.seen[0].peer_left.wait(), 60)
    assert (await client.responses.cancel(made.id)).status == "cancelled"
    assert (await client.responses.retrieve(made.id)).status == "cancelled"
    await client.responses.delete(made.id)
    with pytest.raises(openai.NotFoundError):
        await client.responses.retrieve(made.id)


async def test_a_failure_is_told_where_it_is_looked_for(client: openai.AsyncOpenAI, upstream: Provider) -> None:
    upstream.behave = lambda line: line.answer(400, {"error": {"message": "no", "type": "x", "code": "too_rude"}})
    made = await client.responses.create(model="triage", input="hi", background=True)
    failed = await ended(client, made.id)
    assert failed.status == "failed" and failed.error.code == "too_rude"
    with pytest.raises(openai.BadRequestError):
        await client.responses.create(model="triage", input="hi", background=True, store=False)
    with pytest.raises(openai.AuthenticationError):
        await client.with_options(api_key="sk-wrong").responses.create(model="triage", input="x", background=True)
    with pytest.raises(openai.BadRequestError):
        await client.responses.retrieve(made.id, stream=True, starting_after=-5)


async def test_what_a_process_took_with_it_is_told_as_failed(tmp_path: Path, upstream: Provider) -> None:
    upstream.behave = Slow()
    settings = "timeouts: {connect: 30, first_byte: 1, chunk_gap: 1, total: 60}"
    policies = write_policies(tmp_path / "policies", {"first": upstream.url}, gateway=settings)
    async with gateway(tmp_path, policies) as made, _client(made) as client:
        lost = await client.responses.create(model="triage", input="hi", background=True)
        await asyncio.to_thread(_ingest, made.home)  # as it stands when the process is killed
    async with gateway(tmp_path, policies) as made, _client(made) as client:
        found = await client.responses.retrieve(lost.id)
        assert found.status == "failed" and found.error is not None and "restarted" in found.error.message
        await asyncio.to_thread(_ingest, made.home)  # the end that an orderly stop wrote
        found = await client.responses.retrieve(lost.id)
        assert found.status == "failed" and found.error is not None and "restarted" not in found.error.message
        with pytest.raises(openai.BadRequestError):
            await client.responses.retrieve(lost.id, stream=True)


def _client(made: Gateway) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(base_url=made.base_url, api_key=KEY, max_retries=0)


def _ingest(home: Home) -> None:
    writer = SqlWriter(write_engine(home.database_url))
    try:
        Ingester(home, writer, threading.Event()).drain()
    finally:
        writer.close()
