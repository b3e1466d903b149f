"""What a lesson is made of: the dataset that an earlier attempt at the same run wrote, or a new version of what was
captured."""

from __future__ import annotations

import logging

from gateway.storage.commands import AddDataset
from gateway.storage.values import Dataset
from trainer.cluster import spread
from trainer.datasets.curate import Chain
from trainer.datasets.forms import form_of
from trainer.datasets.versions import DatasetRefused, Version, assemble, read, write
from trainer.lesson import Lesson

_log = logging.getLogger("understudy.trainer")


def dataset_of(lesson: Lesson) -> Version:
    """The run's dataset, on the disk and in the database."""
    version = _written_before(lesson)
    if version is None:
        version = _assembled(lesson)
        _keep(lesson, version)
    return version


def _written_before(lesson: Lesson) -> Version | None:
    for dataset in lesson.reader.datasets(task=lesson.run.task):
        if dataset.card.get("lineage", {}).get("run") == lesson.run.id:
            try:
                return read(dataset.digest, lesson.home.datasets)
            except DatasetRefused as problem:
                _log.warning("%s; it is made again", problem)
    return None


def _assembled(lesson: Lesson) -> Version:
    run = lesson.run
    lesson.say(0.02, "reading", "reading the captured calls")
    calls = lesson.reader.training_calls(
        run.project, run.task, run.fingerprint, limit=lesson.learn.max_calls,
        tick=lambda count: lesson.say(0.02, "reading", data={"calls_read": count}),
    )  # fmt: skip
    asked = lesson.reader.training_request(run.project, run.task, run.fingerprint)
    chain = Chain(
        rules=lesson.learn.curation,
        valid=form_of(asked),
        tick=lambda done, step: lesson.say(0.03 + 0.07 * done, step),
        spread=spread.where(lesson.cluster),
    )
    return assemble(
        calls,
        project=run.project,
        task=run.task,
        fingerprint=run.fingerprint,
        run=run.id,
        masked=lesson.task.capture.mask if lesson.task.capture else False,
        fresh_since=float(run.params.get("fresh_since") or 0.0),
        crossfit=lesson.learn.calibration == "crossfit",
        thoughts="distill" in lesson.learn.recipes,
        chain=chain,
        rejected=_rejected(lesson) if "dpo" in lesson.learn.recipes else {},
        corrections=lesson.reader.corrections(run.project, run.task, run.fingerprint)
        if lesson.learn.corrections
        else None,
    )


def _keep(lesson: Lesson, version: Version) -> None:
    """Beside the others, and where an attempt after this one finds it."""
    run = lesson.run
    write(version, lesson.home.datasets)
    lesson.writer.execute(
        AddDataset(
            Dataset(
                digest=version.digest,
                project=run.project,
                task=run.task,
                fingerprint=run.fingerprint,
                version=0,  # numbered by the writer
                created_at=lesson.now(),
                card=version.card,
            )
        )
    )
    message = ", ".join(f"{count} {part}" for part, count in version.card["rows"].items())
    data = {"dataset": version.digest, "steps": version.card["steps"]}
    lesson.say(0.1, "curated", f"dataset {version.digest[:12]}: {message}", data)


def _rejected(lesson: Lesson) -> dict[str, tuple[str, ...]]:
    """By call: what students in shadow answered where the teacher answered something else. The teacher's answer is
    preferred; what a student once got wrong is what its successor most needs to hear."""
    found: dict[str, tuple[str, ...]] = {}
    for pair in lesson.reader.pairs(task=lesson.run.task, kinds=("shadow",)):
        if not pair.agree and pair.student_text:
            found[pair.call_id] = (*found.get(pair.call_id, ()), pair.student_text)
    return found
