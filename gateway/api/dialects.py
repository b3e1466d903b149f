"""Every API that stands in front of the one pipeline."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gateway.api.anthropic.messages import MessagesDialect, message_routes
from gateway.api.chat import ChatDialect, chat_routes
from gateway.api.completions import CompletionsDialect, completion_routes
from gateway.api.gemini.routes import gemini_routes
from gateway.api.http import Authenticator
from gateway.api.ingress import Ingress
from gateway.api.responses.background import Backgrounds
from gateway.api.responses.conversations import conversation_routes
from gateway.api.responses.routes import ResponsesDialect, response_routes
from gateway.client_data.batches import Once
from gateway.client_data.client_state import ClientStates
from gateway.client_data.conversations import Conversations
from gateway.live import Live
from gateway.pipeline import Handler
from gateway.sharing.bus import Bus
from gateway.surface import Surface
from gateway.webhooks import Announce


def dialect_routes(
    pipeline: Handler, live: Live, states: ClientStates, who: Authenticator, surface: Surface, bus: Bus,
    announce: Announce,
) -> list[Any]:  # fmt: skip
    return [
        *chat_routes(pipeline, live),
        *completion_routes(pipeline, live),
        *message_routes(pipeline, live, who),
        *gemini_routes(pipeline, live, who, surface),
        *response_routes(pipeline, live, states, who, Backgrounds(live, states, bus, announce)),
        *conversation_routes(live, Conversations(states), who),
    ]


def line_endpoints(
    pipeline: Handler, live: Live, states: ClientStates, who: Authenticator
) -> Mapping[str, Once]:
    """Asks one line of a batch, by the path its batch is for."""
    return {
        "/v1/chat/completions": Ingress(pipeline, live, ChatDialect()).once,
        "/v1/completions": Ingress(pipeline, live, CompletionsDialect()).once,
        "/v1/responses": Ingress(pipeline, live, ResponsesDialect(live, states, who)).once,
        "/v1/messages": Ingress(pipeline, live, MessagesDialect()).once,
    }
