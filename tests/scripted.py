"""The scripted provider, under the name by which the tests know it; the simulator and the soak use it too."""

from benchmarks.scripted import (
    CHUNKS,
    COMPLETION,
    Behaviour,
    Line,
    Provider,
    Seen,
    body_of,
    chunk,
    provider,
    sse,
    usual,
)

__all__ = [
    "CHUNKS", "COMPLETION", "Behaviour", "Line", "Provider", "Seen", "body_of", "chunk", "provider", "sse", "usual",
]  # fmt: skip
