"""How Redis is reached. The package is imported on first use: a gateway without Redis does not pay for it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from typing import Any

COMMAND_S = 0.05
"""Serving waits this long for an answer of Redis, and then goes on without it. ``TIMEOUT`` says otherwise."""
TIMEOUT = "UNDERSTUDY_REDIS_TIMEOUT_MS"
_LONGEST_MS = 60_000


class WrongTimeout(Exception):
    """What the environment says is no time in which Redis could answer."""


def patience_of(env: Mapping[str, str], name: str = TIMEOUT, usual: float = COMMAND_S) -> float:
    """Seconds that serving waits for Redis, which ``env`` may say in milliseconds. Raises WrongTimeout."""
    text = env.get(name, "")
    if not text:
        return usual
    if not text.isdecimal() or not 1 <= int(text) <= _LONGEST_MS:
        raise WrongTimeout(f"{name} is '{text}', and must be milliseconds from 1 to {_LONGEST_MS}, for example 50.")
    return int(text) / 1000


def connect(url: str, patience_s: float = COMMAND_S) -> tuple[Any, tuple[type[Exception], ...]]:
    """The client and what it raises."""
    from redis.asyncio import Redis
    from redis.asyncio.retry import Retry
    from redis.backoff import NoBackoff
    from redis.exceptions import RedisError

    client = Redis.from_url(
        url, socket_connect_timeout=patience_s * 4, retry=Retry(NoBackoff(), 0), max_connections=256,
        health_check_interval=0,
    )  # fmt: skip
    return client, (RedisError, TimeoutError, OSError)


def why(problem: BaseException) -> str:
    """What to tell of a failure: never Redis' words, which may repeat an address; who is refused must know it is he."""
    from redis.exceptions import AuthenticationError, NoPermissionError

    if isinstance(problem, NoPermissionError):
        return "its user may not do what is needed: see the ACL of the user that UNDERSTUDY_REDIS_URL names"
    if isinstance(problem, AuthenticationError):
        return "it refuses the user or password that UNDERSTUDY_REDIS_URL says"
    return type(problem).__name__


async def ended(tasks: Iterable[asyncio.Task[None]]) -> None:
    """Cancels them until they have ended: the client may swallow a cancellation."""
    pending = set(tasks)
    while pending:
        for task in pending:
            task.cancel()
        _, pending = await asyncio.wait(pending, timeout=0.1)
