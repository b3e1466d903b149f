"""A realtime session whose key or budget ends in the middle, and keys that were made a moment ago."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from gateway_server import Gateway, gateway, write_policies
from msgspec import structs
from test_realtime import USAGE, Upstream, at, call_of, house, upstream
from websockets.asyncio.client import ClientConnection
from websockets.asyncio.server import ServerConnection
from websockets.exceptions import ConnectionClosed

from gateway.access.keys import new_key
from gateway.storage.commands import CreateKey, RevokeKey, RotateKey
from gateway.storage.protocols import Writer
from gateway.storage.values import Key
from gateway.storage.writing.writers import open_writer

__all__ = ["upstream"]
PRICED = {"first/m": (20 - 5) * 2.5e-6 + 5 * 1.25e-6 + 10 * 10e-6}


def key_fields() -> Key:
    return Key(
        id="key_one", name="one", project="default", digest="", hint="", scopes=("inference",), models=(),
        requests_per_minute=None, created_at=time.time(), expires_at=None, revoked_at=None,
    )  # fmt: skip


@asynccontextmanager
async def keyed(tmp: Path, upstream: Upstream, **more: Any) -> AsyncIterator[tuple[Gateway, str, Writer]]:
    """A gateway, and a key that was made while it ran."""
    async with house(tmp, upstream) as served:
        writer = open_writer(served.home)
        made = new_key("inference")
        key = structs.replace(key_fields(), digest=made.digest, hint=made.hint, **more)
        try:
            await asyncio.to_thread(writer.execute, CreateKey(key, "tests"))
            yield served, made.text, writer
        finally:
            writer.close()


async def revoke(writer: Writer) -> None:
    await asyncio.to_thread(writer.execute, RevokeKey("key_one", "tests", time.time()))


async def ends(connection: ClientConnection) -> dict[str, Any]:
    """The error that it ends with."""
    told: list[Any] = []
    with pytest.raises(ConnectionClosed):
        async with asyncio.timeout(30):
            while True:
                told.append(json.loads(await connection.recv()))
    error: dict[str, Any] = told[-1]
    assert error["type"] == "error" and error["event_id"].startswith("event_")
    assert connection.close_code == 1008 and connection.close_reason == error["error"]["code"]
    return dict(error["error"])


async def answered(connection: ClientConnection) -> None:
    await connection.send('{"type": "response.create"}')
    while json.loads(await asyncio.wait_for(connection.recv(), 30))["type"] != "response.done":
        pass


async def test_a_key_that_was_made_just_now_opens_at_once(tmp_path: Path, upstream: Upstream) -> None:
    async with keyed(tmp_path, upstream) as (served, key, _), at(served, key=key) as connection:
        assert json.loads(await connection.recv())["type"] == "session.created"


async def test_so_it_does_wherever_a_key_is_looked_up_once(tmp_path: Path, upstream: Upstream) -> None:
    async with keyed(tmp_path, upstream) as (served, _, writer), httpx.AsyncClient(base_url=served.base_url) as http:
        for number, path in enumerate(("/models", "/models/first%2Fm", "/chat/completions", "/conversations/none")):
            made = new_key("inference")
            fields: dict[str, Any] = {"id": f"k{number}", "name": f"k{number}", "digest": made.digest, "hint": made.hint}
            command = CreateKey(structs.replace(key_fields(), **fields), "tests")
            await asyncio.to_thread(writer.execute, command)
            told = await http.get(path, headers={"authorization": f"Bearer {made.text}"})
            assert told.status_code != 401, told.text
            unknown = await http.get(path, headers={"authorization": f"Bearer {new_key('inference').text}"})
            assert unknown.status_code == 401
        made = new_key("inference")
        google = structs.replace(key_fields(), id="g", name="g", digest=made.digest, hint=made.hint)
        await asyncio.to_thread(writer.execute, CreateKey(google, "tests"))
        assert (await http.get(f"{served.url}/v1beta/models?key={made.text}")).status_code == 200


async def test_a_revoked_key_ends_its_sessions_and_what_they_used_is_counted(tmp_path: Path, upstream: Upstream) -> None:
    async with keyed(tmp_path, upstream) as (served, key, writer):
        connection = await at(served, key=key)
        await answered(connection)
        began = time.monotonic()
        await revoke(writer)
        error = await ends(connection)
        assert error["code"] == "invalid_api_key" and "revoked" in error["message"] and key not in error["message"]
        assert time.monotonic() - began < 25
        await asyncio.wait_for(upstream.ended.wait(), 30)
        call = await call_of(served)
    assert (call.status, call.error_code, call.prompt_tokens, call.completion_tokens) == ("error", "invalid_api_key", 20, 10)
    assert call.cost_usd == pytest.approx(PRICED["first/m"])


async def test_the_official_client_is_told(tmp_path: Path, upstream: Upstream) -> None:
    async with (
        keyed(tmp_path, upstream) as (served, key, writer),
        openai.AsyncOpenAI(base_url=served.base_url, api_key=key) as client,
        client.realtime.connect(model="first/m") as connection,
    ):
        assert (await connection.recv()).type == "session.created"
        await revoke(writer)
        event = await asyncio.wait_for(connection.recv(), 30)
        assert event.type == "error" and event.error.code == "invalid_api_key"
        with pytest.raises(ConnectionClosed):
            await asyncio.wait_for(connection.recv(), 30)


async def test_an_answer_under_way_is_cancelled_and_counted(tmp_path: Path, upstream: Upstream) -> None:
    async def slow(connection: ServerConnection) -> None:
        await connection.send('{"type": "response.created", "response": {"id": "r"}}')
        async for message in connection:
            upstream.heard.append(json.loads(message)["type"])
            done = {"id": "r", "status": "cancelled", "usage": USAGE}
            await connection.send(json.dumps({"type": "response.done", "response": done}))

    upstream.behave = slow
    async with keyed(tmp_path, upstream) as (served, key, writer):
        connection = await at(served, key=key)
        await connection.recv()
        await revoke(writer)
        await ends(connection)
        call = await call_of(served)
    assert upstream.heard == ["response.cancel"]
    assert call.completion_tokens == 10


async def test_a_provider_that_says_no_more_is_not_waited_for(tmp_path: Path, upstream: Upstream) -> None:
    async def silent(connection: ServerConnection) -> None:
        await connection.send('{"type": "response.created", "response": {"id": "r"}}')
        await connection.wait_closed()

    upstream.behave = silent
    async with keyed(tmp_path, upstream) as (served, key, writer):
        connection = await at(served, key=key)
        await connection.recv()
        await revoke(writer)
        assert (await ends(connection))["code"] == "invalid_api_key"
        assert (await call_of(served)).error_code == "invalid_api_key"


async def test_a_key_that_expires_ends_its_sessions(tmp_path: Path, upstream: Upstream) -> None:
    async with keyed(tmp_path, upstream) as (served, key, writer):
        connection = await at(served, key=key)
        newer = new_key("inference")
        rotated = RotateKey("key_one", newer.digest, newer.hint, "tests", time.time(), grace_s=0.2)
        await asyncio.to_thread(writer.execute, rotated)
        assert "replaced" in (await ends(connection))["message"]
        await (await at(served, key=newer.text)).close()


def spend(answers: float) -> Callable[[], dict[str, Any]]:
    return lambda: {"budget_usd_day": answers * PRICED["first/m"]}


async def test_a_spent_budget_ends_the_session_and_refuses_the_next(tmp_path: Path, upstream: Upstream) -> None:
    async with keyed(tmp_path, upstream, **spend(2.5)()) as (served, key, _):
        connection = await at(served, key=key)
        await answered(connection)
        await answered(connection)
        other = await at(served, key=key)  # what the first has used so far is counted already
        await other.recv()
        await answered(connection)
        for one in (connection, other):
            error = await ends(one)
            assert (error["type"], error["code"]) == ("insufficient_quota", "insufficient_quota")
        with pytest.raises(Exception, match="429"):
            await at(served, key=key)


async def test_money_is_charged_once(tmp_path: Path, upstream: Upstream) -> None:
    """While the session lasted and at its end together."""
    async with keyed(tmp_path, upstream, **spend(5.5)()) as (served, key, _):
        for _ in range(2):
            async with at(served, key=key) as connection:
                await answered(connection)
                await answered(connection)
        async with at(served, key=key) as connection:
            await answered(connection)  # the fifth; five and a half were allowed
            await asyncio.sleep(0.6)
            await connection.send('{"type": "response.create"}')
            assert json.loads(await asyncio.wait_for(connection.recv(), 30))["type"] != "error"


async def test_a_budget_does_not_pay_what_has_no_price(tmp_path: Path, upstream: Upstream) -> None:
    async def speak(connection: ServerConnection) -> None:
        usage = {**USAGE, "output_token_details": {"audio_tokens": 10}}
        await connection.send(json.dumps({"type": "response.done", "response": {"usage": usage}}))
        await connection.wait_closed()

    upstream.behave = speak
    async with keyed(tmp_path, upstream, budget_usd_day=1.0) as (served, key, _):
        assert (await ends(await at(served, key=key)))["code"] == "unknown_price"


async def test_a_minutes_tokens_end_the_session_that_goes_beyond(tmp_path: Path, upstream: Upstream) -> None:
    async with keyed(tmp_path, upstream, tokens_per_minute=75) as (served, key, _):
        connection, other = await at(served, key=key), await at(served, key=key)
        await other.recv()
        await answered(connection)
        await answered(connection)
        await asyncio.sleep(0.6)  # two responses of 30 are counted by now, while it lasts
        await answered(connection)
        error = await ends(connection)
        assert (error["type"], error["code"]) == ("tokens", "rate_limit_exceeded") and "TPM" in error["message"]
        with pytest.raises(Exception, match="429"):
            await at(served, key=key)
        await other.send("{}")  # who says nothing may stay
        assert other.close_code is None
        await other.close()


async def test_a_long_prompt_makes_its_own_response_dearer_and_not_the_session(tmp_path: Path, upstream: Upstream) -> None:
    folder = write_policies(tmp_path / "policies", {"first": f"http://127.0.0.1:{upstream.port}/v1"})  # type: ignore[attr-defined]
    main, long = folder / "gateway.yaml", "output: 2.0, long_context: {above: 50, input: 10.0, output: 20.0}"
    main.write_text(main.read_text().replace("input: 2.5, cached_input: 1.25, output: 10.0", f"input: 1.0, {long}"))
    sizes = iter((40, 40, 60))

    async def speak(connection: ServerConnection) -> None:
        await connection.send('{"type": "session.created"}')
        async for _ in connection:
            usage = {"total_tokens": 50, "input_tokens": next(sizes), "output_tokens": 10}
            await connection.send(json.dumps({"type": "response.done", "response": {"usage": usage}}))

    upstream.behave = speak
    async with gateway(tmp_path, folder) as served:
        async with at(served) as connection:
            for _ in range(3):
                await answered(connection)
        call = await call_of(served)
    assert (call.prompt_tokens, call.completion_tokens) == (140, 30)
    assert call.cost_usd == pytest.approx((2 * (40 + 2 * 10) + 60 * 10 + 10 * 20) / 1e6)
