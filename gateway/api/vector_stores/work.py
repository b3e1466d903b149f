"""What is done to vector stores and their files; everything is the key's project's."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from msgspec import UNSET, structs

from gateway import errors
from gateway.api.batches import metadata_in_batch
from gateway.api.files.routes import Told
from gateway.api.http import demand
from gateway.api.paging import paged
from gateway.api.vector_stores.shapes import (
    Changes,
    NewAttributes,
    NewBatch,
    NewFile,
    NewStore,
    Question,
    asked_of,
    attributes_of,
    chunking_of,
    shown_batch,
    shown_file,
    shown_found,
    shown_store,
    wanted_of,
)
from gateway.context import Principal
from gateway.live import Live
from gateway.protocol.body import typed
from gateway.retrieval.asking import Asked, Found
from gateway.retrieval.embedding import Embedding
from gateway.retrieval.searching import Searching
from gateway.retrieval.taking_in import TakingIn
from gateway.storage.files import FileStore
from gateway.storage.vector_stores import FileBatch, VectorFile, VectorStore, VectorStores

_MOST_FILES = 10_000
T = TypeVar("T")
Data = dict[str, Any]


class Stores:
    def __init__(
        self, live: Live, stores: VectorStores, files: FileStore, embedding: Embedding, searching: Searching,
        taking_in: TakingIn,
    ) -> None:  # fmt: skip
        self._live, self._stores, self._files = live, stores, files
        self._embedding, self._searching, self._taking_in = embedding, searching, taking_in

    # ------------------------------------------------------------ stores
    async def create(self, who: Principal, data: Data) -> Data:
        body, now = typed(data, NewStore), time.time()
        wanted = [NewFile(one, None, body.chunking_strategy) for one in body.file_ids]
        files = await self._new_files(who, wanted, now)
        store = VectorStore(
            id="vs_" + secrets.token_hex(16), project=who.project, created_at=now, last_active_at=now,
            name=body.name or "", description=body.description, metadata=metadata_in_batch(body.metadata) or {},
            expires_days=body.expires_after.days if body.expires_after else None,
        )  # fmt: skip
        most = self._live.runtime().config.vector_stores.most
        if len(await self._done(self._stores.all, who.project)) >= most:
            message = f"The project has {most} vector stores. Delete some."
            raise errors.RateLimited(message, code="vector_store_limit_exceeded")
        await self._done(self._stores.put, store)
        await self._attached(store, files)
        return shown_store(store, files, now)

    async def retrieve(self, who: Principal, store_id: str) -> Data:
        return await self._shown(await self._one(who, store_id))

    async def update(self, who: Principal, store_id: str, data: Data) -> Data:
        store, body = await self._one(who, store_id), typed(data, Changes)
        changed = store
        if body.name is not None:
            changed = structs.replace(changed, name=body.name)
        if body.metadata is not None:
            changed = structs.replace(changed, metadata=metadata_in_batch(body.metadata) or {})
        if body.expires_after is not UNSET:
            self._hold(store)
            days = body.expires_after.days if body.expires_after else None
            changed = structs.replace(changed, expires_days=days, last_active_at=time.time())
        await self._done(self._stores.replace, changed, missing=_no_store(store_id))
        return await self._shown(changed)

    async def delete(self, who: Principal, store_id: str) -> Data:
        await self._done(self._stores.delete, await self._one(who, store_id), missing=_no_store(store_id))
        await self._searching.sweep()
        return {"id": store_id, "object": "vector_store.deleted", "deleted": True}

    async def page(self, who: Principal, query: Mapping[str, str]) -> Data:
        def read() -> Data:
            now, every = time.time(), {one.id: one for one in self._stores.all(who.project)}
            names = [(one.created_at, {"id": one.id}) for one in every.values()]
            page = paged(names, query, lambda name: self._stores.stood(who.project, name), usual="desc")
            chosen = [every[one["id"]] for one in page["data"]]
            return {
                **page, "data": [shown_store(one, self._stores.files(who.project, one.id), now) for one in chosen]
            }  # fmt: skip

        return await self._done(read)

    async def search(self, who: Principal, store_id: str, data: Data) -> Data:
        store, question = await self._one(who, store_id), typed(data, Question)
        self._hold(store)
        asked = asked_of(question)
        found = await self._found(who, [store], asked)
        return {
            "object": "vector_store.search_results.page",
            "search_query": list(asked.questions),
            "data": [shown_found(one) for one in found],
            "has_more": False,
            "next_page": None,
        }

    async def unknown(self, who: Principal, store_ids: Sequence[str]) -> list[str]:
        """Implements gateway.retrieval.asking.Library."""
        demand(who, "data", "The request names a vector store")
        found = []
        for one in store_ids:
            try:
                await self._one(who, one)
            except errors.NotFound:
                found.append(one)
        return found

    async def searchable(self, who: Principal, store_ids: Sequence[str]) -> None:
        """Implements gateway.retrieval.asking.Library."""
        await self._several(who, store_ids)

    async def among(self, who: Principal, store_ids: Sequence[str], asked: Asked) -> list[Found]:
        return await self._found(who, await self._several(who, store_ids), asked)

    # ------------------------------------------------------------ files
    async def attach(self, who: Principal, store_id: str, data: Data) -> Data:
        store, body = await self._one(who, store_id), typed(data, NewFile)
        files = await self._new_files(who, [body], time.time())
        await self._attached(store, files)
        return shown_file(store_id, files[0])

    async def file(self, who: Principal, store_id: str, file_id: str) -> Data:
        return shown_file(store_id, await self._file(who, store_id, file_id))

    async def describe(self, who: Principal, store_id: str, file_id: str, data: Data) -> Data:
        attributes = attributes_of(typed(data, NewAttributes).attributes)
        await self._file(who, store_id, file_id)

        def change(file: VectorFile) -> VectorFile:
            return structs.replace(file, attributes=attributes)

        changed = await self._done(
            self._stores.change, who.project, store_id, file_id, change, missing=_no_file(file_id)
        )
        return shown_file(store_id, changed)

    async def detach(self, who: Principal, store_id: str, file_id: str) -> Data:
        await self._file(who, store_id, file_id)
        await self._done(self._stores.detach, who.project, store_id, file_id, missing=_no_file(file_id))
        await self._searching.sweep()
        return {"id": file_id, "object": "vector_store.file.deleted", "deleted": True}

    async def content(self, who: Principal, store_id: str, file_id: str) -> Data:
        file = await self._file(who, store_id, file_id)
        if file.status != "completed":
            message = f"The file's status is '{file.status}'; its content is there once it is 'completed'."
            raise errors.BadRequest(message, param="file_id", code="file_not_ready")
        chunks = await self._done(
            self._stores.chunks, who.project, store_id, file_id, missing=_no_file(file_id)
        )
        return {
            "object": "vector_store.file_content.page",
            "data": [{"type": "text", "text": one} for one in chunks.texts],
            "has_more": False,
            "next_page": None,
        }

    async def files(self, who: Principal, store_id: str, query: Mapping[str, str], batch: str = "") -> Data:
        store = await self._one(who, store_id)
        wanted = query.get("filter")
        if wanted not in (None, "in_progress", "completed", "failed", "cancelled"):
            message = "'filter' must be 'in_progress', 'completed', 'failed' or 'cancelled'."
            raise errors.BadRequest(message, param="filter", code="invalid_value")

        def read() -> Data:
            found = [
                (one.created_at, shown_file(store.id, one))
                for one in self._stores.files(who.project, store.id)
                if not batch or one.batch == batch
            ]
            return paged(
                found, query, lambda name: self._stores.stood(who.project, name, store.id),
                lambda one: wanted in (None, one["status"]), usual="desc",
            )  # fmt: skip

        return await self._done(read)

    # ------------------------------------------------------------ batches
    async def begin(self, who: Principal, store_id: str, data: Data) -> Data:
        store, now = await self._one(who, store_id), time.time()
        files = await self._new_files(who, wanted_of(typed(data, NewBatch)), now)
        batch = FileBatch("vsfb_" + secrets.token_hex(16), now, tuple(one.id for one in files))
        files = [structs.replace(one, batch=batch.id) for one in files]
        await self._attached(store, files, batch)
        return shown_batch(store_id, batch, files)

    async def batch(self, who: Principal, store_id: str, batch_id: str) -> Data:
        await self._one(who, store_id)
        batch = await self._batch(self._stores.batch, who, store_id, batch_id)
        return await self._batch_shown(who, store_id, batch)

    async def cancel(self, who: Principal, store_id: str, batch_id: str) -> Data:
        await self._one(who, store_id)
        batch = await self._batch(self._stores.cancel, who, store_id, batch_id)
        return await self._batch_shown(who, store_id, batch)

    async def batch_files(self, who: Principal, store_id: str, batch_id: str, query: Mapping[str, str]) -> Data:
        await self._one(who, store_id)
        await self._batch(self._stores.batch, who, store_id, batch_id)
        return await self.files(who, store_id, query, batch_id)

    # ------------------------------------------------------------ within
    async def _one(self, who: Principal, store_id: str) -> VectorStore:
        """Raises NotFound, for another project's store too."""
        return await self._done(self._stores.get, who.project, store_id, missing=_no_store(store_id))

    async def _several(self, who: Principal, store_ids: Sequence[str]) -> list[VectorStore]:
        demand(who, "data", "The request names a vector store")
        self._may_embed(who)
        stores = [await self._one(who, one) for one in store_ids]
        for store in stores:
            self._hold(store)
        return stores

    async def _found(self, who: Principal, stores: Sequence[VectorStore], asked: Asked) -> list[Found]:
        self._may_embed(who)
        try:
            return await self._searching.search(stores, asked, who)
        except KeyError:
            raise _no_store(" or ".join(one.id for one in stores)) from None

    async def _file(self, who: Principal, store_id: str, file_id: str) -> VectorFile:
        await self._one(who, store_id)
        return await self._done(self._stores.file, who.project, store_id, file_id, missing=_no_file(file_id))

    async def _batch(
        self, work: Callable[[str, str, str], FileBatch], who: Principal, store_id: str, batch_id: str
    ) -> FileBatch:
        missing = errors.NotFound(f"No file batch found with id '{batch_id[:80]}'.", param="batch_id")
        return await self._done(work, who.project, store_id, batch_id, missing=missing)

    async def _batch_shown(self, who: Principal, store_id: str, batch: FileBatch) -> Data:
        files = await self._done(self._stores.files, who.project, store_id)
        return shown_batch(store_id, batch, [one for one in files if one.batch == batch.id])

    async def _shown(self, store: VectorStore) -> Data:
        files = await self._done(self._stores.files, store.project, store.id)
        return shown_store(store, files, time.time())

    async def _new_files(self, who: Principal, wanted: Sequence[NewFile], now: float) -> list[VectorFile]:
        """Raises NotFound for a file that is not the project's, Forbidden when its vectors may not be asked for."""
        if wanted:
            self._may_embed(who)
        for one in wanted:
            with Told():
                known = await self._files.get(who.project, one.file_id)
            if known is None:
                raise errors.NotFound(f"No such File object: {one.file_id[:80]}", param="file_id")
        return [
            VectorFile(
                id=one.file_id, key_id=who.key_id, created_at=now + at * 1e-6,
                chunking=chunking_of(one.chunking_strategy), attributes=attributes_of(one.attributes),
            )
            for at, one in enumerate(wanted)
        ]  # fmt: skip

    async def _attached(
        self, store: VectorStore, files: Sequence[VectorFile], batch: FileBatch | None = None
    ) -> None:
        if not files:
            return
        self._hold(store)
        if await self._done(self._stores.count, store.project, store.id) + len(files) > _MOST_FILES:
            message = f"A vector store takes {_MOST_FILES} files."
            raise errors.RateLimited(message, code="vector_store_limit_exceeded")
        await self._done(self._stores.attach, store, files, batch, missing=_no_store(store.id))
        await self._done(self._stores.touch, store)
        self._taking_in.wake()

    def _may_embed(self, who: Principal) -> None:
        if self._embedding.model:
            demand(who, "inference", "Vector stores ask an embedding model here")

    def _hold(self, store: VectorStore) -> None:
        if store.expired(time.time()):
            message = f"The vector store '{store.id}' has expired. Make another one."
            raise errors.BadRequest(message, param="vector_store_id", code="vector_store_expired")

    async def _done(self, work: Callable[..., T], *given: Any, missing: errors.GatewayError | None = None) -> T:
        """What blocking ``work`` brings; ``missing`` is raised for what is not there."""
        with Told():
            try:
                return await asyncio.to_thread(work, *given)
            except KeyError:
                if missing is None:
                    raise
                raise missing from None


def _no_store(store_id: str) -> errors.NotFound:
    return errors.NotFound(f"Vector store with id '{store_id[:200]}' not found.", param="vector_store_id")


def _no_file(file_id: str) -> errors.NotFound:
    return errors.NotFound(f"No file found with id '{file_id[:80]}' in this vector store.", param="file_id")
