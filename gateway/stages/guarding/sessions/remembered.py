"""What a session has said by now, for guardrails that judge a text in the light of others."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Any

from gateway.guardrails import Scene
from gateway.protocol.lists import dicts
from gateway.stages.guarding.texts import said_in
from gateway.texts.masking import texts_of

_MOST = 200_000  # characters of turns that are kept; the oldest are forgotten
_MOST_TURNS = 8_000  # characters of what the user said, which are read together with each turn that follows


class Remembered:
    """Messages as the provider sees them. Instructions and tools of the session stand until it names others."""

    def __init__(self) -> None:
        self._system: list[dict[str, Any]] = []
        self._tools: list[Any] = []
        self._turns: deque[tuple[int, dict[str, Any]]] = deque()
        self._size = 0

    def add(self, prose: Mapping[str, Any], *, standing: bool) -> None:
        """``standing``: they are the session's own settings."""
        messages = dicts(prose.get("messages"))
        if standing:
            self._system = messages or self._system
            self._tools = prose.get("tools") or self._tools
            return
        for message in messages:
            size = sum(map(len, texts_of(message)))
            self._turns.append((size, message))
            self._size += size
        while self._size > _MOST:
            self._size -= self._turns.popleft()[0]

    def scene(self, project: str) -> Scene:
        body = {"messages": [*self._system, *(one for _, one in self._turns)], "tools": self._tools}
        return Scene(body, tuple(said_in(body)), project)


def add_turns(turns: list[str], prose: Mapping[str, Any]) -> None:
    """Adds what the user says in ``prose`` to ``turns``, which keep the last of it."""
    for message in dicts(prose.get("messages")):
        if message.get("role") == "user":
            turns += texts_of(message)
    while turns and sum(map(len, turns)) > _MOST_TURNS:
        del turns[0]
