"""Routing decisions: pure tables."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from optimizer.rollout import Stage, Student
from optimizer.routing.attempts import (
    Failure,
    GiveUp,
    NextCandidate,
    Retry,
    RetryBudget,
    after_failure,
    sensible_retry_after,
)
from optimizer.routing.breaker import CLOSED, admits, on_cancel, on_failure, on_start, on_success
from optimizer.routing.choose import Situation, choose, standing
from optimizer.routing.eligibility import ineligible
from optimizer.routing.plan import Candidate
from optimizer.routing.strategies import Cascade, Ordered, Weighted

TEACHER, CHEAP = Candidate("openai", "gpt-4o"), Candidate("groq", "llama")
USER = {"role": "user", "content": "my parcel is late"}
PLAIN = {"model": "t", "messages": [{"role": "system", "content": "triage"}, USER]}


def student(stage: Stage, **changes: object) -> Student:
    values = {"id": "t-v1", "project": "p", "task": "t", "fingerprint": "f", "version": 1, "recipe": "classifier",
              "round": 1, "threshold": 0.8, "certificate": "c" * 64, "stage": stage, **changes}  # fmt: skip
    return Student(**values)  # type: ignore[arg-type]


def situation(**changes: object) -> Situation:
    values = {"candidates": (CHEAP, TEACHER), "strategy": Cascade(), "teacher": TEACHER,
              "student_provider": "students", "canary_share": 0.1, **changes}  # fmt: skip
    return Situation(**values)  # type: ignore[arg-type]


def test_a_live_student_stands_in_front_and_the_teacher_is_the_last_rung() -> None:
    plan = choose(situation(student=student(Stage.LIVE)))
    assert [rung.role for rung in plan.rungs] == ["student", "plain", "teacher"]
    assert (plan.arm, plan.propensity, plan.rungs[0].threshold) == ("live", 1.0, 0.8)


@pytest.mark.parametrize(
    "change",
    [
        {"student": None},
        {"student": student(Stage.SHADOW)},
        {"student": student(Stage.CANDIDATE)},
        {"student": student(Stage.LIVE, certificate=None)},
        {"student": student(Stage.LIVE, paused=True)},
        {"student": student(Stage.LIVE), "keep_teacher": "tools are set"},
        {"student": student(Stage.LIVE), "strategy": Ordered()},
    ],
)
def test_the_teacher_keeps_the_call(change: dict[str, object]) -> None:
    plan = choose(situation(**change))
    assert plan.arm == "teacher"
    assert all(rung.role != "student" for rung in plan.rungs)


@given(st.floats(0, 1, exclude_max=True))
def test_the_canary_logs_the_propensity_of_the_arm_taken(draw: float) -> None:
    plan = choose(situation(student=student(Stage.CANARY), canary_draw=draw))
    assert (plan.arm, plan.propensity) == (("canary", 0.1) if draw < 0.1 else ("teacher", 0.9))


def test_weighted_draws_by_weight() -> None:
    strategy = Weighted(weights={TEACHER.name: 3.0, CHEAP.name: 1.0})
    first = [choose(situation(strategy=strategy, draw=i / 100)).rungs[0].candidate for i in range(100)]
    assert first.count(TEACHER) == 75
    assert choose(situation(strategy=strategy, draw=0.1)).propensity == 0.25


def test_live_stands_before_canary() -> None:
    canary, live = student(Stage.CANARY, id="t-v2"), student(Stage.LIVE)
    assert standing([canary, live]) is live
    assert standing([canary]) is canary
    assert standing([canary, student(Stage.LIVE, paused=True)]) is canary
    assert standing([student(Stage.SHADOW)]) is None


@pytest.mark.parametrize(
    "extra",
    [
        {"n": 2}, {"logprobs": True}, {"tools": [{}]}, {"logit_bias": {"1": 1}}, {"stop": ["x"]},
        {"max_tokens": 2}, {"a_parameter_of_tomorrow": 1}, {"modalities": ["text", "audio"]},
        {"openai": {"reasoning": {"summary": "auto"}, "server_tools": []}},
        {"messages": [USER, {"role": "assistant", "content": "?"}, USER]},
        {"messages": [USER, {"role": "system", "content": "late"}]},
        {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}]},
    ],
)  # fmt: skip
def test_what_a_student_may_not_answer(extra: dict[str, object]) -> None:
    assert ineligible({**PLAIN, **extra}, max_answer_tokens=5)


@pytest.mark.parametrize(
    "extra",
    [{}, {"temperature": 0.2, "seed": 1}, {"stream": True}, {"max_tokens": 5}, {"n": 1}, {"tools": None},
     {"openai": {"reasoning": {"summary": "auto"}}}],
)
def test_what_a_student_may_answer(extra: dict[str, object]) -> None:
    assert ineligible({**PLAIN, **extra}, max_answer_tokens=5) == ""


def step(kind: str, **changes: object) -> object:
    values = {"attempt": 1, "attempts_left": 2, "more_candidates": False, "may_retry": True, "remaining": 60.0,
              "base": 0.25, "cap": 8.0, "draw": 0.5, **changes}  # fmt: skip
    failure = Failure(kind=kind, status=500, retry_after=values.pop("retry_after", None))  # type: ignore[arg-type]
    return after_failure(failure, **values)  # type: ignore[arg-type]


def test_the_step_after_a_failure() -> None:
    assert step("refused", more_candidates=True) == GiveUp()
    assert step("failed", more_candidates=True) == NextCandidate()
    assert step("failed") == Retry(0.125)
    assert step("failed", attempt=10) == Retry(4.0)
    assert step("failed", attempts_left=0) == GiveUp()
    assert step("failed", may_retry=False) == GiveUp()
    assert step("credentials") == GiveUp()
    assert step("throttled", retry_after=2.0) == Retry(2.0)
    assert step("throttled", retry_after=100.0) == GiveUp()


def test_retry_after_dates() -> None:
    assert sensible_retry_after("Thu, 01 Jan 1970 00:01:40 GMT", 90.0) == 10.0
    assert sensible_retry_after(None, 0) is None


def test_the_retry_budget_bounds_amplification() -> None:
    budget, retries = RetryBudget(), 0
    for number in range(1000):
        budget = budget.with_request(number / 1000)
        if budget.allows(0.1):
            budget, retries = budget.with_retry(), retries + 1
    assert retries <= 106


def test_the_breaker() -> None:
    breaker = CLOSED
    for _ in range(5):
        assert admits(breaker, 0.0)
        breaker = on_failure(breaker, 0.0)
    assert not admits(breaker, 4.9)
    assert admits(breaker, 5.0)
    probing = on_start(breaker, 5.0)
    assert not admits(probing, 5.0)
    assert admits(on_cancel(probing), 5.0)
    again = on_failure(probing, 5.0)
    assert not admits(again, 14.9)
    assert admits(again, 15.0)
    assert on_success(probing) == CLOSED
