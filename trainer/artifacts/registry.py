"""Students: their names, their artifacts, and their way from a trained model to shadow.

Every step finds what an earlier attempt of the same run left behind and goes on from there, so a run that was
killed anywhere ends as it would have ended.
"""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from msgspec import Struct

from gateway.config import Learn
from gateway.storage.commands import AddStudent, MoveStudent, Refused
from gateway.storage.erasure_values import lessons_of
from gateway.storage.protocols import Reader, Writer
from gateway.storage.settled import settle, sync_folder
from gateway.storage.values import Run
from optimizer.clusters import Cluster
from optimizer.rollout import Stage, Student
from optimizer.slices import FOUND, Slice
from trainer.artifacts.artifact import (
    FORMAT,
    Artifact,
    ArtifactRefused,
    EncoderRef,
    Manifest,
    Parameters,
    load,
    save,
)
from trainer.certify import Issuer, Lineage, code_version
from trainer.evaluate import Exam
from trainer.features.calls import CallLayout
from trainer.features.extraction import Extraction
from trainer.features.layout import Layout
from trainer.planner import scope_of
from trainer.recipes import Trained
from trainer.training.generative import Generative

_UNNAMED = re.compile(r"[^A-Za-z0-9._-]")


class Place(Struct, frozen=True):
    """Where a run's student goes: its name, version and round."""

    student: str
    version: int
    round: int
    earlier_promotions: int
    number: int = 0
    """Which of the round's candidates it is for, where several are proven side by side."""

    def nth(self, number: int) -> Place:
        """Where the round's candidate of that number goes; 0 is this place."""
        name = self.student.removesuffix(str(self.version)) + str(self.version + number)
        return msgspec.structs.replace(self, student=name, version=self.version + number, number=number)


class Settled(Struct, frozen=True):
    """How a run ended: the student, whether it may go on, why, and the certificate's path if it may."""

    student: Student
    accepted: bool
    reason: str
    certificate: str | None


def place(run: Run, round: int, students: Sequence[Student], reader: Reader, issuer: Issuer) -> Place:
    """The run's student: the one an earlier attempt registered, else the next version. Ids are unique over
    projects although they do not name the project."""
    prefix = f"{_UNNAMED.sub('-', run.task)[:64]}-{run.fingerprint[:4]}-v"
    scope = [student for student in students if scope_of(student) == scope_of(run)]
    version = 1 + max((one.version for one in students if one.id.startswith(prefix)), default=0)
    for student in scope:
        metrics = reader.student_detail(student.id).get("metrics", {})
        if metrics.get("run") == run.id:
            version, round = student.version - int(metrics.get("number", 0)), student.round
    earlier = [student for student in scope if student.version < version]
    return Place(
        student=f"{prefix}{version}",
        version=version,
        round=round,
        earlier_promotions=min(issuer.promoted_to_serve(earlier), round - 1),
    )


def trained_before(folder: Path, dataset: str, seed: int) -> Artifact | None:
    """The artifact an earlier attempt finished from the same dataset with the same code; None otherwise."""
    try:
        artifact = load(folder)
    except ArtifactRefused:
        return None
    manifest = artifact.manifest
    same = (manifest.dataset, manifest.seed, manifest.code_version) == (dataset, seed, code_version())
    return artifact if same else None


def settled_before(run: Run, where: Place, reader: Reader) -> list[tuple[int, Lineage]]:
    """The run's students by their number, if an earlier attempt came to move all of them; else none."""
    found: list[tuple[int, Lineage]] = []
    for student in reader.students():
        detail = reader.student_detail(student.id) if scope_of(student) == scope_of(run) else {}
        if detail.get("metrics", {}).get("run") == run.id and student.stage != Stage.CANDIDATE:
            found.append((student.version - where.version, lineage_of(detail)))
    whole = bool(found) and len(found) == found[0][1].together
    return found if whole else []


def publish(source: Path, folder: Path) -> None:
    """Makes a finished artifact a student's own, completely or not at all. Raises OSError."""
    draft = folder.with_name(f".{folder.name}.{os.getpid()}.draft")
    shutil.rmtree(draft, ignore_errors=True)
    shutil.copytree(source, draft, copy_function=os.link)  # whoever wrote it made it durable
    if folder.exists():  # an earlier attempt of the same run got this far
        shutil.rmtree(folder)
    sync_folder(draft)
    settle(draft, folder)


def parent_of(run: Run, students: Sequence[Student], artifacts: Path) -> Artifact | None:
    """The live student of a run's scope, whose weights a successor may begin with; None when it cannot be loaded."""
    live = [one for one in students if scope_of(one) == scope_of(run) and one.stage == Stage.LIVE]
    try:
        return load(artifacts / max(live, key=lambda one: one.version).id) if live else None
    except ArtifactRefused:
        return None


def clean(students: Sequence[Student], reader: Reader) -> list[Student]:
    """Those whose weights hold nothing that somebody asked to have erased: the others' would pass it on."""
    asked = {digest for digest, one in reader.dataset_erasures().items() if one.requested}
    return [one for one in students if not asked.intersection(lessons_of(reader.student_detail(one.id)))]


def taught_by(manifest: Manifest, students: Sequence[Student], reader: Reader) -> list[str]:
    """Digests of the datasets whose rows are in a student's weights: its own, and those of whom it began with."""
    parents = [one for one in students if manifest.parent is not None and one.artifact == manifest.parent]
    before = [lessons_of(reader.student_detail(one.id)) for one in parents]
    return list(dict.fromkeys([manifest.dataset, *(digest for one in before for digest in one)]))


def store(folder: Path, recipe: str, trained: Trained, dataset: str, seed: int) -> Artifact:
    """Writes the artifact and reads it back, so that what is examined is what will serve. Raises OSError."""
    model = trained.parameters
    encoder = None if isinstance(model, Generative) else model.encoder
    layout = model.layout if isinstance(model, Extraction) else None
    manifest = Manifest(
        format=FORMAT,
        recipe=recipe,
        student=folder.name,
        dataset=dataset,
        seed=seed,
        code_version=code_version(),
        environment=_environment(model),
        answers=list(trained.answers),
        max_answer_tokens=trained.max_answer_tokens,
        training=trained.numbers,
        files={},
        layout=layout if isinstance(layout, Layout) else None,
        calls=layout if isinstance(layout, CallLayout) else None,
        encoder=EncoderRef(encoder.path, encoder.digest, bool(encoder.changed)) if encoder else None,
        calibration=model.calibration if isinstance(model, Extraction) else None,
        generation=model.plan if isinstance(model, Generative) else None,
        crossfit=list(trained.crossfit),
        parent=trained.parent,
        abstains=isinstance(model, Parameters) and model.abstains,
    )
    save(folder, manifest, trained.parameters)
    return load(folder)


def _environment(model: object) -> dict[str, str]:
    """The versions of what made a student."""
    found = {"python": platform.python_version(), "numpy": np.__version__}
    if isinstance(model, Generative):
        packages = ("torch", "transformers", "peft", "tokenizers")
        found |= {name: importlib.metadata.version(name) for name in packages}
    return found


def as_trained(artifact: Artifact) -> Trained:
    """The stored student as a recipe would hand it over."""
    manifest = artifact.manifest
    return Trained(
        answers=tuple(manifest.answers),
        max_answer_tokens=manifest.max_answer_tokens,
        parameters=artifact.parameters,
        numbers=dict(manifest.training),
        crossfit=tuple(manifest.crossfit),
        parent=manifest.parent,
    )


def register(
    run: Run, where: Place, artifact: Artifact, exam: Exam, *, learn: Learn, writer: Writer, issuer: Issuer,
    now: float, lessons: Sequence[str] = (), clusters: Sequence[Cluster] = (), candidates: int = 1,
    together: int = 1,
) -> Settled:  # fmt: skip
    """Adds the candidate, decides its screening, and moves it to shadow with its certificate, or retires it.

    ``lessons``: as ``taught_by`` says. ``candidates``: how many the student was picked among, as one of ``together``.
    Raises Refused or WriterAway.
    """
    manifest = artifact.manifest
    lineage = Lineage(
        dataset=manifest.dataset,
        seed=manifest.seed,
        code_version=manifest.code_version,
        earlier_promotions=where.earlier_promotions,
        candidates=candidates,
        together=together,
        run=run.id,
    )
    threshold = exam.calibration.threshold
    candidate = Student(
        id=where.student,
        project=run.project,
        task=run.task,
        fingerprint=run.fingerprint,
        version=where.version,
        recipe=manifest.recipe,
        round=where.round,
        threshold=1.0 if threshold is None else threshold,
        artifact=artifact.digest,
        max_answer_tokens=manifest.max_answer_tokens,
        slices=(*learn.slices, *slices_of(clusters)),
    )
    metrics: dict[str, Any] = exam.metrics | {"run": run.id, "lineage": msgspec.to_builtins(lineage)}
    metrics |= {"number": where.number} if where.number else {}
    metrics |= {"taught_by": list(lessons)} if lessons else {}
    if clusters:
        named = zip(slices_of(clusters), clusters, strict=True)
        metrics["clusters"] = {name.name: {"words": list(one.words), "share": one.share} for name, one in named}
    student: Student = writer.execute(AddStudent(candidate, dataset=lineage.dataset, metrics=metrics, at=now))
    if student.artifact != candidate.artifact:
        raise Refused(f"{student.id} is another run's student by now")
    if student.stage != Stage.CANDIDATE:  # an earlier attempt got this far
        return Settled(student, student.stage != Stage.RETIRED, "settled before", student.certificate)
    certificate = issuer.screening(student, lineage, learn, exam.evidence, now)
    accepted = certificate.verdict == "promote"
    reason = "; ".join(result.reason for result in certificate.results)
    name, path = issuer.write(certificate) if accepted else (None, None)
    moved: Student = writer.execute(
        MoveStudent(
            student=student.id,
            to=Stage.SHADOW if accepted else Stage.RETIRED,
            paused=False,
            expected_epoch=student.epoch,
            actor="trainer",
            reason=reason,
            at=now,
            certificate=name,
            detail={"run": run.id, "results": msgspec.to_builtins(certificate.results)},
        )
    )
    return Settled(moved, accepted, reason, path.name if path else None)


def slices_of(clusters: Sequence[Cluster]) -> list[Slice]:
    return [Slice(f"{FOUND}{number}", centroid=one.centroid) for number, one in enumerate(clusters, 1)]


def lineage_of(detail: dict[str, Any]) -> Lineage:
    """The lineage a student's metrics keep. Raises msgspec.ValidationError when they keep none."""
    return msgspec.convert(detail.get("metrics", {}).get("lineage"), Lineage)
