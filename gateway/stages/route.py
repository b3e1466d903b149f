"""Route: from a task to an ordered plan. The choice itself is ``optimizer.routing.choose``."""

from __future__ import annotations

import hashlib
import random

from gateway import errors
from gateway.config import Task
from gateway.context import Answer, Exchange
from gateway.pipeline import Handler
from gateway.providers import ClassifierProvider
from gateway.runtime import Runtime, candidates_of
from optimizer.routing.choose import Situation, challenged, choose, standing
from optimizer.routing.eligibility import ineligible
from optimizer.routing.plan import Candidate, Plan, Rung
from optimizer.routing.strategies import Cascade, Ordered, StrategySettings


class Route:
    def __init__(self, rng: random.Random) -> None:
        self._rng = rng

    async def __call__(self, exchange: Exchange, inner: Handler) -> Answer:
        exchange.plan = plan_of(exchange, self._rng)
        return await inner(exchange)


def plan_of(exchange: Exchange, rng: random.Random) -> Plan:
    """The plan of one call. Raises Unavailable when every candidate's provider is switched off."""
    if exchange.target is not None:
        rung = Rung(candidate=exchange.target, role="plain")
        return _usable(
            exchange.runtime, Plan((rung,), "direct", "plain", 1.0, "the client named the candidate")
        )
    task = exchange.task
    assert task is not None
    runtime = exchange.runtime
    teacher = Candidate(provider=task.teacher.provider, model=task.teacher.model) if task.teacher else None
    project = exchange.principal.project if exchange.principal else ""
    students = runtime.students.get((project, task.name, exchange.fingerprint), ())
    student, canary_share = standing(students), runtime.config.promotion.canary.share
    rivals = challenged(students)
    if rivals is None:
        draw = _canary_draw(exchange.session, student.id if student else "", rng)
    else:  # the successor gets the canary's share of all calls, its predecessor the others
        draw = _canary_draw(exchange.session, rivals[1].id, rng)
        student = rivals[1] if draw < canary_share else rivals[0]
    keep = exchange.ineligible
    if student is not None and not keep:
        keep = ineligible(exchange.body, max_answer_tokens=student.max_answer_tokens)
    if runtime.snapshot.students_off:
        keep = "students are switched off"
    situation = Situation(
        candidates=candidates_of(task, runtime.policies),
        strategy=strategy_of(runtime, task),
        teacher=teacher,
        student=student,
        student_provider=student_provider(runtime),
        keep_teacher=keep,
        canary_share=canary_share,
        draw=rng.random(),
        canary_draw=draw,
        challenged=rivals is not None,
    )
    return _usable(runtime, choose(situation))


def strategy_of(runtime: Runtime, task: Task) -> StrategySettings:
    """The policy's strategy; a task that learns and names no policy cascades, or its student could never serve."""
    if task.policy:
        return runtime.policies[task.policy].strategy
    return Cascade() if task.learn is not None else Ordered()


def student_provider(runtime: Runtime) -> str:
    """The provider name of the built-in engine; "students" when the policies do not name one."""
    for name, settings in runtime.config.providers.items():
        if isinstance(settings, ClassifierProvider):
            return name
    return "students"


def _canary_draw(session: str, student: str, rng: random.Random) -> float:
    """Sticky by session: every call of a conversation falls on the same side of the canary."""
    if not session:
        return rng.random()
    digest = hashlib.sha256(f"{student}\0{session}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def _usable(runtime: Runtime, plan: Plan) -> Plan:
    off = runtime.config.disabled_providers
    if not any(rung.candidate.provider in off for rung in plan.rungs):
        return plan
    rungs = tuple(rung for rung in plan.rungs if rung.candidate.provider not in off)
    if not rungs:
        names = ", ".join(sorted({rung.candidate.provider for rung in plan.rungs}))
        raise errors.Unavailable(
            f"No provider that may answer this is switched on: {names} has no API key. "
            "The gateway's operator can set it in the environment and restart.",
            code="provider_disabled",
        )
    return Plan(rungs, plan.strategy, plan.arm, plan.propensity, plan.reason)
