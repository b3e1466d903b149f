"""Dispatch: walks the plan until somebody answers. The innermost stage."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable
from typing import Any

from gateway import errors
from gateway.asking import Asker, ReadyStream
from gateway.context import Exchange
from gateway.masking import mask, unmask
from gateway.protocol.answer import Answer, Chunk, WholeAnswer
from gateway.protocol.assemble import split
from gateway.protocol.chat import last_user_text
from gateway.providers.classifier import CPU_HEADER, confidence_of
from gateway.providers.codec import AttemptFailed
from gateway.storage.records import Attempt
from optimizer.routing.attempts import Failure, GiveUp, NextCandidate, Retry, RetryBudget, after_failure
from optimizer.routing.breaker import CLOSED, Breaker, admits, on_cancel, on_failure, on_start, on_success
from optimizer.routing.plan import Rung

StudentObserver = Callable[[str, bool, float], None]
"""Called with (student id, whether it answered at all, milliseconds) after each student attempt."""


class Dispatch:
    """Attempts, breakers and retries. ``observe`` hears how students fare."""

    def __init__(self, asker: Asker, observe: StudentObserver, rng: random.Random) -> None:
        self._asker, self._observe, self._rng = asker, observe, rng
        self._breakers: dict[str, Breaker] = {}
        self._budget = RetryBudget()

    async def __call__(self, exchange: Exchange) -> Answer:
        plan = exchange.plan
        assert plan is not None
        self._budget = self._budget.with_request(time.monotonic())
        rungs = [rung for rung in plan.rungs if rung.role != "student"]
        for rung in plan.rungs:
            if rung.role == "student":
                answer = await self._student(exchange, rung)
                if answer is not None:
                    return answer
        return await self._walk(exchange, rungs)

    # ------------------------------------------------------------------ the student
    async def _student(self, exchange: Exchange, rung: Rung) -> Answer | None:
        """The student's answer when it is sure enough; None hands the call on to the next rung."""
        assert exchange.task is not None and rung.student is not None
        limit = exchange.task.watch.max_p95_latency_ms / 1000
        began = time.monotonic()
        try:
            found = await ask_student(
                self._asker, exchange, rung, remaining=min(limit, self._remaining(exchange))
            )
        except AttemptFailed as problem:
            took = self._note(exchange, rung, began, _outcome(problem.failure), problem.failure.status)
            self._observe(rung.student, False, took)
            return None
        exchange.confidence, exchange.student_text = found.confidence, found.text
        sure = found.confidence >= rung.threshold
        took = self._note(exchange, rung, began, "ok" if sure else "escalated", 200, found.confidence)
        exchange.student_ms = took
        self._observe(rung.student, True, took)
        rate = exchange.runtime.config.engines.classifier.usd_per_cpu_hour
        exchange.student_cost_usd = found.cpu_ms / 3_600_000 * rate
        if not sure:
            return None
        exchange.answered_by = rung
        return _answer(exchange, found.text)

    # ------------------------------------------------------------------ everybody else
    async def _walk(self, exchange: Exchange, rungs: list[Rung]) -> Answer:
        retries = exchange.runtime.config.retries
        tries = 0
        last: AttemptFailed | None = None
        for position, rung in enumerate(rungs):
            more = position + 1 < len(rungs)
            attempt = 0
            while tries < max(retries.attempts, len(rungs)):
                if not admits(self._breakers.get(rung.candidate.name, CLOSED), time.monotonic()) and (
                    more or last
                ):
                    break
                tries, attempt = tries + 1, attempt + 1
                try:
                    return await self._try(exchange, rung)
                except AttemptFailed as problem:
                    last = problem
                step = after_failure(
                    last.failure, attempt=attempt, attempts_left=retries.attempts - tries, more_candidates=more,
                    may_retry=self._budget.allows(retries.budget_share), remaining=self._remaining(exchange),
                    base=retries.base_s, cap=retries.cap_s, draw=self._rng.random(),
                )  # fmt: skip
                if isinstance(step, GiveUp):
                    raise _final(last)
                if isinstance(step, NextCandidate):
                    break
                await self._sleep(step)
        raise _final(last)

    async def _sleep(self, step: Retry) -> None:
        self._budget = self._budget.with_retry()
        await asyncio.sleep(step.delay)

    async def _try(self, exchange: Exchange, rung: Rung) -> Answer:
        """One attempt, with its note on the exchange and its mark on the breaker."""
        name, began = rung.candidate.name, time.monotonic()
        self._breakers[name] = on_start(self._breakers.get(name, CLOSED), began)
        try:
            answer = await self._ask(exchange, rung)
        except AttemptFailed as problem:
            self._note(exchange, rung, began, _outcome(problem.failure), problem.failure.status)
            if problem.failure.kind == "refused":
                self._breakers[name] = on_success(self._breakers[name])
            else:
                self._breakers[name] = on_failure(self._breakers[name], time.monotonic())
            raise
        except asyncio.CancelledError:
            self._note(exchange, rung, began, "cancelled", 0)
            self._breakers[name] = on_cancel(self._breakers[name])
            raise
        self._breakers[name] = on_success(self._breakers[name])
        self._note(exchange, rung, began, "ok", 200)
        exchange.answered_by = rung
        return answer

    async def _ask(self, exchange: Exchange, rung: Rung) -> Answer:
        remaining = self._remaining(exchange)
        if exchange.request.streamed:
            return await self._asker.stream(
                exchange.runtime, rung.candidate, exchange.body, remaining=remaining
            )
        answer, _ = await self._asker.whole(
            exchange.runtime, rung.candidate, exchange.body, remaining=remaining
        )
        exchange.usage = answer.usage
        return answer

    def _note(
        self,
        exchange: Exchange,
        rung: Rung,
        began: float,
        outcome: str,
        status: int,
        confidence: float | None = None,
    ) -> float:
        """Writes the attempt on the exchange; its milliseconds are the return value."""
        took = time.monotonic() - began
        exchange.upstream_seconds += took
        exchange.attempts.append(Attempt(
            provider=rung.candidate.provider, model=rung.candidate.model, role=rung.role, outcome=outcome,
            status=status, latency_ms=took * 1000, confidence=confidence,
        ))  # fmt: skip
        return took * 1000

    @staticmethod
    def _remaining(exchange: Exchange) -> float:
        return exchange.deadline - time.monotonic()


class StudentReply:
    """What a student said: text with the client's own values back in it, probability, CPU milliseconds."""

    __slots__ = ("confidence", "cpu_ms", "text")

    def __init__(self, text: str, confidence: float, cpu_ms: float) -> None:
        self.text, self.confidence, self.cpu_ms = text, confidence, cpu_ms


async def ask_student(asker: Asker, exchange: Exchange, rung: Rung, *, remaining: float) -> StudentReply:
    """Asks a student about the masked last user text: it was trained on masked text and sees nothing else.

    Raises AttemptFailed, also when the answer carries no probability.
    """
    masked = mask(last_user_text(exchange.request.messages))
    body = {"messages": [{"role": "user", "content": masked.text}], "logprobs": True}
    answer, headers = await asker.whole(exchange.runtime, rung.candidate, body, remaining=remaining)
    confidence = confidence_of(answer.data)
    if confidence is None:
        raise AttemptFailed(
            Failure("failed", 502), errors.UpstreamFailed("The student's answer carries no probability.")
        )
    try:
        cpu_ms = float(headers.get(CPU_HEADER, "0"))
    except ValueError:
        cpu_ms = 0.0
    return StudentReply(unmask(answer.text, masked.values), confidence, cpu_ms)


def _answer(exchange: Exchange, text: str) -> Answer:
    """A student's text as the answer the client asked for, whole or as a stream."""
    data: dict[str, Any] = {
        "id": exchange.call_id,
        "object": "chat.completion",
        "created": int(exchange.received_at),
        "model": exchange.request.model,
        "choices": [{
            "index": 0,
            "message": {"role": "assistant", "content": text, "refusal": None, "annotations": []},
            "logprobs": None,
            "finish_reason": "stop",
        }],
        "service_tier": "default",
        "system_fingerprint": None,
    }  # fmt: skip
    if not exchange.request.streamed:
        return WholeAnswer(data=data, text=text, finish_reason="stop", usage=None)
    chunks = []
    for piece in split(data):
        choice = piece["choices"][0]
        chunks.append(Chunk(piece, choice["delta"].get("content") or "", choice["finish_reason"]))
    return ReadyStream(chunks)


def _outcome(failure: Failure) -> str:
    return failure.kind if failure.kind in ("refused", "timeout") else "failed"


def _final(last: AttemptFailed | None) -> errors.GatewayError:
    """What the client is told in the end. Our own retries are spent, so the SDK's would only pile on."""
    if last is None:
        return errors.Unavailable(
            "Every provider that may answer this is failing at the moment. Try again shortly.",
            code="providers_failing",
            headers={"retry-after": "5", "x-should-retry": "false"},
        )
    if last.failure.kind != "refused":
        last.error.headers.setdefault("x-should-retry", "false")
    return last.error
