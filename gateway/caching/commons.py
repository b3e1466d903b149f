"""What the semantic caches of several workers have in common: kept questions, and what was learnt of their answers.

Each worker keeps its own index in memory and searches only there. Whoever keeps a question puts it into the commons,
and every label goes into one log that all workers read in the same order. Trust is a function of that order, so all
of them open and close a task on the same evidence, and ``alpha`` is spent once and not once for each worker.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, TypeVar

import msgspec
from msgspec import Struct

from gateway.caching.entries import Entry, Purge
from gateway.caching.search import Way
from gateway.config import SemanticCache
from optimizer.reuse.trust import Entry as Refined
from optimizer.reuse.trust import Trust

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

T = TypeVar("T")


class Passed(Struct, frozen=True, array_like=True):
    """A kept question. ``vector``: its float32 values as bytes. ``ttl``: seconds from when it was asked for;
    ``max_entries`` and ``max_bytes`` bound the index that takes it in,
    ``way`` is how it searches."""

    key: str
    project: str
    task: str
    bucket: str
    question: str
    answer: Entry
    text: str
    vector: bytes
    ttl: float
    max_entries: int
    max_bytes: int
    way: Way = "exact"


class News(Struct, frozen=True, array_like=True, tag="kept"):
    """A question was kept at ``kept_at``, unix seconds."""

    key: str
    kept_at: float


class Lesson(Struct, frozen=True, array_like=True, tag="label"):
    """A kept answer was compared with a fresh one: ``right`` when they agree. ``key``: of the kept question;
    ``rules``: under which it was proposed; ``sender``: the worker that saw it."""

    project: str
    task: str
    rules: SemanticCache
    key: str
    features: tuple[float, ...]
    right: bool
    proposed: bool
    sender: str = ""


class Proven(Struct, frozen=True, array_like=True):
    """Where a task stands. ``at``: place in the log of the last lesson in it; ``refined``: of its kept questions."""

    project: str
    task: str
    rules: SemanticCache
    trust: Trust
    at: tuple[int, int]
    refined: dict[str, Refined]


Told = News | Lesson
encode = msgspec.msgpack.Encoder().encode
_told = msgspec.msgpack.Decoder(Told)
_passed = msgspec.msgpack.Decoder(Passed)
_proven = msgspec.msgpack.Decoder(Proven)


def told_in(raw: bytes) -> Told | None:
    """None for what another version of this gateway wrote, here and below."""
    return _read(_told, raw)


def passed_in(raw: bytes) -> Passed | None:
    return _read(_passed, raw)


def proven_in(raw: bytes) -> Proven | None:
    return _read(_proven, raw)


def _read(decoder: msgspec.msgpack.Decoder[T], raw: bytes) -> T | None:
    try:
        return decoder.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


class Searched(Protocol):
    """Kept questions that are held and searched outside, for all workers. Nothing here raises or waits for long."""

    def keep(self, passed: Passed) -> None: ...

    async def nearest(
        self, project: str, task: str, bucket: str, vector: NDArray[np.float32]
    ) -> Passed | None:
        """The likest question of this context that is still good, or one of the likest."""

    async def purge(self, which: Purge) -> int:
        """Forgets kept questions; returns how many."""


class Commons(Protocol):
    """Nothing here raises or waits. What is told while the commons are away is lost, and costs a hit at most."""

    @property
    def me(self) -> str:
        """This worker, among the senders of lessons."""

    def ready(self) -> bool:
        """Whether this worker knows what the others know. While it does not, no question is compared."""

    def keep(self, passed: Passed) -> None: ...

    async def nearest(
        self, project: str, task: str, bucket: str, vector: NDArray[np.float32]
    ) -> Passed | None:
        """The likest question that was kept with the way ``redis``: it is searched there and in no worker's memory."""

    def tell(self, lesson: Lesson) -> None:
        """It comes back to every worker, this one included, in the order of the log."""

    async def purge(self, which: Purge) -> int:
        """Forgets kept questions; returns how many. What workers hold in memory is theirs to forget."""
