"""The exact cache of embeddings: one JSON body, the same for the same texts."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec

from gateway.caching.entries import KEY_HEADER, oldest
from gateway.caching.flights import Exact
from gateway.config import Task
from gateway.context import Answer, Exchange, WholeAnswer
from gateway.pipeline import Handler
from gateway.stages.cache import age, entry_of, note, wishes_of
from gateway.stages.cache_key import key_of

_encode = msgspec.json.encode
_decode = msgspec.json.Decoder(dict[str, Any]).decode
_ENDPOINTS = frozenset({"embeddings"})


class PlainCache:
    """The stage, over the memory that chat uses."""

    def __init__(self, exact: Exact) -> None:
        self._exact = exact

    async def __call__(self, exchange: Exchange, inner: Handler) -> Answer:
        runtime, model = exchange.runtime, exchange.request.model
        task = runtime.tasks.get(runtime.aliases.get(model, model))
        if exchange.endpoint not in _ENDPOINTS or not _allowed(exchange, task):
            return await inner(exchange)
        wishes = wishes_of(exchange)
        if "no-store" in wishes:
            return await inner(exchange)
        key, accepted = key_of(exchange, exchange.body, task, exchange.endpoint, exchange.form), oldest(wishes)
        exchange.response_headers[KEY_HEADER] = key
        if accepted > 0:
            entry = await self._exact.find(
                key, exchange.deadline, lambda kept: age(exchange, kept) <= min(accepted, kept.fresh_s)
            )
            if entry is not None:
                note(exchange, entry, task, "hit")
                return WholeAnswer(data=_decode(entry.answer), text="", finish_reason=None, usage=exchange.usage)
        return await self._ask(exchange, key, task, inner)

    async def _ask(self, exchange: Exchange, key: str, task: Task | None, inner: Handler) -> Answer:
        flight, handed_over, kept = self._exact.take_off(key), False, None
        exchange.cache = "miss"
        try:
            answer = await inner(exchange)
            if isinstance(answer, WholeAnswer):
                rules = exchange.runtime.config.cache
                entry = entry_of(exchange, task, _encode(answer.data), answer.usage)
                if not self._exact.purged(key, entry):
                    self._exact.put(key, entry, life=rules.ttl_s, max_bytes=rules.max_bytes)
                    kept = entry
        except asyncio.CancelledError:
            handed_over = True
            raise
        finally:
            flight.land(handed_over=handed_over, entry=kept)
        return answer


def _allowed(exchange: Exchange, task: Task | None) -> bool:
    """There is no temperature here: one that is on is on."""
    if task is not None and task.cache is not None:
        return task.cache
    return exchange.runtime.config.cache.enabled
