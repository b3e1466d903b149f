"""Dispatch: walks the plan until somebody answers. The innermost stage."""

from __future__ import annotations

import random
import time
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from functools import partial
from typing import Any

from gateway import errors
from gateway.config import Hedge
from gateway.context import Exchange
from gateway.protocol.answer import Answer, WholeAnswer
from gateway.protocol.mcp import opened
from gateway.providers.codec import AttemptFailed
from gateway.resilience.gate import Gate, providers_failing
from gateway.resilience.hedging import Hedging, race
from gateway.runtime import asks_for
from gateway.stages import several
from gateway.stages.filtered import unfiltered
from gateway.stages.parameters import parameters_for
from gateway.stages.structure import Structure
from gateway.stages.thoughts import Thoughts, hushed
from gateway.stages.tries import Together, Tries
from gateway.stages.tuned import check_answer, check_question
from gateway.storage.records import Attempt
from gateway.structured.demand import asks_for_form
from gateway.students.deferral import deferred
from gateway.students.student import StudentReply, answer_of, ask_student, tell_confidence
from gateway.upstreams.asking import Asker, UpstreamStream
from optimizer.routing.attempts import (
    FALLBACK,
    Failure,
    GiveUp,
    NextCandidate,
)
from optimizer.routing.plan import Rung

__all__ = ["Dispatch", "ask_student"]

StudentObserver = Callable[[str, bool, float], None]
"""Called with (student id, whether it answered at all, milliseconds) after each student attempt."""

_Asked = WholeAnswer | UpstreamStream | several.SideBySide
_CONTEXT = frozenset({"context_length_exceeded", "string_above_max_length", "request_too_large"})
_CONTENT = frozenset({"content_filter", "content_policy_violation", "moderation_blocked", "safety"})


class Dispatch:
    """Attempts, fallbacks, retries and hedges. ``observe`` hears how students fare."""

    def __init__(
        self,
        asker: Asker,
        observe: StudentObserver,
        rng: random.Random,
        gate: Gate | None = None,
        structure: Structure | None = None,
    ) -> None:
        self._asker, self._observe, self._rng = asker, observe, rng
        self._thoughts = Thoughts()
        self._gate = gate if gate is not None else Gate()
        self._breakers, self._hedging = self._gate.breakers, Hedging()
        self._structure = structure if structure is not None else Structure()

    async def __call__(self, exchange: Exchange) -> Answer:
        plan = exchange.plan
        assert plan is not None
        self._gate.requested()
        if plan.rungs[0].student is not None and plan.rungs[0].role == "plain":
            return await self._tuned(exchange, plan.rungs[0])
        others = []
        for rung in plan.rungs:
            if rung.role != "student":
                others.append(rung)
                continue
            answer = await self._student(exchange, rung)
            if answer is not None:
                return answer
        return hushed(exchange, await self._walk(exchange, others))

    # ------------------------------------------------------------------ the student
    async def _student(self, exchange: Exchange, rung: Rung) -> Answer | None:
        """The student's answer when it is sure enough; None hands the call on to the next rung."""
        assert exchange.task is not None and rung.student is not None
        limit = min(exchange.task.watch.max_p95_latency_ms / 1000, _remaining(exchange))
        if not self._breakers.healthy(rung.candidate):
            return None  # nobody was asked: the failures before it and each probe are what the watch hears of
        began = time.monotonic()
        try:
            passage = await self._gate.enter(
                rung.candidate, exchange.runtime.config.upstreams, limit, may_wait=False
            )
        except AttemptFailed as problem:
            _note(exchange, rung, began, _outcome(problem.failure), problem.failure.status)
            return None  # a full engine says nothing about the student
        try:
            with passage:
                found = await ask_student(self._asker, exchange, rung, remaining=limit)
        except AttemptFailed as problem:
            took = _note(exchange, rung, began, _outcome(problem.failure), problem.failure.status)
            self._observe(rung.student, False, took)
            return None
        exchange.confidence, exchange.student_text = found.confidence, found.text
        sure = found.confidence >= rung.threshold
        outcome = "ok" if sure else "escalated"
        if sure and not self._structure.accepts(exchange, found.text):
            sure, outcome = False, "invalid"
        if sure and self._deferred(exchange, rung.student, found.text):
            sure, outcome = False, "deferred"
        tell_confidence(exchange, found)
        took = _note(exchange, rung, began, outcome, 200, found)
        exchange.student_ms = took
        self._observe(rung.student, True, took)
        rate = exchange.runtime.config.engines.usd_per_hour(found.engine)
        exchange.student_cost_usd = found.cpu_ms / 3_600_000 * rate
        if not sure:
            return None
        exchange.answered_by = rung
        return answer_of(exchange, found.text)

    @staticmethod
    def _deferred(exchange: Exchange, student: str, answer: str) -> bool:
        """Whether the answer falls into a slice that stays with the teacher."""
        standing = exchange.runtime.students_by_id.get(student)
        return standing is not None and bool(deferred(exchange, standing, answer))

    async def _tuned(self, exchange: Exchange, rung: Rung) -> Answer:
        """A fine-tuned model that the client named: it answers however sure it is, and nobody stands behind it. Raises
        BadRequest for what no student can answer, and GatewayError for what the engine or its answer lacks."""
        check_question(exchange, rung)
        began, limit = time.monotonic(), _remaining(exchange)
        try:
            passage = await self._gate.enter(
                rung.candidate, exchange.runtime.config.upstreams, limit, may_wait=True
            )
            with passage:
                found = await ask_student(self._asker, exchange, rung, remaining=limit)
            check_answer(exchange, rung, found.text, self._structure)
        except AttemptFailed as problem:
            _note(exchange, rung, began, _outcome(problem.failure), problem.failure.status)
            raise final([problem]) from None
        exchange.confidence, exchange.student_text = found.confidence, found.text
        tell_confidence(exchange, found)
        exchange.student_ms = _note(exchange, rung, began, "ok", 200, found)
        rate = exchange.runtime.config.engines.usd_per_hour(found.engine)
        exchange.student_cost_usd = found.cpu_ms / 3_600_000 * rate
        exchange.response_headers["x-understudy-certified"] = "false"
        exchange.answered_by = rung
        return answer_of(exchange, found.text)

    # ------------------------------------------------------------------ everybody else
    async def _walk(self, exchange: Exchange, planned: list[Rung]) -> Answer:
        chosen, hedge = fallback_rules(exchange)
        rungs = self._breakers.usable(planned)
        tries = Tries(exchange, self._gate, self._rng, chosen)
        most = max(exchange.runtime.config.retries.attempts, len(rungs))
        problems: list[AttemptFailed] = []
        for position, rung in enumerate(rungs):
            more = position + 1 < len(rungs)
            attempt = 0
            while tries.used < most or not attempt:
                tries.used, attempt = tries.used + 1, attempt + 1
                try:
                    return await self._serve(exchange, rungs, position, chosen, hedge, tries)
                except AttemptFailed as problem:
                    problems.append(problem)
                failure = problems[-1].failure
                tries.used -= failure.kind == "unsupported"  # nobody was asked
                step = tries.after(failure, attempt=attempt, more=more)
                if isinstance(step, GiveUp):
                    raise final(problems)
                if isinstance(step, NextCandidate):
                    break
                await tries.rest(step)
                if not self._breakers.usable([rung]):
                    break  # it opened while this call slept
        raise final(problems) if problems else providers_failing(self._breakers.wait(planned))

    async def _serve(
        self,
        exchange: Exchange,
        rungs: Sequence[Rung],
        position: int,
        chosen: Collection[str],
        hedge: Hedge | None,
        tries: Tries,
    ) -> Answer:
        """One attempt, or two side by side when the policy hedges; the exchange learns who answered."""
        rung = rungs[position]
        more = position + 1 < len(rungs)
        spill = more and "busy" in chosen
        answer: Answer
        if hedge is None or exchange.sealed is not None:  # servers that act would act twice
            answer = await self._choices(exchange, rung, tries, spill=spill)
        else:
            other = rungs[position + 1] if more else rung
            rung, answer = await self._hedge(exchange, rung, other, hedge, tries)
        if asks_for_form(exchange.body):
            again = partial(self._again, exchange, rung)
            answer = await self._structure.settled(exchange, rung, answer, again)
        if more and "content_filter" in chosen:
            answer = await unfiltered(exchange, rung.candidate, answer)
        if isinstance(answer, WholeAnswer):
            exchange.usage = answer.usage
        exchange.answered_by = rung
        return answer

    async def _hedge(
        self, exchange: Exchange, rung: Rung, other: Rung, rule: Hedge, tries: Tries
    ) -> tuple[Rung, _Asked]:
        hedging, began = self._hedging, time.monotonic()
        hedging.called()

        async def ask(one: Rung) -> tuple[Rung, _Asked]:
            return one, await self._choices(exchange, one, tries, spill=False)

        async def discard(found: tuple[Rung, _Asked]) -> None:
            if not isinstance(found[1], WholeAnswer):
                await found[1].aclose()

        after = hedging.after(rung.candidate.name, rule)
        if after is None:
            found = await ask(rung)
        else:
            found = await race(
                partial(ask, rung), partial(ask, other), after=after, discard=discard,
                allowed=lambda: self._breakers.healthy(other.candidate) and hedging.take(rule.budget_share),
            )  # fmt: skip
        hedging.took(rung.candidate.name, time.monotonic() - began)
        return found

    async def _again(self, exchange: Exchange, rung: Rung, body: Mapping[str, Any]) -> WholeAnswer:
        """The same candidate once more, with another body and for a whole answer. Raises AttemptFailed."""
        answer = await self._try(exchange, rung, body, spill=False, whole=True)
        assert isinstance(answer, WholeAnswer)
        return answer

    def _choices(self, exchange: Exchange, rung: Rung, tries: Tries, *, spill: bool) -> Awaitable[_Asked]:
        """All the choices that were asked for: by one attempt, or by several where a provider gives fewer at a time."""
        count, whole = asks_for(exchange.runtime, rung.candidate, exchange.request.n), not exchange.request.streamed
        if count == 1:
            return self._try(exchange, rung, exchange.body, spill=spill, whole=whole)
        return self._several(exchange, rung, count, Together(tries, count), spill=spill, whole=whole)

    async def _several(
        self, exchange: Exchange, rung: Rung, count: int, together: Together, *, spill: bool, whole: bool
    ) -> _Asked:
        asks: list[several.Ask] = [  # only the first may give way to another provider, or all would to their fellows
            partial(together.insist, partial(self._try, exchange, rung, body, spill=spill and not at, whole=whole))
            for at, body in enumerate(several.bodies(exchange.body, count))
        ]
        began, before = time.monotonic(), exchange.upstream_seconds
        put_together = several.whole if whole else several.streamed
        try:
            answer: _Asked = await put_together(exchange, rung.candidate, asks)
        finally:  # they ran side by side
            exchange.upstream_seconds = before + time.monotonic() - began
        exchange.asked = count
        return answer

    async def _try(
        self, exchange: Exchange, rung: Rung, said: Mapping[str, Any], *, spill: bool, whole: bool
    ) -> WholeAnswer | UpstreamStream:
        """One attempt, with its note on the exchange and its mark on the breaker."""
        body = self._structure.body(exchange, rung, parameters_for(exchange, rung.candidate, said))
        began = time.monotonic()
        try:
            passage = await self._gate.enter(
                rung.candidate, exchange.runtime.config.upstreams, _remaining(exchange),
                may_wait=not spill, yields=bool(exchange.batch),
            )  # fmt: skip
        except AttemptFailed:
            _note(exchange, rung, began, "failed", 503)
            raise
        try:
            with passage:
                answer = await self._ask(exchange, rung, body, whole=whole)
                if not isinstance(answer, WholeAnswer):
                    passage.until_end(answer)
        except AttemptFailed as problem:
            told = classed(problem)
            _note(exchange, rung, began, _outcome(told.failure), told.failure.status)
            raise told from None
        except BaseException:
            _note(exchange, rung, began, "cancelled", 0)
            raise
        _note(exchange, rung, began, "ok", 200)
        return answer

    def _ask(
        self, exchange: Exchange, rung: Rung, body: Mapping[str, Any], *, whole: bool
    ) -> Awaitable[WholeAnswer | UpstreamStream]:
        runtime, candidate, custom = exchange.runtime, rung.candidate, exchange.has_custom_tools

        def send(body: Mapping[str, Any]) -> Awaitable[WholeAnswer | UpstreamStream]:
            remaining, project = _remaining(exchange), exchange.principal.project if exchange.principal else ""
            body = opened(body, exchange.sealed) if exchange.sealed else body
            if whole:
                return self._asker.whole(
                    runtime, candidate, body, remaining=remaining, custom=custom, project=project
                )
            return self._asker.stream(
                runtime, candidate, body, remaining=remaining, agreed=exchange.agree, custom=custom, project=project
            )

        return self._thoughts.ask(exchange, rung, body, send)


def _remaining(exchange: Exchange) -> float:
    return exchange.deadline - time.monotonic()


def fallback_rules(exchange: Exchange) -> tuple[Collection[str], Hedge | None]:
    """(what another candidate is asked after, how to hedge): the task's word, its policy's, the default."""
    task = exchange.task
    if task is None:
        return FALLBACK, None
    policy = exchange.runtime.policies.get(task.policy) if task.policy else None
    chosen = task.fallback_on
    if chosen is None and policy is not None:
        chosen = policy.fallback_on
    return FALLBACK if chosen is None else chosen, policy.hedge if policy is not None else None


def classed(problem: AttemptFailed) -> AttemptFailed:
    """A refusal that another model may not share, under its own name; everything else as it is."""
    if problem.failure.kind != "refused":
        return problem
    code, message = problem.error.code or "", problem.error.message.lower()
    if code in _CONTEXT or "maximum context length" in message or "prompt is too long" in message:
        return AttemptFailed(Failure("context_length", problem.failure.status), problem.error)
    if code in _CONTENT or "content management policy" in message:
        return AttemptFailed(Failure("content_filter", problem.failure.status), problem.error)
    return problem


def _note(
    exchange: Exchange,
    rung: Rung,
    began: float,
    outcome: str,
    status: int,
    found: StudentReply | None = None,
) -> float:
    """Writes the attempt on the exchange; its milliseconds are the return value."""
    took = time.monotonic() - began
    exchange.upstream_seconds += took
    candidate = rung.candidate
    exchange.attempts.append(Attempt(  # in the order of its fields, as a record's
        candidate.provider, candidate.model, rung.role, outcome, status, took * 1000,
        found.confidence if found else None, candidate.variant, found.fields if found else {},
    ))  # fmt: skip
    return took * 1000


def _outcome(failure: Failure) -> str:
    if failure.kind in ("content_filter", "context_length", "unsupported"):
        return "refused"
    return failure.kind if failure.kind in ("refused", "timeout") else "failed"


def final(problems: Sequence[AttemptFailed]) -> errors.GatewayError:
    """What the client is told in the end: the last word of a provider that was asked. Our own retries are spent,
    so the SDK's would only pile on, unless the provider named a time."""
    asked = [one for one in problems if one.failure.kind != "unsupported"]
    if not asked:
        return _unsupported([one.error for one in problems])
    failure, error = asked[-1].failure, asked[-1].error
    if failure.retry_after is not None:
        error.headers.update({**errors.after(failure.retry_after), **error.headers})
    elif failure.kind in ("failed", "timeout", "throttled", "credentials", "invalid"):
        error.headers.setdefault("x-should-retry", "false")
    return error


def _unsupported(refusals: Sequence[errors.GatewayError]) -> errors.GatewayError:
    """Nobody has what the request asks for: each provider's own sentence, which names parameter and provider."""
    first, texts = refusals[0], dict.fromkeys(one.message for one in refusals)
    if len(texts) == 1:
        return first
    message = "No candidate can serve this request. " + " ".join(texts)
    return errors.BadRequest(message, param=first.param, code=first.code)
