"""POST /v1/chat/completions: unpacks the request, runs the pipeline, writes the answer. Nothing is decided here."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Mapping
from typing import Any

import msgspec
from litestar import Request, post
from litestar.types import ASGIApp, Receive, Scope, Send

from gateway import errors
from gateway.api.http import ClientGone, headers_of, read_body, send_error, send_whole, start_stream
from gateway.context import Exchange
from gateway.live import Live
from gateway.pipeline import Handler
from gateway.protocol.answer import ChunkStream, WholeAnswer
from gateway.protocol.body import decode_object, typed
from gateway.protocol.chat import ChatRequest, Usage, usage_to_wire
from gateway.protocol.sse import DONE, frame

_encode = msgspec.json.encode
_STEERING = (
    "api_base",
    "base_url",
    "api_key",
    "api_version",
    "custom_llm_provider",
    "extra_headers",
    "headers",
)
_ROLES = frozenset({"system", "developer", "user", "assistant", "tool", "function"})


class ChatEndpoint:
    """An ASGI app for one route; ``pipeline`` is the folded stages."""

    def __init__(self, pipeline: Handler, live: Live) -> None:
        self._pipeline, self._live = pipeline, live

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        started, request_id = time.monotonic(), "req_" + secrets.token_hex(16)
        watch: asyncio.Task[None] | None = None
        call: _Call | None = None
        try:
            server = self._live.runtime().config.server
            body = await read_body(scope, receive, limit=server.max_body_bytes, idle=server.body_timeout_s)
            exchange = self._exchange(headers_of(scope), body, request_id, started)
            call = _Call(exchange, send)
            here = asyncio.current_task()
            assert here is not None
            watch = asyncio.create_task(_cancel_on_disconnect(receive, here))
            await call.answer(await self._pipeline(exchange))
        except errors.GatewayError as error:
            await send_error(send, error, request_id, call.headers() if call else {})
        except ClientGone:
            return
        except asyncio.CancelledError:
            if watch is None or not watch.done():
                raise  # not the client: the server is shutting down
            here = asyncio.current_task()
            if here is not None:
                here.uncancel()
        finally:
            if watch is not None:
                watch.cancel()

    def _exchange(self, headers: Mapping[str, str], body: bytes, request_id: str, started: float) -> Exchange:
        runtime = self._live.runtime()
        data = decode_object(body)
        request = typed(data, ChatRequest)
        check(data, request)
        return Exchange(
            call_id="chatcmpl-" + secrets.token_hex(16),
            request_id=request_id,
            received_at=time.time(),
            started=started,
            deadline=started + min(runtime.config.timeouts.total, client_patience(headers)),
            headers=headers,
            body=data,
            request=request,
            runtime=runtime,
        )


def check(data: dict[str, Any], request: ChatRequest) -> None:
    """What the types cannot say. Raises BadRequest as OpenAI does."""
    for name in _STEERING:
        if name in data:
            raise errors.BadRequest(
                f"The parameter '{name}' would steer the gateway and is not accepted. Remove it.",
                param=name,
                code="unsupported_parameter",
            )
    if not request.messages:
        raise errors.BadRequest(
            "Invalid 'messages': empty array. Expected an array with minimum length 1, but got an empty array.",
            param="messages",
            code="empty_array",
        )
    for position, message in enumerate(request.messages):
        if message.role not in _ROLES:
            raise errors.BadRequest(
                f"Invalid value: '{message.role[:40]}'. Supported values are: 'system', 'developer', 'assistant', "
                "'user', 'tool' and 'function'.",
                param=f"messages[{position}].role",
                code="invalid_value",
            )
    if request.stream_options is not None and not request.streamed:
        raise errors.BadRequest(
            "The 'stream_options' parameter is only allowed when 'stream' is enabled.", param="stream_options"
        )
    for key, value in (request.metadata or {}).items():
        if len(key) > 64 or len(value) > 512 or len(request.metadata or {}) > 16:
            raise errors.BadRequest(
                "'metadata' takes at most 16 pairs, keys of at most 64 and values of at most 512 characters.",
                param="metadata",
                code="invalid_metadata",
            )


def client_patience(headers: Mapping[str, str]) -> float:
    """The seconds after which the SDK gives up anyway; no work is worth doing after that."""
    try:
        seconds = float(headers.get("x-stainless-read-timeout", "inf"))
    except ValueError:
        return float("inf")
    return seconds if seconds > 0 else float("inf")


async def _cancel_on_disconnect(receive: Receive, call: asyncio.Task[Any]) -> None:
    """A client that leaves frees the upstream at once, also before the first byte."""
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            call.cancel()
            return


class _Call:
    """Writes one answer."""

    def __init__(self, exchange: Exchange, send: Send) -> None:
        self._exchange, self._send = exchange, send

    def headers(self) -> dict[str, str]:
        exchange = self._exchange
        rung = exchange.answered_by
        found = {
            "x-understudy-call-id": exchange.call_id,
            "openai-version": "2020-10-01",
            "openai-processing-ms": str(round((time.monotonic() - exchange.started) * 1000)),
            **exchange.response_headers,
        }
        if exchange.task is not None:
            found["x-understudy-task"] = exchange.task.name
        if rung is not None:
            found["x-understudy-candidate"] = rung.candidate.name
            settings = exchange.runtime.config.providers.get(rung.candidate.provider)
            if getattr(settings, "simulated", False):
                found["x-understudy-simulated"] = "true"
        if exchange.cache:
            found["x-understudy-cache"] = exchange.cache
        return found

    async def answer(self, answer: WholeAnswer | ChunkStream) -> None:
        if isinstance(answer, WholeAnswer):
            await self._whole(answer)
            return
        try:
            await self._stream(answer)
        finally:
            await answer.aclose()

    async def _whole(self, answer: WholeAnswer) -> None:
        exchange = self._exchange
        data = answer.data
        data["id"], data["model"] = exchange.call_id, exchange.request.model
        if data.get("usage") is None and exchange.usage is not None:
            data["usage"] = usage_to_wire(exchange.usage)
        headers = self.headers()
        busy = time.monotonic() - exchange.started - exchange.upstream_seconds
        headers["x-understudy-overhead-ms"] = f"{max(0.0, busy) * 1000:.2f}"
        if exchange.cost_usd is not None:
            headers["x-understudy-cost-usd"] = f"{exchange.cost_usd:.9f}".rstrip("0").rstrip(".")
        await send_whole(self._send, _encode(data), exchange.request_id, headers)

    async def _stream(self, stream: ChunkStream) -> None:
        exchange, send = self._exchange, self._send
        wants_usage = exchange.request.wants_usage
        chunks = aiter(stream)
        begun = False
        last: dict[str, Any] = {}
        while True:
            try:
                chunk = await anext(chunks)
            except StopAsyncIteration:
                break
            except errors.GatewayError as error:
                if not begun:
                    raise
                # After the 200 an error frame without [DONE] is the only thing every SDK understands.
                await send({"type": "http.response.body", "body": frame(error.body()), "more_body": False})
                return
            data = chunk.data
            data["id"], data["model"] = exchange.call_id, exchange.request.model
            if data.get("choices") == []:
                last = data
                continue
            if wants_usage:
                data["usage"] = None
            else:
                data.pop("usage", None)
            if not begun:
                begun = True
                await start_stream(send, exchange.request_id, self.headers())
            await send({"type": "http.response.body", "body": frame(_encode(data)), "more_body": True})
        if not begun:
            await start_stream(send, exchange.request_id, self.headers())
        tail = frame(_encode(self._usage_chunk(last))) if wants_usage else b""
        await send({"type": "http.response.body", "body": tail + DONE, "more_body": False})

    def _usage_chunk(self, last: dict[str, Any]) -> dict[str, Any]:
        """The one chunk with totals and no choices that ``include_usage`` promises."""
        exchange = self._exchange
        chunk = {
            "id": exchange.call_id,
            "object": "chat.completion.chunk",
            "created": int(exchange.received_at),
            "model": exchange.request.model,
            **last,
            "choices": [],
        }
        if not chunk.get("usage"):
            chunk["usage"] = usage_to_wire(exchange.usage or Usage())
        return chunk


def chat_routes(pipeline: Handler, live: Live) -> list[Any]:
    endpoint = ChatEndpoint(pipeline, live)

    @post("/v1/chat/completions", status_code=200)
    async def create_chat_completion(request: Request[Any, Any, Any]) -> ASGIApp:
        return endpoint

    return [create_chat_completion]
