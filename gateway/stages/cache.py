"""Has this been answered already: the exact cache, then the semantic one; never across projects, off until the
policies turn them on.

Identical requests that arrive together, also at different workers, wait for the first one's answer instead of paying
again. What was kept for longer than ``ttl_s`` is served for ``stale_s`` more while a fresh answer is asked for. Where
guardrails stand before the cache an answer enters only once they have let it through (:class:`Admit`).
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
from msgspec.structs import replace

from gateway import context
from gateway.caching.complete import complete
from gateway.caching.entries import KEY_HEADER, Entry, oldest
from gateway.caching.flights import Exact, Flight
from gateway.caching.refreshing import Refresher
from gateway.caching.semantic import Look, Semantic
from gateway.config import SemanticCache, Task
from gateway.context import Answer, Chunk, ChunkStream, Exchange, WholeAnswer
from gateway.pipeline import Handler
from gateway.protocol.answer import ReadyStream
from gateway.protocol.assemble import answer_text, assemble, chunk_text, finish_reason, split
from gateway.protocol.chat import Usage, usage_from_wire, usage_to_wire
from gateway.stages.assign import task_of
from gateway.stages.cache_key import allowed, cache_key, cacheable, question_of
from gateway.storage.answers import Answers, MemoryAnswers
from optimizer.routing.plan import Candidate

__all__ = ["Admit", "Cache", "cache_key", "cacheable"]

_log = logging.getLogger("understudy.caching")
_encode = msgspec.json.encode
_decode = msgspec.json.Decoder(dict[str, Any]).decode


class Cache:
    """The stage. ``now`` in seconds of a clock that never goes back."""

    def __init__(
        self,
        answers: Answers | None = None,
        now: Callable[[], float] = time.monotonic,
        semantic: Semantic | None = None,
        refresher: Refresher | None = None,
    ) -> None:
        self.exact = Exact(answers if answers is not None else MemoryAnswers(), now)
        self._semantic, self._refresher = semantic, refresher

    def in_use(self) -> dict[str, float]:
        return {"answers": self.exact.in_flight}

    def __call__(self, exchange: Exchange, inner: Handler) -> Awaitable[Answer]:
        task = task_of(exchange.runtime, exchange.request)[0]
        if not allowed(exchange, task):
            return inner(exchange)
        wishes = wishes_of(exchange)
        return inner(exchange) if "no-store" in wishes else self._answer(exchange, inner, task, wishes)

    async def _answer(
        self, exchange: Exchange, inner: Handler, task: Task | None, wishes: frozenset[str]
    ) -> Answer:
        asked = _Asked(cache_key(exchange, task), task, oldest(wishes))
        exchange.response_headers[KEY_HEADER] = asked.key
        if asked.oldest > 0:
            entry = await self.exact.find(
                asked.key, exchange.deadline, lambda kept: age(exchange, kept) <= asked.oldest
            )
            if entry is not None:
                if age(exchange, entry) <= entry.fresh_s or self._refresher is None:
                    return replay(exchange, entry, task)
                await self._refresher.refresh(asked.key, exchange, self.exact)
                return replay(exchange, entry, task, "stale")
        return await self._ask(exchange, asked, inner)

    async def _ask(self, exchange: Exchange, asked: _Asked, inner: Handler) -> Answer:
        landing = Landing(self, exchange, asked)
        try:
            await self._compare(exchange, asked)
            if asked.look is not None and asked.look.answer is not None:
                landing.give_up(handed_over=True)
                return replay(exchange, asked.look.answer, asked.task, "semantic")
            exchange.cache = "miss"
            answer = await inner(exchange)
        except asyncio.CancelledError:
            landing.give_up(handed_over=True)
            raise
        except BaseException:
            landing.give_up(handed_over=False)
            raise
        if not isinstance(answer, WholeAnswer):
            return _Kept(answer, landing)
        landing.bring(answer.data, answer.usage)
        return answer

    async def _compare(self, exchange: Exchange, asked: _Asked) -> None:
        rules = _rules(asked.task)
        if self._semantic is None or rules is None or asked.task is None:
            return
        question = question_of(exchange, asked.key, asked.task)
        if question is None:
            return
        try:
            asked.look = look = await self._semantic.look(question, rules)
        except Exception:
            _log.exception("the semantic cache failed; the question is asked")
            return
        known = look is not None and look.answer is not None and age(exchange, look.answer)
        if asked.oldest <= 0 or (known and known > asked.oldest):
            # asked because of the client's wish and not by lot: no evidence
            asked.look = replace(look, proposed=False, answer=None) if look is not None else None

    def keep(self, exchange: Exchange, asked: _Asked, data: dict[str, Any], entry: Entry) -> bool:
        """``data``, of which ``entry`` holds the JSON, enters both caches. False: it was purged meanwhile."""
        if self.exact.purged(asked.key, entry):
            return False
        rules = exchange.runtime.config.cache
        self.exact.put(asked.key, entry, life=rules.ttl_s + rules.stale_s, max_bytes=rules.max_bytes)
        self._liken(exchange, asked, data, entry)
        return True

    def _liken(self, exchange: Exchange, asked: _Asked, data: dict[str, Any], entry: Entry) -> None:
        rules, semantic, look = exchange.runtime.config.cache, _rules(asked.task), asked.look
        if self._semantic is None or semantic is None or look is None:
            return
        text = answer_text(data)
        if text and finish_reason(data) == "stop":
            try:
                self._semantic.answered(look, semantic, entry, text, ttl=rules.ttl_s, max_bytes=rules.max_bytes)
            except Exception:
                _log.exception("the semantic cache failed; the answer is not kept there")


class Admit:
    """The stage outside the guardrails: what they let through enters the cache, what they stop does not."""

    def __call__(self, exchange: Exchange, inner: Handler) -> Awaitable[Answer]:
        return self._admit(exchange, inner) if exchange.runtime.config.guardrails else inner(exchange)

    async def _admit(self, exchange: Exchange, inner: Handler) -> Answer:
        try:
            answer = await inner(exchange)
        except BaseException as problem:
            _give_up(exchange, problem)
            raise
        landing = exchange.landing
        if landing is None:
            return answer
        if isinstance(answer, WholeAnswer):
            landing.admit()
            return answer
        return _Admitted(answer, landing)


def _give_up(exchange: Exchange, problem: BaseException) -> None:
    if exchange.landing is not None:
        exchange.landing.give_up(handed_over=isinstance(problem, asyncio.CancelledError))


def wishes_of(exchange: Exchange) -> frozenset[str]:
    """The directives of ``cache-control``."""
    told = exchange.headers.get("cache-control")
    return frozenset(one.strip() for one in told.lower().split(",")) if told else frozenset()


def _rules(task: Task | None) -> SemanticCache | None:
    return task.semantic_cache if task is not None else None


def age(exchange: Exchange, entry: Entry) -> float:
    """Seconds since a kept answer was asked for, by the clock of the wall: several workers share answers."""
    return max(0.0, exchange.received_at - entry.kept_at)


def replay(exchange: Exchange, entry: Entry, task: Task | None = None, how: str = "hit") -> Answer:
    """A cached completion as this exchange's own answer, in the form it asked for; it costs nothing. The call
    belongs to ``task``, whose teacher it was spared."""
    note(exchange, entry, task, how)
    data = _decode(entry.answer)
    data["id"], data["created"] = exchange.call_id, int(exchange.received_at)
    if not exchange.request.streamed:
        return WholeAnswer(data, answer_text(data), finish_reason(data), exchange.usage)
    return ReadyStream([Chunk(one, chunk_text(one), finish_reason(one)) for one in split(data)])


def entry_of(exchange: Exchange, task: Task | None, answer: bytes, usage: Usage | None) -> Entry:
    """What is kept of an answered call."""
    assert exchange.principal is not None
    who, rung = exchange.principal, exchange.answered_by
    provider, model = (rung.candidate.provider, rung.candidate.model) if rung is not None else ("", "")
    return Entry(
        exchange.received_at, exchange.runtime.config.cache.ttl_s, who.project, task.name if task else "", who.key_id,
        provider, model, usage, answer,
    )  # fmt: skip


def note(exchange: Exchange, entry: Entry, task: Task | None, how: str) -> None:
    """What a call that is answered from a cache says about it."""
    exchange.cache, exchange.task, exchange.cost_usd = how, task, 0.0
    exchange.spared, exchange.usage = Candidate(entry.provider, entry.model), entry.usage
    exchange.response_headers["age"] = str(int(age(exchange, entry)))


class _Asked:
    """A request that is being asked: its key, its task, how old an answer may be, and what the semantic cache found."""

    __slots__ = ("key", "look", "oldest", "task")

    def __init__(self, key: str, task: Task | None, oldest: float) -> None:
        self.key, self.task, self.oldest = key, task, oldest
        self.look: Look | None = None


class Landing:
    """How the answer of a request that was asked comes into the cache. Only complete, successful answers enter, and
    where there are guardrails only those that they let through."""

    def __init__(self, cache: Cache, exchange: Exchange, asked: _Asked) -> None:
        self._cache, self._exchange, self._asked = cache, exchange, asked
        self._flight: Flight = cache.exact.take_off(asked.key)
        self._guarded = bool(exchange.runtime.config.guardrails)
        self._brought: tuple[dict[str, Any], Entry] | None = None
        exchange.landing = self

    def bring(self, data: dict[str, Any], usage: Usage | None) -> None:
        """The provider's answer is here. It is written down at once: later stages change it for this client."""
        if complete(data, limited=self._exchange.request.token_limit is not None):
            if usage is not None and not data.get("usage"):
                data = {**data, "usage": usage_to_wire(usage)}
            used = usage or usage_from_wire(data.get("usage"))
            self._brought = data, entry_of(self._exchange, self._asked.task, _encode(data), used)
        if not self._guarded:
            self.admit()

    def admit(self) -> None:
        """The answer, if there is one, reaches its client, and others from now on."""
        brought, self._brought = self._brought, None
        kept = brought is not None and self._cache.keep(self._exchange, self._asked, *brought)
        self._flight.land(entry=brought[1] if brought is not None and kept else None)

    def give_up(self, *, handed_over: bool) -> None:
        self._brought = None
        self._flight.land(handed_over=handed_over)


class _Kept:
    """A stream that is assembled on its way and is brought to the cache if it comes to its end."""

    def __init__(self, inner: ChunkStream, landing: Landing) -> None:
        self._inner, self._chunks, self._landing = inner, aiter(inner), landing
        self._seen: list[dict[str, Any]] = []
        self._usage: Usage | None = None
        self._sound = True

    def __aiter__(self) -> _Kept:
        return self

    async def __anext__(self) -> Chunk:
        try:
            chunk = await anext(self._chunks)
        except StopAsyncIteration:
            sound, self._sound = self._sound, False
            if sound:
                self._landing.bring(assemble(self._seen), self._usage)
            else:
                self._landing.give_up(handed_over=False)
            raise
        except asyncio.CancelledError:
            self._sound = False
            self._landing.give_up(handed_over=True)
            raise
        except BaseException:
            self._sound = False
            self._landing.give_up(handed_over=False)
            raise
        self._sound = self._sound and not chunk.data.get("error")
        self._usage = chunk.usage or self._usage
        # A copy: whoever writes the answer puts the call's own id and usage into the chunk it gets.
        self._seen.append(dict(chunk.data))
        return chunk

    async def aclose(self) -> None:
        self._sound = False
        self._landing.give_up(handed_over=True)
        await self._inner.aclose()


class _Admitted:
    """A stream that has passed the guardrails: its end admits what it brought."""

    def __init__(self, inner: ChunkStream, landing: context.Landing) -> None:
        self._inner, self._chunks, self._landing = inner, aiter(inner), landing

    def __aiter__(self) -> _Admitted:
        return self

    async def __anext__(self) -> Chunk:
        try:
            return await anext(self._chunks)
        except StopAsyncIteration:
            self._landing.admit()
            raise
        except BaseException as problem:
            self._landing.give_up(handed_over=isinstance(problem, asyncio.CancelledError))
            raise

    async def aclose(self) -> None:
        self._landing.give_up(handed_over=True)
        await self._inner.aclose()
