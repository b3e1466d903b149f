"""Whether a message of a model is a comment on its work or its answer. OpenAI's newer models say so of each message in
the Responses API (``phase``) and want to know it again: told without, they take a comment for an answer and stop early.

Chat has no place for it. It travels among the ``server_blocks``, where the message it is said of begins. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from gateway.protocol import server_blocks

NAME = "phase"
"""Of the field, and the type of a block that stands for it."""


def block_of(item: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What stands for the phase of a message; [] of one that has none."""
    phase = item.get(NAME)
    return [{"type": NAME, NAME: phase}] if isinstance(phase, str) and phase else []


def phase_of(block: Mapping[str, Any]) -> dict[str, Any]:
    """The field that a block stands for; {} for a block of anything else."""
    return {NAME: block[NAME]} if block.get("type") == NAME and isinstance(block.get(NAME), str) else {}


def messages(parts: Sequence[dict[str, Any]], done: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """What an assistant said (``parts``) as items, one for each phase that ``done`` tells of."""
    begins = [(server_blocks.place(one, "start_index"), phase) for one in done if (phase := phase_of(one["block"]))]
    if not begins:
        return [{"type": "message", "role": "assistant", "content": list(parts)}] if parts else []
    text = "".join(part["text"] for part in parts if "text" in part)
    ends = [start for start, _ in begins[1:]] + [len(text)]
    pieces: list[tuple[dict[str, Any], str]] = [({}, text[: begins[0][0]])]
    pieces += [(phase, text[start:end]) for (start, phase), end in zip(begins, ends, strict=True)]
    found = [_item([{"type": "output_text", "text": piece}], phase) for phase, piece in pieces if piece]
    others = [part for part in parts if "text" not in part]
    return [*found, _item(others, {})] if others else found


def _item(content: list[dict[str, Any]], phase: Mapping[str, Any]) -> dict[str, Any]:
    return {"type": "message", "role": "assistant", "content": content, **phase}
