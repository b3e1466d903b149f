"""Where texts stand in a provider's events, under the names of GA and of the beta before it. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from gateway.protocol.lists import dicts
from gateway.protocol.realtime import DONE, TRANSCRIPTION
from gateway.stages.guarding.parts import AUDIO, HEARD, NAME
from gateway.texts.masking import is_word_field

CONTENT, ARGUMENTS = "content", "tool_calls"
_WORDS = frozenset({
    "event_id", "response_id", "item_id", "previous_item_id", "conversation_id", "conversation", "status", "object",
    "phase", "voice", "reason", "usage", "metadata", "output_modalities", "modalities", "max_output_tokens", "code",
    "param", "rate_limits", "approval_request_id", "server_label", "audio_format", "output_audio_format", "logprobs",
    "status_details",
})  # fmt: skip
"""Fields that hold the protocol's own words, numbers, or what the client itself called things; log-probabilities go
where their text goes."""


@dataclass
class Slot:
    """A text of an event: ``holder[key]``. ``field``: what chat calls its like; ``grows``: it is a piece of a text."""

    holder: Any
    key: str | int
    field: str
    grows: bool = False

    @property
    def text(self) -> str:
        return str(self.holder[self.key])


def slots_of(event: dict[str, Any]) -> list[Slot]:
    """Every text of a provider's event."""
    kind = kind_of(event)
    said = HEARD if kind.startswith(TRANSCRIPTION) or _is_users(event) else AUDIO
    found: list[Slot] = []
    piece = isinstance(event.get("delta"), str)
    if piece and not kind.endswith("audio.delta"):
        found.append(Slot(event, "delta", _growing(kind, said), grows=True))
    rest = {name: value for name, value in event.items() if name != "delta" or not piece}
    found += [
        Slot(event if one.holder is rest else one.holder, one.key, one.field) for one in _walk(rest, said)
    ]
    return found


def _growing(kind: str, said: str) -> str:
    if "arguments" in kind:
        return ARGUMENTS
    return said if "transcript" in kind else CONTENT


def _walk(value: dict[str, Any], said: str) -> Iterator[Slot]:
    """``said``: whose words a transcript holds."""
    calls = isinstance(value.get("arguments"), str)
    for name, one in value.items():
        if name in _WORDS or is_word_field(name):
            continue
        if not isinstance(one, str):
            yield from _within(one, said)
        elif name != "audio" and one:
            yield Slot(value, name, _field(name, calls, said))


def _within(value: Any, said: str) -> Iterator[Slot]:
    if isinstance(value, dict):
        yield from _walk(value, said)
    elif isinstance(value, list):
        for at, one in enumerate(value):
            if not isinstance(one, str):
                yield from _within(one, said)
            elif one:
                yield Slot(value, at, CONTENT)


def _field(name: str, calls: bool, said: str) -> str:
    if name == "arguments":
        return ARGUMENTS
    if name == "name" and calls:
        return NAME
    return said if name == "transcript" else CONTENT


def kind_of(event: Mapping[str, Any]) -> str:
    return str(event.get("type") or "")


def response_of(event: Mapping[str, Any]) -> str:
    """The response that an event is of; "" for none."""
    response = event.get("response")
    named = response.get("id") if isinstance(response, dict) else event.get("response_id")
    return named if isinstance(named, str) else ""


def items_of(event: Mapping[str, Any]) -> set[str]:
    """The items of the conversation that an event names."""
    response, item = event.get("response"), event.get("item")
    output = response.get("output") if isinstance(response, dict) else None
    every = [item, *(output if isinstance(output, list) else ())]
    named = [event.get("item_id"), *(one.get("id") for one in every if isinstance(one, dict))]
    return {one for one in named if isinstance(one, str)}


def transcription_of(event: Mapping[str, Any]) -> tuple[str, ...]:
    """What an event of a transcription puts into words: an item and its part; () for other events."""
    if not kind_of(event).startswith(TRANSCRIPTION):
        return ()
    return str(event.get("item_id")), str(event.get("content_index"))


def is_echo(event: Mapping[str, Any]) -> bool:
    """Whether an event repeats what the client said and nobody's answer: settings, turns that are not the model's, and
    errors about either."""
    kind = kind_of(event)
    return kind == "error" or kind.startswith(("session.", "transcription_session.")) or _is_users(event)


def spoken_parts(event: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The parts of a user's turn that were said aloud and are in words by now."""
    item = event.get("item")
    content = item.get("content") if isinstance(item, dict) else None
    return [one for one in dicts(content) if isinstance(one.get("transcript"), str) and one["transcript"]]


def _is_users(event: Mapping[str, Any]) -> bool:
    item = event.get("item")
    if not isinstance(item, dict) or not kind_of(event).startswith("conversation.item."):
        return False
    return item.get("type") == "function_call_output" or item.get("role") in ("user", "system")


def silenced(event: Mapping[str, Any]) -> dict[str, Any]:
    """The end of a blocked response as its client is told of it: without anything that was said."""
    response = event.get("response")
    kept = {
        name: response[name]
        for name in ("object", "id", "conversation_id", "usage", "metadata")
        if isinstance(response, dict) and name in response
    }
    why = {"type": "incomplete", "reason": "content_filter"}
    return {
        "type": DONE, "event_id": event.get("event_id"),
        "response": {**kept, "status": "incomplete", "status_details": why, "output": []},
    }  # fmt: skip
