"""The newest captured calls in memory, so that a client reads its own writes before they reach the database.

Also remembers what was said about older calls (new metadata, deletion) until the database knows.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from enum import Enum
from typing import Any, Final, Literal

import msgspec

from gateway.concurrency.telling import Ended
from gateway.storage.records import CallRecord
from gateway.storage.values import StoredCompletion
from gateway.texts.masking import Masker, mask_value

_decode = msgspec.json.Decoder(dict[str, Any]).decode
_Place = tuple[str, str]  # project, call id


class _Sentinel(Enum):
    DELETED = "deleted"


DELETED: Final = _Sentinel.DELETED


class RecentCalls:
    """At most ``max_calls`` calls and ``max_bytes`` of their text; the oldest go first.

    A call is kept as it was recorded and decoded (and masked, exactly as the database would) when it is read,
    so that remembering costs the hot path next to nothing. ``catch_up`` is called before anything is read.
    """

    def __init__(
        self,
        max_calls: int = 2000,
        max_bytes: int = 64 * 1024 * 1024,
        catch_up: Callable[[], None] = lambda: None,
    ) -> None:
        self._catch_up = catch_up
        self._calls: OrderedDict[_Place, tuple[CallRecord | StoredCompletion, int]] = OrderedDict()
        self._metadata: OrderedDict[_Place, dict[str, str]] = OrderedDict()
        self._deleted: OrderedDict[_Place, float] = OrderedDict()
        self._max_calls = max_calls
        self._max_bytes = max_bytes
        self._bytes = 0

    def finished(self, calls: Sequence[Ended]) -> None:
        """An observer of ended calls."""
        for one in calls:
            if one.record.text is not None:
                self.remember(one.record)

    def remember(self, record: CallRecord) -> None:
        """A call that was just recorded; one without a visible capture is passed over."""
        if record.text is not None and record.text.visible:
            self._put((record.project, record.id), record)

    def keep(self, completion: StoredCompletion) -> None:
        """A completion read from the database that is about to differ from what stands there."""
        self._put((completion.project, completion.id), completion)

    def metadata(self, project: str, call_id: str, metadata: dict[str, str]) -> None:
        """The visible map was replaced."""
        self._metadata[project, call_id] = metadata
        self._metadata.move_to_end((project, call_id))
        _trim(self._metadata, self._max_calls)

    def forget(self, project: str, call_id: str, created_at: float = 0.0) -> None:
        """The completion was deleted: its text goes at once. ``created_at`` stays, 0 where it is not known: a client
        that deletes what it lists goes on behind it."""
        self._catch_up()
        place = (project, call_id)
        self._drop(place)
        self._metadata.pop(place, None)
        self._deleted[place] = created_at
        _trim(self._deleted, self._max_calls)

    def forget_people(self, project: str, erased: Callable[[str], bool]) -> None:
        """Forgets the calls of a project's end users for whom ``erased`` is true. What was read from the database
        does not say whose it is any more, and can be read there again."""
        self._catch_up()
        for place, (call, _) in list(self._calls.items()):
            if call.project != project:
                continue
            if isinstance(call, StoredCompletion):
                self._drop(place)
            elif call.end_user and erased(call.end_user):
                self.forget(*place, call.created_at)

    def get(self, project: str, call_id: str) -> StoredCompletion | Literal[_Sentinel.DELETED] | None:
        """The completion, DELETED, or None when only the database can tell."""
        self._catch_up()
        place = (project, call_id)
        if place in self._deleted:
            return DELETED
        found = self._calls.get(place)
        return None if found is None else self.as_now(_stored(found[0]))

    def as_now(self, completion: StoredCompletion) -> StoredCompletion:
        """A completion with the metadata that was last set here."""
        metadata = self._metadata.get((completion.project, completion.id))
        return completion if metadata is None else msgspec.structs.replace(completion, metadata=metadata)

    def deleted(self, project: str) -> set[str]:
        """The ids of deleted completions that the database may still show."""
        return {call_id for owner, call_id in self._deleted if owner == project}

    def stood(self, project: str, call_id: str) -> tuple[float, str] | None:
        """Where a deleted completion stood in the list; None when that is not known here."""
        created_at = self._deleted.get((project, call_id))
        return (created_at, call_id) if created_at else None

    def list(self, project: str) -> list[StoredCompletion]:
        """The project's completions, oldest first."""
        self._catch_up()
        found = [
            self.as_now(_stored(one)) for (owner, _), (one, _) in self._calls.items() if owner == project
        ]
        return sorted(found, key=lambda one: (one.created_at, one.id))

    def stats(self) -> dict[str, int]:
        """``entries`` and the ``bytes`` of their texts."""
        return {"entries": len(self._calls), "bytes": self._bytes}

    def __len__(self) -> int:
        return len(self._calls)

    def _put(self, place: _Place, call: CallRecord | StoredCompletion) -> None:
        if place in self._deleted:
            return
        self._drop(place)
        size = _size(call)
        self._calls[place] = call, size
        self._bytes += size
        while self._calls and (len(self._calls) > self._max_calls or self._bytes > self._max_bytes):
            self._bytes -= self._calls.popitem(last=False)[1][1]

    def _drop(self, place: _Place) -> None:
        gone = self._calls.pop(place, None)
        if gone is not None:
            self._bytes -= gone[1]


def _stored(call: CallRecord | StoredCompletion) -> StoredCompletion:
    if isinstance(call, StoredCompletion):
        return call
    assert call.text is not None
    request, answer = _decode(call.text.request), _decode(call.text.answer)
    if call.text.mask:
        masked = mask_value({"request": request, "answer": answer}, Masker())
        request, answer = masked["request"], masked["answer"]
    return StoredCompletion(
        id=call.id,
        project=call.project,
        created_at=call.created_at,
        model=call.model_asked,
        request=request,
        answer=answer,
        metadata=call.metadata,
    )


def _size(call: CallRecord | StoredCompletion) -> int:
    if isinstance(call, CallRecord):
        return len(call.text.request) + len(call.text.answer) if call.text is not None else 0
    return len(msgspec.json.encode((call.request, call.answer)))


def _trim(table: OrderedDict[_Place, Any], most: int) -> None:
    while len(table) > most:
        table.popitem(last=False)
