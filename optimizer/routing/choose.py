"""The choice of a plan: pure, so that live serving, replay and ``explain`` run the very same code."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

from msgspec import Struct

from optimizer.bandits.arms import Arm
from optimizer.rollout import Stage, Student, may_serve
from optimizer.routing.facts import NOTHING_KNOWN, Considered, Constraints, Needs, View, judge
from optimizer.routing.objective import Measure, Objective, ranked
from optimizer.routing.plan import Candidate, Plan, Rung
from optimizer.routing.scene import Scene
from optimizer.routing.strategies import Cascade, StrategySettings


class Situation(Struct, frozen=True):
    """What is known about a call when its plan is made.

    ``student`` is the newest serving or watching student of exactly this request shape, if there is one.
    ``draw`` decides the strategy, ``canary_draw`` the canary; both in [0, 1). ``keep_teacher`` is a reason to
    leave students out ("" when there is none).
    """

    candidates: tuple[Candidate, ...]
    strategy: StrategySettings
    teacher: Candidate | None = None
    student: Student | None = None
    student_provider: str = ""
    keep_teacher: str = ""
    canary_share: float = 0.0
    draw: float = 0.0
    canary_draw: float = 0.0
    challenged: bool = False
    """``student`` was drawn between a live student and its successor in canary."""
    facts: View = {}
    """What is known about each candidate for this call; only as much of it as the policy looks at."""
    constraints: Constraints | None = None
    needs: Needs = Needs()
    objective: Objective | None = None
    objective_weights: Mapping[Measure, float] = {}
    sticky: str = ""
    arms: Mapping[str, Arm] = {}
    scope: str = ""


class Decision(Struct, frozen=True):
    """The plan, and the verdict on every candidate. A plan without rungs: nobody was left."""

    plan: Plan
    considered: tuple[Considered, ...]


def decide(situation: Situation) -> Decision:
    """Judges every candidate, and orders those that are left."""
    constraints, needs, facts = situation.constraints, situation.needs, situation.facts
    considered = tuple(
        judge(one, facts.get(one, NOTHING_KNOWN), constraints, needs) for one in situation.candidates
    )
    kept = tuple(one.candidate for one in considered if one.kept)
    if not kept:
        strategy = _name(situation.strategy)
        return Decision(Plan((), strategy, "plain", 1.0, "no candidate is left"), considered)
    if situation.objective is not None:
        kept = ranked(kept, situation.objective, facts, situation.objective_weights)
    return Decision(_ordered(situation, kept), considered)


def choose(situation: Situation) -> Plan:
    """The ordered rungs of one call, with the probability of the arm that was taken."""
    return decide(situation).plan


def _ordered(situation: Situation, candidates: tuple[Candidate, ...]) -> Plan:
    scene = Scene(situation.facts, situation.arms, situation.sticky)
    choice = situation.strategy.order(candidates, situation.draw, scene)
    tail = tuple(_rung(candidate, situation.teacher) for candidate in choice.order)
    strategy = _name(situation.strategy)
    arm, propensity, reason = _arm(situation)
    if arm == "teacher":
        plain: Literal["teacher", "plain"] = "teacher" if situation.teacher is not None else "plain"
        return Plan(tail, strategy, plain, choice.propensity * propensity, reason, situation.scope)
    student = situation.student
    assert student is not None
    head = Rung(
        candidate=Candidate(provider=situation.student_provider, model=student.id),
        role="student",
        student=student.id,
        threshold=student.threshold,
    )
    if situation.challenged:
        propensity *= situation.canary_share if arm == "canary" else 1.0 - situation.canary_share
    return Plan((head, *tail), strategy, arm, choice.propensity * propensity, reason, situation.scope)


def _name(strategy: StrategySettings) -> str:
    return str(type(strategy).__struct_config__.tag)


def _rung(candidate: Candidate, teacher: Candidate | None) -> Rung:
    return Rung(candidate, "teacher" if candidate == teacher else "plain")


def _arm(situation: Situation) -> tuple[Literal["teacher", "canary", "live"], float, str]:
    """Who may stand first: (arm, probability of this arm, reason)."""
    student = situation.student
    if student is None or not isinstance(situation.strategy, Cascade):
        return "teacher", 1.0, "no student stands here"
    if situation.keep_teacher:
        return "teacher", 1.0, situation.keep_teacher
    if not may_serve(student, students_off=False):
        return "teacher", 1.0, "the student is paused or has no certificate"
    if student.stage is Stage.LIVE:
        return "live", 1.0, "the student is live"
    if situation.challenged:
        return "canary", 1.0, "drawn into the canary of the live student's successor"
    if situation.canary_draw < situation.canary_share:
        return "canary", situation.canary_share, "drawn into the canary"
    return "teacher", 1.0 - situation.canary_share, "outside the canary"


def standing(students: Sequence[Student]) -> Student | None:
    """Of one scope's students, the one that may serve: live before canary, else None."""
    live, canary = _serving(students)
    return live or canary


def challenged(students: Sequence[Student]) -> tuple[Student, Student] | None:
    """The live student and the one in canary that would succeed it, when there are both."""
    live, canary = _serving(students)
    return (live, canary) if live is not None and canary is not None else None


def _serving(students: Sequence[Student]) -> tuple[Student | None, Student | None]:
    found: dict[Stage, Student] = {}
    for student in students:
        if not student.paused:
            found.setdefault(student.stage, student)
    return found.get(Stage.LIVE), found.get(Stage.CANARY)
