"""POST /v1/messages: Anthropic's API in front of the same pipeline."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from litestar import Request, post
from litestar.types import ASGIApp
from msgspec import structs

from gateway import errors
from gateway.api.checking import refuse_steering
from gateway.api.counting import answering, estimated_tokens
from gateway.api.http import Authenticator
from gateway.api.ingress import Ingress, Rendering, encode
from gateway.context import Exchange, Principal
from gateway.live import Live
from gateway.pipeline import Handler
from gateway.protocol.body import typed
from gateway.protocol.chat import Usage
from gateway.protocol.messages.answer import OVERLOADED, MessageWriter, error_frame, error_payload
from gateway.protocol.messages.content import chat_messages
from gateway.protocol.messages.request import CountRequest, MessagesRequest, chat_body


class MessagesDialect:
    endpoint, prefix = "messages", "msg_"

    async def read(
        self, headers: Mapping[str, str], data: dict[str, Any], principal: Principal | None = None
    ) -> Rendering:
        refuse_steering(data)
        request = typed(data, MessagesRequest)
        return MessagesRendering(chat_body(data, request), request)

    def error(self, error: errors.GatewayError, request_id: str) -> tuple[int, bytes]:
        status = OVERLOADED if error.status == 503 else error.status
        return status, encode(error_payload(error, request_id))

    def headers(self, request_id: str) -> dict[str, str]:
        return {"request-id": request_id}


class MessagesRendering(Rendering):
    def __init__(self, body: dict[str, Any], request: MessagesRequest) -> None:
        super().__init__(body)
        self._asked = request
        self._writer: MessageWriter | None = None

    def _written(self, exchange: Exchange) -> MessageWriter:
        if self._writer is None:
            stops = self._asked.stop_sequences or []
            self._writer = MessageWriter(
                exchange.call_id, exchange.request.model, thinks=self._asked.thinks, stops=stops,
                begun=lambda: _begun(exchange),
            )  # fmt: skip
        return self._writer

    async def whole(self, exchange: Exchange, data: dict[str, Any]) -> bytes:
        return encode(self._written(exchange).whole(data, exchange.usage or Usage()))

    def chunk(self, exchange: Exchange, data: dict[str, Any]) -> bytes:
        return self._written(exchange).chunk(data)

    async def finish(self, exchange: Exchange) -> bytes:
        return self._written(exchange).finish(exchange.usage or Usage())

    def failed(self, exchange: Exchange, error: errors.GatewayError) -> bytes:
        return error_frame(error, exchange.request_id)


def _begun(exchange: Exchange) -> Usage:
    """What a stream used when it begins: what the provider told then, else an estimate of the input, for the clients
    that look for it nowhere else."""
    if exchange.begun is not None:
        return exchange.begun
    if exchange.usage is not None:
        return structs.replace(exchange.usage, completion=0)
    return Usage(prompt=estimated_tokens(exchange.body["messages"], exchange.body.get("tools")))


def count_tokens(data: dict[str, Any]) -> dict[str, Any]:
    """An estimate from the length of the text, and said to be one: only the provider can count its own tokens."""
    request = typed(data, CountRequest)
    turns = chat_messages(request.system, request.messages)
    return {"input_tokens": estimated_tokens(turns, request.tools), "estimated": True}


def message_routes(pipeline: Handler, live: Live, who: Authenticator) -> list[Any]:
    dialect = MessagesDialect()
    endpoint, counting = Ingress(pipeline, live, dialect), answering(live, who, dialect, count_tokens)

    @post("/v1/messages", status_code=200)
    async def create_message(request: Request[Any, Any, Any]) -> ASGIApp:
        return endpoint

    @post("/v1/messages/count_tokens", status_code=200)
    async def count_message_tokens(request: Request[Any, Any, Any]) -> ASGIApp:
        return counting

    return [create_message, count_message_tokens]
