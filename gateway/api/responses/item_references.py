"""Items that a client of the Responses API names instead of sending them: looked up in the responses kept here.

Vercel's ``ai`` does so by default in each round of tools. An id that this gateway gave out says which response it
stands in, so nothing more has to be kept for it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import msgspec

from gateway.client_data.client_state import ClientStates, ResponseState
from gateway.client_data.conversations import Conversations
from gateway.errors import BadRequest
from gateway.protocol.responses.items import ITEM_REFERENCE, with_ids
from gateway.protocol.responses.request import ResponsesRequest

_OURS = re.compile(r"[a-z]+_([0-9a-f]{32})(?:o\d{3,}|\d{4,})\Z")
"""Of a response's output, and of its own input (``with_ids``)."""


def refers(request: ResponsesRequest) -> bool:
    return not isinstance(request.input, str) and any(item.get("type") == ITEM_REFERENCE for item in request.input)


async def looked_up(states: ClientStates, project: str, request: ResponsesRequest) -> ResponsesRequest:
    """The request with the items themselves. Raises BadRequest for one that is not kept here or is named twice (else a
    short request would become a very long one), Unavailable."""
    _check_once(request.items)
    seen: dict[str, dict[str, dict[str, Any]]] = {}
    if request.conversation_id is not None:
        talk = await Conversations(states).one(project, request.conversation_id)
        seen[""] = {item["id"]: item for item in talk.items}
    found = []
    for at, item in enumerate(request.items):
        found.append(item if item.get("type") != ITEM_REFERENCE else await _one(states, project, item, at, seen))
    return msgspec.structs.replace(request, input=found)


def _check_once(items: Sequence[dict[str, Any]]) -> None:
    named = set[str]()
    for at, item in enumerate(items):
        id_ = item.get("id")
        if item.get("type") != ITEM_REFERENCE or not isinstance(id_, str):
            continue
        if id_ in named:
            problem = f"Duplicate item found with id '{id_[:100]}'. Remove it from the input and try again."
            raise BadRequest(problem, param=f"input[{at}].id")
        named.add(id_)


async def _one(
    states: ClientStates, project: str, item: dict[str, Any], at: int, seen: dict[str, dict[str, dict[str, Any]]]
) -> dict[str, Any]:
    """``seen``: the items of what was read for this request, by what it is."""
    id_ = item.get("id")
    if not isinstance(id_, str):
        param = f"input[{at}].id"
        raise BadRequest(f"Missing required parameter: '{param}'.", param=param, code="missing_required_parameter")
    if id_ in seen.get("", ()):
        return seen[""][id_]
    named = _OURS.match(id_)
    if named is not None:
        response_id = f"resp_{named.group(1)}"
        if response_id not in seen:
            seen[response_id] = _items(await states.get(project, response_id))
        if id_ in seen[response_id]:
            return seen[response_id][id_]
    raise BadRequest(
        f"Item with id '{id_[:100]}' not found. Items are kept with their response, for 30 days, unless 'store' is "
        "false. Send the item itself.",
        param=f"input[{at}].id",
    )


def _items(state: ResponseState | None) -> dict[str, dict[str, Any]]:
    if state is None:
        return {}
    own = with_ids(state.input, state.id.removeprefix("resp_"))
    return {item["id"]: item for item in (*own, *state.response.get("output", ())) if isinstance(item.get("id"), str)}
