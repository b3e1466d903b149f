"""Text that strangers wrote, for a person at a terminal."""

from __future__ import annotations

import re

_STEERS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def visible(text: str) -> str:
    """``text`` with what would move the cursor, colour, retitle or turn round what stands there (escape sequences,
    carriage returns, bidirectional overrides) spelt out; lines and tabs stay."""
    return _STEERS.sub(lambda found: found.group().encode("unicode_escape").decode(), text)
