"""A call in the Responses API: its answer and events, and what of it is kept."""

from __future__ import annotations

from typing import Any

from gateway import errors
from gateway.api.ingress import Rendering, encode
from gateway.client_data.client_state import ClientStates, ResponseState
from gateway.client_data.conversations import Conversations
from gateway.context import Exchange, Principal
from gateway.live import Live
from gateway.protocol.chat import Usage
from gateway.protocol.offered import NO_ORIGINS, Origins
from gateway.protocol.responses.answer import ResponseWriter, frames
from gateway.protocol.responses.asked import Asked
from gateway.protocol.responses.request import ResponsesRequest


class ResponsesRendering(Rendering):
    def __init__(
        self,
        body: dict[str, Any],
        request: ResponsesRequest,
        principal: Principal | None,
        live: Live,
        states: ClientStates,
        origins: Origins = NO_ORIGINS,
    ) -> None:
        """``origins``: what calls are told as that chat knows by another name."""
        super().__init__(body)
        self.principal, self._origins = principal, origins
        self._asked, self._live, self._states = request, live, states
        self._writer: ResponseWriter | None = None

    def written(self, exchange: Exchange) -> ResponseWriter:
        if self._writer is None:
            asked = Asked(exchange.call_id, exchange.received_at, exchange.request.model, self._asked, self._origins)
            self._writer = self.new_writer(asked)
        return self._writer

    def new_writer(self, asked: Asked) -> ResponseWriter:
        return ResponseWriter(asked)

    def kept(self, exchange: Exchange, response: dict[str, Any]) -> dict[str, Any]:
        """The response as it is stored."""
        return response

    async def whole(self, exchange: Exchange, data: dict[str, Any]) -> bytes:
        response = self.written(exchange).whole(data, exchange.usage or Usage())
        await self.keep(exchange, response)
        return encode(response)

    def chunk(self, exchange: Exchange, data: dict[str, Any]) -> bytes:
        return frames(self.written(exchange).chunk(data))

    async def finish(self, exchange: Exchange) -> bytes:
        writer = self.written(exchange)
        events = writer.finish(exchange.usage or Usage())
        await self.keep(exchange, writer.response)
        return frames(events)

    def failed(self, exchange: Exchange, error: errors.GatewayError) -> bytes:
        return frames(self.written(exchange).failed(error))

    async def keep(self, exchange: Exchange, response: dict[str, Any]) -> None:
        """The response can be read and continued before its last byte has left."""
        principal, asked = exchange.principal, self._asked
        if principal is None or not (asked.kept or asked.conversation_id):
            return
        response = self.kept(exchange, response)
        if asked.kept:
            self.remember(exchange.call_id, principal.project, response)
        if asked.conversation_id:
            said = [*asked.items, *response["output"]]
            await Conversations(self._states).continued(
                principal.project, asked.conversation_id, said, exchange.request.end_user
            )
        if exchange.runtime.config.spool.ack == "durable":
            await self._live.recorder.durable()

    def remember(self, response_id: str, project: str, response: dict[str, Any]) -> None:
        """Keeps the response as it is now."""
        asked = self._asked
        previous = asked.previous_response_id or ""
        self._states.keep(ResponseState(response_id, project, previous, asked.items, response))
