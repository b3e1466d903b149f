"""Answers that are passed on as their provider gives them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

from gateway.protocol.answer import Chunk
from gateway.providers.codec import AttemptFailed
from gateway.upstreams.reply import Reply


class Piece(Chunk, frozen=True):
    """Bytes of an answer that is passed on as it is."""

    raw: bytes = b""


class PassedStream:
    """An answer passed on piece by piece. Closing is idempotent and frees the upstream at once."""

    def __init__(self, reply: Reply, first: bytes) -> None:
        self._reply, self._first = reply, first
        self._tell: Callable[[bool], None] | None = None
        self.content_type = reply.headers.get("content-type", "application/octet-stream")

    def on_end(self, tell: Callable[[bool], None]) -> None:
        """``tell`` is called once, at the end, with whether it was a good one."""
        self._tell = tell

    async def __aiter__(self) -> AsyncIterator[Chunk]:
        piece = self._first
        try:
            while piece:
                yield Piece(own={}, raw=piece)
                piece = await self._reply.piece()
        except AttemptFailed:
            self._over(ok=False)
            raise
        await self.aclose()

    def _over(self, *, ok: bool) -> None:
        tell, self._tell = self._tell, None
        self._reply.release()
        if tell is not None:
            tell(ok)

    async def aclose(self) -> None:
        self._over(ok=True)
