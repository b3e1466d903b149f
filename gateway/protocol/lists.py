"""Lists as strangers wrote them."""

from __future__ import annotations

from typing import Any


def dicts(value: Any) -> list[dict[str, Any]]:
    """The maps of a list; junk is left out, and what is no list has none."""
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def texts(value: Any) -> list[str]:
    """Its texts, likewise."""
    return [item for item in value if isinstance(item, str)] if isinstance(value, list) else []
