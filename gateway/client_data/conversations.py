"""Conversations that clients keep here: items that responses continue, sealed and scoped as all client state is.

A conversation is one document, written anew when it changes, so it is bounded; it expires 30 days after its last
change.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from gateway import errors
from gateway.client_data.client_state import ClientStates, ConversationState
from gateway.protocol.responses.items import chat_messages, with_ids

MOST_AT_ONCE = 20
_MOST_ITEMS = 5000
_MOST_GONE = 1000
_MOST_BYTES = 8 * 1024 * 1024


class Conversations:
    """Reads and changes; a change happens between two reads of one document without a pause, so none is lost."""

    def __init__(self, states: ClientStates, now: Callable[[], float] = time.time) -> None:
        self._states, self._now = states, now

    def create(
        self, project: str, items: Sequence[dict[str, Any]], metadata: dict[str, str]
    ) -> ConversationState:
        """Raises BadRequest for items that no model could be asked with."""
        state = ConversationState("conv_" + secrets.token_hex(24), project, self._now(), metadata, [])
        return self._keep(state, _checked(state, items))

    async def one(self, project: str, conversation_id: str) -> ConversationState:
        """Raises NotFound, for another project's conversation too."""
        found = await self._states.find(project, conversation_id, ConversationState)
        if found is None:
            raise errors.NotFound(
                f"Conversation with id '{conversation_id[:100]}' not found.", param="conversation"
            )
        return found

    async def describe(
        self, project: str, conversation_id: str, metadata: dict[str, str]
    ) -> ConversationState:
        state = await self.one(project, conversation_id)
        return self._keep(msgspec.structs.replace(state, metadata=metadata), state.items)

    async def add(
        self, project: str, conversation_id: str, items: Sequence[dict[str, Any]]
    ) -> list[dict[str, Any]]:
        """The new items as they are kept. Raises NotFound, BadRequest."""
        state = await self.one(project, conversation_id)
        return self._keep(state, _checked(state, items)).items[len(state.items) :]

    async def continued(
        self, project: str, conversation_id: str, said: Sequence[dict[str, Any]], end_user: str = ""
    ) -> None:
        """Appends what a response was asked and answered; a conversation deleted meanwhile stays so."""
        state = await self._states.find(project, conversation_id, ConversationState)
        if state is not None:
            owned = msgspec.structs.replace(state, end_user=state.end_user or end_user)
            self._keep(owned, [*state.items, *_named(state, said)], bounded=False)

    async def item(self, project: str, conversation_id: str, item_id: str) -> dict[str, Any]:
        return _item(await self.one(project, conversation_id), item_id)

    async def remove(self, project: str, conversation_id: str, item_id: str) -> ConversationState:
        state = await self.one(project, conversation_id)
        _item(state, item_id)
        ids = ["", *(item["id"] for item in state.items)]
        gone = {**state.gone, item_id: ids[ids.index(item_id) - 1]}
        kept = msgspec.structs.replace(state, gone=dict(list(gone.items())[-_MOST_GONE:]))
        return self._keep(kept, [item for item in state.items if item["id"] != item_id])

    async def delete(self, project: str, conversation_id: str) -> None:
        """The items go with it. Raises NotFound."""
        await self.one(project, conversation_id)
        await self._states.delete(project, conversation_id)

    def _keep(
        self, state: ConversationState, items: list[dict[str, Any]], *, bounded: bool = True
    ) -> ConversationState:
        if bounded and (len(items) > _MOST_ITEMS or _size(items) > _MOST_BYTES):
            raise errors.BadRequest(
                f"A conversation holds at most {_MOST_ITEMS} items of {_MOST_BYTES} bytes altogether. "
                "Delete items, or begin another.",
                param="items",
                code="conversation_too_long",
            )
        changed = msgspec.structs.replace(state, items=items)
        self._states.keep(changed)
        return changed


def _item(state: ConversationState, item_id: str) -> dict[str, Any]:
    for item in state.items:
        if item["id"] == item_id:
            return item
    raise errors.NotFound(f"Item with id '{item_id[:100]}' not found.", param="item_id")


def _checked(state: ConversationState, items: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The conversation's items with new ones behind them. Raises BadRequest."""
    if len(items) > MOST_AT_ONCE:
        raise errors.BadRequest(
            f"'items' takes at most {MOST_AT_ONCE} items at a time.",
            param="items",
            code="array_above_max_length",
        )
    chat_messages(None, state.items, items, "items")
    return [*state.items, *_named(state, items)]


def _named(state: ConversationState, items: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Items with ids of their own: one that a client chose twice would name nothing."""
    taken, seed = {item["id"] for item in state.items}, secrets.token_hex(20)
    fresh = [
        {name: value for name, value in item.items() if name != "id" or value not in taken} for item in items
    ]
    return with_ids(fresh, seed)


def _size(items: list[dict[str, Any]]) -> int:
    return len(msgspec.json.encode(items))
