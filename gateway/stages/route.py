"""Route: from a task to an ordered plan. The choice itself is ``optimizer.routing.choose``."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Awaitable

from msgspec import Struct, structs

from gateway import errors
from gateway.config import Task
from gateway.context import Answer, Exchange
from gateway.money.pricing import cost
from gateway.pipeline import Handler
from gateway.protocol.chat import Usage, text_of
from gateway.retrieval.documents import missing
from gateway.routing.needs import encloses_its_files, needs_of
from gateway.routing.observations import Observations
from gateway.routing.ways import SWITCHED_OFF, Way
from gateway.runtime import Runtime, asks_for, is_tuned, student_provider
from gateway.students.deferral import deferred
from optimizer.rollout import Student
from optimizer.routing.choose import Decision, Situation, challenged, decide, standing
from optimizer.routing.eligibility import ineligible
from optimizer.routing.facts import Considered, Facts, Needs, View
from optimizer.routing.plan import Candidate, Plan, Rung
from optimizer.routing.rules import Caller, mismatch
from optimizer.routing.strategies import Bandit


class Routed(Struct, frozen=True):
    """How a call is routed. ``policy`` is "" when the client named the candidate; ``rules``: for each rule that was
    looked at, what did not hold ("" for the one that counts)."""

    decision: Decision
    policy: str
    rules: tuple[str, ...] = ()
    tokens: tuple[int, int] = (0, 0)


class Route:
    def __init__(self, rng: random.Random, observations: Observations) -> None:
        self._rng, self._observations = rng, observations

    def __call__(self, exchange: Exchange, inner: Handler) -> Awaitable[Answer]:
        exchange.plan = plan_of(exchange, self._rng, self._observations)
        return inner(exchange)


def plan_of(exchange: Exchange, rng: random.Random, observations: Observations) -> Plan:
    """The plan of one call. Raises BadRequest when no candidate can do what the request asks for, and Unavailable
    when nobody is left for another reason."""
    decision = routed(exchange, rng, observations).decision
    if not decision.plan.rungs:
        raise nobody(decision.considered)
    return decision.plan


def routed(exchange: Exchange, rng: random.Random, observations: Observations) -> Routed:
    """The decision on an exchange that ``assign`` has seen, and how it came about. Changes nothing."""
    task = exchange.task
    if task is None:
        assert exchange.target is not None
        return Routed(_direct(exchange.runtime, exchange.target), "")
    tokens = (-1, -1)
    ways = exchange.runtime.ways[task.name]
    way, failed = ways.usual, []
    if ways.rules:
        if ways.counted:
            observations.catch_up()
            tokens = observations.estimator.tokens(task.name, exchange.request)
        caller = caller_of(exchange, tokens[0])
        for when, other in ways.rules:
            failed.append(mismatch(when, caller))
            if not failed[-1]:
                way = other
                break
    project = exchange.principal.project if exchange.principal else ""
    students = exchange.runtime.students.get((project, task.name, exchange.fingerprint), ())
    if way.settled and not students:
        decision = _settled(exchange.runtime, task, way)
        return Routed(decision, way.policy.name, tuple(failed), (max(0, tokens[0]), max(0, tokens[1])))
    observations.catch_up()
    if tokens[0] < 0 and (way.costed or way.judged):
        tokens = observations.estimator.tokens(task.name, exchange.request)
    situation = _situation(exchange, task, way, tokens, students, rng, observations)
    decision = decide(situation)
    if not decision.plan.rungs and _says_its_files(exchange, situation):
        others = tuple(one for one in situation.needs.capabilities if one != "files")
        decision = decide(structs.replace(situation, needs=structs.replace(situation.needs, capabilities=others)))
    return Routed(decision, way.policy.name, tuple(failed), (max(0, tokens[0]), max(0, tokens[1])))


def _says_its_files(exchange: Exchange, situation: Situation) -> bool:
    """Whether the text of a request's files can go in their place, where nobody is left who takes them."""
    return "files" in situation.needs.capabilities and encloses_its_files(exchange.request) and not missing()


def _settled(runtime: Runtime, task: Task, way: Way) -> Decision:
    """The decision that is the same for every call of a way without students, made once per configuration."""
    found = runtime.settled.get(task.name)
    if found is None or found[0] is not way:
        found = runtime.settled[task.name] = way, decide(
            Situation(
                candidates=way.candidates, strategy=way.strategy, teacher=_teacher(task), facts=way.known,
                constraints=way.policy.constraints,
            )
        )  # fmt: skip
    return found[1]


def _teacher(task: Task) -> Candidate | None:
    return Candidate(provider=task.teacher.provider, model=task.teacher.model) if task.teacher else None


def _situation(
    exchange: Exchange,
    task: Task,
    way: Way,
    tokens: tuple[int, int],
    students: tuple[Student, ...],
    rng: random.Random,
    observations: Observations,
) -> Situation:
    runtime, rivals = exchange.runtime, challenged(students)
    student, canary_share, draw = _standing(exchange, students, rng, observations)
    strategy, policy = way.strategy, way.policy
    return Situation(
        candidates=way.candidates,
        strategy=strategy,
        teacher=_teacher(task),
        student=student,
        student_provider=student_provider(runtime),
        keep_teacher=_keeps_teacher(exchange, student),
        canary_share=canary_share,
        draw=rng.random(),
        canary_draw=draw,
        challenged=rivals is not None,
        facts=_facts(exchange, way, tokens, observations),
        constraints=policy.constraints,
        needs=needs_of(exchange.request, exchange.body, tokens[0]) if way.judged else Needs(),
        objective=policy.objective,
        objective_weights=policy.objective_weights,
        sticky=_sticky(exchange, policy.sticky) if policy.sticky else "",
        arms=observations.bandits.arms(
            way.scope, now=observations.clock(), half_life_s=strategy.half_life_s
        )
        if isinstance(strategy, Bandit)
        else {},
        scope=way.scope,
    )  # fmt: skip


def _standing(
    exchange: Exchange, students: tuple[Student, ...], rng: random.Random, observations: Observations
) -> tuple[Student | None, float, float]:
    """The student of this call, the canary's share, and the draw that it is held against. A successor gets that share
    of all calls, and its predecessor the others."""
    student, rivals = standing(students), challenged(students)
    tried = rivals[1] if rivals is not None else student
    rules = exchange.runtime.config.promotion.canary
    share = observations.canary(tried, rules) if tried is not None else 0.0
    draw = _canary_draw(exchange.session, tried.id if tried is not None else "", rng)
    if rivals is not None:
        student = rivals[1] if draw < share else rivals[0]
    return student, share, draw


def _keeps_teacher(exchange: Exchange, student: Student | None) -> str:
    """Why no student may answer; "" when one may."""
    if exchange.runtime.snapshot.students_off:
        return "students are switched off"
    if exchange.ineligible or student is None:
        return exchange.ineligible
    return ineligible(exchange.body, max_answer_tokens=student.max_answer_tokens) or deferred(exchange, student)


def _facts(exchange: Exchange, way: Way, tokens: tuple[int, int], observations: Observations) -> View:
    """What was known beforehand, with this call's costs and the latest latencies where the policy looks at them."""
    if not (way.costed or way.timed):
        return way.known
    found: dict[Candidate, Facts] = {}
    for candidate, facts in way.known.items():
        changes: dict[str, float | int | None] = {}
        if way.costed:
            times = asks_for(exchange.runtime, candidate, exchange.request.n)
            usage = Usage(prompt=times * tokens[0], completion=tokens[1])
            changes["cost_usd"] = cost(usage, way.prices[candidate])
        if way.timed:
            seen = observations.seen(candidate, streamed=exchange.request.streamed)
            changes.update(p50_ms=seen.p50_ms, p95_ms=seen.p95_ms, samples=seen.samples)
        found[candidate] = structs.replace(facts, **changes)
    return found


def caller_of(exchange: Exchange, tokens: int) -> Caller:
    """What rules look at, with this many tokens of input."""
    principal = exchange.principal
    key = principal.key_id if principal else ""
    keys, project = (key, exchange.runtime.key_names.get(key, "")), principal.project if principal else ""
    return Caller(
        exchange.request.metadata or {}, exchange.headers, keys, project, tokens, exchange.received_at
    )  # fmt: skip


def _sticky(exchange: Exchange, by: str) -> str:
    """Who is kept together; "" when the request does not say. A conversation without a session id is known by
    how it begins: its author's turns and the first of its user."""
    project = exchange.principal.project if exchange.principal else ""
    if by == "user":
        return f"{project}\0{exchange.request.end_user}" if exchange.request.end_user else ""
    if exchange.session:
        return f"{project}\0{exchange.session}"
    beginning = hashlib.blake2b(project.encode(), digest_size=16)
    for message in exchange.request.messages:
        beginning.update(f"\0{message.role}\0{text_of(message)}".encode("utf-8", "surrogatepass"))
        if message.role == "user":
            break
    return beginning.hexdigest()


def _canary_draw(session: str, student: str, rng: random.Random) -> float:
    """Sticky by session: every call of a conversation falls on the same side of the canary."""
    if not session:
        return rng.random()
    digest = hashlib.sha256(f"{student}\0{session}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def _direct(runtime: Runtime, target: Candidate) -> Decision:
    off = target.provider in runtime.config.disabled_providers
    reason = "the client named the candidate"
    tuned = target.model if is_tuned(runtime, target) else None
    rungs = () if off else (Rung(candidate=target, role="plain", student=tuned),)
    verdict = Considered(target, Facts(), SWITCHED_OFF if off else "", "off" if off else "")
    return Decision(Plan(rungs, "direct", "plain", 1.0, reason), (verdict,))


def nobody(considered: tuple[Considered, ...]) -> errors.GatewayError:
    """The error for a call whose every candidate was dropped: the client's when the request asks for too much."""
    if all(one.kind == "off" for one in considered):
        names = ", ".join(sorted({one.candidate.provider for one in considered}))
        return errors.Unavailable(
            f"No provider that may answer this is switched on: {names} has no API key. "
            "The gateway's operator can set it in the environment and restart.",
            code="provider_disabled",
        )
    reasons = "; ".join(f"{one.candidate.name}: {one.reason}" for one in considered)
    if any(one.kind == "request" for one in considered) and all(one.kind != "state" for one in considered):
        long = all(one.reason.startswith("context window") for one in considered if one.kind == "request")
        return errors.BadRequest(
            f"No candidate of this task can answer this request. {reasons}.",
            param="messages" if long else None,
            code="context_length_exceeded" if long else "no_suitable_candidate",
        )
    return errors.Unavailable(
        f"No candidate of this task meets its policy just now. {reasons}.",
        code="no_candidate_left",
        headers={"retry-after": "5"},
    )
