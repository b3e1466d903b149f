"""From events to chunks, one by one."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeVar

from gateway.protocol.answer import Chunk
from gateway.providers.codec import AttemptFailed
from gateway.providers.failures import nonsense

T = TypeVar("T")


class Steps:
    """What stream decoders share: one step per event, until the end mark or the first one that is wrong."""

    def __init__(self) -> None:
        self.done = False
        self.problem: AttemptFailed | None = None

    def steps(self, events: Iterable[T], step: Callable[[T], list[Chunk]]) -> list[Chunk]:
        """The chunks of ``events``; those before a wrong one are not lost with it. Raises AttemptFailed."""
        chunks: list[Chunk] = []
        try:
            for event in events:
                if self.done:
                    break
                chunks += step(event)
        except AttemptFailed as problem:
            if not chunks:
                raise
            self.problem = problem
        return chunks

    def ended(self, provider: str) -> None:
        """Raises AttemptFailed unless the end mark was seen."""
        if self.problem is not None:
            raise self.problem
        if not self.done:
            raise nonsense(provider, "a stream that was cut before its end")
