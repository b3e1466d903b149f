"""The texts of an answer's message, or of what a stream adds to it, by where they stand. Pure.

Some grow from chunk to chunk: what is said, the arguments of a call, the transcript of what is spoken. Others are
complete when they arrive: titles of sources, signed thoughts, names of functions. Names and transcripts are *fixed*:
another name is another function, and what has been spoken is not changed by another transcript.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from gateway.guardrails import Place
from gateway.protocol.lists import dicts
from gateway.stages.guarding.texts import Said, names_in
from gateway.texts.masking import map_texts, texts_of

Channel = tuple[int, str, int]
"""(choice, field, tool call)."""
AUDIO, NAME, COMPLETE, THOUGHTS = "audio", "name", "complete", "thinking_blocks"
HEARD = "heard"
"""What a user said aloud, as a provider of realtime sessions puts it into words."""
_JSON_FIELDS = frozenset({"tool_calls", "function_call"})
_TOOL_FIELDS = _JSON_FIELDS | {"custom", NAME}
_GROWING = _JSON_FIELDS | {AUDIO}


def is_json(channel: Channel, content_is_json: bool) -> bool:
    """Whether a channel's text is JSON, so that values put into it have to be escaped."""
    return channel[1] in _JSON_FIELDS or (content_is_json and channel[1] == "content")


def place_of(channel: Channel) -> Place:
    if channel[1] == HEARD:
        return "input"
    return "tool_arguments" if channel[1] in _TOOL_FIELDS else "output"


def map_delta(
    choice: int, delta: Mapping[str, Any], change: Callable[[Channel, str], str],
    complete: Callable[[str], str] | None = None, signed: Callable[[str], str] | None = None,
) -> dict[str, Any]:  # fmt: skip
    """A copy of a message or a delta with ``change`` applied to its texts and its tool calls' arguments, and
    ``complete`` to those that arrive as a whole. Signed thoughts are left out where ``signed`` would change them."""
    changed: dict[str, Any] = {}
    for name, value in delta.items():
        if name == "tool_calls" and isinstance(value, list):
            changed[name] = [_map_call(choice, at, call, change) for at, call in enumerate(value)]
        elif name == "function_call" and isinstance(value, dict):
            changed[name] = _map_field(value, "arguments", (choice, name, 0), change)
        elif name == AUDIO and isinstance(value, dict):
            changed[name] = _map_field(value, "transcript", (choice, name, 0), change)
        elif name != "role" and isinstance(value, str):
            changed[name] = change((choice, name, 0), value)
        elif name == THOUGHTS and signed is not None and value:
            changed[name] = _unchanged(value, signed)
        elif complete is not None and value and isinstance(value, dict | list) and name != THOUGHTS:
            changed[name] = map_texts(value, complete)
        else:
            changed[name] = value
    return changed


def _map_call(choice: int, at: int, call: Any, change: Callable[[Channel, str], str]) -> Any:
    if not isinstance(call, dict):
        return call
    index = call["index"] if isinstance(call.get("index"), int) else at
    call = dict(call)
    if isinstance(call.get("function"), dict):
        call["function"] = _map_field(call["function"], "arguments", (choice, "tool_calls", index), change)
    if isinstance(call.get("custom"), dict):
        call["custom"] = _map_field(call["custom"], "input", (choice, "custom", index), change)
    return call


def _map_field(
    value: dict[str, Any], name: str, channel: Channel, change: Callable[[Channel, str], str]
) -> dict[str, Any]:
    text = value.get(name)
    return {**value, name: change(channel, text)} if isinstance(text, str) else value


def _unchanged(blocks: Any, change: Callable[[str], str]) -> list[dict[str, Any]]:
    """The blocks in which nothing is to be changed: no signature fits another text."""
    return [block for block in dicts(blocks) if all(change(text) == text for text in texts_of(block))]


def has_more(delta: Mapping[str, Any]) -> bool:
    """Whether a delta has anything but texts that grow: most have not."""
    for value in delta.values():  # noqa: SIM110 - a generator costs as much as the looks
        if isinstance(value, dict | list):
            return True
    return False


def complete_in(delta: Mapping[str, Any]) -> Iterator[str]:
    """The texts of a message or a delta that arrive as a whole, but for names."""
    for name, value in delta.items():
        if name not in _GROWING and value and isinstance(value, dict | list):
            yield from texts_of({name: value})


def fixed_in(message: Mapping[str, Any]) -> Iterator[Said]:
    """The texts of an answer's message that can only be left or stopped."""
    yield from names_in(message)
    audio = message.get(AUDIO)
    if isinstance(audio, dict) and isinstance(audio.get("transcript"), str):
        yield "output", audio["transcript"]


def delta_parts(data: Mapping[str, Any]) -> list[tuple[int, dict[str, Any]]]:
    """(index of the choice, choice) of what a chunk adds."""
    choices = data.get("choices")
    return [
        (part["index"] if isinstance(part.get("index"), int) else 0, part)
        for part in (choices if isinstance(choices, list) else [])
        if isinstance(part, dict) and isinstance(part.get("delta"), dict)
    ]
