"""Keys that are made while a gateway runs."""

from __future__ import annotations

import asyncio
from contextlib import closing

from gateway_server import Gateway

from gateway.access.keys import new_key
from gateway.storage.commands import CreateKey
from gateway.storage.values import Key
from gateway.storage.writing.writers import open_writer


async def key_with(served: Gateway, scope: str) -> str:
    """The text of a new key of the project ``default`` that has one scope and has its name."""
    made = new_key("inference")
    key = Key(
        id=f"key_{scope}", name=scope, project="default", digest=made.digest, hint=made.hint, scopes=(scope,), models=(),
        requests_per_minute=None, created_at=1.0, expires_at=None, revoked_at=None,
    )  # fmt: skip
    with closing(open_writer(served.home)) as writer:
        await asyncio.to_thread(writer.execute, CreateKey(key, "tests"))
    return made.text
