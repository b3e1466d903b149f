"""The semantic cache: may the answer to an earlier question stand in for this one's?

It proposes the likest question of the same context, unless a guard forbids it. Whether a proposal is served, how
that is learnt and how it is proven is ``optimizer.reuse.trust``. What is asked after all is the label: the fresh
answer is compared with the kept one. Off unless a task has a ``semantic_cache``; lives in this process alone.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING

from msgspec import Struct

from gateway.caching.entries import Entry as Answered
from gateway.caching.entries import Purge
from gateway.caching.index import Index, Kept, Scope
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

TASKS = 256
"""Tasks, by project, whose learning is remembered; a megabyte each at most. One that is forgotten is closed."""


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


class Standing(Struct, frozen=True):
    """How a task stands: whether it serves, and what it was proven on. ``seen``: labels so far."""

    project: str
    task: str
    open: bool
    round: int
    seen: int
    proposals: int
    e_value: float
    alarms: int
    delta: float


def last_question(request: ChatRequest) -> str | None:
    """The text of the last turn, when it is a user's, is nothing but text and one answer in text is wanted."""
    last = request.messages[-1] if request.messages else None
    if last is None or last.role != "user" or (request.n or 1) > 1 or request.logprobs:
        return None
    text = last.content
    return text if isinstance(text, str) and 0 < len(text) <= LONGEST else None


class Semantic:
    """One per gateway process. ``now`` in seconds of the cache's clock, ``rng`` draws the proposals to ask."""

    def __init__(self, rng: random.Random, now: Callable[[], float]) -> None:
        self._rng, self._now = rng, now
        self._index, self._vectors = Index(), Vectors()
        self._trust: dict[Scope, tuple[SemanticCache, trust.Trust]] = {}
        self._learning: ThreadPoolExecutor | None = None
        self._last: Future[None] | None = None

    async def look(self, question: Question, rules: SemanticCache) -> Look | None:
        """None when the question cannot be compared now."""
        said = wording(question.text)
        vector = await self._vectors.of(question.text, said, rules.encoder)
        if vector is None:
            return None
        found = self._index.nearest(question.bucket, vector, self._now())
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

    def answered(
        self, look: Look, rules: SemanticCache, answer: Answered, text: str, *, ttl: float, max_bytes: int
    ) -> None:
        """The question was asked after all: its answer is kept, and is the label of what had been found."""
        question = look.question
        if look.kept is not None:
            right = agrees(rules.comparison, look.kept.text, text)
            self._last = self._thread().submit(self._learn, question.scope, rules, look, right)
        kept = Kept(
            question.key, question.scope, question.bucket, look.said, answer, text, self._now() + ttl,
            len(answer.answer) + len(text) + 4 * len(question.text),
        )  # fmt: skip
        self._index.put(kept, look.vector, max_entries=rules.max_entries, max_bytes=max_bytes)

    def _learn(self, scope: Scope, rules: SemanticCache, look: Look, right: bool) -> None:
        """Runs in the one learning thread; a fit takes milliseconds. The new state is put in place whole."""
        assert look.kept is not None
        state, look.kept.entry = trust.learn(
            self._state(scope, rules), look.seen, look.kept.entry, right=right, proposed=look.proposed
        )
        self._trust.pop(scope, None)
        self._trust[scope] = (rules, state)
        if len(self._trust) > TASKS:
            del self._trust[next(iter(self._trust))]

    def _state(self, scope: Scope, rules: SemanticCache) -> trust.Trust:
        """A task whose rules were changed starts anew: what was proven was proven under the old ones."""
        known = self._trust.get(scope)
        if known is not None and known[0] == rules:
            return known[1]
        return trust.start(rules.delta, rules.alpha, rules.average_run_length)

    def _thread(self) -> ThreadPoolExecutor:
        if self._learning is None:
            self._learning = ThreadPoolExecutor(1, thread_name_prefix="semantic-cache")
        return self._learning

    def forget(self, project: str) -> None:
        """Drops every kept question and answer of a project; what its tasks have proven stays."""
        self._index.forget(project)

    async def settled(self) -> None:
        """Waits until what was answered so far has been learnt."""
        if self._last is not None:
            await asyncio.wrap_future(self._last)

    def standings(self) -> list[Standing]:
        """How each task stands, for those who look after it."""
        return [
            Standing(
                project=project, task=task, open=state.is_open, round=state.round, seen=state.seen,
                proposals=state.proof.n, e_value=state.proof.e_value, alarms=state.alarms, delta=state.delta,
            )
            for (project, task), (_, state) in sorted(self._trust.items())
        ]  # fmt: skip

    def stats(self) -> dict[str, int]:
        """``entries`` and the ``bytes`` they cost, roughly."""
        return {"entries": len(self._index), "bytes": self._index.bytes}

    def purge(self, which: Purge) -> int:
        """Forgets kept questions, and nothing of what was learnt; returns how many."""
        return self._index.purge(which)

    def close(self) -> None:
        self._vectors.close()
        if self._learning is not None:
            self._learning.shutdown(wait=False, cancel_futures=True)
