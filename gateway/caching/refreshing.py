"""Stale answers are asked for again in the background: one question at a time for each, and not over and over."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import Callable

from msgspec.structs import replace

from gateway.caching.flights import Exact
from gateway.context import Exchange
from gateway.errors import GatewayError
from gateway.pipeline import Handler
from gateway.protocol.answer import WholeAnswer

_log = logging.getLogger("understudy.caching")
_AT_ONCE = 32
"""Questions in the background; beyond that stale answers stay stale a little longer."""
_AGAIN_S = 5.0
"""An answer that could not be refreshed is not asked for again before."""
_REMEMBERED = 10_000


class Refresher:
    """``name`` makes call ids. The question goes through the whole ``pipeline``, which is set once it exists: it is a
    call of the same key, limited, guarded, paid and recorded like any other, and it asks past the cache."""

    def __init__(self, name: Callable[[], str], now: Callable[[], float] = time.monotonic) -> None:
        self._name, self._now = name, now
        self._asking: set[asyncio.Task[None]] = set()
        self._not_before: OrderedDict[str, float] = OrderedDict()
        self.pipeline: Handler | None = None

    async def refresh(self, key: str, exchange: Exchange, exact: Exact) -> None:
        """Asks again what ``exchange`` asks, unless somebody does already."""
        if self.pipeline is None or len(self._asking) >= _AT_ONCE:
            return
        now = self._now()
        if self._not_before.get(key, now) > now or not await exact.claim(key):
            return
        self._not_before[key] = now + _AGAIN_S
        if len(self._not_before) > _REMEMBERED:
            self._not_before.popitem(last=False)
        task = asyncio.create_task(self._ask(self.pipeline, self._again(exchange)))
        self._asking.add(task)
        task.add_done_callback(self._asking.discard)

    def _again(self, exchange: Exchange) -> Exchange:
        """The same question, whole and past the cache. A stale answer's call must not wait for it."""
        body = {name: value for name, value in exchange.body.items() if name not in ("stream", "stream_options")}
        started = self._now()
        return Exchange(
            call_id=self._name(), request_id=exchange.request_id, received_at=exchange.received_at, started=started,
            deadline=started + exchange.runtime.config.timeouts.total,
            headers={**exchange.headers, "cache-control": "no-cache"}, body=body,
            request=replace(exchange.request, stream=None, stream_options=None), runtime=exchange.runtime,
            endpoint=exchange.endpoint, principal=exchange.principal,
        )  # fmt: skip

    async def _ask(self, pipeline: Handler, exchange: Exchange) -> None:
        try:
            answer = await pipeline(exchange)
        except GatewayError as problem:
            _log.info("a stale answer could not be asked for again: %s", problem.code)
        except Exception:
            _log.exception("a stale answer could not be asked for again")
        else:
            if not isinstance(answer, WholeAnswer):
                await answer.aclose()

    async def settled(self) -> None:
        """Waits until nothing is being asked."""
        await asyncio.gather(*self._asking, return_exceptions=True)

    async def stop(self) -> None:
        for task in self._asking:
            task.cancel()
        await self.settled()
