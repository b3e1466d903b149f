"""How realtime sessions end, and on which of a provider's keys they run."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from gateway_server import Gateway, gateway, write_policies
from test_realtime import Upstream, at, call_of, served, upstream
from websockets.asyncio.server import ServerConnection
from websockets.exceptions import ConnectionClosed, InvalidStatus

__all__ = ["served", "upstream"]
ONE, TWO, THREE = "sk-number-one-1111", "sk-number-two-2222", "sk-number-three-3333"


async def test_a_provider_that_is_cut_off_is_an_error_and_never_a_silent_stop(served: Gateway, upstream: Upstream) -> None:
    async def vanish(connection: ServerConnection) -> None:
        await connection.send('{"type": "session.created"}')
        connection.transport.abort()

    upstream.behave = vanish
    async with at(served) as connection:
        assert json.loads(await connection.recv())["type"] == "session.created"
        told = json.loads(await connection.recv())
        with pytest.raises(ConnectionClosed):
            await connection.recv()
    assert (told["type"], told["error"]["code"], connection.close_code) == ("error", "upstream_error", 1011)
    call = await call_of(served)
    assert (call.status, call.error_code) == ("upstream_cut", "upstream_error")


@pytest.mark.parametrize("code", [1000, 1008, 1011, 3000, 4001])
async def test_the_providers_code_and_reason_reach_the_client(served: Gateway, upstream: Upstream, code: int) -> None:
    async def leave(connection: ServerConnection) -> None:
        await connection.close(code, "because of this")

    upstream.behave = leave
    async with at(served) as connection:
        with pytest.raises(ConnectionClosed):
            await connection.recv()
    assert (connection.close_code, connection.close_reason) == (code, "because of this")
    assert (await call_of(served)).status == "ok"


async def test_the_clients_code_and_reason_reach_the_provider(served: Gateway, upstream: Upstream) -> None:
    left: list[Any] = []

    async def listen(connection: ServerConnection) -> None:
        await connection.wait_closed()
        left.append((connection.close_code, connection.close_reason))

    upstream.behave = listen
    connection = await at(served)
    await connection.close(4002, "ü" * 60)
    await asyncio.wait_for(upstream.ended.wait(), 60)
    assert left == [(4002, "ü" * 60)]


@asynccontextmanager
async def keyed(tmp: Path, upstream: Upstream, keys: str) -> AsyncIterator[Gateway]:
    folder = write_policies(tmp / "policies", {"first": f"http://127.0.0.1:{upstream.port}/v1"})  # type: ignore[attr-defined]
    main = folder / "gateway.yaml"
    main.write_text(main.read_text().replace("api_key: sk-upstream-secret", f"api_keys: [{keys}]", 1))
    async with gateway(tmp, folder) as made:
        yield made


def key_of(connection: ServerConnection) -> str:
    assert connection.request is not None
    return connection.request.headers["authorization"].removeprefix("Bearer ")


async def test_sessions_are_spread_over_the_keys_and_give_them_back(tmp_path: Path, upstream: Upstream) -> None:
    async with keyed(tmp_path, upstream, f"{ONE}, {TWO}, {THREE}") as served:
        open_ones = []
        for _ in range(6):
            open_ones.append(await at(served))
            await open_ones[-1].recv()
        assert sorted(map(key_of, upstream.opened)) == sorted([ONE, TWO, THREE] * 2)
        for one in open_ones[:2]:
            await one.close()
        async with asyncio.timeout(30):
            while sum(one.close_code is None for one in upstream.opened) > 4:
                await asyncio.sleep(0.01)
        first_two = sorted(map(key_of, upstream.opened[:2]))
        for _ in range(2):
            open_ones.append(await at(served))
            await open_ones[-1].recv()
        assert sorted(map(key_of, upstream.opened[6:])) == first_two, "the keys that were given back"
        for one in open_ones[2:]:
            await one.close()


async def test_a_session_goes_on_with_the_next_key(tmp_path: Path, upstream: Upstream) -> None:
    asked: list[str] = []

    def gate(headers: Any) -> int:
        asked.append(headers["authorization"].removeprefix("Bearer "))
        return {ONE: 401, TWO: 429}.get(asked[-1], 0)

    upstream.refuse = gate
    async with keyed(tmp_path, upstream, f"{ONE}, {TWO}, {THREE}") as served:
        for _ in range(3):
            async with at(served) as connection:
                await connection.recv()
    assert [key_of(one) for one in upstream.opened] == [THREE] * 3
    assert asked[:3] == [ONE, TWO, THREE] and asked.count(ONE) == asked.count(TWO) == 1, "both rest"


async def test_with_every_key_refused_it_is_the_operators_trouble(tmp_path: Path, upstream: Upstream) -> None:
    upstream.refuse_with = 401
    async with keyed(tmp_path, upstream, f"{ONE}, {TWO}") as served:
        with pytest.raises(InvalidStatus) as refused:
            await at(served)
    assert refused.value.response.status_code == 502
    assert json.loads(refused.value.response.body)["error"]["code"] == "provider_credentials"
