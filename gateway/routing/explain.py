"""Explain: how a request would be routed, by the very code that routes, without asking anybody."""

from __future__ import annotations

import random
import secrets
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from msgspec import Struct

from gateway.access.keys import principal_of_key, principal_of_yaml_key
from gateway.api.checking import check
from gateway.context import Exchange, Principal
from gateway.errors import BadRequest, GatewayError
from gateway.money.accounting import price_for
from gateway.money.pricing import cost
from gateway.protocol.body import typed
from gateway.protocol.chat import ChatRequest, Usage
from gateway.resilience.breakers import Breakers
from gateway.routing.foreseen import foreseen
from gateway.routing.observations import Observations
from gateway.runtime import Runtime, asks_for
from gateway.stages.assign import assign
from gateway.stages.authenticate import model_not_found
from gateway.stages.route import Routed, nobody, routed
from gateway.storage.values import Key
from optimizer.routing.facts import Considered
from optimizer.routing.plan import Rung

Refused = Callable[[Exchange], Awaitable[GatewayError | None]]


class RuleShown(Struct, frozen=True):
    """``reason``: what did not hold; "" for the rule that counts. Rules after that one are not looked at."""

    policy: str
    fits: bool
    reason: str


class CandidateShown(Struct, frozen=True):
    """Dollars for this request, milliseconds over the last ten minutes; null is unknown. ``success`` in [0, 1]."""

    candidate: str
    kept: bool
    reason: str
    estimated_cost_usd: float | None
    p50_ms: float | None
    p95_ms: float | None
    samples: int
    success: float | None
    quality: float | None
    region: str
    context_window: int | None
    capabilities: list[str] | None


class RungShown(Struct, frozen=True):
    """``passed_over``: why it would not be asked although it stands here; "" for who would be, and who is behind it."""

    candidate: str
    role: str
    threshold: float
    passed_over: str = ""


class Explanation(Struct, frozen=True):
    """``plan`` is one draw; ``propensity`` is the probability with which its first rung stands there. ``error`` is
    what the client would be told instead of an answer, "" when somebody would be asked."""

    model: str
    task: str
    policy: str
    strategy: str
    objective: str
    input_tokens: int
    output_tokens: int
    rules: list[RuleShown]
    defaults: dict[str, Any]
    candidates: list[CandidateShown]
    plan: list[RungShown]
    arm: str
    propensity: float
    reason: str
    students: str
    error: str


async def explain(
    runtime: Runtime,
    observations: Observations,
    body: dict[str, Any],
    *,
    key: str = "",
    project: str = "default",
    headers: Mapping[str, str] | None = None,
    now: float,
    rng: random.Random,
    breakers: Breakers | None = None,
    refused: Refused | None = None,
) -> Explanation:
    """How ``body`` (a chat completion request) would be routed at ``now``, unix seconds, for the key named ``key``
    or, without one, for anybody in ``project``. ``breakers``: those of a running gateway; ``refused``: what limits and
    budgets say of a call. Raises the GatewayError that the client would get before routing."""
    exchange = _exchange(runtime, body, principal_of(runtime, key, project, now), headers or {}, now)
    allowed = exchange.principal.models if exchange.principal else ()
    if allowed and exchange.request.model not in allowed:
        raise model_not_found(exchange.request.model)
    limited = await refused(exchange) if refused is not None else None
    assign(exchange)
    found = routed(exchange, rng, observations)
    rungs = found.decision.plan.rungs
    passed, error = foreseen(exchange, rungs, breakers) if rungs else ({}, nobody(found.decision.considered))
    error = limited or error  # limits are asked before anything is chosen
    return _shown(exchange, body, found, observations, passed, error.message if error is not None else "")


def principal_of(runtime: Runtime, key: str, project: str, now: float) -> Principal:
    """Who asks. ``key`` is a name or an id. Raises BadRequest when there is no such key, or none that opens."""
    if not key:
        return Principal(key_id="", project=project)
    for yaml_key in runtime.config.keys:
        if key in (yaml_key.id, yaml_key.name):
            return principal_of_yaml_key(yaml_key)
    for stored in runtime.snapshot.keys:
        if key in (stored.id, stored.name):
            return _holder(stored, now)
    raise BadRequest(f"There is no key '{key[:64]}'. `understudy keys list` shows them.", param="key")


def _holder(key: Key, now: float) -> Principal:
    if key.revoked_at is not None or (key.expires_at is not None and key.expires_at <= now):
        how = "was revoked" if key.revoked_at is not None else "has expired"
        raise BadRequest(f"The key '{key.name[:64]}' {how}: its calls are answered with a 401.", param="key")
    return principal_of_key(key)


def _exchange(
    runtime: Runtime, body: dict[str, Any], principal: Principal, headers: Mapping[str, str], now: float
) -> Exchange:
    request = typed(body, ChatRequest)
    check(body, request)
    return Exchange(
        call_id="explain-" + secrets.token_hex(8), request_id="", received_at=now, started=0.0, deadline=0.0,
        headers={name.lower(): value for name, value in headers.items()}, body=body, request=request,
        runtime=runtime, principal=principal,
    )  # fmt: skip


def _shown(
    exchange: Exchange, body: Mapping[str, Any], found: Routed, observations: Observations,
    passed: Mapping[Rung, str], error: str,
) -> Explanation:  # fmt: skip
    runtime, task, plan = exchange.runtime, exchange.task, found.decision.plan
    tokens = found.tokens
    if not any(tokens):  # the policy did not ask for them; people do
        name = task.name if task is not None else exchange.request.model
        observations.catch_up()
        tokens = observations.estimator.tokens(name, exchange.request)
    rules = task.rules if task is not None else []
    policy = runtime.policies.get(found.policy)
    return Explanation(
        model=exchange.request.model,
        task=task.name if task is not None else "",
        policy=found.policy,
        strategy=plan.strategy,
        objective=(policy.objective or "") if policy is not None else "",
        input_tokens=tokens[0],
        output_tokens=tokens[1],
        rules=[
            RuleShown(rule.policy, not reason, reason)
            for rule, reason in zip(rules, found.rules, strict=False)
        ],
        defaults={
            name: value
            for name, value in exchange.body.items()
            if body.get(name) is None and (value or value == 0)
        },
        candidates=[_candidate(exchange, one, tokens, observations) for one in found.decision.considered],
        plan=[RungShown(rung.candidate.name, rung.role, rung.threshold, passed.get(rung, "")) for rung in plan.rungs],
        arm=plan.arm,
        propensity=plan.propensity,
        reason=plan.reason,
        students=exchange.ineligible,
        error=error,
    )


def _candidate(
    exchange: Exchange, one: Considered, tokens: tuple[int, int], observations: Observations
) -> CandidateShown:
    seen = observations.seen(one.candidate, streamed=exchange.request.streamed)
    times = asks_for(exchange.runtime, one.candidate, exchange.request.n)
    usage = Usage(prompt=times * tokens[0], completion=tokens[1])
    facts = one.facts
    return CandidateShown(
        candidate=one.candidate.name,
        kept=one.kept,
        reason=one.reason,
        estimated_cost_usd=cost(usage, price_for(exchange.runtime.config, one.candidate)),
        p50_ms=seen.p50_ms,
        p95_ms=seen.p95_ms,
        samples=seen.samples,
        success=seen.success,
        quality=facts.quality,
        region=facts.region,
        context_window=facts.context_window,
        capabilities=None if facts.capabilities is None else sorted(facts.capabilities),
    )
