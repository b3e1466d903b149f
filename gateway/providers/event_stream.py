"""What every streamed dialect of JSON events has in common, wherever the bytes were cut."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

from gateway.protocol.answer import Chunk
from gateway.protocol.sse import Event, EventParser, EventTooLarge
from gateway.providers.failures import nonsense, object_in
from gateway.providers.steps import Steps


class EventStream(Steps, ABC):
    """Feeds on bytes and hands each event's JSON object to ``_event``. ``done``: the dialect's end was seen;
    what comes after it is passed over."""

    def __init__(self, provider: str) -> None:
        super().__init__()
        self._provider = provider
        self._events = EventParser()

    def feed(self, data: bytes) -> list[Chunk]:
        try:
            events = self._events.feed(data)
        except EventTooLarge:
            raise nonsense(self._provider, "a stream event larger than 4 MiB") from None
        return self.steps(events, self._step)

    def _step(self, event: Event) -> list[Chunk]:
        return self._event(object_in(self._provider, event.data)) if event.data.strip() else []

    def finish(self) -> list[Chunk]:
        self.ended(self._provider)
        return []

    @abstractmethod
    def _event(self, event: dict[str, Any]) -> list[Chunk]:
        """The chunks one event becomes."""
