"""Clients' corrections as the truth that student and teacher are both held against."""

from __future__ import annotations

import numpy as np
import pytest

from optimizer.gates import Outcome, Terms, Truth
from optimizer.gates.truth import HOURS, STUDENT, TEACHER

TERMS = Terms(target=0.95, margin=0.02, alpha=0.05, delta=0.05)


def call(number: int, agree: bool, right: tuple[bool, bool] | None = None, hours: float = 0.1) -> Outcome:
    """``right``: (the student, the teacher) is what the client said."""
    scores = {} if right is None else {STUDENT: float(right[0]), TEACHER: float(right[1]), HOURS: hours}
    return Outcome(f"c{number}", "", True, agree, 0.9, 1.0, scores)


def test_without_corrections_it_asks_what_agreement_asks() -> None:
    good = Truth().judge([call(n, n % 50 != 0) for n in range(800)], TERMS)
    assert (good.verdict, good.numbers["corrected"]) == ("pass", 0.0)
    assert good.numbers["surplus"] == pytest.approx(0.98 - 0.93)
    assert good.numbers["surplus_low"] < good.numbers["surplus"] < good.numbers["surplus_high"]
    assert Truth().judge([call(n, n % 5 != 0) for n in range(800)], TERMS).verdict == "fail"
    assert Truth().judge([call(n, True) for n in range(20)], TERMS).verdict == "not_yet"


def test_a_student_that_is_right_where_its_teacher_is_wrong_is_no_worse_for_it() -> None:
    differs = [call(n, n % 10 != 0) for n in range(800)]
    corrected = [call(n, n % 10 != 0, None if n % 10 else (True, False)) for n in range(800)]
    assert Truth().judge(differs, TERMS).verdict == "fail"
    found = Truth().judge(corrected, TERMS)
    assert found.verdict == "pass"
    assert (found.numbers["student_right"], found.numbers["teacher_right"]) == (80.0, 0.0)
    assert "corrected 80 of 800" in found.reason


def test_both_wrong_is_nobodys_merit_and_nobodys_fault() -> None:
    both = [call(n, True, (False, False)) for n in range(800)]
    found = Truth().judge(both, TERMS)
    assert (found.verdict, found.numbers["e_value"]) == ("not_yet", 1.0)
    assert found.numbers["surplus"] == pytest.approx(0.0)


def test_what_comes_too_late_counts_for_nothing() -> None:
    late = [call(n, n % 10 != 0, None if n % 10 else (True, False), hours=2.0) for n in range(800)]
    assert Truth(within_hours=1.0).judge(late, TERMS).verdict == "fail"
    assert Truth(within_hours=3.0).judge(late, TERMS).verdict == "pass"


def test_a_demanded_number_of_corrections_is_waited_for() -> None:
    few = [call(n, True, (True, True) if n < 3 else None) for n in range(800)]
    assert Truth(corrections=3).judge(few, TERMS).verdict == "pass"
    waiting = Truth(corrections=4).judge(few, TERMS)
    assert waiting.verdict == "not_yet" and "3 of 4 wanted" in waiting.reason


def test_a_student_at_the_null_passes_seldom_however_often_it_is_looked_at() -> None:
    """The teacher is right on nine of ten calls and the rest is corrected; the student is worth 93 % of it. The verdict
    at the end includes those at every call before."""
    rng, passed, runs = np.random.default_rng(5), 0, 2000
    for _ in range(runs):
        teacher, student = rng.random(200) < 0.9, rng.random(200) < 0.9 * 0.93
        agree = teacher & student
        log = [
            call(n, bool(agree[n]), None if teacher[n] else (bool(student[n]), False)) for n in range(200)
        ]
        passed += Truth().judge(log, TERMS).verdict == "pass"
    assert passed <= runs * TERMS.alpha
