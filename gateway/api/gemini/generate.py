"""generateContent and streamGenerateContent, as one dialect for each model and way of answering."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gateway import errors
from gateway.api.checking import refuse_steering
from gateway.api.ingress import Rendering, encode
from gateway.context import Exchange, Principal
from gateway.protocol.chat import Usage
from gateway.protocol.gemini.answer import GenerateWriter, error_payload
from gateway.protocol.gemini.request import GenerateRequest, chat_body, read


class GenerateDialect:
    """``stream`` is how to stream: "" not at all, "sse" in events, "array" as one JSON array that grows."""

    endpoint, prefix = "generate_content", "gen_"

    def __init__(self, model: str, stream: str = "") -> None:
        self._model, self._stream = model, stream

    async def read(
        self, headers: Mapping[str, str], data: dict[str, Any], principal: Principal | None = None
    ) -> Rendering:
        refuse_steering(data)
        request = read(data)
        body = chat_body(request, self._model, stream=bool(self._stream))
        return (ArrayRendering if self._stream == "array" else GenerateRendering)(body, request)

    def error(self, error: errors.GatewayError, request_id: str) -> tuple[int, bytes]:
        return told_error(error, request_id)

    def headers(self, request_id: str) -> dict[str, str]:
        return {}


def told_error(error: errors.GatewayError, _: str) -> tuple[int, bytes]:
    return error.status, encode(error_payload(error))


class GenerateRendering(Rendering):
    ping = b"\r\n"
    """Google's own client takes a comment for data."""

    def __init__(self, body: dict[str, Any], request: GenerateRequest) -> None:
        super().__init__(body)
        self._asked = request
        self._writer: GenerateWriter | None = None

    def _written(self, exchange: Exchange) -> GenerateWriter:
        if self._writer is None:
            model = exchange.request.model
            self._writer = GenerateWriter(exchange.call_id, model, thinks=self._asked.thinks)
        return self._writer

    async def whole(self, exchange: Exchange, data: dict[str, Any]) -> bytes:
        return encode(self._written(exchange).whole(data, exchange.usage or Usage()))

    def chunk(self, exchange: Exchange, data: dict[str, Any]) -> bytes:
        event = self._written(exchange).chunk(data)
        return self._frame(event) if event is not None else b""

    async def finish(self, exchange: Exchange) -> bytes:
        return self._frame(self._written(exchange).last(exchange.usage or Usage())) + self._end()

    def failed(self, exchange: Exchange, error: errors.GatewayError) -> bytes:
        return self._frame(error_payload(error)) + self._end()

    def _frame(self, event: dict[str, Any]) -> bytes:
        return b"data: " + encode(event) + b"\r\n\r\n"

    def _end(self) -> bytes:
        return b""


class ArrayRendering(GenerateRendering):
    """The same events as the elements of one array, what Google streams without ``alt=sse``."""

    media_type = b"application/json; charset=utf-8"
    _begun = False

    def _frame(self, event: dict[str, Any]) -> bytes:
        before, self._begun = (b",\r\n" if self._begun else b"["), True
        return before + encode(event)

    def _end(self) -> bytes:
        return b"]"
