"""The life of a student: candidate → shadow → canary → live → retired. Read downwards.

Everything here decides and nothing acts: values in, values out. Only the trainer promotes (``screen``,
``advance``), only the gateway takes back (``optimizer.drift``), both append what they did to one numbered
log.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum

import msgspec
from msgspec import Struct

from optimizer.cascade import Calibration
from optimizer.gates import Agreement, GateResult, GateSettings, Outcome, Terms, Truth, Verdict
from optimizer.slices import Slice, parts
from optimizer.stats.intervals import clopper_pearson_lower, clopper_pearson_upper
from optimizer.stats.multiplicity import within_round


class Stage(StrEnum):
    CANDIDATE = "candidate"
    SHADOW = "shadow"
    CANARY = "canary"
    LIVE = "live"
    RETIRED = "retired"


class Student(Struct, frozen=True):
    """One trained version of a task's student and where it stands.

    ``epoch`` is the number of the journal entry that put it into its stage: decisions name the epoch they
    were made at, so that a stale promotion loses against a newer demotion. ``round`` counts the task's
    trainings from 1; error budgets are spent over rounds. ``threshold`` is the cascade's least confidence.
    """

    id: str
    project: str
    task: str
    fingerprint: str
    version: int
    recipe: str
    round: int
    threshold: float
    stage: Stage = Stage.CANDIDATE
    paused: bool = False
    epoch: int = 0
    certificate: str | None = None
    artifact: str = ""
    max_answer_tokens: int = 1
    slices: tuple[Slice, ...] = ()
    """The parts of its traffic that are judged each by itself, as they were declared when it was trained."""
    deferred: tuple[str, ...] = ()
    """Names of the slices that stay with the teacher."""


class Promote(Struct, frozen=True, tag="promote"):
    """Every gate is passed on what the student will serve: it may move to ``to``. ``deferred``: all slices that
    stay with the teacher, those of earlier steps included."""

    to: Stage
    results: tuple[GateResult, ...]
    deferred: tuple[str, ...] = ()


class Hold(Struct, frozen=True, tag="hold"):
    """Not decided yet: the student stays where it is and goes on collecting evidence."""

    reason: str
    results: tuple[GateResult, ...]


class Reject(Struct, frozen=True, tag="reject"):
    """The evidence speaks against the student: it will not get better by waiting."""

    reason: str
    results: tuple[GateResult, ...]


Decision = Promote | Hold | Reject

NEXT = {Stage.CANDIDATE: Stage.SHADOW, Stage.SHADOW: Stage.CANARY, Stage.CANARY: Stage.LIVE}
"""A student climbs one stage at a time."""


def can_move(from_: Stage, to: Stage) -> bool:
    """Whether a student may go from one stage to another: one step up, out for good, or (paused, resumed)
    nowhere. Nobody comes back from retirement: a retrain makes a new student."""
    if from_ is Stage.RETIRED:
        return False
    return to in (from_, Stage.RETIRED, NEXT.get(from_))


# ---------------------------------------------------------------- birth: candidate → shadow
def screen(
    student: Student,
    calibration: Calibration,
    holdout_agreed: int,
    holdout_answered: int,
    terms: Terms,
) -> Decision:
    """May a fresh student answer copies of the traffic (it serves nobody yet)?

    It needs a threshold, certified or, where the policies allow that, provisional, and the holdout's answered
    calls must not contradict the target: their one-sided Clopper–Pearson upper bound at 1 − delta stays at or
    above it. Raises ValueError for a student that is no candidate.
    """
    _expect(student, Stage.CANDIDATE)
    results = (_calibrated(calibration), _uncontradicted(holdout_agreed, holdout_answered, terms))
    failed = [result for result in results if result.verdict != "pass"]
    if failed:
        return Reject(reason="; ".join(result.reason for result in failed), results=results)
    return Promote(to=Stage.SHADOW, results=results)


def _calibrated(calibration: Calibration) -> GateResult:
    numbers = {
        "n": float(calibration.n),
        "answered": float(calibration.answered),
        "agreed": float(calibration.agreed),
        "agreement_low": calibration.lower,
        "target": calibration.target,
        "level": calibration.level,
        "tested": float(calibration.tested),
    }
    if calibration.threshold is None:
        reason = (
            f"no threshold reaches {calibration.target:.2%} agreement with {1 - calibration.delta:.2%} "
            f"confidence on {calibration.n} calibration calls"
        )
        return GateResult(gate="calibration", verdict="fail", reason=reason, numbers=numbers)
    numbers["threshold"] = calibration.threshold
    if calibration.provisional:
        reason = (
            f"no threshold can be certified on {calibration.n} calls; provisionally it answers at confidence "
            f"{calibration.threshold:.4g} or above, where {calibration.agreed} of {calibration.answered} agree, and "
            f"the gates alone have to prove it"
        )
        return GateResult(gate="calibration", verdict="pass", reason=reason, numbers=numbers)
    reason = (
        f"answers {calibration.answered} of {calibration.n} calibration calls at confidence "
        f"{calibration.threshold:.4g} or above; {calibration.agreed} agree: at least {calibration.lower:.2%}"
    )
    return GateResult(gate="calibration", verdict="pass", reason=reason, numbers=numbers)


def _uncontradicted(agreed: int, answered: int, terms: Terms) -> GateResult:
    high = clopper_pearson_upper(agreed, answered, 1 - terms.delta)
    numbers = {
        "n": float(answered),
        "agreed": float(agreed),
        "agreement": agreed / answered if answered else 0.0,
        "agreement_low": clopper_pearson_lower(agreed, answered, 1 - terms.delta),
        "agreement_high": high,
        "target": terms.target,
    }
    verdict: Verdict = "not_yet" if answered == 0 else "pass" if high >= terms.target else "fail"
    reason = {
        "not_yet": "the student answers none of the holdout calls",
        "pass": f"{agreed} of {answered} answered holdout calls agree, which {terms.target:.2%} allows",
        "fail": f"only {agreed} of {answered} answered holdout calls agree: at most {high:.2%}",
    }[verdict]
    return GateResult(gate="holdout", verdict=verdict, reason=reason, numbers=numbers)


# ---------------------------------------------------------------- proof: shadow → canary → live
def advance(
    student: Student,
    outcomes: Sequence[Outcome],
    gates: Sequence[GateSettings],
    terms: Terms,
    slices: Sequence[str] = (),
) -> Decision:
    """May a student take the next step? ``outcomes``: its fresh evidence of this stage, in call order; ``slices``:
    the name of each one's slice, where the student has slices.

    All gates must pass; one failure rejects. With slices, each of them must pass by itself what is to be proven of it;
    one that fails any of its gates, or is not decided when ``PATIENCE`` outcomes are there, is deferred to the teacher,
    and the gates judge the rest. May be
    asked after every call: the gates are anytime-valid. A paused student and a stage without a gate for agreement
    or truth hold. Raises ValueError outside shadow and canary.
    """
    _expect(student, Stage.SHADOW, Stage.CANARY)
    split = _split(student, outcomes, gates, terms, slices)
    served = split.served(outcomes, slices)
    judged = [gate for gate in gates if not (split.waiting and gate.per_slice == "prove")]
    overall = tuple(gate.judge(served, terms) for gate in judged)
    results = (*split.results, *overall)
    failed = [f"{result.gate}: {result.reason}" for result in overall if result.verdict == "fail"]
    if student.slices and not split.passed and not split.waiting:
        failed = ["no slice passes: " + "; ".join(f"{one.gate}: {one.reason}" for one in split.results)]
    if failed:
        return Reject(reason="; ".join(failed), results=results)
    if student.paused:
        return Hold(reason="the student is paused", results=results)
    if not any(isinstance(gate, Agreement | Truth) for gate in gates):
        return Hold(
            reason="no gate for agreement or truth is configured, and nothing else proves a student", results=results
        )
    undecided = [*split.undecided, *overall]
    waiting = [f"{result.gate}: {result.reason}" for result in undecided if result.verdict == "not_yet"]
    if waiting:
        return Hold(reason="; ".join(waiting), results=results)
    return Promote(to=NEXT[student.stage], results=results, deferred=split.deferred)


PATIENCE = 2000
"""Outcomes after which a slice that is still undecided no longer holds the others up."""


class _Split(Struct, frozen=True):
    """The verdict on each slice. ``waiting`` ones still hold the student; ``deferred`` stay with the teacher."""

    results: tuple[GateResult, ...] = ()
    passed: tuple[str, ...] = ()
    waiting: tuple[str, ...] = ()
    deferred: tuple[str, ...] = ()

    @property
    def undecided(self) -> tuple[GateResult, ...]:
        return tuple(one for one in self.results if _part_of(one) in self.waiting)

    def served(self, outcomes: Sequence[Outcome], slices: Sequence[str]) -> Sequence[Outcome]:
        """The outcomes that the student would keep, or may yet."""
        if not self.deferred:
            return outcomes
        return [one for one, part in zip(outcomes, slices, strict=True) if part not in self.deferred]


def _split(
    student: Student, outcomes: Sequence[Outcome], gates: Sequence[GateSettings], terms: Terms, slices: Sequence[str]
) -> _Split:  # fmt: skip
    """Each slice under an equal share of alpha, so that the chance of serving any slice that is too bad stays at
    alpha; once a slice is deferred it stays so for this student."""
    names = parts(student.slices)
    if not names:
        return _Split()
    share = msgspec.structs.replace(
        terms, alpha=within_round(terms.alpha, len(names)), delta=within_round(terms.delta, len(names))
    )
    apart = [gate for gate in gates if gate.per_slice]
    verdicts: dict[str, Verdict] = {}
    results: list[GateResult] = []
    for name in names:
        if name in student.deferred:
            continue
        mine = [one for one, part in zip(outcomes, slices, strict=True) if part == name]
        found = [gate.judge(mine, share) for gate in apart]
        results += [msgspec.structs.replace(one, gate=f"{name}/{one.gate}") for one in found]
        verdicts[name] = _together(apart, found)
    passed = tuple(name for name, verdict in verdicts.items() if verdict == "pass")
    open_ = tuple(name for name, verdict in verdicts.items() if verdict == "not_yet")
    waiting = () if passed and len(outcomes) >= PATIENCE else open_
    deferred = tuple(name for name in names if name not in passed and name not in waiting)
    return _Split(tuple(results), passed, waiting, deferred)


def _together(gates: Sequence[GateSettings], found: Sequence[GateResult]) -> Verdict:
    """Of one slice: a failure outweighs all else, and only what has to be proven is waited for."""
    if any(one.verdict == "fail" for one in found):
        return "fail"
    proofs = (one for gate, one in zip(gates, found, strict=True) if gate.per_slice == "prove")
    return "pass" if all(one.verdict == "pass" for one in proofs) else "not_yet"


def _part_of(result: GateResult) -> str:
    return result.gate.partition("/")[0]


def _expect(student: Student, *stages: Stage) -> None:
    if student.stage not in stages:
        wanted = " or ".join(stages)
        raise ValueError(f"student {student.id} is {student.stage}, but this decision is for {wanted}")


# ---------------------------------------------------------------- work: what the log makes of a student
def apply(
    student: Student,
    to: Stage,
    *,
    epoch: int,
    paused: bool = False,
    certificate: str | None = None,
    deferred: tuple[str, ...] | None = None,
) -> Student:
    """The student after a log entry: moved, paused or resumed at ``epoch``.

    Without a ``certificate`` the one it has stays, and so do its deferred slices without ``deferred``. Raises
    ValueError for a move that is not allowed, for an entry older than the student's own epoch, and for a step into a
    serving stage without a certificate.
    """
    if epoch <= student.epoch:
        raise ValueError(f"entry {epoch} is older than student {student.id}, which moved at {student.epoch}")
    if not can_move(student.stage, to):
        raise ValueError(f"student {student.id} cannot go from {student.stage} to {to}")
    if to in _SERVING and to is not student.stage and certificate is None:
        raise ValueError(f"student {student.id} needs a certificate to become {to}")
    return msgspec.structs.replace(
        student,
        stage=to,
        paused=paused,
        epoch=epoch,
        certificate=certificate or student.certificate,
        deferred=student.deferred if deferred is None else deferred,
    )


_SERVING = (Stage.CANARY, Stage.LIVE)


def may_serve(student: Student, students_off: bool) -> bool:
    """Whether the student may stand in for its teacher now: proven, not paused, and the one switch is on."""
    return (
        student.stage in _SERVING
        and student.certificate is not None
        and not student.paused
        and not students_off
    )
