"""Embeddings of providers with a dialect of their own: one request may become several, side by side."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from gateway.context import Exchange
from gateway.providers.codec import AttemptFailed, Codec, Embedder, UpstreamRequest
from gateway.surface import Surface
from optimizer.routing.plan import Rung

_AT_ONCE = 8


async def embedded(
    surface: Surface, exchange: Exchange, rung: Rung, embedder: Embedder, body: Mapping[str, Any]
) -> dict[str, Any]:
    """The answer in OpenAI's shape. Raises AttemptFailed: the first failure of any, ValueError for junk."""
    model, place = rung.candidate.model, asyncio.Semaphore(_AT_ONCE)

    async def one(portion: dict[str, Any]) -> dict[str, Any]:
        def request(codec: Codec) -> UpstreamRequest:
            assert isinstance(codec, Embedder)
            return codec.embedding(portion, model)

        async with place:
            return embedder.embedded(await surface.asked(exchange, rung, request), portion, model)

    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one(portion)) for portion in embedder.portions(body, model)]
    except BaseExceptionGroup as problems:
        raise next(
            (one for one in problems.exceptions if isinstance(one, AttemptFailed | ValueError)), problems
        ) from None
    return _joined([task.result() for task in tasks])


def _joined(answers: list[dict[str, Any]]) -> dict[str, Any]:
    items = [item for answer in answers for item in answer["data"]]
    usage = {name: sum(answer["usage"][name] for answer in answers) for name in ("prompt_tokens", "total_tokens")}
    return {**answers[0], "data": [{**item, "index": at} for at, item in enumerate(items)], "usage": usage}
