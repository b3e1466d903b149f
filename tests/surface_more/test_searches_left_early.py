"""A client that leaves a search of vector stores before it has read anything: the request is counted once, and is on the
ledger, whatever was on its way by then."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from urllib.parse import urlsplit

import httpx
import openai
import pytest
from gateway_server import KEY, Gateway
from scripted import Line, Provider, chunk, sse
from test_file_search import calls, counted, filled, tool


async def silent(line: Line) -> None:
    await line.hang()


async def agrees(line: Line) -> None:
    await line.start(200, {"content-type": "text/event-stream", "transfer-encoding": "chunked"})
    await line.hang()


async def begins(line: Line) -> None:
    await line.start(200, {"content-type": "text/event-stream", "transfer-encoding": "chunked"})
    raw = sse([chunk({"role": "assistant", "content": ""})], done=False)
    line.writer.write(f"{len(raw):x}\r\n".encode() + raw + b"\r\n")
    await line.hang()


async def answers(line: Line) -> None:
    call = {"index": 0, "id": "c", "type": "function", "function": {"name": "file_search", "arguments": '{"queries": ["x"]}'}}
    if len(line.seen.body["messages"]) > 1:
        await line.stream(sse([chunk({"content": "hi"}), chunk({}, "stop")]))
    else:
        await line.stream(sse([chunk({"role": "assistant", "tool_calls": [call]}), chunk({}, "tool_calls")]))


async def send(served: Gateway, store: str) -> asyncio.StreamWriter:
    body = json.dumps({"model": "triage", "input": "x", "tools": [tool(store)], "stream": True})
    place = urlsplit(served.url)
    _, writer = await asyncio.open_connection(place.hostname, place.port)
    writer.write(
        f"POST /v1/responses HTTP/1.1\r\nhost: {place.netloc}\r\nauthorization: Bearer {KEY}\r\n"
        f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n{body}".encode()
    )
    await writer.drain()
    return writer


async def until(what: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(60):
        while not await what():
            await asyncio.sleep(0.02)


@pytest.mark.parametrize("provider", [silent, agrees, begins])
async def test_a_client_that_leaves_before_the_first_words_is_counted(
    client: openai.AsyncOpenAI, served: Gateway, http: httpx.AsyncClient, upstream: Provider,
    provider: Callable[[Line], Awaitable[None]],
) -> None:  # fmt: skip
    store = await filled(client)
    upstream.behave = provider
    writer = await send(served, store)

    async def asked() -> bool:
        return len(upstream.seen) == 1

    await until(asked)
    writer.transport.abort()
    await asyncio.wait_for(upstream.seen[0].peer_left.wait(), 30)

    async def told() -> bool:
        page = (await http.get(f"{served.url}/metrics")).text
        lines = [line for line in page.splitlines() if line.startswith("understudy_calls_total{")]
        return len(lines) == 1 and 'status="client_closed"' in lines[0] and lines[0].endswith(" 1.0")

    await until(told)
    assert [one.status for one in calls(served)] == ["client_closed"]


async def test_whenever_clients_leave_each_request_is_counted_once_and_is_on_the_ledger(
    client: openai.AsyncOpenAI, served: Gateway, http: httpx.AsyncClient, upstream: Provider
) -> None:
    store = await filled(client)
    upstream.behave = answers
    for turns in range(40):
        writer = await send(served, store)
        for _ in range(turns * 3):  # the loop goes round so often, and everything stands elsewhere each time
            await asyncio.sleep(0)
        writer.transport.abort()
    found: list[str] = []

    async def settled() -> bool:
        found.extend(one.request_id for one in calls(served))
        page = (await http.get(f"{served.url}/metrics")).text
        asked = sum(len(one.body["messages"]) == 1 for one in upstream.seen)
        return sum(counted(page, "understudy_calls_total{")) == len(set(found)) >= asked

    await until(settled)
    assert found
