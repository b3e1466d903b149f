"""What a realtime session used, as its provider tells it: its responses, and the words that the user's speech was put
into, which is another model's work at a price of its own. Pure."""

from __future__ import annotations

from typing import Any

import msgspec

from gateway.protocol.chat import Usage
from gateway.protocol.realtime import DONE, TRANSCRIBED
from gateway.surface import used_in

_SETTINGS = ("session.created", "session.updated", "transcription_session.created", "transcription_session.updated")
_LARGEST = 4 * 1024 * 1024
_MARKS = tuple(f'"{kind}"' for kind in (DONE, TRANSCRIBED, *_SETTINGS))


def event_in(text: str) -> dict[str, Any]:
    """The event, where it may say what was used or by whom; {} for all others, which are not decoded."""
    if len(text) > _LARGEST or not any(mark in text for mark in _MARKS):
        return {}
    try:
        event = msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError):
        return {}
    return event if isinstance(event, dict) else {}


def response_usage(event: dict[str, Any]) -> Usage | None:
    """What a finished response used."""
    response = event.get("response")
    if event.get("type") != DONE or not isinstance(response, dict):
        return None
    return used_in(response.get("usage"))


def is_transcribed(event: dict[str, Any]) -> bool:
    """Whether an event says that what the user said is in words now, which costs apart."""
    return event.get("type") == TRANSCRIBED


def transcription_usage(event: dict[str, Any]) -> Usage | None:
    """In tokens or seconds; None for what is not told: a cost that nobody knows is not nothing."""
    return used_in(event.get("usage"))


def transcriber(event: dict[str, Any]) -> str | None:
    """The model that puts the user's words down; "" for none. None: the event does not say."""
    if event.get("type") not in _SETTINGS:
        return None
    session = _within(event, "session")
    named = _within(session, "audio", "input", "transcription") or _within(session, "input_audio_transcription")
    return str(named.get("model") or "")


def _within(value: dict[str, Any], *names: str) -> dict[str, Any]:
    """The object that stands there; {} when none does."""
    for name in names:
        found = value.get(name)
        value = found if isinstance(found, dict) else {}
    return value
