"""Requests that come again byte by byte after one that was answered from the cache.

Such a request is neither decoded nor checked nor keyed again: everything that these found out about the first holds
for it, under the same policies, from the same key, with the same headers. Only whether the kept answer still stands is
asked of the cache, every time; then the call passes ``record`` and ``limit`` like all others, and its answer is
written under its own id. Guardrails that judge by themselves say of the same texts what they said before, so a call
is remembered of which they all said nothing. Nothing is remembered where others are asked, or where the time or the
call itself decides. docs/experiments.md says what it is worth.
"""

from __future__ import annotations

import hashlib
import logging
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any

import msgspec
from msgspec import Struct

from gateway.caching.entries import KEY_HEADER, unpacked
from gateway.config import Task
from gateway.context import Answer, Exchange, Principal, WholeAnswer
from gateway.pipeline import Handler
from gateway.protocol.assemble import answer_text, finish_reason
from gateway.protocol.hints import HINTS
from gateway.protocol.web_search import NAME as WEB_SEARCH
from gateway.runtime import Runtime
from gateway.storage.answers import Answers
from optimizer.routing.plan import Candidate

_log = logging.getLogger("understudy.caching")
_MOST_BYTES = 8 * 1024 * 1024
_LONGEST = 64 * 1024
"""Bytes of a request or an answer that is remembered."""
_OVERHEAD = 4096
"""Bytes that one costs beside its texts, roughly."""
_TELLING = frozenset({"cache-control", "idempotency-key", "x-understudy-hops"})
"""Headers that ask for something of each call."""
_LOOKED_UP = (b"file_id", b'"moderation"')
"""What in a request is about more than its own bytes: files that may be gone by the next time, a rating."""
_PAID_APART = HINTS | {WEB_SEARCH, "modalities"}
"""Fields for which a budget reserves more than for tokens: the blank call has none of them."""
_decode = msgspec.json.Decoder(dict[str, Any]).decode
_ID, _CREATED = (secrets.token_hex(16).encode() for _ in range(2))
"""What stands for a call's id and time until they are known."""


class Shortcut(Struct, frozen=True):
    """What is known of a request. ``blank``: a call with it, before anybody has looked at it; ``task``, ``spared`` and
    ``spared_usd``: what the cache says of its answer; ``raw``: what that held under ``key``, kept at ``kept_at`` and
    fresh until ``until`` (unix seconds); ``said``: the answer, and ``template``: how it is written, whole or as a
    stream, but for a call's id and time."""

    headers: Mapping[str, str]
    blank: Exchange
    task: Task | None
    spared: Candidate | None
    spared_usd: float | None
    key: str
    raw: bytes
    kept_at: float
    until: float
    template: bytes
    said: WholeAnswer
    size: int

    def lasts(self, runtime: Runtime, now: float) -> bool:
        """Whether it may still be the answer, as far as that is known without the cache. ``now`` in unix seconds."""
        return self.blank.runtime is runtime and now <= self.until

    def call(
        self, call_id: str, request_id: str, headers: Mapping[str, str], started: float, now: float
    ) -> Exchange:
        """A new call with this request. ``now`` in unix seconds, ``started`` monotonic."""
        blank = self.blank
        call: Exchange = blank.__copy__()  # type: ignore[attr-defined]  # every Struct has it
        call.call_id, call.request_id, call.headers = call_id, request_id, headers
        call.received_at, call.started = now, started
        call.deadline = started + (blank.deadline - blank.started)
        call.response_headers, call.verdicts, call.attempts = {}, [], []
        call.given = self
        return call

    def answer(self, call: Exchange) -> WholeAnswer:
        """The kept answer as that call's own, with all that the cache notes on a call (``stages/cache.py``)."""
        call.cache, call.task, call.cost_usd = "hit", self.task, 0.0
        call.spared, call.usage, call.teacher_cost_usd = self.spared, self.said.usage, self.spared_usd
        call.response_headers[KEY_HEADER] = self.key
        call.response_headers["age"] = str(int(max(0.0, call.received_at - self.kept_at)))
        call.shown = self.template.replace(_ID, call.call_id.encode()).replace(_CREATED, _created(call))
        return WholeAnswer({}, self.said.text, self.said.finish_reason, self.said.usage)


class Shortcuts:
    """``handler``: the stages that every call passes, around the answer that is ``given``. ``now`` as the cache's."""

    def __init__(self, answers: Answers, handler: Handler, now: Callable[[], float] = time.monotonic) -> None:
        self._answers, self.handler, self._now = answers, handler, now
        self._known: OrderedDict[bytes, Shortcut] = OrderedDict()
        self._bytes = 0

    def stats(self) -> dict[str, int]:
        return {"entries": len(self._known), "bytes": self._bytes}

    def clear(self) -> None:
        self._known.clear()
        self._bytes = 0

    async def find(
        self, headers: Mapping[str, str], body: bytes, principal: Principal, runtime: Runtime, now: float
    ) -> Shortcut | None:
        """What is known of this request; None: the pipeline finds out. ``now`` in unix seconds."""
        if not self._known:
            return None
        place = _place(principal, body)
        known = self._known.get(place)
        if known is None or known.headers != headers:
            return None
        same = known.lasts(runtime, now) and known.blank.principal is principal
        if not same or await self._answers.get(known.key, self._now()) != known.raw:
            self._drop(place)
            return None
        if place in self._known:  # nobody has had everything forgotten while the store was asked
            self._known.move_to_end(place)
        return known

    async def learn(self, call: Exchange, headers: Mapping[str, str], body: bytes, written: bytes) -> None:
        """Remembers a request that was answered from the cache just now, in the bytes ``written``, if another one would
        be answered the same. The call is over: nothing that goes wrong here is told to its client."""
        try:
            await self._learn(call, headers, body, written)
        except Exception:
            _log.exception("a request that was answered from the cache is not known by its bytes")

    async def _learn(self, call: Exchange, headers: Mapping[str, str], body: bytes, written: bytes) -> None:
        key = call.response_headers.get(KEY_HEADER, "")
        if not key or max(len(body), len(written)) > _LONGEST or not _lasting(call, headers, body):
            return
        assert call.principal is not None
        place = _place(call.principal, body)
        known = self._known.get(place)
        if known is not None and known.headers != headers and known.lasts(call.runtime, call.received_at):
            return  # two clients would push each other out for ever
        raw = await self._answers.get(key, self._now())
        entry = unpacked(raw) if raw is not None and len(raw) <= _LONGEST else None
        if raw is None or entry is None:
            return
        data, template = _decode(entry.answer), _template(written, call)
        if not template:
            return
        said = WholeAnswer({}, answer_text(data), finish_reason(data), call.usage)
        size = 2 * len(body) + 2 * len(raw) + len(template) + _OVERHEAD
        until = entry.kept_at + entry.fresh_s
        self._put(place, Shortcut(
            headers, _blank(call), call.task, call.spared, call.teacher_cost_usd, key, raw, entry.kept_at, until,
            template, said, size,
        ))  # fmt: skip

    def _put(self, place: bytes, known: Shortcut) -> None:
        self._drop(place)
        self._known[place] = known
        self._bytes += known.size
        while self._bytes > _MOST_BYTES:
            self._drop(next(iter(self._known)))

    def _drop(self, place: bytes) -> None:
        gone = self._known.pop(place, None)
        if gone is not None:
            self._bytes -= gone.size


async def given(call: Exchange) -> Answer:
    """The innermost handler: the answer is there."""
    assert call.given is not None
    return call.given.answer(call)


def _place(principal: Principal, body: bytes) -> bytes:
    """Two keys that ask the same are two clients, whatever header each comes in."""
    return hashlib.sha256(b"%b\0%b" % (principal.key_id.encode(), body)).digest()


def _blank(call: Exchange) -> Exchange:
    """The call as it came in, without what it said but for its typed view."""
    return Exchange(
        call_id="", request_id="", received_at=0.0, started=call.started, deadline=call.deadline, headers={}, body={},
        request=call.request, runtime=call.runtime, endpoint=call.endpoint, principal=call.principal,
    )  # fmt: skip


def _lasting(call: Exchange, headers: Mapping[str, str], body: bytes) -> bool:
    """Whether what became of this call will become of the next one with the same bytes."""
    config, task, request = call.runtime.config, call.task, call.request
    return (
        call.endpoint == "chat" and call.cache == "hit" and not call.batch
        and not any(guard.asks or guard.prepares for guard in config.guardrails.values())
        and not call.verdicts and not call.placeholders and not call.documents and not call.foreign
        and not any(word in body for word in _LOOKED_UP)
        and request.store is not True and not request.tools and not request.functions
        and _PAID_APART.isdisjoint(call.body)
        and (not task.rules if task is not None else config.discover is None)
        and _TELLING.isdisjoint(headers)
    )  # fmt: skip


def _created(call: Exchange) -> bytes:
    """As it stands in an answer, and never in a text of one, where quotes are escaped."""
    return b'"created":%d' % int(call.received_at)


def _template(written: bytes, call: Exchange) -> bytes:
    """What was written, without what is that call's own; b"" when it does not say so."""
    named = written.replace(call.call_id.encode(), _ID)
    found = named.replace(_created(call), _CREATED)
    return found if named not in (written, found) else b""
