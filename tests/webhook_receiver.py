"""Somebody who takes webhooks, and remembers what came."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from aiohttp import web

Got = list[tuple[bytes, dict[str, str]]]
"""(body, headers) of each, as they came."""


@asynccontextmanager
async def receiver(status: Callable[[Got], int] = lambda got: 204) -> AsyncIterator[tuple[str, Got]]:
    """(address, what came). ``status`` answers the last of what came."""
    got: Got = []

    async def take(request: web.Request) -> web.Response:
        got.append((await request.read(), dict(request.headers)))
        return web.Response(status=status(got))

    app = web.Application()
    app.router.add_post("/hook", take)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = site._server.sockets[0].getsockname()[1]  # type: ignore[union-attr]
    try:
        yield f"http://127.0.0.1:{port}/hook", got
    finally:
        await runner.cleanup()
