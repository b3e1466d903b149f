"""One attempt at one candidate: encode, send, decode. Dispatch serves with it, the learner re-asks with it."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Mapping
from typing import Any

from gateway import errors
from gateway.protocol.answer import Chunk, WholeAnswer, parted
from gateway.providers import free_text, old_functions
from gateway.providers.codec import AttemptFailed, Codec, DocumentRefused, StreamDecoder, failed
from gateway.resilience.provider_keys import ProviderKeys
from gateway.retrieval.enclosed_documents import EnclosedDocuments
from gateway.runtime import Runtime
from gateway.upstreams.documents import told_as_text
from gateway.upstreams.reply import Lease, Reply
from optimizer.routing.plan import Candidate

_LINGER_S = 1.0
_FIRST, _MUCH = 1024, 4096
"""Bytes of a stream that are passed on before those behind them are looked at, where it begins with so many that its
first words would wait for that."""


class UpstreamStream:
    """A streamed answer on its way through. Closing is idempotent and frees the upstream at once.

    A stream that is closed before its end is nobody's fault.
    """

    def __init__(self, reply: Reply, decoder: StreamDecoder) -> None:
        self._reply, self._decoder = reply, decoder
        self._tell: Callable[[bool], None] = _nothing
        self._ready: list[Chunk] = []
        self._next = 0
        self._behind: bytes | None = b""
        """What has come behind the first bytes; None once it is read."""
        self._ended = False

    async def prime(self) -> None:
        """Waits for the first chunk, so that a failure before it can still go to another candidate."""
        await self._fill()
        if self._decoder.problem is not None:
            raise self._decoder.problem  # what came with it was not passed on yet
        if not self._ready:
            raise failed("failed", errors.UpstreamFailed("The provider sent an empty stream."))

    def on_end(self, tell: Callable[[bool], None]) -> None:
        """``tell`` is called once, at the end, with whether it was a good one; at once if it is over already."""
        if self._ended:
            tell(True)
        else:
            self._tell = tell

    def __aiter__(self) -> UpstreamStream:
        return self

    async def __anext__(self) -> Chunk:
        if self._next >= len(self._ready):
            await self._fill()
            if self._next >= len(self._ready):
                raise StopAsyncIteration
        chunk = self._ready[self._next]
        if len(chunk.literals) > 1:  # who asks for one chunk looks at each by itself
            chunk, self._ready[self._next] = parted(chunk)
        else:
            self._next += 1
        return chunk

    def arrived(self) -> list[Chunk]:
        """What came together with the last chunk."""
        chunks = self._ready[self._next :]
        self._next += len(chunks)
        return chunks

    async def _fill(self) -> None:
        """Reads until there is a chunk or the end. Raises AttemptFailed."""
        self._ready, self._next = [], 0
        try:
            while not self._ready and not self._ended:
                if self._decoder.problem is not None:
                    raise self._decoder.problem
                if self._decoder.done:
                    await self._drain()
                    return
                data = await (self._reply.piece() if self._behind is None else self._first())
                if not data:
                    self._ended = True
                    self._ready = self._decoder.finish()
                    self._over(ok=True)
                    return
                self._ready = self._decoder.feed(data)
                if self._reply.lease is not None:
                    self._count(self._reply.lease)
        except AttemptFailed:
            self._ended = True
            self._reply.release()
            self._over(ok=False)
            raise

    async def _first(self) -> bytes:
        if self._behind:
            await asyncio.sleep(0)  # the first ones leave
            data, self._behind = self._behind, None
            return data
        data, self._behind = await self._reply.piece(), None
        if len(data) > _MUCH:
            cut = data.rfind(b"\n\n", 0, _FIRST) + 2  # between two events, where that can be
            cut = cut if cut > 1 else _FIRST
            data, self._behind = data[:cut], data[cut:]
        return data

    def _count(self, lease: Lease) -> None:
        for chunk in self._ready:
            if chunk.usage is not None:
                lease.used(chunk.usage.total)

    async def _drain(self) -> None:
        """After the end mark only the end of the body is left; reading it keeps the connection usable. A provider
        that does not end it has answered all the same."""
        self._ended = True
        if self._reply.rest() is None:
            with contextlib.suppress(AttemptFailed, TimeoutError):
                async with asyncio.timeout(_LINGER_S):
                    while await self._reply.piece():
                        pass
        self._reply.release()
        self._over(ok=True)

    def _over(self, *, ok: bool) -> None:
        tell, self._tell = self._tell, _nothing
        tell(ok)

    async def aclose(self) -> None:
        self._ended = True
        self._reply.release()
        self._over(ok=True)


def _nothing(ok: bool) -> None:
    """Who was told already."""


class Asker:
    """Asks candidates. Holds no state of its own: ``keys`` are shared with whatever else is asked of providers, and
    what ``documents`` say with the guardrails."""

    def __init__(self, keys: ProviderKeys, documents: EnclosedDocuments) -> None:
        self._keys, self._documents = keys, documents

    async def whole(
        self,
        runtime: Runtime,
        candidate: Candidate,
        body: Mapping[str, Any],
        *,
        remaining: float,
        heard: Callable[[Mapping[str, str]], None] | None = None,
        custom: Callable[[], bool] | None = None,
        project: str = "",
    ) -> WholeAnswer:
        """A complete answer; ``heard`` is told its headers, ``custom`` knows whether there are custom tools, and
        ``project`` is whose request it is. Raises AttemptFailed."""
        said = spoken_to(runtime, candidate, body, custom)
        codec, reply = await self._asked(
            runtime, candidate, said, stream=False, project=project, remaining=remaining
        )
        try:
            data = await reply.read()
        finally:
            reply.release()
        answer = codec.decode(reply.status, reply.headers, data, now=time.time(), asked=said)
        if said is not body:
            answer = free_text.heard(answer, body)
            answer = old_functions.heard(answer) if _as_tools(body, said) else answer
        if reply.lease is not None and answer.usage is not None:
            reply.lease.used(answer.usage.total)
        if heard is not None:
            heard(reply.headers)
        return answer

    async def stream(
        self,
        runtime: Runtime,
        candidate: Candidate,
        body: Mapping[str, Any],
        *,
        remaining: float,
        agreed: Callable[[], None] | None = None,
        ended: Callable[[bool], None] | None = None,
        custom: Callable[[], bool] | None = None,
        project: str = "",
    ) -> UpstreamStream:
        """A stream whose first chunk has arrived. Raises AttemptFailed.

        ``agreed`` is called when the provider has agreed to stream, which may be long before its first chunk;
        ``ended`` at the end of a stream that was returned. ``custom`` and ``project`` as for :meth:`whole`.
        """
        said = spoken_to(runtime, candidate, body, custom)
        codec, reply = await self._asked(
            runtime, candidate, said, stream=True, project=project, remaining=remaining
        )
        try:
            if reply.status != 200:
                raise codec.refuse(reply.status, reply.headers, await reply.read(), now=time.time())
            if agreed is not None:
                agreed()
            decoder = codec.stream(said)
            if said is not body:
                decoder = free_text.CustomCalls(decoder, body)
                decoder = old_functions.FunctionCalls(decoder) if _as_tools(body, said) else decoder
            stream = UpstreamStream(reply, decoder)
            await stream.prime()
        except BaseException:
            reply.release()
            raise
        if ended is not None:
            stream.on_end(ended)
        return stream

    async def _asked(
        self, runtime: Runtime, candidate: Candidate, said: Mapping[str, Any], *,
        stream: bool, project: str, remaining: float,
    ) -> tuple[Codec, Reply]:  # fmt: skip
        """Who answers, and what; asked again with the text of files that are not taken. Raises AttemptFailed."""
        began, provider = time.monotonic(), candidate.provider
        try:
            return await self._keys.send(
                runtime, provider, lambda codec: codec.encode(said, candidate.model, stream=stream), remaining=remaining
            )
        except DocumentRefused as refused:
            told = await told_as_text(
                self._documents, runtime, candidate, said, refused, project=project, remaining=remaining
            )
            left = remaining - (time.monotonic() - began)
            return await self._keys.send(
                runtime, provider, lambda codec: codec.encode(told, candidate.model, stream=stream), remaining=left
            )


def spoken_to(
    runtime: Runtime, candidate: Candidate, body: Mapping[str, Any], custom: Callable[[], bool] | None = None
) -> Mapping[str, Any]:
    """``body`` in words that the candidate's dialect has; without ``custom`` it is looked through for custom tools.
    Raises AttemptFailed."""
    codec = runtime.codecs.get(candidate.provider)
    if codec is not None and old_functions.needs_tools(codec, body):
        body = old_functions.as_tools(body)
    if codec is None or free_text.takes_custom(codec):
        return body
    if not (free_text.has_custom(body) if custom is None else custom()):
        return body
    drop = bool(getattr(runtime.config.providers.get(candidate.provider), "drop_params", False))
    return free_text.spoken_to(candidate.provider, body, drop=drop)


def _as_tools(body: Mapping[str, Any], said: Mapping[str, Any]) -> bool:
    """Whether the client's functions were told as tools."""
    return "functions" in body and "functions" not in said


__all__ = ["Asker", "AttemptFailed", "UpstreamStream"]
