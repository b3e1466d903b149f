"""Workers that cannot hear each other for a while, because all of them stand still, stay connected: whoever connects again is not asked
meanwhile, and a call that it knows was a 404 elsewhere."""

from __future__ import annotations

from pathlib import Path

from redis.asyncio import Redis
from redis_server import RedisServer

from gateway.sharing.link import Link
from gateway.sharing.redis_bus import RedisBus
from gateway.storage.home import Home
from gateway.storage.spooling.format import load_cipher

STILL_MS = 5_000
"""Longer than the beats that a connection may miss."""


async def test_a_silence_that_is_everybodys_makes_nobody_deaf(tmp_path: Path, redis_server: RedisServer) -> None:
    cipher = load_cipher(Home(tmp_path / "home").prepare())
    links = [Link(redis_server.url, patience_s=20.0) for _ in range(2)]
    first, second = (RedisBus(link, cipher) for link in links)
    hellos: list[str] = []
    first.greet(lambda: hellos.append("first"))
    second.greet(lambda: hellos.append("second"))
    second.hear("who", lambda: "second")
    other = Redis.from_url(redis_server.url, socket_timeout=60)
    try:
        for link, bus in zip(links, (first, second), strict=True):
            await link.start()
            await bus.start()
        assert await first.ask("who") == ["second"]
        hellos.clear()
        await other.client_pause(STILL_MS, all=True)
        await other.ping()  # is answered when the pause is over
        assert await first.ask("who") == ["second"] and not hellos, "nobody connected again"
    finally:
        await other.aclose()
        for bus in (first, second):
            await bus.close()
        for link in links:
            await link.close()
