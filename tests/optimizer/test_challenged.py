"""A live student and its successor in canary share the calls by the canary's draw."""

from __future__ import annotations

import pytest

from optimizer.rollout import Stage, Student
from optimizer.routing.choose import Situation, challenged, choose, standing
from optimizer.routing.plan import Candidate
from optimizer.routing.strategies import Cascade

TEACHER = Candidate(provider="t", model="m")


def student(name: str, stage: Stage, *, paused: bool = False) -> Student:
    return Student(
        name, "p", "t", "f", 1, "classifier", 1, 0.9, stage=stage, paused=paused, certificate="c" * 64
    )


LIVE, CANARY = student("old", Stage.LIVE), student("new", Stage.CANARY)


def test_there_is_a_challenge_only_between_two_that_serve() -> None:
    assert challenged([CANARY, LIVE]) == (LIVE, CANARY)
    assert challenged([CANARY]) is None and challenged([LIVE, student("x", Stage.SHADOW)]) is None
    assert challenged([LIVE, student("new", Stage.CANARY, paused=True)]) is None
    assert standing([CANARY, LIVE]) is LIVE


@pytest.mark.parametrize(("drawn", "arm", "propensity"), [(CANARY, "canary", 0.3), (LIVE, "live", 0.7)])
def test_the_plan_names_the_probability_of_its_student(drawn, arm, propensity) -> None:
    plan = choose(
        Situation(
            candidates=(TEACHER,), strategy=Cascade(), teacher=TEACHER, student=drawn, student_provider="s",
            canary_share=0.3, challenged=True,
        )
    )  # fmt: skip
    assert (plan.arm, plan.rungs[0].student) == (arm, drawn.id)
    assert plan.propensity == pytest.approx(propensity)
