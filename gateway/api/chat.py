"""POST /v1/chat/completions: the dialect the pipeline itself speaks, so nothing is translated."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from litestar import Request, post
from litestar.types import ASGIApp

from gateway import errors
from gateway.api.ingress import Ingress, Rendering, encode
from gateway.api.line import Line
from gateway.caching.shortcuts import Shortcuts
from gateway.context import Exchange, Principal
from gateway.live import Live
from gateway.pipeline import Handler
from gateway.protocol.answer import Chunk, Pattern
from gateway.protocol.chat import Usage, usage_to_wire
from gateway.protocol.sse import DONE, frame


class ChatDialect:
    endpoint, prefix = "chat", "chatcmpl-"

    async def read(
        self, headers: Mapping[str, str], data: dict[str, Any], principal: Principal | None = None
    ) -> Rendering:
        return ChatRendering(data)

    def error(self, error: errors.GatewayError, request_id: str) -> tuple[int, bytes]:
        return error.status, error.body()

    def headers(self, request_id: str) -> dict[str, str]:
        return {}


class ChatRendering(Rendering):
    """Chunks pass through under the call's own id and model; only usage is told as the client asked."""

    def __init__(self, body: dict[str, Any]) -> None:
        super().__init__(body)
        self._last: dict[str, Any] = {}
        self._used: dict[str, Any] = {}
        """What was used, as the provider told it beside something else."""
        self._pattern: Pattern | None = None
        self._before = self._after = self._between = b""

    async def whole(self, exchange: Exchange, data: dict[str, Any]) -> bytes:
        return exchange.shown or encode(data)

    def chunk(self, exchange: Exchange, data: dict[str, Any]) -> bytes:
        data["id"], data["model"] = exchange.call_id, exchange.request.model
        if data.get("choices") == [] and "moderation" not in data:
            self._last = data
            return b""
        if exchange.request.wants_usage:
            self._used = data.get("usage") or self._used
            data["usage"] = None
        else:
            data.pop("usage", None)
        return frame(encode(data))

    def frames(self, exchange: Exchange, chunks: Sequence[Chunk]) -> bytes:
        """Plain chunks are written once per stream; of each only its text is filled in, as the provider wrote it."""
        parts: list[bytes] = []
        for chunk in chunks:
            if chunk.pattern is None:
                parts.append(self.chunk(exchange, chunk.own or chunk.data))
                continue
            if chunk.pattern is not self._pattern:
                self._pattern = chunk.pattern
                self._before, self._after = self._written(exchange, chunk.pattern)
                self._between = self._after + self._before
            parts += (self._before, self._between.join(chunk.literals), self._after)
        return b"".join(parts)

    def _written(self, exchange: Exchange, pattern: Pattern) -> tuple[bytes, bytes]:
        """The frame of a plain chunk, cut where its text belongs."""
        choice = {**pattern.data["choices"][0], "delta": {"content": ""}}
        frame_of = self.chunk(exchange, {**pattern.data, "choices": [choice]})
        before, _, after = frame_of.rpartition(b'"delta":{"content":""}')
        return before + b'"delta":{"content":', b"}" + after

    async def finish(self, exchange: Exchange) -> bytes:
        if not exchange.request.wants_usage:
            return DONE
        return frame(encode(self._usage_chunk(exchange))) + DONE

    def failed(self, exchange: Exchange, error: errors.GatewayError) -> bytes:
        return frame(error.body())

    def _usage_chunk(self, exchange: Exchange) -> dict[str, Any]:
        """The one chunk with totals and no choices that ``include_usage`` promises."""
        chunk = {
            "id": exchange.call_id,
            "object": "chat.completion.chunk",
            "created": int(exchange.received_at),
            "model": exchange.request.model,
            **self._last,
            "choices": [],
        }
        if not chunk.get("usage"):
            counted = usage_to_wire(exchange.usage or Usage())
            same = all(self._used.get(name) == counted[name] for name in ("prompt_tokens", "completion_tokens"))
            chunk["usage"] = {**counted, **self._used} if same else counted
        return chunk


PATH = b"/v1/chat/completions"


def chat_lane(
    pipeline: Handler, live: Live, shortcuts: Shortcuts
) -> dict[bytes, Callable[[Line], Awaitable[None]]]:
    """The endpoint by its path, for the application's fast lane."""
    return {PATH: Ingress(pipeline, live, ChatDialect(), shortcuts=shortcuts).serve}


def chat_routes(pipeline: Handler, live: Live) -> list[Any]:
    endpoint = Ingress(pipeline, live, ChatDialect())

    @post("/v1/chat/completions", status_code=200)
    async def create_chat_completion(request: Request[Any, Any, Any]) -> ASGIApp:
        return endpoint

    return [create_chat_completion]
