"""Where the citations of an answer point once its text was changed: they count characters, and a client's value that is
put back, or a find that is taken out, moves all that follows. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from gateway.guardrails.verdict import Verdict, taken_out
from gateway.protocol.server_blocks import NAME as SERVER_BLOCKS
from gateway.texts.unmasking import put_back

Edit = tuple[int, int, int]
"""(start, end, length): what stood from start to end has that many characters now. In order, without overlap."""

_HOLDERS = ("annotations", "citations", SERVER_BLOCKS)


def cites(message: Mapping[str, Any]) -> bool:
    """Whether a message, or a delta, has anything that points into its text."""
    return bool(message.get("annotations") or message.get("citations") or message.get(SERVER_BLOCKS))


def restored(text: str, values: Mapping[str, str]) -> list[Edit]:
    """What :func:`gateway.texts.masking.unmask` does to ``text``."""
    return [(start, end, len(value)) for start, end, value in put_back(text, values)]


def judged(text: str, verdicts: Iterable[Verdict], new: str) -> list[Edit]:
    """What verdicts did to ``text``, which is ``new`` now: whatever stood between their finds still does, in order."""
    spans = taken_out(verdicts)
    found: list[Edit] = []
    at = spans[0][0] if spans else 0
    for number, (start, end) in enumerate(spans):
        more = number + 1 < len(spans)
        between = text[end : spans[number + 1][0] if more else len(text)]
        place = new.find(between, at) if more else len(new) - len(between)
        place = max(at, place)
        found.append((start, end, place - at))
        at = place + len(between)
    return found


def moved(message: dict[str, Any], edits: Sequence[Edit]) -> dict[str, Any]:
    """A copy of a message, or a delta, whose citations point to the same words as before ``edits``."""
    if not edits:
        return message
    return {**message, **{name: _moved(message[name], edits) for name in _HOLDERS if message.get(name)}}


def _moved(value: Any, edits: Sequence[Edit]) -> Any:
    if isinstance(value, list):
        return [_moved(one, edits) for one in value]
    if not isinstance(value, dict):
        return value
    found = {name: _moved(one, edits) for name, one in value.items()}
    for name, last in (("start_index", False), ("end_index", True)):
        if isinstance(value.get(name), int):
            found[name] = _place(value[name], edits, last=last)
    return found


def _place(place: int, edits: Sequence[Edit], *, last: bool) -> int:
    """Within an edit, all of what stands there now is meant."""
    by = 0
    for start, end, length in edits:
        if place <= start and not (place == start and start == end):
            break
        if place < end:
            return start + by + (length if last else 0)
        by += length - (end - start)
    return place + by
