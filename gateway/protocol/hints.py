"""Fields of a chat body that hold what only one vendor knows. They go to its providers, and to nobody else."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

GOOGLE = "google"
"""Gemini's ``safetySettings``, ``generationConfig``, …"""
ANTHROPIC = "anthropic"
"""Claude's ``thinking`` as its client wrote it, ``cache_control``, …"""
HINTS = frozenset({GOOGLE, ANTHROPIC})
ON_PARTS = frozenset({"cache_control", "document", "input_examples"})
"""What Claude alone reads of a part of a message or of a function."""


def wants_citations(body: Mapping[str, Any]) -> bool:
    """Whether a client of Anthropic's wants to know on which places of its documents the answer rests."""
    hints = body.get(ANTHROPIC)
    return isinstance(hints, dict) and bool(hints.get("citations"))
