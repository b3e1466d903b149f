"""What every streamed dialect of JSON events has in common, wherever the bytes were cut."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

from gateway.protocol.answer import Chunk
from gateway.protocol.sse import EventParser, EventTooLarge
from gateway.providers.failures import nonsense, object_in


class EventStream(ABC):
    """Feeds on bytes and hands each event's JSON object to ``_event``. ``done``: the dialect's end was seen;
    what comes after it is passed over."""

    def __init__(self, provider: str) -> None:
        self._provider = provider
        self._events = EventParser()
        self.done = False

    def feed(self, data: bytes) -> list[Chunk]:
        try:
            events = self._events.feed(data)
        except EventTooLarge:
            raise nonsense(self._provider, "a stream event larger than 4 MiB") from None
        chunks: list[Chunk] = []
        for event in events:
            if self.done:
                break
            if event.data.strip():
                chunks += self._event(object_in(self._provider, event.data))
        return chunks

    def finish(self) -> list[Chunk]:
        if not self.done:
            raise nonsense(self._provider, "a stream that was cut before its end")
        return []

    @abstractmethod
    def _event(self, event: dict[str, Any]) -> list[Chunk]:
        """The chunks one event becomes."""
