"""Which pages may open a realtime session: browsers ask nobody before they open a WebSocket, so the gateway looks."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from chromium import async_api, in_chromium, launching
from gateway_server import KEY, Gateway, gateway, write_policies
from test_realtime import Upstream, at, upstream
from websockets.exceptions import InvalidStatus

from gateway.access.origins import Origins

__all__ = ["upstream"]
LISTED = "http://app.example"
OPENED = """([url, key]) => new Promise((done) => {
  const socket = new WebSocket(url, ["realtime", "openai-insecure-api-key." + key]);
  socket.onmessage = (message) => { done(JSON.parse(message.data).type); socket.close(); };
  socket.onerror = () => done("refused");
})"""


@asynccontextmanager
async def house(tmp: Path, upstream: Upstream, *listed: str) -> AsyncIterator[Gateway]:
    url = f"http://127.0.0.1:{upstream.port}/v1"  # type: ignore[attr-defined]
    settings = f"server: {{cors_origins: {json.dumps(listed)}}}"
    async with gateway(tmp, write_policies(tmp / "policies", {"first": url}, gateway=settings)) as made:
        yield made


async def opens(served: Gateway, origin: str | None) -> str:
    """What the provider says first, or why the gateway does not let the client in."""
    try:
        async with at(served, origin=origin) as connection:
            return str(json.loads(await connection.recv())["type"])
    except InvalidStatus as refused:
        assert refused.response.status_code == 403
        return str(json.loads(refused.response.body)["error"]["code"])


async def test_none_listed_no_other_origin_opens_one(tmp_path: Path, upstream: Upstream) -> None:
    async with house(tmp_path, upstream) as served:
        for origin in (LISTED, "null", "https://127.0.0.1", "file://", "http://127.0.0.1:1"):
            assert await opens(served, origin) == "origin_not_allowed"
        assert not upstream.opened, "the provider heard of none of them"
        for origin in (None, served.url):
            assert await opens(served, origin) == "session.created"


async def test_who_is_listed_opens_one(tmp_path: Path, upstream: Upstream) -> None:
    async with house(tmp_path, upstream, "http://APP.example:80") as served:
        assert await opens(served, LISTED) == "session.created"
        assert await opens(served, "https://app.example") == "origin_not_allowed"
        assert await opens(served, f"{LISTED}.evil") == "origin_not_allowed"


async def test_a_star_is_every_page(tmp_path: Path, upstream: Upstream) -> None:
    async with house(tmp_path, upstream, "*") as served:
        assert await opens(served, "null") == await opens(served, LISTED) == "session.created"


@pytest.mark.parametrize(
    ("origin", "host", "opens"),
    [
        ("https://api.example", "api.example:443", True),
        ("https://API.example:443", "api.example", True),
        ("http://api.example:80", "api.example", True),
        ("https://api.example", "api.example:80", False),
        ("https://api.example", "", False),
        ("https://", "", False),
        ("//api.example", "api.example", False),
        ("api.example", "api.example", False),
        ("chrome-extension://api.example", "api.example", False),
    ],
)
def test_the_gateways_own_name_is_no_other_origin(origin: str, host: str, opens: bool) -> None:
    assert Origins().speaks(origin, host) is opens


async def serve_page(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: 18\r\nconnection: close\r\n\r\n<title>app</title>")
    await writer.drain()
    writer.close()


@in_chromium
async def test_a_real_browser(tmp_path: Path, upstream: Upstream) -> None:
    site = await asyncio.start_server(serve_page, "127.0.0.1", 0)
    port = site.sockets[0].getsockname()[1]
    listed, other = f"http://localhost:{port}", f"http://127.0.0.1:{port}"
    async with house(tmp_path, upstream, listed) as served, async_api.async_playwright() as playwright, site:
        browser = await playwright.chromium.launch(**launching())
        page = await browser.new_page()
        told = []
        for origin in (listed, other):
            await page.goto(origin)
            url = f"ws{served.url.removeprefix('http')}/v1/realtime?model=first/m"
            told.append(await page.evaluate(OPENED, [url, KEY]))
        await browser.close()
    assert told == ["session.created", "refused"]
