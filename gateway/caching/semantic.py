"""The semantic cache: may the answer to an earlier question stand in for this one's?

It proposes the likest question of the same context, unless a guard forbids it. Whether a proposal is served, how
that is learnt and how it is proven is ``optimizer.reuse.trust``. What is asked after all is the label: the fresh
answer is compared with the kept one. Off unless a task has a ``semantic_cache``; lives in this process alone, or has
``gateway.caching.commons`` with other workers.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from typing import TYPE_CHECKING

from msgspec import Struct

from gateway.caching.commons import Commons, Lesson, Passed, Proven, Searched
from gateway.caching.entries import Entry as Answered
from gateway.caching.entries import Purge
from gateway.caching.index import Index, Kept, Scope
from gateway.caching.lessons import Lessons, Place, Standing
from gateway.caching.search import ELSEWHERE
from gateway.caching.vectors import Vectors
from gateway.config import SemanticCache
from gateway.protocol.chat import ChatRequest
from optimizer.reuse import trust
from optimizer.reuse.wording import Wording, features, forbidden, wording
from optimizer.scorers import agrees

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

LONGEST = 2000
"""Characters of a question that is looked up: longer ones are documents, and one word decides there."""

_TEXT_PART = {"type", "text"}


class Question(Struct, frozen=True):
    """What is asked: ``key`` of the exact request, ``bucket`` of all that must be the same, and the last user text."""

    key: str
    bucket: str
    scope: Scope
    text: str


class Look(Struct, frozen=True):
    """What was found for a question. ``answer``: the kept answer that may be served now; None: ask.

    ``proposed``: the comparison counts as evidence, because it is a proposal and was asked by rule or by lot.
    """

    question: Question
    said: Wording
    vector: NDArray[np.float32]
    kept: Kept | None = None
    seen: tuple[float, ...] = ()
    proposed: bool = False
    answer: Answered | None = None


def last_question(request: ChatRequest) -> str | None:
    """The text of the last turn, when it is a user's, is nothing but one text and one answer in text is wanted."""
    last = request.messages[-1] if request.messages else None
    if last is None or last.role != "user" or (request.n or 1) > 1 or request.logprobs:
        return None
    text: object = last.content
    if isinstance(text, list) and len(text) == 1 and isinstance(text[0], dict) and text[0].keys() == _TEXT_PART:
        text = text[0]["text"] if text[0]["type"] == "text" else None
    return text if isinstance(text, str) and 0 < len(text) <= LONGEST else None


class Semantic:
    """One per gateway process. ``now`` in seconds of the cache's clock, ``rng`` draws the proposals to ask."""

    def __init__(
        self, rng: random.Random, now: Callable[[], float], commons: Commons | None = None,
        searched: Mapping[str, Searched] | None = None,
    ) -> None:  # fmt: skip
        self._rng, self._now, self._commons, self._searched = rng, now, commons, searched or {}
        self._index, self._vectors = Index(), Vectors()
        self._lessons = Lessons(self._index, commons.me if commons is not None else "")
        self._last: Future[list[Proven]] | None = None

    async def look(self, question: Question, rules: SemanticCache) -> Look | None:
        """None when the question cannot be compared now."""
        knows = self._commons is None or self._commons.ready()
        said = wording(question.text)
        vector = await self._vectors.of(question.text, said, rules.encoder)
        if vector is None:
            return None
        found = await self._nearest(question, rules, vector) if knows else None
        if found is None:
            return Look(question, said, vector)
        kept, likeness = found
        if forbidden(kept.said, said, tuple(rules.guards)):
            return Look(question, said, vector)
        state = self._state(question.scope, rules)
        seen = features(kept.said, said, likeness)
        proposed = trust.proposes(state, trust.log_odds(state, seen, kept.entry))
        serves = proposed and state.is_open and self._rng.random() >= rules.reask_rate
        if serves:
            self._index.used(kept)
        return Look(question, said, vector, kept, seen, proposed, kept.answer if serves else None)

    async def _nearest(
        self, question: Question, rules: SemanticCache, vector: NDArray[np.float32]
    ) -> tuple[Kept, float] | None:
        """The likest kept question of the same context, and its similarity."""
        bucket = _bucket(question.bucket, rules)
        if rules.index not in ELSEWHERE:
            return self._index.nearest(bucket, vector, self._now())
        outside = self._searched.get(rules.index, self._commons)
        found = await outside.nearest(*question.scope, bucket, vector) if outside is not None else None
        if found is None or len(found.vector) != vector.nbytes:
            return None
        likeness = float(_floats(found.vector) @ vector)
        return self._kept(found, wording(found.question), self._lessons.refined(found.key), 0.0), likeness

    def answered(
        self, look: Look, rules: SemanticCache, answer: Answered, text: str, *, ttl: float, max_bytes: int
    ) -> None:
        """The question was asked after all: its answer is kept, and is the label of what had been found."""
        question = look.question
        if look.kept is not None:
            right = agrees(rules.comparison, look.kept.text, text)
            self._tell(Lesson(*question.scope, rules, look.kept.key, look.seen, right, look.proposed))
        passed = Passed(
            question.key, *question.scope, _bucket(question.bucket, rules), question.text, answer, text,
            look.vector.tobytes(), ttl, rules.max_entries, max_bytes, rules.index,
        )  # fmt: skip
        if rules.index not in ELSEWHERE:
            self._put(passed, look.said, look.vector, ttl)
        outside = self._searched.get(rules.index, self._commons)
        if outside is not None:
            outside.keep(passed)

    def _put(self, passed: Passed, said: Wording, vector: NDArray[np.float32], left: float) -> None:
        kept = self._kept(passed, said, trust.Entry(), left)
        self._index.put(
            kept, vector, max_entries=passed.max_entries, max_bytes=passed.max_bytes, way=passed.way
        )

    def _kept(self, passed: Passed, said: Wording, entry: trust.Entry, left: float) -> Kept:
        """``left``: seconds until it expires."""
        size = len(passed.answer.answer) + len(passed.text) + 4 * len(passed.question)
        scope, expires = (passed.project, passed.task), self._now() + left
        return Kept(
            passed.key, scope, passed.bucket, said, passed.answer, passed.text, expires, size, entry=entry
        )

    def _tell(self, lesson: Lesson) -> None:
        if self._commons is not None:
            self._commons.tell(lesson)
        else:
            self._last = self._lessons.learn([((0, 0), lesson)])

    def _state(self, scope: Scope, rules: SemanticCache) -> trust.Trust:
        return self._lessons.state(scope, rules)

    # ------------------------------------------------------------------ what the commons bring
    def lacks(self, key: str, kept_at: float) -> bool:
        """Whether a question that another worker kept at that time is not here."""
        kept = self._index.of(key)
        return kept is None or kept.answer.kept_at < kept_at

    def take(self, passed: Passed, clock: float) -> None:
        """Takes in what another worker kept. ``clock``: unix seconds now."""
        left = passed.answer.kept_at + passed.ttl - clock
        if left > 0 and self.lacks(passed.key, passed.answer.kept_at):
            self._put(passed, wording(passed.question), _floats(passed.vector), left)

    def restore(self, proven: Proven) -> None:
        self._lessons.restore(proven)

    async def learned(self, lessons: Sequence[tuple[Place, Lesson]]) -> list[Proven]:
        """Learns what the log says; as ``Lessons.learn``."""
        self._last = self._lessons.learn(lessons)
        return await asyncio.wrap_future(self._last)

    # ------------------------------------------------------------------ those who look after it
    def forget(self, project: str) -> None:
        """Drops every kept question and answer of a project; what its tasks have proven stays."""
        self._index.forget(project)

    async def settled(self) -> None:
        """Waits until what was answered so far has been learnt."""
        if self._last is not None:
            await asyncio.wrap_future(self._last)

    def standings(self) -> list[Standing]:
        """How each task stands, for those who look after it."""
        return self._lessons.standings()

    def stats(self) -> dict[str, int]:
        """``entries`` and the ``bytes`` they cost, roughly."""
        return {"entries": len(self._index), "bytes": self._index.bytes}

    def purge(self, which: Purge) -> int:
        """Forgets kept questions here, and nothing of what was learnt; returns how many."""
        return self._index.purge(which)

    async def purge_commons(self, which: Purge) -> int | None:
        """Forgets what all workers have in common, so that nobody takes it in again; None where nothing is."""
        return await self._commons.purge(which) if self._commons is not None else None

    async def purge_searched(self, which: Purge) -> int:
        """Forgets what is held outside and in no commons."""
        return sum([await outside.purge(which) for outside in self._searched.values()])

    def close(self) -> None:
        self._vectors.close()
        self._lessons.close()


def _floats(vector: bytes) -> NDArray[np.float32]:
    import numpy as np

    return np.frombuffer(vector, dtype=np.float32)


def _bucket(context: str, rules: SemanticCache) -> str:
    """Vectors of two encoders say nothing about each other, and where the rules change the search begins anew."""
    return f"{context} {rules.index} {rules.encoder or ''}"
