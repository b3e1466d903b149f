"""Has this been answered already: the exact cache, never across projects, off until the policies turn it on.

A key is the SHA-256 of everything that can change an answer: project, the whole request body but the fields in
``_IRRELEVANT``, the policies' digest, the students that serve, and the ``x-understudy-*`` headers that steer the
gateway. Identical requests that arrive together, also at different workers, wait for the first one's answer instead
of paying again.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import math
import time
from collections.abc import Callable, Iterable
from typing import Any

import msgspec
from msgspec.structs import replace

from gateway.caching.semantic import Look, Question, Semantic, last_question
from gateway.config import SemanticCache, Task
from gateway.context import Answer, Chunk, ChunkStream, Exchange, WholeAnswer
from gateway.pipeline import Handler
from gateway.protocol.answer import ReadyStream
from gateway.protocol.assemble import answer_text, assemble, chunk_text, finish_reason, split
from gateway.protocol.chat import Usage, usage_from_wire, usage_to_wire
from gateway.runtime import Runtime
from gateway.stages.assign import task_of
from gateway.storage.answers import Answers, MemoryAnswers

_log = logging.getLogger("understudy.caching")
_encode = msgspec.json.Encoder(order="deterministic").encode
_decode = msgspec.json.Decoder(dict[str, Any]).decode
_IRRELEVANT = frozenset(
    {"stream", "stream_options", "metadata", "store", "user", "safety_identifier", "prompt_cache_key",
     "prompt_cache_retention", "prompt_cache_options"}
)  # fmt: skip
_WHOLE = frozenset({"stop", "length", "tool_calls", "function_call"})
_KEPT_AT = "understudy_kept_at"
"""Where a kept answer says when it was asked for; gone before a client sees it."""
_PATIENCE_S = 10.0
"""A request waits this long for an identical one before it goes its own way: that client may read slowly."""
_LOOK_S = 0.025
"""How often a request looks for the answer that another worker asks for."""


def cacheable(exchange: Exchange) -> bool:
    """Whether the policies and the request allow a cached answer. A temperature above 0 (OpenAI's default is 1)
    asks for variety, so it is cached only where the task itself says ``cache: true`` or has a ``semantic_cache``."""
    return _allowed(exchange, task_of(exchange.runtime, exchange.request)[0])


def _allowed(exchange: Exchange, task: Task | None) -> bool:
    if task is not None and task.cache is not None:
        return task.cache
    if task is not None and task.semantic_cache is not None:
        return True
    return exchange.runtime.config.cache.enabled and exchange.request.temperature == 0


def cache_key(exchange: Exchange) -> str:
    """Sixty-four hex digits that are equal only for requests one answer may serve."""
    return _key_of(exchange, exchange.body)


def question_of(exchange: Exchange, key: str, task: Task) -> Question | None:
    """What the semantic cache compares: the last user text, where everything else is the same. None: nothing."""
    assert exchange.principal is not None
    text = last_question(exchange.request)
    if text is None:
        return None
    turns = exchange.body["messages"]
    context = {**exchange.body, "messages": [*turns[:-1], {**turns[-1], "content": ""}]}
    return Question(key, _key_of(exchange, context), (exchange.principal.project, task.name), text)


def _key_of(exchange: Exchange, body: dict[str, Any]) -> str:
    assert exchange.principal is not None
    steering = sorted((k, v) for k, v in exchange.headers.items() if k.startswith("x-understudy-"))
    asked = {name: value for name, value in body.items() if name not in _IRRELEVANT}
    project, runtime = exchange.principal.project, exchange.runtime
    material = [project, asked, runtime.config.digest, _serving(runtime, project), steering]
    return hashlib.sha256(_encode(material)).hexdigest()


def _serving(runtime: Runtime, project: str) -> list[Any]:
    """The students that could have answered: what one said is not replayed once it was taken back."""
    snapshot = runtime.snapshot
    found = [(one.id, one.epoch, one.paused) for one in snapshot.students if one.project == project]
    return [snapshot.students_off, sorted(found)]


class Cache:
    """The stage. ``now`` in seconds of a clock that never goes back."""

    def __init__(
        self,
        answers: Answers | None = None,
        now: Callable[[], float] = time.monotonic,
        semantic: Semantic | None = None,
    ) -> None:
        self._answers = answers if answers is not None else MemoryAnswers()
        self._now = now
        self._semantic = semantic
        self._flights: dict[str, asyncio.Future[bool]] = {}

    async def __call__(self, exchange: Exchange, inner: Handler) -> Answer:
        wishes = {one.strip() for one in exchange.headers.get("cache-control", "").lower().split(",")}
        task = task_of(exchange.runtime, exchange.request)[0]
        if not _allowed(exchange, task) or "no-store" in wishes:
            return await inner(exchange)
        asked = _Asked(cache_key(exchange), task, oldest(wishes))
        if asked.oldest > 0:
            found = await self._find(exchange, asked.key)
            if found is not None and age(exchange, found) <= asked.oldest:
                return replay(exchange, found, task)
        return await self._ask(exchange, asked, inner)

    async def _find(self, exchange: Exchange, key: str) -> dict[str, Any] | None:
        """The cached answer, once an identical request in flight has brought it; None: ask for it.

        A leader that fails sends everybody their own way; one that is cancelled hands over to a follower.
        """
        until = min(self._now() + _PATIENCE_S, exchange.deadline)
        while True:
            entry = await self._answers.get(key, self._now())
            if entry is not None:
                return _decode(entry)
            flight = self._flights.get(key)
            if flight is None:
                if not await self._answers.claim(key, _PATIENCE_S) and self._now() < until:
                    await asyncio.sleep(_LOOK_S)
                elif key not in self._flights:
                    return None
                continue
            try:
                async with asyncio.timeout(max(0.0, until - self._now())):
                    handed_over = await asyncio.shield(flight)
            except TimeoutError:
                return None
            if not handed_over:
                entry = await self._answers.get(key, self._now())
                return _decode(entry) if entry is not None else None

    async def _ask(self, exchange: Exchange, asked: _Asked, inner: Handler) -> Answer:
        flight = _Flight(self, asked.key)
        try:
            await self._compare(exchange, asked)
            if asked.look is not None and asked.look.answer is not None:
                flight.land(handed_over=True)
                return replay(exchange, _decode(asked.look.answer), asked.task, "semantic")
            exchange.cache = "miss"
            answer = await inner(exchange)
        except asyncio.CancelledError:
            flight.land(handed_over=True)
            raise
        except BaseException:
            flight.land(handed_over=False)
            raise
        if not isinstance(answer, WholeAnswer):
            return _Kept(answer, self, exchange, asked, flight)
        self.keep(exchange, asked, answer.data, answer.usage)
        flight.land(handed_over=False)
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
        known = look is not None and look.answer is not None and age(exchange, _decode(look.answer))
        if asked.oldest <= 0 or (known and known > asked.oldest):
            # asked because of the client's wish and not by lot: no evidence
            asked.look = replace(look, proposed=False, answer=None) if look is not None else None

    def keep(self, exchange: Exchange, asked: _Asked, data: dict[str, Any], usage: Usage | None) -> None:
        """Only complete, successful answers enter."""
        choices = data.get("choices")
        if not choices or any(choice.get("finish_reason") not in _WHOLE for choice in choices):
            return
        data = {**data, _KEPT_AT: exchange.received_at}
        if usage is not None:
            data["usage"] = usage_to_wire(usage)
        rules, encoded = exchange.runtime.config.cache, _encode(data)
        self._answers.put(asked.key, encoded, now=self._now(), ttl=rules.ttl_s, max_bytes=rules.max_bytes)
        semantic, look = _rules(asked.task), asked.look
        if self._semantic is None or semantic is None or look is None:
            return
        text = answer_text(data)
        if text and finish_reason(data) == "stop":
            self._semantic.answered(look, semantic, encoded, text, ttl=rules.ttl_s, max_bytes=rules.max_bytes)


def _rules(task: Task | None) -> SemanticCache | None:
    return task.semantic_cache if task is not None else None


def oldest(wishes: Iterable[str]) -> float:
    """The age in seconds up to which ``cache-control`` accepts a kept answer; 0: none, whatever its age."""
    accepted = math.inf
    for wish in wishes:
        name, _, value = wish.partition("=")
        if name == "no-cache":
            return 0.0
        if name == "max-age" and value.isascii() and value.isdigit():
            accepted = min(accepted, float(value[:12]))
    return accepted


def age(exchange: Exchange, data: dict[str, Any]) -> float:
    """Seconds since a kept answer was asked for, by the clock of the wall: several workers share answers."""
    kept_at = data.get(_KEPT_AT)
    return max(0.0, exchange.received_at - kept_at) if isinstance(kept_at, int | float) else math.inf


def replay(exchange: Exchange, data: dict[str, Any], task: Task | None = None, how: str = "hit") -> Answer:
    """A cached completion as this exchange's own answer, in the form it asked for; it costs nothing. The call
    belongs to ``task``, whose teacher it was spared."""
    exchange.cache, exchange.task = how, task
    exchange.cost_usd = 0.0
    if math.isfinite(since := age(exchange, data)):
        exchange.response_headers["age"] = str(int(since))
    data.pop(_KEPT_AT, None)
    exchange.usage = usage_from_wire(data.get("usage"))
    data["id"], data["created"] = exchange.call_id, int(exchange.received_at)
    if not exchange.request.streamed:
        return WholeAnswer(data, answer_text(data), finish_reason(data), exchange.usage)
    return ReadyStream([Chunk(one, chunk_text(one), finish_reason(one)) for one in split(data)])


class _Asked:
    """A request that is being asked: its key, its task, how old an answer may be, and what the semantic cache found."""

    __slots__ = ("key", "look", "oldest", "task")

    def __init__(self, key: str, task: Task | None, oldest: float) -> None:
        self.key, self.task, self.oldest = key, task, oldest
        self.look: Look | None = None


class _Flight:
    """The request that others may wait for. Landing twice, or without followers, does no harm."""

    def __init__(self, cache: Cache, key: str) -> None:
        self._flights, self._answers, self._key = cache._flights, cache._answers, key
        self._leads = key not in self._flights
        self._future: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        if self._leads:
            self._flights[key] = self._future

    def land(self, *, handed_over: bool) -> None:
        if self._leads and self._flights.get(self._key) is self._future:
            del self._flights[self._key]
            self._answers.release(self._key)
        if not self._future.done():
            self._future.set_result(handed_over)


class _Kept:
    """A stream that is assembled on its way and enters the cache if it comes to its end."""

    def __init__(
        self, inner: ChunkStream, cache: Cache, exchange: Exchange, asked: _Asked, flight: _Flight
    ) -> None:
        self._inner = inner
        self._chunks = aiter(inner)
        self._cache, self._exchange, self._asked, self._flight = cache, exchange, asked, flight
        self._seen: list[dict[str, Any]] = []
        self._usage: Usage | None = None
        self._sound = True

    def __aiter__(self) -> _Kept:
        return self

    async def __anext__(self) -> Chunk:
        try:
            chunk = await anext(self._chunks)
        except StopAsyncIteration:
            if self._sound:
                self._sound = False
                self._cache.keep(self._exchange, self._asked, assemble(self._seen), self._usage)
            self._flight.land(handed_over=False)
            raise
        except asyncio.CancelledError:
            self._sound = False
            self._flight.land(handed_over=True)
            raise
        except BaseException:
            self._sound = False
            self._flight.land(handed_over=False)
            raise
        self._sound = self._sound and not chunk.data.get("error")
        self._usage = chunk.usage or self._usage
        # A copy: whoever writes the answer puts the call's own id and usage into the chunk it gets.
        self._seen.append(dict(chunk.data))
        return chunk

    async def aclose(self) -> None:
        self._sound = False
        self._flight.land(handed_over=True)
        await self._inner.aclose()
