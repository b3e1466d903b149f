"""From events to chunks, one by one, and from one decoder's chunks to another's."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from typing import TypeVar

from gateway.protocol.answer import Chunk
from gateway.providers.codec import AttemptFailed, StreamDecoder
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


class Around(ABC):
    """A decoder around another: it tells what it makes of that one's chunks, and ends when that one does."""

    def __init__(self, inner: StreamDecoder) -> None:
        self._inner = inner

    @abstractmethod
    def told(self, chunk: Chunk) -> Iterable[Chunk]:
        """What a chunk becomes: nothing, while it is held back."""

    @property
    def done(self) -> bool:
        return self._inner.done

    @property
    def problem(self) -> AttemptFailed | None:
        return self._inner.problem

    def feed(self, data: bytes) -> list[Chunk]:
        return [new for chunk in self._inner.feed(data) for new in self.told(chunk)]

    def finish(self) -> list[Chunk]:
        return [new for chunk in self._inner.finish() for new in self.told(chunk)]
