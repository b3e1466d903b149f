"""Events of realtime sessions: names that several rooms know them by, and those that are made here."""

from __future__ import annotations

import secrets
from typing import Any

import msgspec

from gateway.errors import GatewayError

CONFIGURED = ("session", "response")
"""The fields of a client's event that say how a session, or one response of it, is to be answered."""
DONE = "response.done"
TRANSCRIPTION = "conversation.item.input_audio_transcription."
"""How the events about the words begin that the user's speech was put into."""
TRANSCRIBED = TRANSCRIPTION + "completed"
_OURS = "event_understudy_"
"""How the identifiers of our own requests to a provider begin."""


def error_event(error: GatewayError, of: Any = None) -> str:
    """An error as realtime clients know it; ``of``: the ``event_id`` of the client's event that is to blame."""
    told = error.payload()["error"]
    if isinstance(of, str):
        told["event_id"] = of
    return encoded({"type": "error", "event_id": "event_" + secrets.token_hex(10), "error": told})


def own_request(kind: str, **fields: Any) -> str:
    """A client's event that is ours and not our client's."""
    return encoded({"type": kind, "event_id": _OURS + secrets.token_hex(10), **fields})


def answers_own(event: dict[str, Any]) -> bool:
    """Whether a provider's event is an error about a request of ours."""
    error = event.get("error")
    named = error.get("event_id") if isinstance(error, dict) else None
    return isinstance(named, str) and named.startswith(_OURS)


def encoded(event: dict[str, Any]) -> str:
    return msgspec.json.encode(event).decode()
