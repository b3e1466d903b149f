"""Calls that are not chat: the same record, key, limits, guards and prices around one request to a provider.

The stages are those of the chat pipeline where they fit (record, authenticate, limit), the guard of texts that are no
messages, and one of this file's own: choosing who serves the call. What is asked of a candidate is a
function of the call, so the fold is made anew for each; that is five partial applications.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any, Protocol, runtime_checkable

import msgspec

from gateway import errors
from gateway.context import Answer, Exchange
from gateway.errors import GatewayError
from gateway.judges import Judges
from gateway.pipeline import Handler, Stage, fold
from gateway.protocol.answer import WholeAnswer
from gateway.protocol.chat import Usage, usage_from_wire
from gateway.providers import ClassifierProvider
from gateway.providers.codec import AttemptFailed, Codec, Embedder, failed
from gateway.providers.failures import object_in
from gateway.providers.openai.codec import OpenAICodec
from gateway.resilience.gate import Gate, providers_failing
from gateway.resilience.provider_keys import Encode, Lease, Opening, ProviderKeys, T
from gateway.routing.named import candidates_of
from gateway.runtime import Runtime
from gateway.stages.assign import named
from gateway.stages.guard_texts import GuardTexts
from gateway.storage.records import Attempt
from gateway.upstreams.reply import Reply
from optimizer.routing.attempts import GiveUp, NextCandidate, Retry, after_failure
from optimizer.routing.plan import Candidate, Plan, Rung

_LONGEST_S = 10_000_000
"""Seconds of sound beyond which nobody means what they say."""

Ask = Callable[[Exchange, Rung], Awaitable[Answer]]
"""One attempt at one candidate. Raises AttemptFailed."""

Here = Callable[[Exchange, Judges], Awaitable[WholeAnswer]]
"""An answer that needs no provider."""

@runtime_checkable
class Lasting(Protocol):
    """An answer that keeps its place in the provider's lane until it is over."""

    def on_end(self, tell: Callable[[bool], None]) -> None: ...


class Surface:
    """Runs calls. ``stages`` are record, authenticate and limit, outermost first, shared with chat, as the gate is;
    ``within`` stand behind the guardrails."""

    def __init__(
        self, stages: Sequence[Stage], keys: ProviderKeys, rng: random.Random, gate: Gate, judges: Judges,
        within: Sequence[Stage] = (),
    ) -> None:  # fmt: skip
        self._before, self._judges = list(stages), judges
        self._stages = [*stages, GuardTexts(judges), *within, Place()]
        self._keys, self._rng, self._gate = keys, rng, gate

    async def run(self, exchange: Exchange, ask: Ask) -> Answer:
        """The answer of the first candidate that gives one. Raises GatewayError."""
        handler: Handler = fold(self._stages, partial(self._walk, ask=ask))
        return await handler(exchange)

    async def run_here(self, exchange: Exchange, answer: Here) -> Answer:
        """``answer``, behind the stages that every call passes, and without a provider."""

        async def here(exchange: Exchange) -> Answer:
            return await answer(exchange, self._judges)

        exchange.answered_here = True
        return await fold(self._before, here)(exchange)

    async def _walk(self, exchange: Exchange, ask: Ask) -> Answer:
        assert exchange.plan is not None
        planned, retries = exchange.plan.rungs, exchange.runtime.config.retries
        self._gate.requested()
        rungs = self._gate.breakers.usable(planned)
        if not rungs:
            raise providers_failing(self._gate.breakers.wait(planned))
        tries, last = 0, failed("failed", errors.Unavailable("No provider may answer this."))
        for position, rung in enumerate(rungs):
            attempt, more = 0, position + 1 < len(rungs)
            while tries < max(retries.attempts, len(rungs)):
                tries, attempt = tries + 1, attempt + 1
                try:
                    return await self._try(exchange, rung, ask, spill=more)
                except AttemptFailed as problem:
                    last = problem
                step = after_failure(
                    last.failure, attempt=attempt, attempts_left=retries.attempts - tries, more_candidates=more,
                    may_retry=self._gate.may_retry(retries.budget_share),
                    remaining=exchange.deadline - time.monotonic(),
                    base=retries.base_s, cap=retries.cap_s, draw=self._rng.random(),
                )  # fmt: skip
                if isinstance(step, GiveUp):
                    raise _told(last)
                if isinstance(step, NextCandidate):
                    break
                await self._sleep(step)
        raise _told(last)

    async def _sleep(self, step: Retry) -> None:
        self._gate.retried()
        await asyncio.sleep(step.delay)

    async def _try(self, exchange: Exchange, rung: Rung, ask: Ask, *, spill: bool) -> Answer:
        began, outcome, status = time.monotonic(), "cancelled", 0
        try:
            passage = await self._gate.enter(
                rung.candidate, exchange.runtime.config.upstreams, exchange.deadline - began,
                may_wait=not spill, yields=bool(exchange.batch),
            )  # fmt: skip
            with passage:
                answer = await ask(exchange, rung)
                if isinstance(answer, Lasting):
                    passage.until_end(answer)
            outcome, status = "ok", 200
        except AttemptFailed as problem:
            kind, status = problem.failure.kind, problem.failure.status
            outcome = kind if kind in ("refused", "timeout") else "failed"
            raise
        finally:
            took = time.monotonic() - began
            exchange.upstream_seconds += took
            exchange.attempts.append(Attempt(
                provider=rung.candidate.provider, model=rung.candidate.model, role=rung.role, outcome=outcome,
                status=status, latency_ms=took * 1000,
            ))  # fmt: skip
        exchange.answered_by = rung
        return answer

    def codec(self, runtime: Runtime, provider: str) -> Codec:
        """How a provider is spoken to, with the best of its keys."""
        return self._keys.codec(runtime, provider)

    async def open(self, exchange: Exchange, rung: Rung, opening: Opening[T]) -> tuple[T, Lease | None]:
        """What lasts: opened with the best of the provider's keys, which is held until the lease is left. Raises
        AttemptFailed."""
        return await self._keys.open(exchange.runtime, rung.candidate.provider, opening)

    async def send(self, exchange: Exchange, rung: Rung, encode: Encode) -> Reply:
        """A 200 whose headers have arrived. Raises AttemptFailed; the caller closes the reply."""
        name = rung.candidate.provider
        remaining = exchange.deadline - time.monotonic()
        codec, reply = await self._keys.send(exchange.runtime, name, encode, remaining=remaining)
        if 200 <= reply.status < 300:
            return reply
        try:
            body = await reply.read()
        finally:
            reply.release()
        raise codec.refuse(reply.status, reply.headers, body, now=time.time())


    async def asked(self, exchange: Exchange, rung: Rung, encode: Encode) -> dict[str, Any]:
        """The answer as a JSON object; its tokens are counted for the key that was used. Raises AttemptFailed."""
        reply = await self.send(exchange, rung, encode)
        try:
            data = object_in(rung.candidate.provider, await reply.read())
        finally:
            reply.release()
        used = used_in(data.get("usage"))
        if reply.lease is not None and used is not None:
            reply.lease.used(used.total)
        return data


class Place:
    """Who serves it: the task's candidates, a candidate named by the client, or the surface's own provider."""

    async def __call__(self, exchange: Exchange, inner: Handler) -> Answer:
        exchange.plan = place(exchange)
        return await inner(exchange)


def place(exchange: Exchange) -> Plan:
    """Raises NotFound for a model that nobody serves, Unavailable when its providers are switched off."""
    runtime, model = exchange.runtime, exchange.request.model
    task = runtime.tasks.get(model)
    if task is not None:
        # Nothing is captured or learnt here: a student answers chat.
        exchange.task = msgspec.structs.replace(task, learn=None, capture=None)
        candidates: tuple[Candidate, ...] = candidates_of(task, runtime.policies)
    else:
        exchange.target = named(exchange)
        candidates = (exchange.target,)
    teacher = (task.teacher.provider, task.teacher.model) if task is not None and task.teacher else None
    usable = [one for one in candidates if one.provider not in runtime.config.disabled_providers]
    able = [one for one in usable if serves(runtime, one.provider, exchange.endpoint)]
    if not able:
        raise _nobody(exchange.endpoint, candidates, bool(usable))
    rungs = tuple(
        Rung(candidate=one, role="teacher" if (one.provider, one.model) == teacher else "plain")
        for one in able
    )
    return Plan(rungs, "ordered" if task is not None else "direct", "plain", 1.0, "")


def serves(runtime: Runtime, provider: str, endpoint: str) -> bool:
    """Whether a provider is asked for what is not chat."""
    embeds = endpoint == "embeddings" and isinstance(runtime.codecs.get(provider), Embedder)
    return embeds or speaks_openai(runtime, provider)


def speaks_openai(runtime: Runtime, provider: str) -> bool:
    settings = runtime.config.providers.get(provider)
    return isinstance(runtime.codecs.get(provider), OpenAICodec) and not isinstance(
        settings, ClassifierProvider
    )


def _nobody(endpoint: str, candidates: Sequence[Candidate], usable: bool) -> GatewayError:
    names = ", ".join(sorted({one.provider for one in candidates}))
    if not usable:
        return errors.Unavailable(
            f"No provider that may answer this is switched on: {names} has no API key. "
            "The gateway's operator can set it in the environment and restart.",
            code="provider_disabled",
        )
    return errors.BadRequest(
        f"The provider '{names}' does not speak OpenAI's {endpoint} API. Name a model of one that does.",
        param="model",
        code="unsupported_endpoint",
    )


def address(codec: Codec, path: str, model: str) -> tuple[str, dict[str, str]]:
    """Where a provider that speaks OpenAI answers ``path`` ("/embeddings"), and the headers it wants."""
    assert isinstance(codec, OpenAICodec)
    request = codec.located(model)
    base, _, tail = request.url.rpartition("/chat/completions")
    return f"{base}{path}{tail}", request.headers


def _told(last: AttemptFailed) -> GatewayError:
    """Our own retries are spent, so the SDK's would only pile on."""
    if last.failure.kind != "refused":
        last.error.headers.setdefault("x-should-retry", "false")
    return last.error


def used_in(value: Any) -> Usage | None:
    """What an answer's ``usage`` says; a transcription's may be in seconds. None where it says nothing."""
    seconds = value.get("seconds") if isinstance(value, dict) and value.get("type") == "duration" else None
    if isinstance(seconds, int | float) and not isinstance(seconds, bool) and 0 < seconds < _LONGEST_S:
        return Usage(seconds=float(seconds))
    return usage_from_wire(usage_of(value))


def usage_of(value: Any) -> dict[str, Any] | None:
    """``usage`` in chat's words, whichever of OpenAI's it is in (details have two names); None without token counts."""
    if not isinstance(value, dict):
        return None
    if "input_tokens" in value:
        return {
            "prompt_tokens": value["input_tokens"],
            "completion_tokens": value.get("output_tokens") or 0,
            "prompt_tokens_details": value.get("input_tokens_details") or value.get("input_token_details"),
            "completion_tokens_details": value.get("output_tokens_details") or value.get("output_token_details"),
        }
    return value if "prompt_tokens" in value else None
