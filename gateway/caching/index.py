"""Kept questions with their answers, found by the nearest vector within a bucket.

A bucket holds the questions of one context: project, task, system prompt, tools, schema, earlier turns and
parameters are the same, so only the last question differs. How the nearest is found is ``gateway.caching.search``.
Memory is bounded twice, by entries for a task and by bytes for all; least recently used first out.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from gateway.caching.entries import Entry as Answered
from gateway.caching.entries import Purge
from gateway.caching.search import Search, Way, search_by
from optimizer.reuse.trust import Entry
from optimizer.reuse.wording import Wording

Scope = tuple[str, str]
"""Project and task."""
_OVERHEAD = 2048  # bytes an entry costs beside its answer and its vector, roughly


@dataclass(slots=True, eq=False)
class Kept:
    """One answered question. ``expires``: seconds of the gateway's own clock."""

    key: str
    scope: Scope
    bucket: str
    said: Wording
    answer: Answered
    text: str
    expires: float
    size: int
    number: int = 0
    entry: Entry = field(default_factory=Entry)


class _Bucket:
    """The questions of one context, by the numbers that the search knows them by."""

    def __init__(self, search: Search) -> None:
        self.search = search
        self.kept: dict[int, Kept] = {}

    def add(self, kept: Kept, vector: Any) -> None:
        self.kept[kept.number] = kept
        self.search.add(kept.number, vector)

    def remove(self, kept: Kept) -> None:
        del self.kept[kept.number]
        self.search.remove(kept.number)


class Index:
    """All tasks' kept questions. ``bytes``: what they cost, roughly, vectors included."""

    def __init__(self) -> None:
        self._buckets: dict[str, _Bucket] = {}
        self._kept: OrderedDict[str, Kept] = OrderedDict()
        self._of_scope: dict[Scope, OrderedDict[str, None]] = {}
        self._numbers = count(1)
        self.bytes = 0

    def __len__(self) -> int:
        return len(self._kept)

    def nearest(self, bucket: str, vector: Any, now: float) -> tuple[Kept, float] | None:
        """The likest question that is still good, and its similarity."""
        while (found := self._buckets.get(bucket)) is not None and found.search.size == len(vector):
            nearest = found.search.nearest(vector)
            if nearest is None:
                return None
            kept = found.kept[nearest[0]]
            if kept.expires > now:
                return kept, nearest[1]
            self._drop(kept)
        return None

    def of(self, key: str) -> Kept | None:
        return self._kept.get(key)

    def refined(self, scope: Scope) -> dict[str, Entry]:
        """What labels said of a task's kept questions, by their keys."""
        found = [self._kept.get(key) for key in list(self._of_scope.get(scope, ()))]
        return {kept.key: kept.entry for kept in found if kept is not None and kept.entry.information > 0}

    def used(self, kept: Kept) -> None:
        """Saves an entry from being the next to go."""
        if kept.key in self._kept:
            self._kept.move_to_end(kept.key)
            self._of_scope[kept.scope].move_to_end(kept.key)

    def put(self, kept: Kept, vector: Any, *, max_entries: int, max_bytes: int, way: Way = "exact") -> None:
        """Keeps a question within the bounds; the same question again takes the earlier one's place. ``way``: how a
        bucket that begins with it will be searched."""
        earlier = self._kept.get(kept.key)
        if earlier is not None:
            kept.entry = earlier.entry
            self._drop(earlier)
        kept.size += _OVERHEAD + vector.nbytes
        if kept.size > max_bytes:
            return
        mine = self._of_scope.setdefault(kept.scope, OrderedDict())
        while len(mine) >= max_entries:
            self._drop(self._kept[next(iter(mine))])
        while self._kept and self.bytes + kept.size > max_bytes:
            self._drop(next(iter(self._kept.values())))
        kept.number = next(self._numbers)
        self._bucket_for(kept.bucket, len(vector), way, max_entries).add(kept, vector)
        self._kept[kept.key] = kept
        self._of_scope.setdefault(kept.scope, OrderedDict())[kept.key] = None
        self.bytes += kept.size

    def _bucket_for(self, name: str, size: int, way: Way, most: int) -> _Bucket:
        """Vectors of another length are another encoder's, under the same name: nothing compares with them any more."""
        bucket = self._buckets.get(name)
        if bucket is not None and bucket.search.size != size:
            for kept in list(bucket.kept.values()):
                self._drop(kept)
            bucket = None
        if bucket is None:
            bucket = self._buckets[name] = _Bucket(search_by(way, size, most))
        return bucket

    def forget(self, project: str) -> None:
        """Drops every question of a project."""
        for kept in [one for one in self._kept.values() if one.scope[0] == project]:
            self._drop(kept)

    def purge(self, which: Purge) -> int:
        """Forgets the questions whose answers fit; returns how many."""
        gone = [kept for key, kept in self._kept.items() if which.fits(key, kept.answer)]
        for kept in gone:
            self._drop(kept)
        return len(gone)

    def _drop(self, kept: Kept) -> None:
        del self._kept[kept.key]
        mine = self._of_scope[kept.scope]
        del mine[kept.key]
        if not mine:
            del self._of_scope[kept.scope]
        bucket = self._buckets[kept.bucket]
        bucket.remove(kept)
        if not bucket.kept:
            del self._buckets[kept.bucket]
        self.bytes -= kept.size
