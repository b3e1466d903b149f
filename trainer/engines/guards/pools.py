"""Loaded guard models and their batches: whatever waits for one model is answered together, in one thread."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol

import msgspec

from gateway.concurrency.together import Together
from gateway.errors import BadRequest, Unavailable

MOST_LOADED = 8
TOGETHER = 32
Question = str | list[str]
"""A text, or a pair of texts for models that compare two."""


class CannotLoad(Exception):
    """A model that a policy names cannot be used; the text says why, for a person."""


class Model(Protocol):
    def answers(self, questions: Sequence[Question]) -> list[Any]:
        """One answer each, JSON-like."""


Loader = Callable[[Mapping[str, Any]], Model]


@dataclass(slots=True)
class _Loaded:
    model: Model
    waiting: list[tuple[Question, asyncio.Future[Any]]] = field(default_factory=list)
    worker: asyncio.Task[None] | None = None


class Pools:
    """At most :data:`MOST_LOADED` models; the one asked longest ago makes room. ``loaders`` by kind of model."""

    def __init__(self, loaders: Mapping[str, Loader]) -> None:
        self._loaders = loaders
        self._loaded: OrderedDict[bytes, _Loaded] = OrderedDict()
        self._loading: Together[bytes, _Loaded] = Together()
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="guard")

    async def ask(self, spec: Mapping[str, Any], questions: Sequence[Question]) -> list[Any]:
        """Raises BadRequest for a kind of model that does not exist, Unavailable when it cannot be loaded."""
        loaded = await self.load(spec)
        futures = []
        for question in questions:
            future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
            loaded.waiting.append((question, future))
            futures.append(future)
        if loaded.worker is None and loaded.waiting:
            loaded.worker = asyncio.create_task(self._work(loaded))
        return list(await asyncio.gather(*futures))

    async def load(self, spec: Mapping[str, Any]) -> _Loaded:
        """Raises as :meth:`ask`."""
        key = msgspec.json.encode(spec, order="sorted")
        found = self._loaded.get(key)
        if found is not None:
            self._loaded.move_to_end(key)
            return found
        return await self._loading.once(key, partial(self._load, key, spec))

    async def _load(self, key: bytes, spec: Mapping[str, Any]) -> _Loaded:
        loader = self._loaders.get(str(spec.get("kind")))
        if loader is None:
            raise BadRequest(f"There is no guard model of the kind {str(spec.get('kind'))[:40]!r}.")
        try:
            model = await asyncio.get_running_loop().run_in_executor(self._thread, loader, spec)
        except CannotLoad as problem:
            raise Unavailable(f"A guard model cannot be used: {problem}.", code="guard_model") from None
        self._loaded[key] = loaded = _Loaded(model)
        while len(self._loaded) > MOST_LOADED:
            self._loaded.popitem(last=False)
        return loaded

    def count(self) -> int:
        return len(self._loaded)

    def close(self) -> None:
        self._thread.shutdown(wait=True, cancel_futures=True)

    async def _work(self, loaded: _Loaded) -> None:
        """Answers what waits, batch by batch; what arrives meanwhile makes the next one."""
        try:
            while loaded.waiting:
                batch, loaded.waiting = loaded.waiting[:TOGETHER], loaded.waiting[TOGETHER:]
                batch = [one for one in batch if not one[1].done()]  # nobody waits for the others any more
                said = await self._said(loaded.model, [question for question, _ in batch])
                for (_, future), one in zip(batch, said, strict=True):
                    if not future.done():
                        _tell(future, one)
        finally:
            loaded.worker = None

    async def _said(self, model: Model, questions: list[Question]) -> list[Any]:
        """An answer, or what went wrong, for each. A text that a model cannot judge is nobody else's failure: when a
        batch fails, each of its questions is asked alone."""
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(self._thread, model.answers, questions)
        except Exception as problem:  # whatever fails, no question may wait for ever
            if len(questions) == 1:
                return [problem]
        return [one for question in questions for one in await self._said(model, [question])]


def _tell(future: asyncio.Future[Any], said: Any) -> None:
    if isinstance(said, Exception):
        future.set_exception(said)
    else:
        future.set_result(said)
