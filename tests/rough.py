"""What the robustness tests share."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import httpx
from gateway_server import Gateway

Start = Callable[..., AbstractAsyncContextManager[tuple[Gateway, httpx.AsyncClient]]]
BODY = {"model": "triage", "messages": [{"role": "user", "content": "hi"}]}


async def ask(client: httpx.AsyncClient, **more: Any) -> httpx.Response:
    return await client.post("/v1/chat/completions", json={**BODY, **more})


def events(text: str) -> list[Any]:
    """The data of an SSE body; the end mark is the string itself."""
    found = [line.removeprefix("data: ") for line in text.split("\n") if line.startswith("data: ")]
    return [one if one == "[DONE]" else json.loads(one) for one in found]
