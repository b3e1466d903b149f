"""A teacher's likeliest tokens, asked for on a task's wish, kept for the capture and out of the client's sight.

``capture: {logprobs: K}`` opts in. A client that asks for log-probabilities itself gets its own, untouched. A candidate
that refuses the parameter is asked again without, and not bothered with it any more.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any, TypeVar

from msgspec import structs

from gateway.context import Exchange
from gateway.protocol.answer import Answer, Chunk, ChunkStream, WholeAnswer
from gateway.providers.codec import AttemptFailed
from optimizer.routing.plan import Candidate, Rung

T = TypeVar("T")
Body = Mapping[str, Any]


class Thoughts:
    """Remembers which candidates do not give log-probabilities."""

    def __init__(self) -> None:
        self._silent: set[Candidate] = set()

    def ask(
        self, exchange: Exchange, rung: Rung, body: Body, send: Callable[[Body], Awaitable[T]]
    ) -> Awaitable[T]:
        """``send`` with the parameters that make the teacher tell. Raises AttemptFailed."""
        wanted = _wanted(exchange)
        if (
            not wanted
            or rung.role != "teacher"
            or rung.candidate in self._silent
            or not _may(exchange, rung.candidate)
        ):
            return send(body)
        return self._ask(rung, body, send, wanted)

    async def _ask(self, rung: Rung, body: Body, send: Callable[[Body], Awaitable[T]], wanted: int) -> T:
        try:
            return await send({**body, "logprobs": True, "top_logprobs": wanted})
        except AttemptFailed as problem:
            if problem.failure.status not in (400, 404, 422):
                raise
        answer = await send(body)
        self._silent.add(rung.candidate)
        return answer


def hushed(exchange: Exchange, answer: Answer) -> Answer:
    """The answer without what only the capture may see; that goes to ``exchange.thoughts``."""
    rung = exchange.answered_by
    if not _wanted(exchange) or rung is None or rung.role != "teacher":
        return answer
    if isinstance(answer, WholeAnswer):
        return structs.replace(answer, data=_without(exchange, answer.data))
    return _Hushed(exchange, answer)


def told(exchange: Exchange, answer: dict[str, Any]) -> dict[str, Any]:
    """The answer as it is captured: with the teacher's thoughts in their place."""
    choices = answer.get("choices")
    if not exchange.thoughts or not isinstance(choices, list) or not choices:
        return answer
    heard = {**choices[0], "logprobs": {"content": exchange.thoughts, "refusal": None}}
    return {**answer, "choices": [heard, *choices[1:]]}


def _wanted(exchange: Exchange) -> int:
    """How many alternatives to ask for; 0: none."""
    task = exchange.task
    if task is None or task.capture is None or task.learn is None or exchange.request.logprobs:
        return 0
    return 0 if exchange.request.store is False else task.capture.logprobs


def _may(exchange: Exchange, candidate: Candidate) -> bool:
    """Whether the provider's dialect knows the parameter, and the model is not known to lack it."""
    runtime, task = exchange.runtime, exchange.task
    if not getattr(runtime.config.providers.get(candidate.provider), "gives_logprobs", False) or task is None:
        return False
    facts = runtime.ways[task.name].usual.known.get(candidate)
    return facts is None or facts.capabilities is None or "logprobs" in facts.capabilities


def _without(exchange: Exchange, data: dict[str, Any]) -> dict[str, Any]:
    choices = data.get("choices")
    if not isinstance(choices, list):
        return data
    return {**data, "choices": [_muted(exchange, one) for one in choices]}


def _muted(exchange: Exchange, choice: Any) -> Any:
    if not isinstance(choice, dict) or "logprobs" not in choice:
        return choice
    found = choice["logprobs"]
    if isinstance(found, dict) and isinstance(found.get("content"), list) and not choice.get("index"):
        exchange.thoughts.extend(found["content"])
    return {**choice, "logprobs": None}


class _Hushed:
    """A stream whose chunks lose their log-probabilities as they pass."""

    def __init__(self, exchange: Exchange, inner: ChunkStream) -> None:
        self._exchange, self._inner = exchange, inner
        self._chunks: AsyncIterator[Chunk] = aiter(inner)

    def __aiter__(self) -> _Hushed:
        return self

    async def __anext__(self) -> Chunk:
        chunk = await anext(self._chunks)
        before = len(self._exchange.thoughts)
        data = _without(self._exchange, chunk.data)
        if len(self._exchange.thoughts) == before and data == chunk.data:
            return chunk  # nothing was said that has to be kept back
        return structs.replace(chunk, own=data, pattern=None, literals=())

    async def aclose(self) -> None:
        await self._inner.aclose()
