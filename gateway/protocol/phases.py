"""Whether a message of a model is a comment on its work or its answer. OpenAI's newer models say so of each message in
the Responses API (``phase``) and want to know it again: told without, they take a comment for an answer and stop early.

Chat has no place for it, and one text for all messages of an answer. So it travels among the ``server_blocks``, where
the message it is said of begins; a message after another begins with an empty line, which is nobody's words: whoever
has messages or blocks takes it out again. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from gateway.protocol import server_blocks

NAME = "phase"
"""Of the field, and the type of a block that stands for it."""
BETWEEN = "\n\n"
"""Stands between two messages in chat's one text."""
_PARTED = "parted"
"""Says in a block that this stands behind it."""


def block_of(item: Mapping[str, Any], *, parted: bool = False) -> list[dict[str, Any]]:
    """What stands for the beginning of a message that has a phase or is ``parted`` from another; [] of any other."""
    phase = item.get(NAME)
    told: dict[str, Any] = {NAME: phase} if isinstance(phase, str) and phase else {}
    told |= {_PARTED: True} if parted else {}
    return [{"type": NAME, **told}] if told else []


def begins(block: Mapping[str, Any]) -> bool:
    """Whether a message begins at a block, and nothing else is there."""
    return block.get("type") == NAME


def between(block: Mapping[str, Any]) -> str:
    """What stands behind a block in chat's text, and is not of the message's own."""
    return BETWEEN if begins(block) and block.get(_PARTED) is True else ""


def phase_of(block: Mapping[str, Any]) -> dict[str, Any]:
    """The field that a block stands for; {} for a block of anything else."""
    return {NAME: block[NAME]} if block.get("type") == NAME and isinstance(block.get(NAME), str) else {}


def messages(parts: Sequence[dict[str, Any]], done: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """What an assistant said (``parts``) as items, one for each message that ``done`` tells of."""
    text = "".join(part["text"] for part in parts if "text" in part)
    starts = [(_start(text, one), one["block"]) for one in done if begins(one["block"])]
    if not starts:
        return [{"type": "message", "role": "assistant", "content": list(parts)}] if parts else []
    ends = [start for start, _ in starts[1:]] + [len(text)]
    pieces: list[tuple[dict[str, Any], str]] = [({}, text[: starts[0][0]])]
    for (start, block), end in zip(starts, ends, strict=True):
        pieces.append((phase_of(block), text[start:end].removeprefix(between(block))))
    found = [_item([{"type": "output_text", "text": piece}], phase) for phase, piece in pieces if piece]
    others = [part for part in parts if "text" not in part]
    return [*found, _item(others, {})] if others else found


def _start(text: str, entry: Mapping[str, Any]) -> int:
    """Where a message begins: behind a text that was masked since, at the empty line that is nearest."""
    place, line = server_blocks.place(entry, "start_index"), between(entry["block"])
    if not line or text.startswith(line, place):
        return place
    found = [at for at in (text.rfind(line, 0, place), text.find(line, place)) if at >= 0]
    return min(found, key=lambda at: abs(at - place), default=place)


def _item(content: list[dict[str, Any]], phase: Mapping[str, Any]) -> dict[str, Any]:
    return {"type": "message", "role": "assistant", "content": content, **phase}
