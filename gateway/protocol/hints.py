"""Fields of a chat body that hold what only one vendor knows. They go to its providers, and to nobody else."""

GOOGLE = "google"
"""Gemini's ``safetySettings``, ``generationConfig``, …"""
ANTHROPIC = "anthropic"
"""Claude's ``thinking`` as its client wrote it, ``cache_control``, …"""
HINTS = frozenset({GOOGLE, ANTHROPIC})
