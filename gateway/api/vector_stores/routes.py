"""The paths of /v1/vector_stores: unpacking only. All of it needs the scope ``data``; what asks an embedding model
needs ``inference`` too."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from litestar import Request, Response, delete, get, post

from gateway.api.files.routes import answer
from gateway.api.http import Authenticator, json_body
from gateway.api.vector_stores.work import Stores
from gateway.live import Live

Client = Request[Any, Any, Any]
_ALL, _ONE = "/v1/vector_stores", "/v1/vector_stores/{store_id:str}"
_FILE, _BATCH = _ONE + "/files/{file_id:str}", _ONE + "/file_batches/{batch_id:str}"
Done = Callable[..., Awaitable[Response[bytes]]]


def vector_store_routes(stores: Stores, live: Live, who: Authenticator) -> list[Any]:
    async def done(
        request: Client, work: Callable[..., Awaitable[Any]], *,
        body: bool = False, query: bool = False, optional: bool = False,
    ) -> Response[bytes]:  # fmt: skip
        principal = who({name.lower(): value for name, value in request.headers.items()})
        names = [str(request.path_params[name]) for name in ("store_id", "file_id", "batch_id")
                 if name in request.path_params]  # fmt: skip
        extra: list[Any] = []
        if body:
            extra = [await json_body(request, live, optional=optional)]
        elif query:
            extra = [dict(request.query_params.items())]
        return answer(await work(principal, *names, *extra))

    @post(_ALL, status_code=200)
    async def create_vector_store(request: Client) -> Response[bytes]:
        return await done(request, stores.create, body=True, optional=True)

    @get(_ALL)
    async def list_vector_stores(request: Client) -> Response[bytes]:
        return await done(request, stores.page, query=True)

    @get(_ONE)
    async def retrieve_vector_store(request: Client) -> Response[bytes]:
        return await done(request, stores.retrieve)

    @post(_ONE, status_code=200)
    async def update_vector_store(request: Client) -> Response[bytes]:
        return await done(request, stores.update, body=True, optional=True)

    @delete(_ONE, status_code=200)
    async def delete_vector_store(request: Client) -> Response[bytes]:
        return await done(request, stores.delete)

    @post(_ONE + "/search", status_code=200)
    async def search_vector_store(request: Client) -> Response[bytes]:
        return await done(request, stores.search, body=True)

    own = [
        create_vector_store, list_vector_stores, retrieve_vector_store, update_vector_store, delete_vector_store,
        search_vector_store,
    ]  # fmt: skip
    return [*own, *_file_routes(stores, done), *_batch_routes(stores, done)]


def _file_routes(stores: Stores, done: Done) -> list[Any]:
    @post(_ONE + "/files", status_code=200)
    async def attach_file(request: Client) -> Response[bytes]:
        return await done(request, stores.attach, body=True)

    @get(_ONE + "/files")
    async def list_store_files(request: Client) -> Response[bytes]:
        return await done(request, stores.files, query=True)

    @get(_FILE)
    async def retrieve_store_file(request: Client) -> Response[bytes]:
        return await done(request, stores.file)

    @post(_FILE, status_code=200)
    async def update_store_file(request: Client) -> Response[bytes]:
        return await done(request, stores.describe, body=True)

    @delete(_FILE, status_code=200)
    async def detach_file(request: Client) -> Response[bytes]:
        return await done(request, stores.detach)

    @get(_FILE + "/content")
    async def store_file_content(request: Client) -> Response[bytes]:
        return await done(request, stores.content)

    return [attach_file, list_store_files, retrieve_store_file, update_store_file, detach_file, store_file_content]


def _batch_routes(stores: Stores, done: Done) -> list[Any]:
    @post(_ONE + "/file_batches", status_code=200)
    async def create_file_batch(request: Client) -> Response[bytes]:
        return await done(request, stores.begin, body=True)

    @get(_BATCH)
    async def retrieve_file_batch(request: Client) -> Response[bytes]:
        return await done(request, stores.batch)

    @post(_BATCH + "/cancel", status_code=200)
    async def cancel_file_batch(request: Client) -> Response[bytes]:
        return await done(request, stores.cancel)

    @get(_BATCH + "/files")
    async def list_batch_files(request: Client) -> Response[bytes]:
        return await done(request, stores.batch_files, query=True)

    return [create_file_batch, retrieve_file_batch, cancel_file_batch, list_batch_files]
