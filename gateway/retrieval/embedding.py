"""Vectors of texts, asked of the configured model as a call of the key's: limited, guarded, paid and recorded."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Sequence

import msgspec
from msgspec import Struct

from gateway import errors
from gateway.client_data.batches import Once, pause_before
from gateway.context import Principal
from gateway.live import Live

_AT_ONCE = 64


class _Row(Struct, frozen=True):
    index: int
    embedding: list[float]


class _Answer(Struct, frozen=True):
    data: list[_Row]


_decode = msgspec.json.Decoder(_Answer).decode


class Embedding:
    def __init__(self, live: Live, ask: Once) -> None:
        self._live, self._ask = live, ask

    @property
    def model(self) -> str:
        """As a client would name it; "" where words alone are compared."""
        named = self._live.runtime().config.vector_stores.model
        return f"{named.provider}/{named.model}" if named is not None else ""

    async def of(self, texts: Sequence[str], owner: Principal, model: str) -> list[list[float]]:
        """A vector for each text. Raises GatewayError."""
        body = {"model": model, "input": list(texts), "encoding_format": "float"}
        answer = await self._ask(body, owner, batch="", request_id="req_" + secrets.token_hex(16))
        try:
            rows = sorted(_decode(answer).data, key=lambda one: one.index)
        except msgspec.MsgspecError as problem:
            raise errors.UpstreamFailed("The embedding model gave no vectors.", detail=repr(problem)) from None
        if len(rows) != len(texts) or len({len(one.embedding) for one in rows}) != 1:
            raise errors.UpstreamFailed("The embedding model gave other vectors than it was asked for.")
        return [one.embedding for one in rows]

    async def patiently(
        self, texts: Sequence[str], owner: Callable[[], Awaitable[Principal]], model: str
    ) -> list[list[float]]:
        """As :meth:`of` for many texts, in portions; limits and failures that pass are waited for. ``owner`` is asked
        before each, and raises when no more is to be paid for."""
        found: list[list[float]] = []
        for start in range(0, len(texts), _AT_ONCE):
            portion, attempt = texts[start : start + _AT_ONCE], 0
            while True:
                attempt += 1
                try:
                    found += await self.of(portion, await owner(), model)
                    break
                except errors.GatewayError as error:
                    pause = pause_before(error, attempt)
                    if pause is None:
                        raise
                    await asyncio.sleep(pause)
        return found
