"""A realtime session at a provider: its messages as a stream, and what its responses used."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterable
from typing import TYPE_CHECKING

from gateway import errors
from gateway.api.realtime import usage as realtime_usage
from gateway.context import Exchange, Used
from gateway.protocol.answer import Chunk
from gateway.protocol.chat import Usage
from gateway.protocol.realtime import DONE
from gateway.providers.codec import failed
from gateway.resilience.provider_keys import Lease
from gateway.stages.guarding.sessions.session import SessionGuard
from optimizer.routing.plan import Candidate

if TYPE_CHECKING:
    import aiohttp

_BEGIN_MARK, _END_MARK = '"response.created"', f'"{DONE}"'
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
        self.mcp = exchange.runtime.config.mcp
        """The MCP servers that the client may have its provider call."""
        self._tell: Callable[[bool], None] | None = None
        self.lease: Lease | None = None
        self.reason, self._left, self._closing = "", False, False
        self.ended: errors.GatewayError | None = None
        """Why we ended it, if we did."""
        self.used = asyncio.Event()
        """Set whenever a response has ended, and its usage is counted."""
        self._answering = False
        self._transcriber = ""
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
                yield Said(own={}, message=message.data)
                continue
            onward = await self.guard.heard(message.data)
            await self.tell(onward.up)
            for event in onward.down:
                yield Said(own={}, message=event)
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
        """Adds what a finished response used, and whoever put the user's words down."""
        if _BEGIN_MARK in text:
            self._answering = True
        if _END_MARK in text:
            self._answering = False
            self.used.set()
        event = realtime_usage.event_in(text)
        if not event:
            return
        model = realtime_usage.transcriber(event)
        if model is not None:
            self._transcriber = model
        if realtime_usage.is_transcribed(event):
            provider = self._exchange.answered_by.candidate.provider if self._exchange.answered_by else ""
            by = Candidate(provider=provider, model=self._transcriber)
            self._add(Used(realtime_usage.transcription_usage(event), by))
        elif (usage := realtime_usage.response_usage(event)) is not None:
            self._add(Used(usage))

    def _add(self, used: Used) -> None:
        self._exchange.used.append(used)
        if used.usage is None or self._exchange.usage is None:
            return
        self._exchange.usage += used.usage
        if self.lease is not None:
            self.lease.used(used.usage.total)

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
        """``code`` and ``reason`` are told to the provider where the session was still open. Closing wakes whoever
        reads, who closes too: what was said first is what is told."""
        self._left = True
        self._over(ok=True)
        if self._closing or self.upstream.closed:
            return
        self._closing = True
        try:
            with contextlib.suppress(Exception):
                await asyncio.wait_for(self.upstream.close(code=code, message=_short(reason)), 1.0)
        finally:
            self._closing = False


def _short(reason: str) -> bytes:
    """A close frame has room for 123 bytes; no character is cut in two."""
    return reason.encode()[:123].decode(errors="ignore").encode()
