"""End users as providers are told of them."""

from __future__ import annotations

import hashlib
from typing import Any

NAMES = ("user", "safety_identifier")
_LONGEST = 64
"""Characters that OpenAI takes; Claude Code's ids have some 150, and everybody's are only there to be told apart."""


def told(user: Any) -> Any:
    """An id as it is, or the digest of one that is too long: always the same one."""
    if not isinstance(user, str) or len(user) <= _LONGEST:
        return user
    return hashlib.sha256(user.encode("utf-8", "surrogatepass")).hexdigest()


def shorten(wire: dict[str, Any]) -> None:
    """Changes a request's ids in place."""
    for name in NAMES:
        if name in wire:
            wire[name] = told(wire[name])
