"""Searches stores: each is read once for each of its generations, and kept in memory while there is room."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from gateway.context import Principal
from gateway.retrieval.asking import Asked, Found
from gateway.retrieval.embedding import Embedding
from gateway.storage.vector_stores import VectorStore, VectorStores

if TYPE_CHECKING:
    from gateway.retrieval.index import Index

_MEMORY = 256 * 1024 * 1024


class Searching:
    def __init__(self, stores: VectorStores, embedding: Embedding) -> None:
        self._stores, self._embedding = stores, embedding
        self._indexes: OrderedDict[tuple[str, str], tuple[bytes, str, Index]] = OrderedDict()
        self._reading = asyncio.Lock()

    async def search(self, stores: Sequence[VectorStore], asked: Asked, owner: Principal) -> list[Found]:
        """The best of all stores first. Raises GatewayError, KeyError for a store that is gone."""
        model, vectors = self._embedding.model, list[list[float] | None]()
        if model and asked.weights[0] > 0:
            vectors += await self._embedding.of(asked.questions, owner, model)
        else:
            vectors += [None] * len(asked.questions)
        found: list[Found] = []
        for store in stores:
            index = await self._index(store, model)
            found += await asyncio.to_thread(_best, index, asked, vectors)
            await asyncio.to_thread(self._stores.touch, store)
        return _ranked(found, asked.most)

    async def _index(self, store: VectorStore, model: str) -> Index:
        place = (store.project, store.id)
        async with self._reading:  # one at a time: each may take as much memory as all together
            now = await asyncio.to_thread(self._stores.generation, *place)
            known = self._indexes.get(place)
            if known is None or known[:2] != (now, model):
                self._indexes.pop(place, None)
                known = now, model, await asyncio.to_thread(self._read, store, model)
                self._indexes[place] = known
            self._indexes.move_to_end(place)
            while len(self._indexes) > 1 and sum(one[2].size for one in self._indexes.values()) > _MEMORY:
                self._indexes.popitem(last=False)
        return known[2]

    async def sweep(self) -> None:
        """Forgets the texts of stores that were changed or deleted, which nobody may search again."""
        for place, (generation, _, _) in list(self._indexes.items()):
            if await asyncio.to_thread(self._stores.generation, *place) != generation:
                self._indexes.pop(place, None)

    def _read(self, store: VectorStore, model: str) -> Index:
        from gateway.retrieval.index import Index

        found = []
        for file in self._stores.files(store.project, store.id):
            if file.status == "completed":
                with suppress(KeyError):  # it went meanwhile
                    found.append((file, self._stores.chunks(store.project, store.id, file.id)))
        return Index(found, model)


def _best(index: Index, asked: Asked, vectors: Sequence[list[float] | None]) -> list[Found]:
    every: list[Found] = []
    for question, vector in zip(asked.questions, vectors, strict=True):
        every += index.search(
            question, vector, asked.fits, weights=asked.weights, least=asked.least, most=asked.most
        )
    return every


def _ranked(found: Sequence[Found], most: int) -> list[Found]:
    """Of a chunk that several questions, or stores, find, the best score."""
    best: dict[tuple[str, str], Found] = {}
    for one in found:
        before = best.get((one.file_id, one.text))
        if before is None or before.score < one.score:
            best[one.file_id, one.text] = one
    return sorted(best.values(), key=lambda one: -one.score)[:most]
