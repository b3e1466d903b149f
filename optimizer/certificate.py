"""Certificates: one per stage transition, re-computable by anyone from what they contain.

A certificate holds its inputs (who, under which terms, which ordered evidence) and its conclusions
(threshold, results, verdict). ``conclude`` derives the second from the first; ``recompute`` does so again and
reports every difference. There is no text in it: calls and sessions appear as salted hashes, so it verifies
after retention has erased what was said. The salt stays with the issuer, else a guessable session id could be
found by trying.

Signing happens elsewhere, over ``to_json(certificate)``; the signed file is an ``Envelope``.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence
from math import isclose
from typing import Annotated, Literal, TypeVar

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from optimizer.cascade import COARSE, Calibration, calibrate, merit
from optimizer.gates import GateResult, GateSettings, Outcome, Terms
from optimizer.rollout import NEXT, Decision, Promote, Reject, Stage, Student, advance, screen
from optimizer.slices import Slice
from optimizer.stats.multiplicity import Multiplicity, divide

FORMAT = 1
Kind = Literal["screening", "shadow", "canary"]
Ruling = Literal["promote", "hold", "reject"]
T = TypeVar("T")
_STAGE_OF: dict[Kind, Stage] = {
    "screening": Stage.CANDIDATE,
    "shadow": Stage.SHADOW,
    "canary": Stage.CANARY,
}


class Rival(Struct, frozen=True, forbid_unknown_fields=True):
    """Another candidate of the student's round, which was not picked: what it did on the calibration calls."""

    name: str
    artifact: str
    calibration: tuple[tuple[float, bool], ...]


class Screening(Struct, frozen=True, tag="screening", forbid_unknown_fields=True):
    """Evidence for candidate → shadow: (confidence, agreed) of each call, in the order of the split.

    ``provisional``: the least answered calls of a threshold that is taken when none can be certified; left
    out when the policies do not allow one. ``fine``: the grid's finer step; older ones have none.
    """

    calibration: tuple[tuple[float, bool], ...]
    holdout: tuple[tuple[float, bool], ...]
    min_answered: Annotated[int, Meta(ge=1)] = 100
    provisional: Annotated[int, Meta(ge=1)] | UnsetType = UNSET
    fine: Annotated[float, Meta(gt=1)] | UnsetType = UNSET
    rivals: tuple[Rival, ...] | UnsetType = UNSET
    """The round's other candidates; left out where it had none."""


class Log(Struct, frozen=True, tag="log", forbid_unknown_fields=True):
    """Evidence for shadow → canary and canary → live: the outcomes in call order, names hidden."""

    outcomes: tuple[Outcome, ...]
    slices: tuple[str, ...] | UnsetType = UNSET
    """The slice of each outcome, for a student with slices."""
    left_out: Annotated[int, Meta(ge=1)] | UnsetType = UNSET
    """How many more there were, of callers who had their share already (``stats.principals``)."""


class Certificate(Struct, frozen=True, forbid_unknown_fields=True):
    """``kind`` names the evidence and so the transition it allows. ``epoch``: the student's when it was
    decided.

    ``artifact`` and ``dataset`` are SHA-256 digests. ``created_at`` is unix seconds. ``prev`` is the digest
    of the student's certificate before this one. Fields after ``prev`` are conclusions: leave them out and
    call ``conclude``. For a screening, ``threshold`` is a conclusion too.
    """

    kind: Kind
    student: str
    project: str
    task: str
    fingerprint: str
    version: int
    recipe: str
    epoch: int
    artifact: str
    dataset: str
    seed: int
    code_version: str
    created_at: float
    terms: Terms
    multiplicity: Multiplicity
    gates: tuple[GateSettings, ...]
    evidence: Screening | Log
    threshold: float | None = None
    prev: str | None = None
    slices: tuple[Slice, ...] | UnsetType = UNSET
    """Left out for a student without slices; ``deferred_before`` likewise without any."""
    deferred_before: tuple[str, ...] | UnsetType = UNSET
    format: int = FORMAT
    from_stage: Stage = Stage.CANDIDATE
    to_stage: Stage = Stage.SHADOW
    inputs_sha256: str = ""
    results: tuple[GateResult, ...] = ()
    verdict: Ruling = "hold"
    deferred: tuple[str, ...] | UnsetType = UNSET
    """The slices that stay with the teacher from here on; left out when there are none."""


class Envelope(Struct, frozen=True, forbid_unknown_fields=True):
    """A signed certificate: base64 of the signature over ``to_json(certificate)`` and of the public key."""

    certificate: Certificate
    signature: str
    public_key: str


# ---------------------------------------------------------------- issuing
def salted(value: str, salt: str) -> str:
    """32 hex digits that stand for a call or a session without telling which (HMAC-SHA256)."""
    return hmac.new(salt.encode(), value.encode(), hashlib.sha256).hexdigest()[:32]


def hidden(outcomes: Sequence[Outcome], salt: str) -> tuple[Outcome, ...]:
    """The outcomes with salted names; an empty session stays empty, equal names stay equal."""
    return tuple(
        msgspec.structs.replace(
            one, call=salted(one.call, salt), cluster=salted(one.cluster, salt) if one.cluster else ""
        )
        for one in outcomes
    )


def conclude(draft: Certificate) -> Certificate:
    """The certificate whose conclusions follow from the draft's inputs; those in the draft are ignored.

    Raises ValueError when kind and evidence do not belong together, or inputs are out of range.
    """
    if (draft.kind == "screening") is not isinstance(draft.evidence, Screening):
        evidence = type(draft.evidence).__name__.lower()
        raise ValueError(f"a {draft.kind} certificate cannot rest on {evidence} evidence")
    threshold, decision = _decide(draft)
    stage = _STAGE_OF[draft.kind]
    return msgspec.structs.replace(
        draft,
        threshold=threshold,
        from_stage=stage,
        to_stage=NEXT[stage],
        inputs_sha256=_inputs_sha256(draft),
        results=decision.results,
        verdict=_ruling(decision),
        deferred=(decision.deferred if isinstance(decision, Promote) else ()) or UNSET,
    )


def _inputs_sha256(draft: Certificate) -> str:
    """Every bit that is no conclusion, so that a change which moves no verdict shows as well."""
    screening = draft.kind == "screening"
    inputs = msgspec.structs.replace(
        draft,
        threshold=None if screening else draft.threshold,
        from_stage=_STAGE_OF[draft.kind],
        to_stage=NEXT[_STAGE_OF[draft.kind]],
        inputs_sha256="",
        results=(),
        verdict="hold",
        deferred=UNSET,
    )
    return hashlib.sha256(to_json(inputs)).hexdigest()


def _decide(draft: Certificate) -> tuple[float | None, Decision]:
    student = _student(draft)
    if isinstance(draft.evidence, Log):
        log = draft.evidence
        return draft.threshold, advance(student, log.outcomes, draft.gates, draft.terms, log.slices or ())
    calibration = _calibrated(draft.evidence, draft.evidence.calibration, draft.terms)
    least = calibration.threshold
    holdout = draft.evidence.holdout
    answered = [agreed for confidence, agreed in holdout if least is not None and confidence >= least]
    return least, screen(student, calibration, sum(answered), len(answered), draft.terms)


def _calibrated(by: Screening, calls: Sequence[tuple[float, bool]], terms: Terms) -> Calibration:
    return calibrate(
        calls,
        target=terms.target,
        delta=terms.delta,
        min_answered=by.min_answered,
        provisional=by.provisional or None,
        fine=by.fine or COARSE,
    )


def _student(draft: Certificate) -> Student:
    return Student(
        id=draft.student,
        project=draft.project,
        task=draft.task,
        fingerprint=draft.fingerprint,
        version=draft.version,
        recipe=draft.recipe,
        round=draft.multiplicity.round,
        threshold=draft.threshold or 0.0,
        stage=_STAGE_OF[draft.kind],
        epoch=draft.epoch,
        artifact=draft.artifact,
        slices=draft.slices or (),
        deferred=draft.deferred_before or (),
    )


def _ruling(decision: Decision) -> Ruling:
    if isinstance(decision, Promote):
        return "promote"
    return "reject" if isinstance(decision, Reject) else "hold"


# ---------------------------------------------------------------- bytes
def to_json(value: Certificate | Envelope) -> bytes:
    """Canonical JSON: fields sorted, no white space, numbers in their shortest form. Signed as is."""
    return _canonical(value, type(value))


def read_certificate(data: bytes) -> Certificate:
    """Raises ValueError, saying what is wrong and where, for anything that is not a certificate."""
    return _read(data, Certificate)


def read_envelope(data: bytes) -> Envelope:
    """Raises ValueError, saying what is wrong and where, for anything that is not a signed certificate."""
    return _read(data, Envelope)


def digest(certificate: Certificate) -> str:
    """SHA-256 of the canonical JSON, in hex: the certificate's name."""
    return hashlib.sha256(to_json(certificate)).hexdigest()


def _canonical(value: object, as_type: object) -> bytes:
    # through the decoder once, so that an int in a float field is written as the float it is read back as
    encode = msgspec.json.Encoder(order="sorted").encode
    return encode(msgspec.json.decode(encode(value), type=as_type))


def _read(data: bytes, as_type: type[T]) -> T:
    try:
        return msgspec.json.decode(data, type=as_type)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"this is not a {as_type.__name__.lower()} of this program: {error}") from None


# ---------------------------------------------------------------- verifying
def recompute(certificate: Certificate) -> list[str]:
    """What does not follow from the certificate's own evidence, in sentences; empty when all of it does."""
    if certificate.format != FORMAT:
        return [f"format {certificate.format} is not known here (this program reads format {FORMAT})"]
    try:
        derived = conclude(certificate)
        problems = _budget_problems(certificate) + _rival_problems(certificate)
    except ValueError as error:
        return [f"nothing can be derived from it: {error}"]
    for name in ("from_stage", "to_stage", "inputs_sha256", "threshold", "verdict", "deferred"):
        said, found = getattr(certificate, name), getattr(derived, name)
        if said != found:
            problems.append(f"{name} says {said!s}, but {found!s} follows from its contents")
    problems += _result_problems(certificate.results, derived.results)
    problems += _threshold_problems(certificate)
    if certificate.verdict != "promote":
        problems.append(f"its verdict is {certificate.verdict}, which allows no transition")
    if (certificate.prev is None) is not (certificate.kind == "screening"):
        problems.append("the first certificate of a student, and only it, has none before it")
    return problems


def chain_problems(certificate: Certificate, previous: Certificate) -> list[str]:
    """What keeps a certificate from being the next one of the same student; empty when it is."""
    problems: list[str] = []
    if certificate.prev != digest(previous):
        problems.append("prev is not the digest of the certificate before it")
    if certificate.from_stage != previous.to_stage:
        problems.append(
            f"it starts at {certificate.from_stage}, but the one before led to {previous.to_stage}"
        )
    if (certificate.deferred_before or ()) != (previous.deferred or ()):
        problems.append("it does not start with the slices that the one before it deferred")
    mine, theirs = certificate.multiplicity, previous.multiplicity
    if (mine.candidates, mine.picked, mine.together) != (theirs.candidates, theirs.picked, theirs.together):
        problems.append("its round has not the candidates that the one before it names")
    return problems + [
        f"{name} differs from the certificate before it"
        for name in ("student", "project", "task", "fingerprint", "version", "artifact", "threshold", "slices")
        if getattr(certificate, name) != getattr(previous, name)
    ]


def _budget_problems(certificate: Certificate) -> list[str]:
    said = certificate.multiplicity
    found = divide(
        said.alpha_budget,
        said.delta_budget,
        said.round,
        candidates=said.candidates,
        earlier_promotions=said.earlier_promotions,
        control=said.control,
        picked=said.picked,
        together=said.together,
    )
    problems = [
        f"multiplicity.{name} says {getattr(said, name)}, but round {said.round} has {getattr(found, name)}"
        for name in ("alpha", "delta", "e_lond")
        if not _same(getattr(said, name), getattr(found, name))
    ]
    terms = certificate.terms
    return problems + [
        f"terms.{name} says {getattr(terms, name)}, but the round's level is {getattr(found, name)}"
        for name in ("alpha", "delta")
        if not _same(getattr(terms, name), getattr(found, name))
    ]


def _rival_problems(certificate: Certificate) -> list[str]:
    """A candidate that was picked must be among the best of its round, as many as stand side by side, and all of the
    round must be there to see."""
    evidence, said = certificate.evidence, certificate.multiplicity
    if not isinstance(evidence, Screening):
        return []
    rivals = evidence.rivals or ()
    problems = []
    if said.picked and said.candidates != 1 + len(rivals):
        problems.append(f"its round had {said.candidates} candidates, but it shows {1 + len(rivals)}")
    if rivals and not said.picked:
        problems.append("it shows rivals, but does not say that it was picked among them")
    together = said.together or 1
    if together > said.candidates:
        problems.append(f"{together} stand side by side, but its round had {said.candidates} candidates")
    own = merit(_calibrated(evidence, evidence.calibration, certificate.terms))
    better = [
        rival.name
        for rival in rivals
        if merit(_calibrated(evidence, rival.calibration, certificate.terms)) > own
    ]
    if len(better) < together:
        return problems
    return problems + [f"{name} did better on the calibration calls, yet was not picked" for name in better]


def _result_problems(said: Sequence[GateResult], found: Sequence[GateResult]) -> list[str]:
    if [one.gate for one in said] != [one.gate for one in found]:
        names = ", ".join(one.gate for one in found)
        return [f"its results are not those of its gates ({names})"]
    problems: list[str] = []
    for ours, theirs in zip(found, said, strict=True):
        if ours.verdict != theirs.verdict:
            problems.append(f"{ours.gate}: says {theirs.verdict}, but {ours.verdict} follows")
        if ours.reason != theirs.reason:
            problems.append(f"{ours.gate}: its reason is not the one that follows from the evidence")
        problems += [
            f"{ours.gate}.{name} says {theirs.numbers.get(name)}, but {ours.numbers.get(name)} follows"
            for name in sorted(ours.numbers.keys() | theirs.numbers.keys())
            if not _same(ours.numbers.get(name), theirs.numbers.get(name))
        ]
    return problems


def _threshold_problems(certificate: Certificate) -> list[str]:
    """A gate's evidence must have been answered under the certificate's own threshold."""
    if not isinstance(certificate.evidence, Log):
        return []
    least = certificate.threshold
    if least is None:
        return ["it names no threshold"]
    wrong = sum(one.answered and one.confidence < least for one in certificate.evidence.outcomes)
    return [f"{wrong} calls were answered below the threshold {least}"] if wrong else []


def _same(one: float | None, other: float | None) -> bool:
    # machines may differ in the last digits of a logarithm, not more
    if one is None or other is None:
        return one is other
    return isclose(one, other, rel_tol=1e-9, abs_tol=1e-12)
