"""How far each task's semantic cache is trusted, learnt from labels in one thread of its own."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor

from msgspec import Struct

from gateway.caching.commons import Lesson, Proven
from gateway.caching.index import Index, Scope
from gateway.caching.search import ELSEWHERE
from gateway.config import SemanticCache
from optimizer.reuse import trust

Place = tuple[int, int]
"""Where a lesson stands in the log of all workers; (0, 0) where there is none."""

TASKS = 256
"""Tasks, by project, whose learning is remembered; a megabyte each at most. One that is forgotten is closed."""
REFINED = 10_000
"""Questions that are kept elsewhere and have labels; the rest are judged like one that has none."""
_UNKNOWN = ("", ""), trust.Entry()


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


class Lessons:
    """``index``: its kept questions are refined by the labels they got. ``me``: this worker among the senders."""

    def __init__(self, index: Index, me: str = "") -> None:
        self._index, self._me = index, me
        self._trust: dict[Scope, tuple[SemanticCache, trust.Trust]] = {}
        self._at: dict[Scope, Place] = {}
        self._elsewhere: OrderedDict[str, tuple[Scope, trust.Entry]] = OrderedDict()
        self._thread: ThreadPoolExecutor | None = None

    def state(self, scope: Scope, rules: SemanticCache) -> trust.Trust:
        """A task whose rules were changed starts anew: what was proven was proven under the old ones."""
        known = self._trust.get(scope)
        if known is not None and known[0] == rules:
            return known[1]
        return trust.start(rules.delta, rules.alpha, rules.average_run_length)

    def learn(self, lessons: Sequence[tuple[Place, Lesson]]) -> Future[list[Proven]]:
        """Learns in order, each lesson of a log once. → the tasks in which a lesson of this worker changed more than a
        count, for others to begin from."""
        if self._thread is None:
            self._thread = ThreadPoolExecutor(1, thread_name_prefix="semantic-cache")
        return self._thread.submit(self._learn_all, lessons)

    def _learn_all(self, lessons: Sequence[tuple[Place, Lesson]]) -> list[Proven]:
        changed: dict[Scope, None] = {}
        for place, lesson in lessons:
            scope = lesson.project, lesson.task
            if place > self._at.get(scope, (0, 0)) or place == (0, 0):
                before = self.state(scope, lesson.rules)
                after = self._learn(scope, lesson, before)
                self._at[scope] = place
                if lesson.sender == self._me and _moved(before, after):
                    changed[scope] = None
        return [self._proven(scope) for scope in changed if scope in self._trust]

    def _learn(self, scope: Scope, lesson: Lesson, before: trust.Trust) -> trust.Trust:
        """A fit takes milliseconds. The new state is put in place whole."""
        known = self.refined(lesson.key)
        after, entry = trust.learn(before, lesson.features, known, right=lesson.right, proposed=lesson.proposed)
        self._refine(scope, lesson.rules, lesson.key, entry)
        self._put(scope, lesson.rules, after)
        return after

    def refined(self, key: str) -> trust.Entry:
        """What labels said of a kept question, in this index or in one that is elsewhere."""
        kept = self._index.of(key)
        return kept.entry if kept is not None else self._elsewhere.get(key, _UNKNOWN)[1]

    def _refine(self, scope: Scope, rules: SemanticCache, key: str, entry: trust.Entry) -> None:
        kept = self._index.of(key)
        if kept is not None:
            if kept.scope == scope:
                kept.entry = entry
        elif rules.index in ELSEWHERE:
            self._elsewhere.pop(key, None)
            self._elsewhere[key] = scope, entry
            if len(self._elsewhere) > REFINED:
                self._elsewhere.popitem(last=False)

    def _put(self, scope: Scope, rules: SemanticCache, state: trust.Trust) -> None:
        self._trust.pop(scope, None)
        self._trust[scope] = rules, state
        if len(self._trust) > TASKS:
            gone = next(iter(self._trust))
            del self._trust[gone]
            self._at.pop(gone, None)

    def _proven(self, scope: Scope) -> Proven:
        rules, state = self._trust[scope]
        elsewhere = {key: entry for key, (of, entry) in list(self._elsewhere.items()) if of == scope}
        return Proven(*scope, rules, state, self._at[scope], elsewhere | self._index.refined(scope))

    def restore(self, proven: Proven) -> None:
        """Begins where another worker stood; its kept questions must be in the index."""
        scope = proven.project, proven.task
        if proven.at > self._at.get(scope, (0, 0)):
            self._put(scope, proven.rules, proven.trust)
            self._at[scope] = proven.at
            for key, entry in proven.refined.items():
                self._refine(scope, proven.rules, key, entry)

    def standings(self) -> list[Standing]:
        return [
            Standing(
                project=project, task=task, open=state.is_open, round=state.round, seen=state.seen,
                proposals=state.proof.n, e_value=state.proof.e_value, alarms=state.alarms, delta=state.delta,
            )
            for (project, task), (_, state) in sorted(self._trust.items())
        ]  # fmt: skip

    def close(self) -> None:
        if self._thread is not None:
            self._thread.shutdown(wait=False, cancel_futures=True)


def _moved(before: trust.Trust, after: trust.Trust) -> bool:
    return (before.fitted_at, before.round, before.is_open) != (after.fitted_at, after.round, after.is_open)
