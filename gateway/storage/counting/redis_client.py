"""How Redis is reached. The package is imported on first use: a gateway without Redis does not pay for it."""

from __future__ import annotations

from typing import Any

COMMAND_S = 0.05
"""Serving waits this long for an answer of Redis, and then goes on without it."""


def connect(url: str) -> tuple[Any, tuple[type[Exception], ...]]:
    """The client and what it raises."""
    from redis.asyncio import Redis
    from redis.asyncio.retry import Retry
    from redis.backoff import NoBackoff
    from redis.exceptions import RedisError

    client = Redis.from_url(
        url, socket_connect_timeout=COMMAND_S * 4, retry=Retry(NoBackoff(), 0), max_connections=256,
        health_check_interval=0,
    )  # fmt: skip
    return client, (RedisError, TimeoutError, OSError)
