"""Access tokens of providers: fetched when the first call needs one, and again before they end, beside the calls."""

from __future__ import annotations

import asyncio
import logging
import time
from functools import partial

from gateway.concurrency.together import Together
from gateway.providers.codec import AttemptFailed
from gateway.providers.vertex.google_account import EARLY_S, Grant, Identity
from gateway.upstreams.machine import machine_token
from gateway.upstreams.reply import took_too_long
from gateway.upstreams.upstream import Upstream

_log = logging.getLogger("understudy.grants")
_PATIENCE_S = 30.0
"""For one answer of who gives tokens: the calls that wait may leave earlier."""
_MACHINE_S = 5.0
"""For the machine's own: it answers from beside the network card, or there is nobody."""
_AGAIN_S = 20.0
_SOONEST_S = 10.0
_REST_S = 5.0
"""After a refusal nobody is asked again for so long, however many calls come."""


class Grants:
    """However many calls wait for a token, it is asked for once. What an account was given outlives the policies
    that named it."""

    def __init__(self, upstream: Upstream) -> None:
        self._upstream = upstream
        self._held: dict[Identity, Grant] = {}
        self._asking: Together[Identity, None] = Together()  # one request at a time for each account
        self._timers: dict[Identity, asyncio.TimerHandle] = {}
        self._refused: dict[Identity, tuple[float, int, bytes]] = {}

    async def fill(self, grant: Grant, provider: str, *, remaining: float) -> None:
        """Waits until ``grant`` has a token. Raises AttemptFailed."""
        now = time.monotonic()
        held = self._held.get(grant.identity, grant)
        self._held[grant.identity] = grant
        if held is not grant:
            grant.adopt(held)
        if grant.good(now):
            return
        until, status, body = self._refused.get(grant.identity, (0.0, 0, b""))
        if now < until:
            grant.take(status, body, now)
        asked = self._asking.once(grant.identity, partial(self._ask, grant, provider))
        try:
            await asyncio.wait_for(asked, min(remaining, _PATIENCE_S))
        except TimeoutError:
            raise took_too_long(provider, "to get an access token") from None

    async def _ask(self, grant: Grant, provider: str) -> None:
        status, body = await self._given(grant, provider)
        now = time.monotonic()
        try:
            lasts = grant.take(status, body, now)
        except AttemptFailed as problem:
            self._refused[grant.identity] = now + _REST_S, status, body
            _log.warning("no access token for provider '%s': %s", provider, problem.error.detail)
            raise
        self._refused.pop(grant.identity, None)
        self._later(grant.identity, provider, max(_SOONEST_S, lasts - EARLY_S))

    async def _given(self, grant: Grant, provider: str) -> tuple[int, bytes]:
        if grant.account is None:
            return await machine_token(_MACHINE_S)
        request = await asyncio.to_thread(grant.request, time.time())
        reply = await self._upstream.send(request, name=provider, remaining=_PATIENCE_S)
        try:
            return reply.status, await reply.read()
        finally:
            reply.release()

    def _later(self, identity: Identity, provider: str, delay: float) -> None:
        loop = asyncio.get_running_loop()
        self._timers[identity] = loop.call_later(delay, self._renew, identity, provider)

    def _renew(self, identity: Identity, provider: str) -> None:
        """Only what was used since it was given: the next call of an idle provider asks by itself."""
        self._timers.pop(identity, None)
        grant = self._held[identity]
        if not grant.used:
            return
        task = self._asking.begin(identity, partial(self._ask, grant, provider))
        task.add_done_callback(lambda done: self._once_more(identity, provider, done))

    def _once_more(self, identity: Identity, provider: str, done: asyncio.Task[None]) -> None:
        failed = not done.cancelled() and done.exception() is not None
        if failed and self._held[identity].good(time.monotonic()):
            self._later(identity, provider, _AGAIN_S)

    async def close(self) -> None:
        for timer in self._timers.values():
            timer.cancel()
        tasks = self._asking.tasks()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


__all__ = ["Grants"]
