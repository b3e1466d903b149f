"""/v1/responses: OpenAI's Responses API in front of the same pipeline, with its conversation state kept here."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import msgspec
from litestar import Request, Response, delete, get, post
from litestar.types import ASGIApp

from gateway import errors
from gateway.api.checking import refuse_steering
from gateway.api.files.routes import number
from gateway.api.http import Authenticator, json_body
from gateway.api.ingress import Ingress, Rendering, encode
from gateway.api.responses.background import Backgrounds, InBackground, Whole
from gateway.api.responses.compaction import KIND, CompactRendering, compact_body, opened
from gateway.api.responses.file_search import SearchingRendering, checked
from gateway.api.responses.foreign_stores import check_elsewhere, elsewhere
from gateway.api.responses.item_references import looked_up, refers
from gateway.api.responses.prompts import rendered
from gateway.api.responses.rendering import ResponsesRendering
from gateway.api.stored.query import Query
from gateway.api.stored.routes import listed
from gateway.client_data.client_state import ClientStates, ResponseState
from gateway.client_data.conversations import Conversations
from gateway.context import Principal
from gateway.live import Live
from gateway.metering.estimate import PER_CHAR, characters, extras
from gateway.pipeline import Handler
from gateway.protocol.body import typed
from gateway.protocol.chat import ChatRequest
from gateway.protocol.file_search import file_search_in, sources_of
from gateway.protocol.offered import origins
from gateway.protocol.responses.items import with_ids
from gateway.protocol.responses.request import ResponsesRequest, chat_body, check_state
from gateway.protocol.responses.searching import shown

Client = Request[Any, Any, Any]
_PARAMS = {
    "messages": "input",
    "max_completion_tokens": "max_output_tokens",
    "max_tokens": "max_output_tokens",
    "response_format": "text.format",
    "reasoning_effort": "reasoning.effort",
}


class ResponsesDialect:
    endpoint, prefix = "responses", "resp_"

    def __init__(
        self, live: Live, states: ClientStates, who: Authenticator, backgrounds: Backgrounds | None = None
    ) -> None:
        """``backgrounds`` makes responses in the background; where it is None none may be asked for."""
        self._live, self._states, self._who, self._backgrounds = live, states, who, backgrounds
        self._conversations = Conversations(states)

    async def read(
        self, headers: Mapping[str, str], data: dict[str, Any], principal: Principal | None = None
    ) -> Rendering:
        refuse_steering(data)
        prompt = rendered(self._live.runtime().config, data["prompt"]) if data.get("prompt") is not None else None
        if prompt is not None and not data.get("model"):
            data = {**data, "model": prompt.model}
        request = typed(data, ResponsesRequest)
        check_state(request)
        if refers(request):
            principal = principal or self._who(headers)
            request = await looked_up(self._states, principal.project, request)
        back = request.background and self._backgrounds is not None
        searches = file_search_in(request.tools) is not None
        if back or searches or goes_on(request) or any(item.get("type") == KIND for item in request.items):
            principal = principal or self._who(headers)
        read, earlier = request, await self.before(principal, request)
        if principal is not None:
            earlier = opened(self._states, principal.project, earlier, "input")
            read = msgspec.structs.replace(
                request, input=opened(self._states, principal.project, request.items, "input")
            )
        if prompt is not None:
            earlier = [*prompt.instructions, *earlier, *prompt.turns]
            read = msgspec.structs.replace(read, prompt=None)
        foreign = prompt.foreign if prompt is not None else ()
        if back and principal is not None:
            return await self._in_background(data, request, principal, read, earlier, foreign)
        made = await self._rendering(data, read, earlier, request, principal)
        made.foreign = foreign
        return made

    async def before(self, principal: Principal | None, request: ResponsesRequest) -> list[dict[str, Any]]:
        """The items of what a request continues, oldest first."""
        if principal is not None and request.conversation_id is not None:
            return (await self._conversations.one(principal.project, request.conversation_id)).items
        if principal is not None and request.previous_response_id is not None:
            return await self._earlier(principal, request.previous_response_id)
        return []

    async def _rendering(
        self, data: dict[str, Any], read: ResponsesRequest, earlier: list[dict[str, Any]], request: ResponsesRequest,
        principal: Principal | None,
    ) -> ResponsesRendering:  # fmt: skip
        """``read``: the ``request`` with all that it stands for; ``earlier``: the items before its own."""
        search, library = file_search_in(request.tools), self._live.library
        unknown = await elsewhere(library, principal, search)
        body = chat_body(data, read, earlier, there=bool(unknown))
        if search is not None and principal is not None and unknown:
            check_elsewhere(self._live.runtime(), body, principal.project, search, unknown)
        known = origins(read.tools or (), earlier, read.items)
        if search is None or principal is None or library is None or unknown:
            return ResponsesRendering(body, request, principal, self._live, self._states, known)
        asked = checked(search)
        await library.searchable(principal, search.store_ids)
        made = SearchingRendering(body, request, principal, self._live, self._states, known)
        return made.prepare(search, asked, library, sources_of([*earlier, *read.items]))

    async def _in_background(
        self, data: dict[str, Any], request: ResponsesRequest, principal: Principal, read: ResponsesRequest,
        earlier: list[dict[str, Any]], foreign: tuple[str, ...],
    ) -> Rendering:  # fmt: skip
        assert self._backgrounds is not None
        if not request.kept:
            raise errors.BadRequest(
                "A response in the background has to be stored: how else would it be read? Leave 'store' out.",
                param="store",
                code="invalid_value",
            )
        now = msgspec.structs.replace(read, background=None)
        inner = await self._rendering(data, now, earlier, request, principal)
        inner.foreign = foreign
        return InBackground(inner, principal, self._backgrounds)

    async def _earlier(self, principal: Principal, response_id: str) -> list[dict[str, Any]]:
        found = await self._states.conversation(principal.project, response_id)
        if found is None:
            raise errors.BadRequest(
                f"Previous response with id '{response_id[:100]}' not found.",
                param="previous_response_id",
                code="previous_response_not_found",
            )
        return found

    def error(self, error: errors.GatewayError, request_id: str) -> tuple[int, bytes]:
        """A provider's names become this API's; a model that does not exist is a 400 here, as it is at OpenAI."""
        told = error.payload()
        if isinstance(error, errors.ProviderRefused | errors.CannotDo):
            told["error"]["param"] = _renamed(error.param)
        unknown = error.status == 404 and error.code == "model_not_found"
        return 400 if unknown else error.status, encode(told)

    def headers(self, request_id: str) -> dict[str, str]:
        return {}


class CompactDialect(ResponsesDialect):
    """A conversation made shorter: ``POST /v1/responses/compact``."""

    async def read(
        self, headers: Mapping[str, str], data: dict[str, Any], principal: Principal | None = None
    ) -> Rendering:
        refuse_steering(data)
        request = typed({**data, "input": data.get("input") or []}, ResponsesRequest)
        check_state(request)
        principal = principal or self._who(headers)
        earlier = await self.before(principal, request)
        before, now = (
            opened(self._states, principal.project, one, "input") for one in (earlier, request.items)
        )
        body = compact_body(data, request, before, now)
        return CompactRendering(body, principal, self._states, [*earlier, *request.items])


def goes_on(request: ResponsesRequest) -> bool:
    return request.conversation_id is not None or request.previous_response_id is not None


def _renamed(param: str | None) -> str | None:
    for chat, ours in _PARAMS.items():
        if param is not None and (param == chat or param.startswith((f"{chat}[", f"{chat}."))):
            return ours + param.removeprefix(chat)
    if param is not None and param.startswith("tools["):
        return param.replace("].custom.", "].").replace("].function.", "].")
    return param


def items_page(state: ResponseState, pairs: Sequence[tuple[str, str]]) -> dict[str, Any]:
    """The response's own input items, newest first unless asked otherwise."""
    return page_of(with_ids(state.input, state.id.removeprefix("resp_")), pairs)


def page_of(
    items: list[dict[str, Any]], pairs: Sequence[tuple[str, str]], gone: Mapping[str, str] = MappingProxyType({})
) -> dict[str, Any]:
    """A page of items, oldest first. ``gone``: deleted ones, each with whom it stood behind. Raises BadRequest."""
    asked = Query.read([("order", "desc"), *pairs])
    found = items
    if asked.after is not None:
        places, name = {item["id"]: at for at, item in enumerate(items)} | {"": -1}, asked.after
        while name not in places and name in gone:
            name = gone[name]
        if name not in places or not asked.after:
            raise errors.BadRequest("The item that 'after' names does not exist.", param="after")
        at, here = places[name], name == asked.after
        found = items[: at if here else at + 1] if asked.descending else items[at + 1 :]
    if asked.descending:
        found = found[::-1]
    return listed(found[: asked.limit], has_more=len(found) > asked.limit)


def response_routes(
    pipeline: Handler, live: Live, states: ClientStates, who: Authenticator, backgrounds: Backgrounds
) -> list[Any]:
    dialect = ResponsesDialect(live, states, who, backgrounds)
    endpoint = Ingress(pipeline, live, dialect)
    compacting = Ingress(pipeline, live, CompactDialect(live, states, who))

    async def named(request: Client) -> ResponseState:
        principal = who({name.lower(): value for name, value in request.headers.items()})
        response_id = str(request.path_params["response_id"])
        found = await states.get(principal.project, response_id)
        if found is None:
            raise errors.NotFound(f"Response with id '{response_id[:100]}' not found.", param="response_id")
        return found

    @post("/v1/responses/input_tokens", status_code=200)
    async def count_input_tokens(request: Client) -> Response[bytes]:
        principal = who({name.lower(): value for name, value in request.headers.items()})
        data = await json_body(request, live)
        counted = await dialect.read({}, {**data, "model": data.get("model") or "unnamed"}, principal)
        body = counted.body
        if live.documents is not None:
            body = await live.documents.filled(body, principal, live.runtime().config.server.max_body_bytes)
        chat = typed(body, ChatRequest)
        tokens = math.ceil(characters(chat) * PER_CHAR) + extras(chat)
        return _json({"object": "response.input_tokens", "input_tokens": tokens, "estimated": True})

    @post("/v1/responses/compact", status_code=200)
    async def compact_response(request: Client) -> ASGIApp:
        return compacting

    @post("/v1/responses", status_code=200)
    async def create_response(request: Client) -> ASGIApp:
        return endpoint

    @get("/v1/responses/{response_id:str}")
    async def retrieve_response(request: Client) -> ASGIApp:
        found, include = await named(request), includes(request.query_params.multi_items())
        if request.query_params.get("stream") != "true":
            return Whole(shown(await backgrounds.now(found), include))
        after = request.query_params.get("starting_after", "-1")
        return backgrounds.stream(found, -1 if after == "-1" else number(after, "starting_after", 0, 10**9))

    @delete("/v1/responses/{response_id:str}", status_code=200)
    async def delete_response(request: Client) -> Response[bytes]:
        found = await named(request)
        await backgrounds.drop(found)
        await states.delete(found.project, found.id)
        return _json({"id": found.id, "object": "response", "deleted": True})

    @post("/v1/responses/{response_id:str}/cancel", status_code=200)
    async def cancel_response(request: Client) -> Response[bytes]:
        return _json(await backgrounds.cancel(await named(request)))

    @get("/v1/responses/{response_id:str}/input_items")
    async def list_input_items(request: Client) -> Response[bytes]:
        return _json(items_page(await named(request), list(request.query_params.multi_items())))

    return [
        count_input_tokens,
        compact_response,
        create_response,
        retrieve_response,
        delete_response,
        cancel_response,
        list_input_items,
    ]


def includes(pairs: Iterable[tuple[str, str]]) -> list[str]:
    """What a query says is to be included."""
    return [value for name, value in pairs if name in ("include", "include[]")]


def _json(value: Any) -> Response[bytes]:
    return Response(encode(value), media_type="application/json")
