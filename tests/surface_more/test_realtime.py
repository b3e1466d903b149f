"""/v1/realtime: an unmodified client, the gateway, and a scripted provider that speaks WebSocket."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import openai
import pytest
from gateway_server import KEY, Gateway, gateway, write_policies
from websockets.asyncio.client import ClientConnection, connect
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed, InvalidStatus

from gateway.storage.records import CallRecord

Behave = Callable[[ServerConnection], Awaitable[None]]
USAGE = {
    "total_tokens": 30, "input_tokens": 20, "output_tokens": 10,
    "input_token_details": {"cached_tokens": 5, "text_tokens": 20, "audio_tokens": 0},
    "output_token_details": {"text_tokens": 10, "audio_tokens": 0},
}  # fmt: skip


class Upstream:
    def __init__(self) -> None:
        self.opened: list[ServerConnection] = []
        self.heard: list[Any] = []
        self.ended = asyncio.Event()
        self.behave: Behave = self.answer
        self.refuse_with = 0
        self.point: Callable[[ServerConnection, Any], Any] | None = None
        self.refuse: Callable[[Any], int] = lambda _: self.refuse_with

    async def answer(self, connection: ServerConnection) -> None:
        """Greets, and answers every ``response.create`` with a finished response."""
        await connection.send(json.dumps({"type": "session.created", "event_id": "e0", "session": {"type": "realtime"}}))
        async for message in connection:
            self.heard.append(message)
            if isinstance(message, str) and json.loads(message)["type"] == "response.create":
                delta = {"type": "response.output_text.delta", "event_id": "e1", "delta": "hello",
                         "response_id": "r", "item_id": "i", "output_index": 0, "content_index": 0}  # fmt: skip
                await connection.send(json.dumps(delta))
                await connection.send(json.dumps({"type": "response.done", "event_id": "e2", "response": {
                    "id": "r", "object": "realtime.response", "status": "completed", "output": [], "usage": USAGE,
                }}))  # fmt: skip

    async def handle(self, connection: ServerConnection) -> None:
        self.opened.append(connection)
        try:
            await self.behave(connection)
        except ConnectionClosed:
            pass
        finally:
            self.ended.set()


@pytest.fixture
async def upstream() -> AsyncIterator[Upstream]:
    made = Upstream()

    def gate(connection: ServerConnection, request: Any) -> Any:
        if made.point is not None:
            return made.point(connection, request)
        status = made.refuse(request.headers)
        return connection.respond(status, "no") if status else None

    async with serve(made.handle, "127.0.0.1", 0, process_request=gate) as server:
        made.port = port_of(server)  # type: ignore[attr-defined]
        yield made


def port_of(server: Server) -> int:
    return int(next(iter(server.sockets)).getsockname()[1])


@asynccontextmanager
async def house(tmp: Path, upstream: Upstream, extra: str = "") -> AsyncIterator[Gateway]:
    url = f"http://127.0.0.1:{upstream.port}/v1"  # type: ignore[attr-defined]
    async with gateway(tmp, write_policies(tmp / "policies", {"first": url}, extra)) as made:
        yield made


@pytest.fixture
async def served(tmp_path: Path, upstream: Upstream) -> AsyncIterator[Gateway]:
    async with house(tmp_path, upstream) as made:
        yield made


def at(served: Gateway, model: str = "first/m", key: str = KEY, **more: Any) -> Any:
    return connect(
        f"ws{served.url.removeprefix('http')}/v1/realtime?model={model}",
        additional_headers={"authorization": f"Bearer {key}"} if key else {}, **more,
    )  # fmt: skip


async def call_of(served: Gateway) -> CallRecord:
    """The record of the one session, which is written when it has ended."""
    for _ in range(4000):
        found = [one for one in served.records() if isinstance(one, CallRecord)]
        if found:
            return found[0]
        await asyncio.sleep(0.01)
    raise AssertionError("no call was recorded")


async def test_the_official_client_talks_through(served: Gateway, upstream: Upstream) -> None:
    client = openai.AsyncOpenAI(base_url=served.base_url, api_key=KEY)
    async with client.realtime.connect(model="first/gpt-realtime") as connection:
        assert (await connection.recv()).type == "session.created"
        await connection.response.create()
        types = [(await connection.recv()).type for _ in range(2)]
    await client.close()
    assert types == ["response.output_text.delta", "response.done"]
    request = upstream.opened[0].request
    assert request is not None
    assert request.path == "/v1/realtime?model=gpt-realtime"
    assert request.headers["authorization"] == "Bearer sk-upstream-secret", "the provider's key, not the client's"
    call = await call_of(served)
    assert (call.endpoint, call.status, call.model) == ("realtime", "ok", "gpt-realtime")
    assert (call.prompt_tokens, call.completion_tokens, call.cached_tokens) == (20, 10, 5)


@pytest.mark.parametrize("status", [301, 302, 307, 308])
async def test_a_provider_that_points_elsewhere_is_not_followed(served: Gateway, upstream: Upstream, status: int) -> None:
    """Neither our key nor our machine's place in the network is for whoever a provider names."""
    paths: list[str] = []

    def point(connection: ServerConnection, request: Any) -> Any:
        paths.append(request.path)
        response = connection.respond(status, "there")
        response.headers["location"] = f"http://127.0.0.1:{upstream.port}/elsewhere"  # type: ignore[attr-defined]
        return response

    upstream.point = point
    with pytest.raises(InvalidStatus) as refused:
        async with at(served):
            pass
    assert refused.value.response.status_code == 502
    assert set(paths) == {"/v1/realtime?model=m"}


async def test_a_browsers_key_travels_as_a_subprotocol_and_no_further(served: Gateway, upstream: Upstream) -> None:
    offered: Any = ["realtime", f"openai-insecure-api-key.{KEY}", "openai-beta.realtime-v1"]
    async with at(served, key="", subprotocols=offered) as connection:
        await connection.recv()
        assert connection.subprotocol == "realtime"
    request = upstream.opened[0].request
    assert request is not None and KEY not in str(request.headers)
    assert request.headers["openai-beta"] == "realtime=v1"


async def test_text_and_bytes_pass_both_ways(served: Gateway, upstream: Upstream) -> None:
    async def echo(connection: ServerConnection) -> None:
        async for message in connection:
            await connection.send(message)

    upstream.behave = echo
    async with at(served) as connection:
        for message in ('{"type": "x", "text": "ünï"}', b"\x00\xff" * 1000, "a" * 300_000):
            await connection.send(message)
            assert await connection.recv() == message


async def test_sound_has_no_known_price(served: Gateway, upstream: Upstream) -> None:
    async def speak(connection: ServerConnection) -> None:
        usage = {**USAGE, "output_token_details": {"audio_tokens": 10}}
        await connection.send(json.dumps({"type": "response.done", "response": {"usage": usage}}))
        await connection.wait_closed()

    upstream.behave = speak
    async with at(served, "first/gpt-4o") as connection:
        await connection.recv()
    call = await call_of(served)
    assert (call.prompt_tokens, call.cost_usd) == (20, None)


@pytest.mark.parametrize("text", ['"response.done" junk', '{"type": "response.done", "response": {"usage": 3}}', '["response.done"]'])
async def test_junk_from_the_provider_is_passed_and_counts_nothing(served: Gateway, upstream: Upstream, text: str) -> None:
    async def babble(connection: ServerConnection) -> None:
        await connection.send(text)
        await connection.wait_closed()

    upstream.behave = babble
    async with at(served) as connection:
        assert await connection.recv() == text
    assert (await call_of(served)).prompt_tokens == 0


async def test_a_client_that_leaves_ends_the_providers_session(served: Gateway, upstream: Upstream) -> None:
    connection: ClientConnection = await at(served)
    await connection.recv()
    connection.transport.abort()
    await asyncio.wait_for(upstream.ended.wait(), 60)
    await call_of(served)


async def test_a_provider_that_leaves_ends_the_clients(served: Gateway, upstream: Upstream) -> None:
    async def leave(connection: ServerConnection) -> None:
        await connection.close(1001, "going")

    upstream.behave = leave
    async with at(served) as connection:
        with pytest.raises(ConnectionClosed):
            await asyncio.wait_for(connection.recv(), 60)
    assert connection.close_code == 1001


@pytest.mark.parametrize(
    ("model", "key", "status", "code"),
    [("first/m", "not-a-key-of-anybody", 401, "invalid_api_key"), ("nobody-serves-this", KEY, 404, "model_not_found"),
     ("", KEY, 400, None)],
)  # fmt: skip
async def test_refusals_are_ordinary_answers(served: Gateway, model: str, key: str, status: int, code: str | None) -> None:
    with pytest.raises(InvalidStatus) as refused:
        await at(served, model, key)
    response = refused.value.response
    assert response.status_code == status
    error = json.loads(response.body)["error"]
    assert error["code"] == code or code is None
    assert response.headers["x-request-id"].startswith("req_")


@pytest.mark.parametrize(("said", "status", "code"), [(401, 502, "provider_credentials"), (404, 404, None), (500, 502, None)])
async def test_a_provider_that_will_not(
    served: Gateway, upstream: Upstream, said: int, status: int, code: str | None
) -> None:
    upstream.refuse_with = said
    with pytest.raises(InvalidStatus) as refused:
        await at(served)
    assert refused.value.response.status_code == status
    if code:
        assert json.loads(refused.value.response.body)["error"]["code"] == code


async def test_a_session_counts_as_one_connection_until_it_ends(served: Gateway, upstream: Upstream) -> None:
    doors = served.server.config.http_protocol_class.doors
    async with at(served) as connection:
        await connection.recv()
        assert doors.total == 1
    for _ in range(2000):
        if doors.total == 0:
            break
        await asyncio.sleep(0.01)
    assert doors.total == 0


async def test_an_offer_elsewhere_is_ignored(served: Gateway) -> None:
    with pytest.raises(InvalidStatus) as refused:
        await connect(f"ws{served.url.removeprefix('http')}/v1/models", additional_headers={"authorization": f"Bearer {KEY}"})
    assert refused.value.response.status_code == 200
