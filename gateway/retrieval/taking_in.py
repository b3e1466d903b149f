"""Takes files into vector stores in the background: read, cut, embedded, kept. What was not finished when a process
died is taken up by another."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from typing import TYPE_CHECKING

from msgspec import structs

from gateway import errors
from gateway.client_data.batches import owner_of
from gateway.concurrency.rounds import Crew, GiveBack
from gateway.context import Principal
from gateway.live import Live
from gateway.retrieval.documents import document_kind, document_text
from gateway.retrieval.embedding import Embedding
from gateway.retrieval.reading import NotRead, chunks_of, text_of
from gateway.retrieval.turns import InTurn
from gateway.storage.files import FileStore
from gateway.storage.vector_stores import Chunks, VectorFile, VectorStore, VectorStores

if TYPE_CHECKING:
    from gateway.storage.data_values import StoredFile

_log = logging.getLogger("understudy.retrieval")
_BEAT_S, _AT_ONCE, _EACH = 2.0, 3, 2
"""Files of all projects and of one that are taken in at a time, so that nobody's thousand hold up another's first."""
_Place = tuple[str, str, str]


class TakingIn:
    """One per gateway process."""

    def __init__(self, live: Live, stores: VectorStores, files: FileStore, embedding: Embedding) -> None:
        self._live, self._stores, self._files, self._embedding = live, stores, files, embedding
        self._turns: InTurn[_Place] = InTurn(lambda place: place[0], places=_AT_ONCE, each=_EACH)
        self._crew = Crew(
            self._waiting, self._taken, self._work, most=_AT_ONCE, every_s=_BEAT_S, log=_log, in_turn=self._turns.of
        )
        self.wake, self.run = self._crew.wake, self._crew.run

    def _waiting(self) -> list[_Place]:
        return [(store.project, store.id, file_id) for store, file_id in self._stores.waiting()]

    def _taken(self, place: _Place) -> GiveBack | None:
        with contextlib.suppress(KeyError):  # the store was deleted meanwhile
            return self._stores.taken(self._stores.get(*place[:2]), place[2])
        return None

    async def _work(self, place: _Place) -> None:
        self._turns.begun(place)
        with contextlib.suppress(KeyError):  # it was detached meanwhile
            await self._take(self._stores.get(*place[:2]), self._stores.file(*place))

    async def _take(self, store: VectorStore, file: VectorFile) -> None:
        try:
            chunks = await self._made(store, file)
        except NotRead as problem:
            done, chunks = structs.replace(file, status="failed", error=(problem.code, str(problem))), None
        except errors.GatewayError as problem:
            done, chunks = structs.replace(file, status="failed", error=("server_error", problem.message)), None
        else:
            done = structs.replace(file, status="completed", error=None)
        await asyncio.to_thread(self._stores.finish, store, done, chunks)

    async def _made(self, store: VectorStore, file: VectorFile) -> Chunks:
        """Raises NotRead, GatewayError."""
        stored = await self._files.get(store.project, file.id)
        if stored is None:
            raise NotRead("invalid_file", "The file was deleted, or has expired.")
        texts = await self._texts(stored, file)
        model, vectors = self._embedding.model, list[list[float]]()
        if model:
            vectors = await self._embedding.patiently(texts, lambda: self._payer(store, file), model)
        chunks = await asyncio.to_thread(_kept, stored.filename, texts, model, vectors)
        await asyncio.to_thread(self._room, store, chunks)
        return chunks

    async def _payer(self, store: VectorStore, file: VectorFile) -> Principal:
        """Who pays for vectors. Raises KeyError once nobody waits for them, Unauthenticated for a key that is over."""
        known = await asyncio.to_thread(self._stores.file, store.project, store.id, file.id)
        if known.status != "in_progress" or (known.created_at, known.turn) != (file.created_at, file.turn):
            raise KeyError(file.id)
        owner = owner_of(self._live.runtime(), file.key_id, time.time())
        if owner is None:
            raise errors.Unauthenticated("The key that attached the file is revoked, expired or gone.")
        return owner

    async def _texts(self, stored: StoredFile, file: VectorFile) -> list[str]:
        path, bounds = self._files.path(stored.id), self._live.runtime().config.vector_stores
        try:
            kind = await asyncio.to_thread(document_kind, path)
            if kind and stored.bytes <= bounds.file_bytes:
                text = await document_text(path, kind, bounds)
            else:
                text = await asyncio.to_thread(text_of, path, stored.filename, bounds.file_bytes)
        except FileNotFoundError:
            raise NotRead("invalid_file", "The file was deleted.") from None
        return await asyncio.to_thread(_cut, text, file)

    def _room(self, store: VectorStore, chunks: Chunks) -> None:
        most = self._live.runtime().config.vector_stores.project_bytes
        need = len(chunks.vectors) + sum(len(one.encode()) for one in chunks.texts)
        if self._stores.size(store.project) + need > most:
            message = f"The project's vector stores may take {most} bytes altogether. Delete files that are not needed."
            raise errors.TooLarge(message, code="quota_exceeded")


def _cut(text: str, file: VectorFile) -> list[str]:
    return list(chunks_of(text, file.chunking.size, file.chunking.overlap))


def _kept(filename: str, texts: list[str], model: str, vectors: list[list[float]]) -> Chunks:
    if not vectors:
        return Chunks(filename, texts)
    import numpy as np

    from gateway.retrieval.index import unit

    made = unit(np.array(vectors, dtype=np.float32))
    return Chunks(filename, texts, model, made.shape[1], made.tobytes())
