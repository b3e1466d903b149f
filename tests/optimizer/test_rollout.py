from __future__ import annotations

import itertools
import subprocess
import sys

import msgspec
import pytest

from optimizer.cascade import Calibration, choose_threshold
from optimizer.gates import Agreement, Latency, Outcome, Terms
from optimizer.rollout import (
    Hold,
    Promote,
    Reject,
    Stage,
    Student,
    advance,
    apply,
    can_move,
    may_serve,
    screen,
)

TERMS = Terms(target=0.95, margin=0.02, alpha=0.05, delta=0.05)
GATES = [Agreement(), Latency()]


def student(stage: Stage = Stage.CANDIDATE, **fields: object) -> Student:
    base = Student(
        id="s1",
        project="p",
        task="t",
        fingerprint="f",
        version=1,
        recipe="classifier",
        round=1,
        threshold=0.5,
    )
    return msgspec.structs.replace(base, stage=stage, **fields)


def outcomes(n: int, every: int = 40) -> list[Outcome]:
    """``n`` answered calls; one in ``every`` disagrees."""
    return [Outcome(f"c{i}", "", True, i % every != every - 1, 0.9, 3.0) for i in range(n)]


def calibration(good: bool = True) -> Calibration:
    return choose_threshold([0.9] * 300, [good] * 300, target=0.95, delta=0.05)


# ---------------------------------------------------------------- moves
def test_a_student_climbs_one_step_at_a_time_and_never_returns() -> None:
    steps = {(Stage.CANDIDATE, Stage.SHADOW), (Stage.SHADOW, Stage.CANARY), (Stage.CANARY, Stage.LIVE)}
    for from_, to in itertools.product(Stage, Stage):
        stays_or_leaves = from_ is not Stage.RETIRED and to in (from_, Stage.RETIRED)
        assert can_move(from_, to) is (stays_or_leaves or (from_, to) in steps)


def test_the_log_makes_the_student() -> None:
    shadow = apply(student(), Stage.SHADOW, epoch=4)
    assert (shadow.stage, shadow.epoch, shadow.certificate) == (Stage.SHADOW, 4, None)
    canary = apply(shadow, Stage.CANARY, epoch=7, certificate="c1")
    paused = apply(canary, Stage.CANARY, epoch=8, paused=True)
    assert (paused.paused, paused.certificate) == (True, "c1")
    assert apply(paused, Stage.RETIRED, epoch=9).stage is Stage.RETIRED


def test_impossible_entries_are_refused() -> None:
    with pytest.raises(ValueError, match="cannot go from candidate to live"):
        apply(student(), Stage.LIVE, epoch=2, certificate="c")
    with pytest.raises(ValueError, match="needs a certificate"):
        apply(student(Stage.CANARY, certificate="c"), Stage.LIVE, epoch=2)
    with pytest.raises(ValueError, match="older than"):
        apply(student(epoch=5), Stage.SHADOW, epoch=5)


def test_only_a_proven_running_student_serves() -> None:
    live = student(Stage.LIVE, certificate="c")
    assert may_serve(live, students_off=False)
    assert may_serve(student(Stage.CANARY, certificate="c"), students_off=False)
    assert not may_serve(live, students_off=True)
    assert not may_serve(msgspec.structs.replace(live, paused=True), students_off=False)
    assert not may_serve(msgspec.structs.replace(live, certificate=None), students_off=False)
    for stage in (Stage.CANDIDATE, Stage.SHADOW, Stage.RETIRED):
        assert not may_serve(student(stage, certificate="c"), students_off=False)


# ---------------------------------------------------------------- candidate → shadow
def test_screening_needs_a_threshold_and_a_holdout_that_does_not_contradict_it() -> None:
    promoted = screen(student(), calibration(), 140, 150, TERMS)
    assert isinstance(promoted, Promote)
    assert promoted.to is Stage.SHADOW
    assert [result.gate for result in promoted.results] == ["calibration", "holdout"]
    for decision in (
        screen(student(), calibration(good=False), 150, 150, TERMS),
        screen(student(), calibration(), 120, 150, TERMS),
        screen(student(), calibration(), 0, 0, TERMS),
    ):
        assert isinstance(decision, Reject)
        assert decision.reason


# ---------------------------------------------------------------- shadow → canary → live
@pytest.mark.parametrize(("stage", "to"), [(Stage.SHADOW, Stage.CANARY), (Stage.CANARY, Stage.LIVE)])
def test_enough_good_evidence_promotes(stage: Stage, to: Stage) -> None:
    decision = advance(student(stage), outcomes(1200), GATES, TERMS)
    assert isinstance(decision, Promote)
    assert decision.to is to


def test_little_evidence_holds_and_bad_evidence_rejects() -> None:
    held = advance(student(Stage.SHADOW), outcomes(50), GATES, TERMS)
    assert isinstance(held, Hold)
    assert "agreement" in held.reason
    assert "latency" in held.reason
    rejected = advance(student(Stage.SHADOW), outcomes(600, every=6), GATES, TERMS)
    assert isinstance(rejected, Reject)
    assert rejected.results[0].verdict == "fail"


def test_a_paused_student_and_a_stage_without_proof_hold() -> None:
    assert isinstance(advance(student(Stage.SHADOW, paused=True), outcomes(1200), GATES, TERMS), Hold)
    unproven = advance(student(Stage.SHADOW), outcomes(1200), [Latency()], TERMS)
    assert isinstance(unproven, Hold)
    assert "nothing else proves a student" in unproven.reason


def test_decisions_are_for_their_own_stage() -> None:
    with pytest.raises(ValueError, match="is live"):
        advance(student(Stage.LIVE), [], GATES, TERMS)
    with pytest.raises(ValueError, match="is shadow"):
        screen(student(Stage.SHADOW), calibration(), 1, 1, TERMS)


def test_what_the_gateway_imports_stays_light() -> None:
    code = "import sys; from optimizer import certificate, drift, gates, roi, rollout, scorers; "
    code += "print([name for name in ('numpy', 'scipy', 'sklearn', 'pandas') if name in sys.modules])"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert loaded.stdout.strip() == "[]"
