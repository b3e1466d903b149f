"""Where sound is in a session: it is not text, and nobody judges it before it is heard. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from gateway.errors import BadRequest
from gateway.texts.media import is_bytes

_SHORTEST_SOUND = 256  # characters: what is shorter may be a word, and is judged as one
_SOUNDING = frozenset({"input_audio"})
_ASKED = ("output_modalities", "modalities")
"""What GA and beta call the kinds of answers that are wanted."""


def without_sound(value: Any) -> Any:
    """A copy of a JSON-like value without the bytes of sounds."""
    if isinstance(value, dict):
        return {name: without_sound(one) for name, one in value.items() if name != "audio" or not _is_sound(one)}
    return [without_sound(one) for one in value] if isinstance(value, list) else value


def _is_sound(value: Any) -> bool:
    return isinstance(value, str) and len(value) > _SHORTEST_SOUND and is_bytes(value)


def brings_sound(event: Mapping[str, Any]) -> bool:
    """Whether a client's event has sound in it."""
    return event.get("type") == "input_audio_buffer.append" or _sounds(event)


def _sounds(value: Any) -> bool:
    if isinstance(value, list):
        return any(_sounds(one) for one in value)
    if not isinstance(value, dict):
        return False
    if str(value.get("type")) in _SOUNDING or isinstance(value.get("audio"), str):
        return True
    return any(_sounds(one) for one in value.values())


def wants_sound(settings: Any) -> bool | None:
    """Whether a session's or a response's settings ask for spoken answers; None: they do not say."""
    said = [settings.get(name) for name in _ASKED] if isinstance(settings, dict) else []
    kinds = [kind for one in said if isinstance(one, list) for kind in one]
    return any(kind != "text" for kind in kinds) if kinds else None


def is_sound(event: Mapping[str, Any]) -> bool:
    """Whether a provider's event has sound in it."""
    kind = event.get("type")
    spoken = isinstance(kind, str) and kind.endswith("audio.delta") and bool(event.get("delta"))
    return spoken or any(_parts_with_sound(event))


def _parts_with_sound(event: Mapping[str, Any]) -> Iterator[bool]:
    response, item = event.get("response"), event.get("item")
    output = response.get("output") if isinstance(response, dict) else None
    for one in (event.get("part"), item, *(output if isinstance(output, list) else ())):
        if isinstance(one, dict):
            content = one.get("content")
            for part in (one, *(content if isinstance(content, list) else ())):
                yield isinstance(part, dict) and isinstance(part.get("audio"), str) and bool(part["audio"])


def refused() -> BadRequest:
    return BadRequest(
        "Sound cannot be judged before it is heard, and guardrails concern this session. Use text alone "
        "(output_modalities: [\"text\"], input_text), or let the gateway's operator set 'unjudged_sound: allow' in the "
        "policies.",
        code="sound_unjudged",
    )
