"""Loaded students and their batches: concurrent questions to one student are answered together.

A lone question never waits. When several are in flight, a batch gathers for at most the window; while a batch
computes in the worker thread, the next one gathers by itself.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from gateway.concurrency.together import Together
from gateway.errors import NotFound, Unavailable
from trainer.artifacts.artifact import Artifact, ArtifactRefused, valid_student
from trainer.artifacts.predictor import Said, say
from trainer.artifacts.seal import signed


@dataclass(frozen=True, slots=True)
class Reply:
    """``top``: the five likeliest answers with their probabilities, best first. ``cpu_ms``: this question's
    share of the CPU time its batch took, or of the time its engine was busy. ``engine``: whose time that was."""

    top: tuple[tuple[str, float], ...]
    cpu_ms: float
    digest: str
    engine: str = "classifier"
    fields: Mapping[str, float] = field(default_factory=dict)
    """How sure the student is of each field of the best, where it has fields."""


@dataclass(slots=True)
class _Question:
    text: str
    reply: asyncio.Future[Reply]


@dataclass(slots=True)
class _Loaded:
    artifact: Artifact
    waiting: list[_Question] = field(default_factory=list)
    worker: asyncio.Task[None] | None = None


class Students:
    """The students of one engine, at most ``capacity`` in memory. One worker thread computes and loads, so
    the event loop stays free and the engine uses one core."""

    def __init__(
        self, artifacts: Path, *, window_s: float, max_batch: int, capacity: int,
        key: Callable[[], str | None] = lambda: None,
    ) -> None:  # fmt: skip
        """``key``: the public key that artifacts must be signed for; None where nobody signs."""
        self._artifacts, self._key = artifacts, key
        self._window_s = window_s
        self._max_batch = max_batch
        self._capacity = capacity
        self._loaded: OrderedDict[str, _Loaded] = OrderedDict()
        self._loading: Together[str, _Loaded] = Together()
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="predict")

    async def ask(self, student: str, text: str) -> Reply:
        """The student's reply. Raises NotFound for an unknown student, Unavailable for a refused artifact."""
        loaded = await self.load(student)
        question = _Question(text, asyncio.get_running_loop().create_future())
        loaded.waiting.append(question)
        if loaded.worker is None:
            loaded.worker = asyncio.create_task(self._work(loaded))
        return await question.reply

    async def load(self, student: str) -> _Loaded:
        """Loads a student, or finds it loaded. Raises as :meth:`ask`."""
        found = self._loaded.get(student)
        if found is not None:
            self._loaded.move_to_end(student)
            return found
        if not valid_student(student):
            raise unknown(student)
        return await self._loading.once(student, partial(self._read, student))

    async def _read(self, student: str) -> _Loaded:
        folder = self._artifacts / student
        if not folder.is_dir():
            raise unknown(student)
        loop = asyncio.get_running_loop()
        try:
            artifact = await loop.run_in_executor(self._thread, signed, folder, self._key())
        except ArtifactRefused as problem:
            raise Unavailable(
                f"Student {student!r} cannot serve: {problem}. Retrain it, or restore its artifact.",
                code="artifact_refused",
            ) from None
        self._loaded[student] = loaded = _Loaded(artifact)
        while len(self._loaded) > self._capacity:
            self._loaded.popitem(last=False)
        return loaded

    def unload(self, student: str) -> bool:
        """Forgets a student; questions already asked are still answered. → whether it was loaded."""
        return self._loaded.pop(student, None) is not None

    def names(self) -> list[str]:
        """Every student that could be asked, loaded or not."""
        found = {entry.name for entry in self._artifacts.glob("*") if (entry / "manifest.json").is_file()}
        return sorted(name for name in found | set(self._loaded) if valid_student(name))

    def count(self) -> int:
        return len(self._loaded)

    def close(self) -> None:
        self._thread.shutdown(wait=True, cancel_futures=True)

    async def _work(self, loaded: _Loaded) -> None:
        """Answers what waits, batch by batch, until nothing does."""
        try:
            while True:
                await asyncio.sleep(0)  # lets questions that arrived in the same moment join
                if 1 < len(loaded.waiting) < self._max_batch and self._window_s > 0:
                    await asyncio.sleep(self._window_s)
                batch, loaded.waiting = loaded.waiting[: self._max_batch], loaded.waiting[self._max_batch :]
                if not batch:
                    return
                await self._answer(loaded.artifact, batch)
        finally:
            loaded.worker = None

    async def _answer(self, artifact: Artifact, batch: list[_Question]) -> None:
        texts = [question.text for question in batch]
        loop = asyncio.get_running_loop()
        try:
            table, cpu_ms = await loop.run_in_executor(self._thread, _compute, artifact, texts)
            replies = [Reply(one.top, cpu_ms / len(batch), artifact.digest, fields=one.fields) for one in table]
        except Exception as problem:  # whatever fails, no question may wait for ever
            for question in batch:
                if not question.reply.done():
                    question.reply.set_exception(problem)
            return
        for question, reply in zip(batch, replies, strict=True):
            if not question.reply.done():
                question.reply.set_result(reply)


def unknown(student: str) -> NotFound:
    return NotFound(f"The student {student[:96]!r} does not exist.", param="model", code="model_not_found")


def _compute(artifact: Artifact, texts: list[str]) -> tuple[list[Said], float]:
    """The answers to each text, and the CPU milliseconds of this thread they took."""
    started = time.thread_time()
    table = say(artifact.parameters, artifact.manifest.answers, texts)
    return table, (time.thread_time() - started) * 1000.0
