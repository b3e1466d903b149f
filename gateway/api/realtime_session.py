"""A realtime session at a provider: its messages as a stream, and what its responses used."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterable
from typing import TYPE_CHECKING

import msgspec

from gateway import errors
from gateway.context import Exchange
from gateway.protocol.answer import Chunk
from gateway.protocol.chat import Usage, usage_from_wire
from gateway.providers.codec import failed
from gateway.resilience.provider_keys import Lease
from gateway.stages.guarding.sessions.session import SessionGuard
from gateway.surface import usage_of

if TYPE_CHECKING:
    import aiohttp

_BEGIN_MARK, _USAGE_MARK = '"response.created"', '"response.done"'
_USAGE_LARGEST = 4 * 1024 * 1024
_LAST_WORD_S = 0.5
"""How long a provider may take to say what a cancelled response used."""


class Said(Chunk, frozen=True):
    """One message of the provider, as it came."""

    message: str | bytes = ""


class Session:
    """The provider's side as a stream of messages. Its usage grows with every response; closing is idempotent.
    ``reason`` is what the provider closed it with."""

    def __init__(self, exchange: Exchange, upstream: aiohttp.ClientWebSocketResponse) -> None:
        self._exchange, self.upstream = exchange, upstream
        self._tell: Callable[[bool], None] | None = None
        self.lease: Lease | None = None
        self.reason, self._left = "", False
        self.ended: errors.GatewayError | None = None
        """Why we ended it, if we did."""
        self.used = asyncio.Event()
        """Set whenever a response has ended, and its usage is counted."""
        self._answering = False
        self.guard: SessionGuard | None = None
        """None: nobody looks into it, and it is relayed as it is."""
        exchange.usage = Usage()

    def on_end(self, tell: Callable[[bool], None]) -> None:
        """``tell`` is called once, at the end, with whether it was a good one."""
        self._tell = tell

    async def __aiter__(self) -> AsyncIterator[Chunk]:
        from aiohttp import WSMsgType  # loaded by now: there is a session

        while (message := await self.upstream.receive()).type in (WSMsgType.TEXT, WSMsgType.BINARY):
            if message.type is WSMsgType.TEXT:
                self._count(message.data)
            if self.guard is None:
                yield Said(data={}, message=message.data)
                continue
            onward = await self.guard.heard(message.data)
            await self.tell(onward.up)
            for event in onward.down:
                yield Said(data={}, message=event)
        if self.ended is not None:
            raise self.ended
        if message.type is WSMsgType.CLOSE:
            self.reason = str(message.extra or "")
        elif not self._left:
            self._over(ok=False)
            raise failed("failed", errors.UpstreamFailed("The provider ended the session without a word."))
        await self.aclose()

    async def tell(self, events: Iterable[str]) -> None:
        """Sends the provider events of our own. One that has left by now need not be told."""
        for event in events:
            with contextlib.suppress(ConnectionError):
                await self.upstream.send_str(event)

    def _count(self, text: str) -> None:
        """Adds what a finished response used."""
        if _BEGIN_MARK in text:
            self._answering = True
        if _USAGE_MARK not in text or len(text) > _USAGE_LARGEST:
            return
        self._answering = False
        self.used.set()
        try:
            event = msgspec.json.decode(text)
            usage = event["response"]["usage"]
        except (msgspec.DecodeError, KeyError, TypeError, AttributeError):
            return
        more, now = usage_from_wire(usage_of(usage)), self._exchange.usage
        if event.get("type") == "response.done" and more is not None and now is not None:
            self._exchange.usage = now + more
            self._exchange.used.append(more)
            if self.lease is not None:
                self.lease.used(more.total)

    def _over(self, *, ok: bool) -> None:
        tell, self._tell = self._tell, None
        if self.lease is not None:
            self.lease.leave()
        if tell is not None:
            tell(ok)

    async def end(self, error: errors.GatewayError) -> None:
        """Ends the session; whoever reads it is told ``error``. A response under way is cancelled first, so that the
        provider says what it used."""
        if self._answering and not self.upstream.closed:
            self.used.clear()
            with contextlib.suppress(Exception):
                async with asyncio.timeout(_LAST_WORD_S):
                    await self.upstream.send_str('{"type":"response.cancel"}')
                    await self.used.wait()
        self.ended = error
        await self.aclose()

    async def aclose(self, code: int = 1000, reason: str = "") -> None:
        """``code`` and ``reason`` are told to the provider where the session was still open."""
        self._left = True
        self._over(ok=True)
        if not self.upstream.closed:
            with contextlib.suppress(Exception):
                await asyncio.wait_for(self.upstream.close(code=code, message=_short(reason)), 1.0)


def _short(reason: str) -> bytes:
    """A close frame has room for 123 bytes; no character is cut in two."""
    return reason.encode()[:123].decode(errors="ignore").encode()
