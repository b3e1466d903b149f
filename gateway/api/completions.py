"""POST /v1/completions, the legacy API: every prompt is one chat call of its own through the pipeline."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Mapping
from typing import Any

import msgspec
from litestar import Request, post
from litestar.types import ASGIApp
from msgspec import structs

from gateway import errors
from gateway.api.checking import refuse_steering
from gateway.api.ingress import Ingress, Rendering, encode
from gateway.context import Answer, Chunk, ChunkStream, Exchange, Principal
from gateway.live import Live
from gateway.pipeline import Handler
from gateway.protocol.answer import WholeAnswer
from gateway.protocol.body import typed
from gateway.protocol.chat import ChatRequest, Usage, total_of, usage_to_wire
from gateway.protocol.completions import CompletionRequest, chat_bodies, completion_choice, envelope
from gateway.protocol.sse import DONE, frame

_AT_ONCE = 8


class CompletionsDialect:
    endpoint, prefix = "completions", "cmpl-"

    async def read(
        self, headers: Mapping[str, str], data: dict[str, Any], principal: Principal | None = None
    ) -> Rendering:
        refuse_steering(data)
        return CompletionsRendering(chat_bodies(data, typed(data, CompletionRequest)))

    def error(self, error: errors.GatewayError, request_id: str) -> tuple[int, bytes]:
        return error.status, error.body()

    def headers(self, request_id: str) -> dict[str, str]:
        return {}


class CompletionsRendering(Rendering):
    def __init__(self, bodies: list[dict[str, Any]]) -> None:
        super().__init__(bodies[0])
        self._bodies = bodies

    async def ask(self, pipeline: Handler, exchange: Exchange) -> Answer:
        """One call, or one for each prompt: its choices follow each other, its usage and cost are added up."""
        if len(self._bodies) == 1:
            return await pipeline(exchange)
        calls = [_one_of(exchange, body, at) for at, body in enumerate(self._bodies)]
        width = exchange.request.n or 1
        if exchange.request.streamed:
            stream = _InTurn(pipeline, exchange, calls, width)
            await stream.prime()
            return stream
        return await _together(pipeline, exchange, calls, width)

    async def whole(self, exchange: Exchange, data: dict[str, Any]) -> bytes:
        choices = [completion_choice(one, one.get("index") or 0) for one in data["choices"]]
        answer = envelope(exchange.call_id, int(exchange.received_at), exchange.request.model, choices)
        return encode(answer | {"usage": usage_to_wire(exchange.usage or Usage())})

    def chunk(self, exchange: Exchange, data: dict[str, Any]) -> bytes:
        found = [completion_choice(one, one.get("index") or 0) for one in data.get("choices") or []]
        choices = [one for one in found if one["text"] or one["finish_reason"]]
        if not choices:
            return b""
        piece = envelope(exchange.call_id, int(exchange.received_at), exchange.request.model, choices)
        if exchange.request.wants_usage:
            piece["usage"] = None
        return frame(encode(piece))

    async def finish(self, exchange: Exchange) -> bytes:
        if not exchange.request.wants_usage:
            return DONE
        totals = envelope(exchange.call_id, int(exchange.received_at), exchange.request.model, [])
        return frame(encode(totals | {"usage": usage_to_wire(exchange.usage or Usage())})) + DONE

    def failed(self, exchange: Exchange, error: errors.GatewayError) -> bytes:
        return frame(error.body())


def _one_of(parent: Exchange, body: dict[str, Any], at: int) -> Exchange:
    """The call of one prompt; the first keeps the id that the client is told."""
    return structs.replace(
        parent,
        call_id=parent.call_id if at == 0 else "cmpl-" + secrets.token_hex(16),
        body=body,
        request=msgspec.convert(body, ChatRequest),
        attempts=[],
        verdicts=[],
        findings=[],
        placeholders={},
        response_headers={},
    )


def _settle(parent: Exchange, calls: list[Exchange]) -> None:
    """What the headers tell of several calls: the first one's place, and sums where a sum is known."""
    first = calls[0]
    parent.principal, parent.task, parent.answered_by = first.principal, first.task, first.answered_by
    parent.response_headers.update(first.response_headers)
    parent.usage = total_of(call.usage for call in calls) or Usage()
    costs = [call.cost_usd for call in calls if call.cost_usd is not None]
    parent.cost_usd = sum(costs) if len(costs) == len(calls) else None
    parent.upstream_seconds = max(call.upstream_seconds for call in calls)


async def _together(pipeline: Handler, parent: Exchange, calls: list[Exchange], width: int) -> WholeAnswer:
    gate = asyncio.Semaphore(_AT_ONCE)

    async def one(call: Exchange) -> Answer:
        async with gate:
            return await pipeline(call)

    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one(call)) for call in calls]
    except BaseExceptionGroup as problems:
        raise next(
            (one for one in problems.exceptions if isinstance(one, errors.GatewayError)), problems
        ) from None
    choices: list[dict[str, Any]] = []
    for at, task in enumerate(tasks):
        answer = task.result()
        assert isinstance(answer, WholeAnswer)
        choices += [
            {**choice, "index": at * width + (choice.get("index") or 0)} for choice in answer.data["choices"]
        ]
    _settle(parent, calls)
    return WholeAnswer(data={"choices": choices}, text="", finish_reason=None, usage=parent.usage)


class _InTurn:
    """The streams of several prompts, one after the other."""

    def __init__(self, pipeline: Handler, parent: Exchange, calls: list[Exchange], width: int) -> None:
        self._pipeline, self._parent, self._calls, self._width = pipeline, parent, calls, width
        self._at = 0
        self._stream: ChunkStream | None = None
        self._chunks: AsyncIterator[Chunk] | None = None

    async def prime(self) -> None:
        """Opens the first stream, so that its refusal is an error of the whole call."""
        await self._open()
        _settle(self._parent, self._calls[:1])

    def __aiter__(self) -> _InTurn:
        return self

    async def __anext__(self) -> Chunk:
        while True:
            assert self._chunks is not None
            try:
                chunk = await anext(self._chunks)
            except StopAsyncIteration:
                await self._next()
                continue
            first = self._at * self._width
            choices = [
                {**one, "index": first + (one.get("index") or 0)} for one in chunk.data.get("choices") or []
            ]
            return Chunk({**chunk.data, "choices": choices}, chunk.text, chunk.finish_reason, chunk.usage)

    async def _next(self) -> None:
        await self.aclose()
        self._at += 1
        if self._at == len(self._calls):
            _settle(self._parent, self._calls)
            raise StopAsyncIteration
        await self._open()

    async def _open(self) -> None:
        answer = await self._pipeline(self._calls[self._at])
        assert not isinstance(answer, WholeAnswer)
        self._stream, self._chunks = answer, aiter(answer)

    async def aclose(self) -> None:
        stream, self._stream = self._stream, None
        if stream is not None:
            await stream.aclose()


def completion_routes(pipeline: Handler, live: Live) -> list[Any]:
    endpoint = Ingress(pipeline, live, CompletionsDialect())

    @post("/v1/completions", status_code=200)
    async def create_completion(request: Request[Any, Any, Any]) -> ASGIApp:
        return endpoint

    return [create_completion]
