"""POST /v1/messages: Anthropic's API in front of the same pipeline."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import Any

import msgspec
from litestar import Request, Response, post
from litestar.types import ASGIApp

from gateway import errors
from gateway.api.http import Authenticator, read_body
from gateway.api.ingress import Ingress, Rendering, encode, refuse_steering
from gateway.context import Exchange, Principal
from gateway.live import Live
from gateway.pipeline import Handler
from gateway.protocol.body import decode_object, typed
from gateway.protocol.chat import Usage
from gateway.protocol.messages import CountRequest, MessagesRequest, chat_body, chat_messages
from gateway.protocol.messages_answer import MessageWriter, error_frame, error_payload

_CHARACTERS_PER_TOKEN = 4
_PER_MESSAGE = 3


class MessagesDialect:
    endpoint, prefix = "messages", "msg_"

    async def read(
        self, headers: Mapping[str, str], data: dict[str, Any], principal: Principal | None = None
    ) -> Rendering:
        refuse_steering(data)
        request = typed(data, MessagesRequest)
        return MessagesRendering(chat_body(data, request), request)

    def error(self, error: errors.GatewayError, request_id: str) -> tuple[int, bytes]:
        return error.status, encode(error_payload(error, request_id))

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
                exchange.call_id, exchange.request.model, thinks=self._asked.thinks, stops=stops
            )
        return self._writer

    async def whole(self, exchange: Exchange, data: dict[str, Any]) -> bytes:
        return encode(self._written(exchange).whole(data, exchange.usage or Usage()))

    def chunk(self, exchange: Exchange, data: dict[str, Any]) -> bytes:
        return self._written(exchange).chunk(data)

    async def finish(self, exchange: Exchange) -> bytes:
        return self._written(exchange).finish(exchange.usage or Usage())

    def failed(self, exchange: Exchange, error: errors.GatewayError) -> bytes:
        return error_frame(error, exchange.request_id)


def count_tokens(data: dict[str, Any]) -> dict[str, Any]:
    """An estimate from the length of the text, and said to be one: only the provider can count its own tokens."""
    request = typed(data, CountRequest)
    turns = chat_messages(request.system, request.messages)
    characters = sum(_characters(turn) for turn in turns)
    characters += len(msgspec.json.encode(request.tools)) if request.tools else 0
    return {
        "input_tokens": characters // _CHARACTERS_PER_TOKEN + _PER_MESSAGE * len(turns),
        "estimated": True,
    }


def _characters(turn: dict[str, Any]) -> int:
    """Characters of a turn's text and calls; an image or a file counts nothing, its bytes are not its tokens."""
    content, calls = turn.get("content"), turn.get("tool_calls")
    if isinstance(content, list):
        size = sum(len(part["text"]) for part in content if part["type"] == "text")
    else:
        size = len(content or "")
    return size + (len(msgspec.json.encode(calls)) if calls else 0)


def message_routes(pipeline: Handler, live: Live, who: Authenticator) -> list[Any]:
    dialect = MessagesDialect()
    endpoint = Ingress(pipeline, live, dialect)

    @post("/v1/messages", status_code=200)
    async def create_message(request: Request[Any, Any, Any]) -> ASGIApp:
        return endpoint

    @post("/v1/messages/count_tokens", status_code=200)
    async def count_message_tokens(request: Request[Any, Any, Any]) -> Response[bytes]:
        server, request_id = live.runtime().config.server, "req_" + secrets.token_hex(16)
        headers = {"request-id": request_id, "x-request-id": request_id}
        try:
            who({name.lower(): value for name, value in request.headers.items()})
            body = await read_body(
                request.scope, request.receive, limit=server.max_body_bytes, idle=server.body_timeout_s
            )
            found = count_tokens(decode_object(body))
        except errors.GatewayError as error:
            status, told = dialect.error(error, request_id)
            headers |= error.headers
            return Response(told, status_code=status, headers=headers, media_type="application/json")
        return Response(encode(found), headers=headers, media_type="application/json")

    return [create_message, count_message_tokens]
