"""Issues certificates: fills in a draft, lets the optimizer conclude, signs, and writes the file whole."""

from __future__ import annotations

import importlib.metadata
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import msgspec
from msgspec import UNSET

from gateway.config import Learn
from gateway.storage import signing
from gateway.storage.home import Home
from gateway.storage.settled import write_whole
from optimizer.certificate import (
    Certificate,
    Envelope,
    Kind,
    Log,
    Screening,
    conclude,
    digest,
    hidden,
    to_json,
)
from optimizer.gates import GateSettings, Outcome, Terms, terms_of
from optimizer.rollout import Student
from optimizer.stats.multiplicity import Multiplicity, divide


class Signs(Protocol):
    @property
    def public_key(self) -> str: ...
    def sign(self, payload: bytes) -> str: ...


class Lineage(msgspec.Struct, frozen=True):
    """What a student was made of, as its metrics keep it for its later certificates."""

    dataset: str
    seed: int
    code_version: str
    earlier_promotions: int
    candidates: int = 1
    """How many students its round trained; it was picked among them by their calibration calls."""
    together: int = 1
    """How many of them were picked, to be proven side by side."""
    run: str = ""
    """Whose candidates they are."""

    def levels(self, learn: Learn, round: int) -> tuple[Terms, Multiplicity]:
        """As the function of that name says of this student."""
        return levels(learn, round, self.earlier_promotions, self.candidates, self.together)


@dataclass(frozen=True, slots=True)
class Issuer:
    """Signs for this installation. ``salt`` hides the names of calls and never leaves the data directory."""

    folder: Path
    signer: Signs
    salt: str

    @classmethod
    def of(cls, home: Home) -> Issuer:
        """Raises OSError or ValueError when the installation's secrets cannot be read."""
        salt = signing.create_once(home.secrets / "certificate.salt", secrets.token_hex(32).encode())
        return cls(folder=home.certificates, signer=signing.load_or_create(home), salt=salt.decode().strip())

    def screening(
        self, student: Student, lineage: Lineage, learn: Learn, evidence: Screening, now: float
    ) -> Certificate:
        """The verdict on a candidate. Not written yet."""
        return conclude(_draft("screening", student, lineage, learn, (), evidence, now))

    def proof(
        self, student: Student, lineage: Lineage, learn: Learn, gates: Sequence[GateSettings],
        outcomes: Sequence[Outcome], now: float, *, slices: Sequence[str] = (), left_out: int = 0,
    ) -> Certificate:  # fmt: skip
        """The verdict on a student in shadow or canary by its outcomes there, and their slices where it has any.
        ``left_out``: pairs that did not count. Not written yet."""
        kind: Kind = "shadow" if student.stage == "shadow" else "canary"
        log = Log(
            outcomes=hidden(outcomes, self.salt),
            slices=tuple(slices) if student.slices else UNSET,
            left_out=left_out or UNSET,
        )
        return conclude(_draft(kind, student, lineage, learn, tuple(gates), log, now))

    def write(self, certificate: Certificate) -> tuple[str, Path]:
        """Signs and writes ``<student>-<stage>-<digest>.json``. → digest and path. Raises OSError."""
        name = digest(certificate)
        envelope = Envelope(
            certificate=certificate,
            signature=self.signer.sign(to_json(certificate)),
            public_key=self.signer.public_key,
        )
        path = self.folder / f"{certificate.student}-{certificate.to_stage}-{name[:8]}.json"
        write_whole(path, to_json(envelope))
        return name, path

    def promoted_to_serve(self, students: Sequence[Student]) -> int:
        """How many of ``students`` ever held a certificate for canary."""
        return sum(any(self.folder.glob(f"{student.id}-canary-*.json")) for student in students)


def levels(
    learn: Learn, round: int, earlier_promotions: int, candidates: int = 1, together: int = 1
) -> tuple[Terms, Multiplicity]:
    """What is demanded of a student of one round, one of ``together`` that were picked among its ``candidates``, and
    how the error budgets were divided."""
    multiplicity = divide(
        learn.alpha, learn.delta, round, candidates=candidates,
        earlier_promotions=earlier_promotions, control="discovery" if learn.errors == "discovery" else UNSET,
        picked="calibration" if candidates > 1 else UNSET, together=together if together > 1 else UNSET,
    )  # fmt: skip
    return terms_of(learn.target, learn.margin, multiplicity), multiplicity


def code_version() -> str:
    return importlib.metadata.version("understudy")


def _draft(
    kind: Kind, student: Student, lineage: Lineage, learn: Learn, gates: tuple[GateSettings, ...],
    evidence: Screening | Log, now: float,
) -> Certificate:  # fmt: skip
    terms, multiplicity = lineage.levels(learn, student.round)
    return Certificate(
        kind=kind,
        student=student.id,
        project=student.project,
        task=student.task,
        fingerprint=student.fingerprint,
        version=student.version,
        recipe=student.recipe,
        epoch=student.epoch,
        artifact=student.artifact,
        dataset=lineage.dataset,
        seed=lineage.seed,
        code_version=lineage.code_version,
        created_at=now,
        terms=terms,
        multiplicity=multiplicity,
        gates=gates,
        evidence=evidence,
        threshold=None if kind == "screening" else student.threshold,
        prev=None if kind == "screening" else student.certificate,
        slices=student.slices or UNSET,
        deferred_before=student.deferred or UNSET,
    )
