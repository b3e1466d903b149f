"""Structure: sees to it that an answer has the form that was asked for. Dispatch asks it about every answer.

Where the provider itself guarantees the form, nothing happens. Otherwise a wrong answer is shown to its author once,
and is an error after that; streams are held back until they are checked, unless the policies pass them on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeVar

from gateway import errors
from gateway.config import Structured
from gateway.context import Exchange
from gateway.protocol.answer import Answer, Chunk, ReadyStream, WholeAnswer
from gateway.protocol.assemble import answer_text, assemble, chunk_text, finish_reason, split
from gateway.protocol.called import reads_calls
from gateway.protocol.chat import Usage, total_of, usage_to_wire
from gateway.providers.codec import AttemptFailed, Enforcement, failed
from gateway.schemas.cache import Schemas
from gateway.stages.tries import spoiled
from gateway.structured.calling import calls_allowed, words_allowed
from gateway.structured.demand import Demand, asks_for_form, demand_of, enforcement
from gateway.structured.judge import Judgement, judged, size_of, text_fits
from gateway.structured.wording import asking_again, fitted
from gateway.upstreams.asking import UpstreamStream
from optimizer.routing.plan import Rung

T = TypeVar("T")
Again = Callable[[Mapping[str, Any]], Awaitable[WholeAnswer]]
_DEFAULT = Structured()
_LARGE = 16 * 1024
"""Characters from which an answer is checked in a thread, so that it holds up nobody else."""
_MOST_CHUNKS = 200_000
_STUDENT = Enforcement("guided", "guided", "strict")


class Structure:
    """``schemas`` are shared by all calls."""

    def __init__(self, schemas: Schemas | None = None) -> None:
        self._schemas = schemas if schemas is not None else Schemas()

    def body(self, exchange: Exchange, rung: Rung, body: Mapping[str, Any]) -> Mapping[str, Any]:
        """``body`` as the candidate's provider can take it. Raises AttemptFailed for a schema nobody can enforce."""
        if not asks_for_form(body) or _rules(exchange).enforce == "never":
            return body
        self._demand(exchange, rung)
        return fitted(body, enforcement(exchange.runtime, rung.candidate))

    def accepts(self, exchange: Exchange, text: str) -> bool:
        """Whether a student's text may be served. A schema that cannot be checked is the teacher's to answer."""
        calls = reads_calls(exchange.body, text)
        if calls is not None:
            return calls_allowed(exchange.body, calls, self._schemas, exchange.placeholders)
        if not words_allowed(exchange.body):
            return False
        if not asks_for_form(exchange.body):
            return True
        try:
            demand = demand_of(
                exchange.body,
                _STUDENT,
                Structured(enforce="always"),
                self._schemas,
                provider="",
                openai=False,
            )
            return demand is None or text_fits(demand, text, exchange.placeholders)
        except AttemptFailed:
            return False

    async def settled(self, exchange: Exchange, rung: Rung, answer: Answer, again: Again) -> Answer:
        """``answer`` when it has its form, or the one its author gave when asked again. Raises AttemptFailed."""
        rules = _rules(exchange)
        if not asks_for_form(exchange.body) or rules.enforce == "never":
            return answer
        demand = self._demand(exchange, rung)
        if demand is None:
            return answer
        check = _Check(exchange, rung, demand, again, repair=rules.repair)
        if isinstance(answer, WholeAnswer):
            return await check.whole(answer)
        if rules.on_stream == "pass":
            return CheckedStream(answer, check)
        return await check.held(answer)

    def _demand(self, exchange: Exchange, rung: Rung) -> Demand | None:
        level = enforcement(exchange.runtime, rung.candidate)
        return demand_of(
            exchange.body, level, _rules(exchange), self._schemas, provider=rung.candidate.provider,
            openai=exchange.endpoint != "messages",
        )  # fmt: skip


class _Check:
    """One answer's way to its form."""

    def __init__(self, exchange: Exchange, rung: Rung, demand: Demand, again: Again, *, repair: bool) -> None:
        self._exchange, self._rung, self._demand = exchange, rung, demand
        self._again, self._repair = again, repair

    async def whole(self, answer: WholeAnswer) -> WholeAnswer:
        verdict = await self.judged(answer.data)
        data, usage = answer.data, answer.usage
        if verdict.texts:
            data = _with_texts(data, verdict)
        if verdict.wrong:
            self.spoiled()
            data, usage = await self._repaired(data, usage, verdict)
        if data is answer.data:
            return answer
        return WholeAnswer(data, answer_text(data), finish_reason(data), usage)

    async def held(self, stream: Answer) -> Answer:
        """A stream's answer once all of it is here and right, as a stream again."""
        chunks: list[Chunk] = []
        assert not isinstance(stream, WholeAnswer)
        try:
            async for chunk in stream:
                chunks.append(chunk)
                if len(chunks) > _MOST_CHUNKS:
                    raise failed("failed", errors.UpstreamFailed("The provider's stream does not end."))
        finally:
            await stream.aclose()
        usage = next((chunk.usage for chunk in reversed(chunks) if chunk.usage is not None), None)
        data = assemble(chunk.data for chunk in chunks)
        first = WholeAnswer(data, answer_text(data), finish_reason(data), usage)
        final = await self.whole(first)
        if final is first:
            return ReadyStream(chunks)
        return ReadyStream(_streamed(final))

    async def judged(self, data: dict[str, Any]) -> Judgement:
        """Raises AttemptFailed."""
        placeholders = self._exchange.placeholders
        if size_of(data) < _LARGE:
            return judged(self._demand, data, placeholders)
        return await asyncio.to_thread(judged, self._demand, data, placeholders)

    async def _repaired(
        self, data: dict[str, Any], usage: Usage | None, verdict: Judgement
    ) -> tuple[dict[str, Any], Usage | None]:
        """Each wrong choice is asked for once more. All that was used is on the answer, or discarded with it."""
        choices = list(data["choices"])
        for at in sorted({one.choice for one in verdict.wrong}):
            mine = [one for one in verdict.wrong if one.choice == at]
            if not self._repair:
                self._discard(usage)
                raise self.broken(mine[0].text, asked_again=False)
            try:
                reply = await self._again(asking_again(self._exchange.body, choices[at]["message"], mine))
            except BaseException:
                self._discard(usage)
                raise
            usage = total_of((usage, reply.usage))
            second = await self.judged(reply.data)
            if second.wrong:
                self.spoiled()
                self._discard(usage)
                raise self.broken(second.wrong[0].text, asked_again=True)
            choice = _with_texts(reply.data, second)["choices"][0]
            choices[at] = {**choice, "index": choices[at].get("index", at)}
        made = {**data, "choices": choices}
        return ({**made, "usage": usage_to_wire(usage)} if usage is not None else made), usage

    def spoiled(self) -> None:
        """The attempt that brought the answer was no good after all."""
        spoiled(self._exchange, self._rung.candidate, "invalid")

    def _discard(self, usage: Usage | None) -> None:
        if usage is not None:
            self._exchange.discarded.append((self._rung.candidate, usage))

    def broken(self, what: str, *, asked_again: bool) -> AttemptFailed:
        twice = ", also when it was asked again" if asked_again else ""
        name = self._rung.candidate.provider
        error = errors.UpstreamFailed(
            f"The provider '{name}' answered in another form than was asked for{twice}: {what}.",
            code="invalid_structured_output",
        )
        return failed("invalid", error)


class CheckedStream:
    """Passes a stream on and checks it at its end; what is wrong by then can only be told."""

    def __init__(self, inner: UpstreamStream | Answer, check: _Check) -> None:
        assert not isinstance(inner, WholeAnswer)
        self._inner, self._check = inner, check
        self._chunks = aiter(inner)
        self._seen: list[dict[str, Any]] = []

    def __aiter__(self) -> CheckedStream:
        return self

    async def __anext__(self) -> Chunk:
        try:
            chunk = await anext(self._chunks)
        except StopAsyncIteration:
            verdict = await self._check.judged(assemble(self._seen))
            if verdict.wrong:
                self._check.spoiled()
                raise self._check.broken(verdict.wrong[0].text, asked_again=False) from None
            if verdict.texts:
                raise self._check.broken("it stands in a code fence", asked_again=False) from None
            raise
        self._seen.append(dict(chunk.data))
        return chunk

    async def aclose(self) -> None:
        await self._inner.aclose()


def _rules(exchange: Exchange) -> Structured:
    """The task's word, its policy's, the default."""
    task = exchange.task
    if task is None:
        return _DEFAULT
    policy = exchange.runtime.policies.get(task.policy) if task.policy else None
    return task.structured or (policy.structured if policy is not None else None) or _DEFAULT


def _with_texts(data: dict[str, Any], verdict: Judgement) -> dict[str, Any]:
    choices = [
        {**choice, "message": {**choice["message"], "content": verdict.texts[at]}}
        if at in verdict.texts
        else choice
        for at, choice in enumerate(data["choices"])
    ]
    return {**data, "choices": choices}


def _streamed(answer: WholeAnswer) -> list[Chunk]:
    chunks = [Chunk(one, chunk_text(one), finish_reason(one)) for one in split(answer.data)]
    if answer.usage is not None and chunks:
        last = {**chunks[-1].data, "choices": [], "usage": usage_to_wire(answer.usage)}
        chunks.append(Chunk(last, usage=answer.usage))
    return chunks
