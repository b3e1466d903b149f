"""Anthropic's rate-limit headers as OpenAI writes them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from optimizer.routing.attempts import sensible_retry_after


def limit_headers(headers: Mapping[str, str], now: float) -> dict[str, str]:
    """``x-ratelimit-*`` from ``anthropic-ratelimit-*``; a reset instant becomes the time that is left."""
    found: dict[str, str] = {}
    for what in ("requests", "tokens"):
        for part in ("limit", "remaining", "reset"):
            value = headers.get(f"anthropic-ratelimit-{what}-{part}")
            if value and part == "reset":
                left = _seconds_until(value, now)
                value = "" if left is None else f"{left:.3f}".rstrip("0").rstrip(".") + "s"
            if value:
                found[f"x-ratelimit-{part}-{what}"] = value
    return found


def wait_of(headers: Mapping[str, str], now: float) -> float | None:
    """Seconds to wait: what Retry-After says, else until the limit that is used up is reset."""
    asked = sensible_retry_after(headers.get("retry-after"), now)
    if asked is not None:
        return asked
    waits = [
        left
        for what in ("requests", "tokens", "input-tokens", "output-tokens")
        if headers.get(f"anthropic-ratelimit-{what}-remaining") == "0"
        and (left := _seconds_until(headers.get(f"anthropic-ratelimit-{what}-reset", ""), now)) is not None
    ]
    return max(waits) if waits else None


def _seconds_until(instant: str, now: float) -> float | None:
    try:
        left = datetime.fromisoformat(instant.replace("Z", "+00:00")).timestamp() - now
    except ValueError:
        return None
    return max(0.0, left) if left <= 86_400 else None
