"""/v1/chat/completions as a collection: captured calls, their messages, and metadata as the feedback channel.

A call is found at once, from the memory of the worker that answered it, and later in the database; all are merged
here. Everything is scoped to the key's project: a foreign id does not exist.
"""

from __future__ import annotations

import asyncio
import functools
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, TypeVar

import msgspec
from litestar import Request, Response, delete, get, post
from litestar.handlers import BaseRouteHandler

from gateway import errors
from gateway.api.http import read_body
from gateway.api.stored.elsewhere import Elsewhere
from gateway.api.stored.query import Place, Query, place
from gateway.context import Principal
from gateway.control import Control
from gateway.protocol.body import decode_object
from gateway.sharing.bus import ALONE, Bus
from gateway.storage.away import database_errors
from gateway.storage.recent import DELETED, RecentCalls
from gateway.storage.records import DeletionRecord, MetadataRecord
from gateway.storage.values import StoredCompletion

T = TypeVar("T")
Client = Request[Any, Any, Any]
AuthenticateFn = Callable[[Mapping[str, str]], Principal]
_LONGEST_BODY = 64 * 1024
_REQUEST_FIELDS = (
    "tool_choice", "seed", "top_p", "temperature", "presence_penalty", "frequency_penalty", "tools",
    "response_format",
)  # fmt: skip


def stored_routes(
    control: Control, recent: RecentCalls, authenticate_fn: AuthenticateFn, bus: Bus = ALONE
) -> list[BaseRouteHandler]:
    """The five handlers. ``authenticate_fn`` gets lower-case headers and raises a GatewayError."""
    stored = Stored(control, recent, bus=bus)

    def who(request: Client) -> Principal:
        return authenticate_fn({name.lower(): value for name, value in request.headers.items()})

    def named(request: Client) -> str:
        return str(request.path_params["call_id"])

    @get("/v1/chat/completions")
    @_answered
    async def list_chat_completions(request: Client) -> Any:
        return await stored.page(who(request).project, list(request.query_params.multi_items()))

    @get("/v1/chat/completions/{call_id:str}")
    @_answered
    async def retrieve_chat_completion(request: Client) -> Any:
        return shown(await stored.one(who(request).project, named(request)))

    @post("/v1/chat/completions/{call_id:str}", status_code=200)
    @_answered
    async def update_chat_completion(request: Client) -> Any:
        principal = who(request)
        body = await read_body(request.scope, request.receive, limit=_LONGEST_BODY, idle=30.0)
        return shown(await stored.update(principal, named(request), metadata_in(body)))

    @delete("/v1/chat/completions/{call_id:str}", status_code=200)
    @_answered
    async def delete_chat_completion(request: Client) -> Any:
        await stored.delete(who(request), named(request))
        return {"object": "chat.completion.deleted", "id": named(request), "deleted": True}

    @get("/v1/chat/completions/{call_id:str}/messages")
    @_answered
    async def list_chat_completion_messages(request: Client) -> Any:
        found = await stored.one(who(request).project, named(request))
        return messages_page(found, list(request.query_params.multi_items()))

    return [
        list_chat_completions,
        retrieve_chat_completion,
        update_chat_completion,
        delete_chat_completion,
        list_chat_completion_messages,
    ]


def _answered(handler: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Response[bytes]]]:
    """The handler's value as JSON."""

    @functools.wraps(handler)
    async def answer(*args: Any, **kwargs: Any) -> Response[bytes]:
        value = await handler(*args, **kwargs)
        return Response(msgspec.json.encode(value), media_type="application/json")

    answer.__annotations__ = {**handler.__annotations__, "return": Response[bytes]}
    return answer


class Stored:
    """Reads from memory and database, writes to the spool."""

    def __init__(
        self, control: Control, recent: RecentCalls, now: Callable[[], float] = time.time, bus: Bus = ALONE
    ) -> None:
        self._control = control
        self._recent = recent
        self._elsewhere = Elsewhere(recent, bus)
        self._now = now

    async def one(self, project: str, call_id: str) -> StoredCompletion:
        """Raises NotFound, also for another project's call."""
        found = self._recent.get(project, call_id)
        if found is None:
            found = await self._elsewhere.one(project, call_id)
        if found is None:
            reader = self._control.reader
            row = await self._read(lambda: reader.completion(project, call_id))
            found = self._recent.as_now(row) if row is not None else None
        if found is None or found is DELETED:
            raise errors.NotFound(
                f"No chat completion found with id '{call_id[:80]}'.", param="completion_id"
            )
        return found

    async def page(self, project: str, query: Sequence[tuple[str, str]]) -> dict[str, Any]:
        asked = Query.read(query)
        after = await self._after(project, asked)
        elsewhere = await self._elsewhere.page(project, asked, after)
        gone = self._recent.deleted(project)
        rows = await self._rows(project, asked, after, len(gone))
        merged = {row.id: self._recent.as_now(row) for row in rows}
        merged.update((one.id, self._recent.as_now(one)) for one in elsewhere)
        merged.update((one.id, one) for one in self._recent.list(project))
        found = sorted(
            (one for one in merged.values() if one.id not in gone and asked.wants(one)),
            key=place,
            reverse=asked.descending,
        )
        if after is not None:
            found = [one for one in found if asked.follows(one, after)]
        return listed([shown(one) for one in found[: asked.limit]], has_more=len(found) > asked.limit)

    async def update(self, principal: Principal, call_id: str, metadata: dict[str, str]) -> StoredCompletion:
        found = await self.one(principal.project, call_id)
        self._control.recorder.append(
            MetadataRecord(
                call_id=call_id,
                project=principal.project,
                actor=principal.key_id,
                at=self._now(),
                metadata=metadata,
            )
        )
        if self._recent.get(principal.project, call_id) is None:
            self._recent.keep(found)
        self._recent.metadata(principal.project, call_id, metadata)
        await self._elsewhere.changed(principal.project, call_id, metadata)
        return msgspec.structs.replace(found, metadata=metadata)

    async def delete(self, principal: Principal, call_id: str) -> None:
        found = await self.one(principal.project, call_id)
        self._control.recorder.append(
            DeletionRecord(call_id=call_id, project=principal.project, actor=principal.key_id, at=self._now())
        )
        self._recent.forget(principal.project, call_id, found.created_at)
        await self._elsewhere.deleted(principal.project, call_id, found.created_at)

    async def _after(self, project: str, asked: Query) -> Place | None:
        """Where a page starts, also behind what was deleted since. Raises BadRequest for what was never there."""
        call_id = asked.after
        if call_id is None:
            return None
        try:
            return place(await self.one(project, call_id))
        except errors.NotFound:
            reader = self._control.reader
            stood = self._recent.stood(project, call_id)
            stood = stood or await self._read(lambda: reader.completion_place(project, call_id))
            if stood is None:
                message = "The item that 'after' names does not exist. Start again without it."
                raise errors.BadRequest(message, param="after") from None
            return stood

    async def _rows(
        self, project: str, asked: Query, after: Place | None, deleted: int
    ) -> list[StoredCompletion]:
        """One row more than a page, and as many more as deletions may take from it."""
        reader = self._control.reader

        def read() -> list[StoredCompletion]:
            # An item that only memory knows is newer than what the database has.
            known = after is not None and reader.completion_place(project, after[1]) is not None
            return reader.completions(
                project,
                model=asked.model,
                metadata=asked.metadata,
                after=after[1] if known and after is not None else None,
                limit=asked.limit + 1 + deleted,
                descending=asked.descending,
            )

        return await self._read(read)

    async def _read(self, query: Callable[[], T]) -> T:
        try:
            return await asyncio.to_thread(query)
        except database_errors() as problem:
            raise errors.Unavailable(
                "Stored completions cannot be read at the moment. Try again shortly.",
                headers={"retry-after": "1"},
                detail=repr(problem),
            ) from problem


def metadata_in(body: bytes) -> dict[str, str]:
    """The new visible map. Raises BadRequest for anything but ``{"metadata": {...}}`` within OpenAI's bounds."""
    value = decode_object(body)
    unknown = sorted(set(value) - {"metadata"})
    if unknown:
        raise errors.BadRequest(
            f"Only 'metadata' can be updated, not '{unknown[0][:64]}'.",
            param=unknown[0][:64],
            code="unknown_parameter",
        )
    if "metadata" not in value:
        raise errors.BadRequest(
            "Missing required parameter: 'metadata'.", param="metadata", code="missing_required_parameter"
        )
    metadata = value["metadata"] if value["metadata"] is not None else {}
    if not isinstance(metadata, dict):
        raise errors.BadRequest("'metadata' must be an object.", param="metadata", code="invalid_type")
    if len(metadata) > 16:
        raise errors.BadRequest("'metadata' takes at most 16 keys.", param="metadata")
    for name, text in metadata.items():
        if not isinstance(text, str) or len(name) > 64 or len(text) > 512:
            raise errors.BadRequest(
                "A metadata key has at most 64 characters and its value is text of at most 512.",
                param=f"metadata.{name[:64]}",
            )
    return metadata


def shown(one: StoredCompletion) -> dict[str, Any]:
    """A stored completion as OpenAI shows it."""
    asked = {name: one.request.get(name) for name in _REQUEST_FIELDS}
    return {
        **asked,
        "input_user": one.request.get("user"),
        **one.answer,
        "id": one.id,
        "object": "chat.completion",
        "created": int(one.created_at),
        "model": one.model,
        "metadata": one.metadata,
    }


def messages_page(one: StoredCompletion, pairs: Sequence[tuple[str, str]]) -> dict[str, Any]:
    """The input messages; typed parts stand in ``content_parts``."""
    asked = Query.read(pairs)
    messages = []
    for at, message in enumerate(one.request.get("messages") or []):
        content = message.get("content")
        parts = content if isinstance(content, list) else None
        messages.append(
            {
                "refusal": None,
                **message,
                "id": f"{one.id}-{at}",
                "content": None if parts is not None else content,
                "content_parts": parts,
            }
        )
    if asked.descending:
        messages.reverse()
    if asked.after is not None:
        places = [at for at, message in enumerate(messages) if message["id"] == asked.after]
        if not places:
            raise errors.BadRequest("The message that 'after' names does not exist.", param="after")
        messages = messages[places[0] + 1 :]
    return listed(messages[: asked.limit], has_more=len(messages) > asked.limit)


def listed(data: list[dict[str, Any]], *, has_more: bool) -> dict[str, Any]:
    """OpenAI's page."""
    return {
        "object": "list",
        "data": data,
        "first_id": data[0]["id"] if data else None,
        "last_id": data[-1]["id"] if data else None,
        "has_more": has_more,
    }
