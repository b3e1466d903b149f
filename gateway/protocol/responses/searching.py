"""A response that is made of several turns of its model, with searches of the gateway's own between them. Pure."""

from __future__ import annotations

from typing import Any

from msgspec import Struct

from gateway.protocol.blocks import Blocks
from gateway.protocol.file_search import CALL, RESULTS, without_results
from gateway.protocol.responses.answer import Event, ResponseWriter
from gateway.protocol.responses.asked import Asked

STEP = "file_search"
"""The field of a chunk that tells of a search, and not of what the model said."""


class Begun(Struct, frozen=True):
    """The model's turn is over, and its question is being searched for."""

    queries: list[str]


class Ended(Struct, frozen=True):
    """``results`` as a client that asks for them is shown them; None: the question could not be understood."""

    results: list[dict[str, Any]] | None


class NextTurn(Struct, frozen=True):
    """The model goes on."""


class SearchingWriter(ResponseWriter):
    def __init__(self, asked: Asked) -> None:
        super().__init__(asked)
        self._shows = RESULTS in (asked.request.include or ())
        self._found: dict[str, list[dict[str, Any]]] = {}

    def chunk(self, data: dict[str, Any]) -> list[Event]:
        match data.get(STEP):
            case Begun() as begun:
                return self._turn_over() + self._searching(begun)
            case Ended() as ended:
                return self._searched(ended)
            case NextTurn():
                return self._turn_over()
        return super().chunk(data)

    def kept(self, response: dict[str, Any]) -> dict[str, Any]:
        """``response`` with all that was found, as a later turn of the conversation needs it."""
        found = [
            {**item, "results": self._found[item["id"]]} if item["id"] in self._found else item
            for item in response["output"]
        ]
        return {**response, "output": found}

    def _turn_over(self) -> list[Event]:
        """Closes what the model said; what it says next is other blocks."""
        events = self._begin() + [event for step in self._blocks.finish() for event in self._events(step)]
        self._blocks = Blocks()
        self._notes = {}
        return events + self._close_message()

    def _searching(self, begun: Begun) -> list[Event]:
        item: dict[str, Any] = {
            "id": self._new_id("fs"), "type": CALL, "status": "in_progress", "queries": [], "results": None,
        }  # fmt: skip
        added = self._add(item)
        self._items[-1] = {**item, "queries": begun.queries}
        names = ("in_progress", "searching")
        return [added, *(self._event(f"response.{CALL}.{name}", **self._place()) for name in names)]

    def _searched(self, ended: Ended) -> list[Event]:
        if ended.results is None:
            return self._item_done("failed")
        self._found[self._items[-1]["id"]] = ended.results
        if self._shows:
            self._items[-1] = {**self._items[-1], "results": ended.results}
        return [self._event(f"response.{CALL}.completed", **self._place()), *self._item_done()]


def shown(response: dict[str, Any], include: list[str]) -> dict[str, Any]:
    """A stored response as it is shown to who asks for ``include``."""
    if RESULTS in include:
        return response
    return {**response, "output": without_results(response["output"])}
