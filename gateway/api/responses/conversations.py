"""/v1/conversations: create, retrieve, update, delete, and the items in them."""

from __future__ import annotations

from typing import Any

from litestar import Request, Response, delete, get, post
from msgspec import Struct

from gateway.api.http import Authenticator, json_body
from gateway.api.ingress import encode
from gateway.api.responses.routes import includes, page_of
from gateway.api.stored.routes import listed, metadata_in
from gateway.client_data.client_state import ConversationState
from gateway.client_data.conversations import Conversations
from gateway.live import Live
from gateway.protocol.body import typed
from gateway.protocol.file_search import RESULTS, without_results

Client = Request[Any, Any, Any]
_ONE = "/v1/conversations/{conversation_id:str}"


class _Create(Struct, frozen=True):
    items: list[dict[str, Any]] | None = None


class _Add(Struct, frozen=True):
    items: list[dict[str, Any]]


def shown(state: ConversationState) -> dict[str, Any]:
    return {
        "id": state.id,
        "object": "conversation",
        "created_at": int(state.created_at),
        "metadata": state.metadata,
    }


def conversation_routes(live: Live, conversations: Conversations, who: Authenticator) -> list[Any]:
    """The eight handlers."""

    def asked(request: Client) -> tuple[str, str]:
        """Whose conversation, and which."""
        project = who({name.lower(): value for name, value in request.headers.items()}).project
        return project, str(request.path_params.get("conversation_id", ""))

    def told(request: Client, items: list[dict[str, Any]]) -> list[dict[str, Any]]:
        wanted = RESULTS in includes(request.query_params.multi_items())
        return items if wanted else without_results(items)

    @post("/v1/conversations", status_code=200)
    async def create_conversation(request: Client) -> Response[bytes]:
        project, _ = asked(request)
        data = await json_body(request, live, optional=True)
        metadata = metadata_in(encode({"metadata": data.get("metadata")}))
        return _json(shown(conversations.create(project, typed(data, _Create).items or [], metadata)))

    @get(_ONE)
    async def retrieve_conversation(request: Client) -> Response[bytes]:
        return _json(shown(await conversations.one(*asked(request))))

    @post(_ONE, status_code=200)
    async def update_conversation(request: Client) -> Response[bytes]:
        place = asked(request)
        metadata = metadata_in(encode(await json_body(request, live)))
        return _json(shown(await conversations.describe(*place, metadata)))

    @delete(_ONE, status_code=200)
    async def delete_conversation(request: Client) -> Response[bytes]:
        project, conversation_id = asked(request)
        await conversations.delete(project, conversation_id)
        return _json({"id": conversation_id, "object": "conversation.deleted", "deleted": True})

    @post(f"{_ONE}/items", status_code=200)
    async def create_items(request: Client) -> Response[bytes]:
        place = asked(request)
        items = typed(await json_body(request, live), _Add).items
        return _json(listed(await conversations.add(*place, items), has_more=False))

    @get(f"{_ONE}/items")
    async def list_items(request: Client) -> Response[bytes]:
        state = await conversations.one(*asked(request))
        pairs = list(request.query_params.multi_items())
        return _json(page_of(told(request, state.items), pairs, state.gone))

    @get(f"{_ONE}/items/{{item_id:str}}")
    async def retrieve_item(request: Client) -> Response[bytes]:
        item = await conversations.item(*asked(request), str(request.path_params["item_id"]))
        return _json(told(request, [item])[0])

    @delete(f"{_ONE}/items/{{item_id:str}}", status_code=200)
    async def delete_item(request: Client) -> Response[bytes]:
        return _json(shown(await conversations.remove(*asked(request), str(request.path_params["item_id"]))))

    return [
        create_conversation, retrieve_conversation, update_conversation, delete_conversation, create_items,
        list_items, retrieve_item, delete_item,
    ]  # fmt: skip


def _json(value: Any) -> Response[bytes]:
    return Response(encode(value), media_type="application/json")
