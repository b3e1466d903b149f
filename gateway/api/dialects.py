"""Every API that stands in front of the one pipeline."""

from __future__ import annotations

from typing import Any

from gateway.api.chat import chat_routes
from gateway.api.completions import completion_routes
from gateway.api.http import Authenticator
from gateway.api.messages import message_routes
from gateway.api.responses import response_routes
from gateway.client_state import ClientStates
from gateway.live import Live
from gateway.pipeline import Handler


def dialect_routes(pipeline: Handler, live: Live, states: ClientStates, who: Authenticator) -> list[Any]:
    return [
        *chat_routes(pipeline, live),
        *completion_routes(pipeline, live),
        *message_routes(pipeline, live, who),
        *response_routes(pipeline, live, states, who),
    ]
