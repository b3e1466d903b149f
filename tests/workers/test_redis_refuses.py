"""A Redis that refuses us is told apart from one that is away: what to mend is another thing."""

from __future__ import annotations

from typing import Any

import pytest
from redis.asyncio import Redis

from gateway.sharing.link import Link


async def test_a_wrong_password_is_told_and_not_shown(redis_server: Any, caplog: pytest.LogCaptureFixture) -> None:
    async with Redis.from_url(redis_server.url) as redis:
        await redis.config_set("requirepass", "right")
    link = Link(redis_server.url.replace("redis://", "redis://:wrong-one@"), patience_s=30)
    await link.start()
    assert link.away
    await link.close()
    assert "it refuses the user or password that UNDERSTUDY_REDIS_URL says" in caplog.text
    assert "wrong-one" not in caplog.text
