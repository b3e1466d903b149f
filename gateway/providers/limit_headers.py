"""What a provider's rate-limit headers say about when it may be asked again."""

from __future__ import annotations

import re
from collections.abc import Mapping

from gateway.providers.anthropic.limits import limit_headers

PASSED = tuple(
    f"x-ratelimit-{part}-{what}"
    for part in ("limit", "remaining", "reset")
    for what in ("requests", "tokens")
)
"""What a client that is being limited is told of its limits."""
_DURATION = re.compile(r"(?:(\d+)h)?(?:(\d+)m(?!s))?(?:(\d+(?:\.\d+)?)s)?(?:(\d+(?:\.\d+)?)ms)?\Z")
_LONGEST_S = 86_400.0


def seconds_of(text: str) -> float | None:
    """``6m0s``, ``1h2m3.5s``, ``120ms`` or plain seconds; None for junk and for more than a day."""
    try:
        seconds = float(text)
    except ValueError:
        found = _DURATION.match(text)
        if found is None or not text:
            return None
        hours, minutes, rest, milliseconds = (float(one or 0) for one in found.groups())
        seconds = hours * 3600 + minutes * 60 + rest + milliseconds / 1000
    return seconds if 0 <= seconds <= _LONGEST_S else None


def used_up_for(headers: Mapping[str, str], now: float) -> float | None:
    """Seconds until what is used up is there again; None when nothing is. Reads OpenAI's ``x-ratelimit-*`` and
    Anthropic's headers. ``now`` is unix time."""
    known = {**limit_headers(headers, now), **headers}
    waits = [
        wait
        for what in ("requests", "tokens")
        if known.get(f"x-ratelimit-remaining-{what}") == "0"
        and (wait := seconds_of(known.get(f"x-ratelimit-reset-{what}", ""))) is not None
    ]
    return max(waits, default=None)
