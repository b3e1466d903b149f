"""One run, in a process of its own: ``python -m trainer.job RUN_ID --home DIR --policies DIR``.

A lesson, downwards: read the captured calls → split and curate a dataset version → train the cheapest student
that can do the task → examine it on calls it never saw → register it, with its certificate, in shadow. The
worker starts this process, hears of its progress on its standard output, and kills it to cancel.
"""

from __future__ import annotations

import argparse
import logging
import os
import shutil
import sys
import threading
import time
from pathlib import Path
from typing import Any

import msgspec

from gateway.config import Candidates, Config, Learn, Task
from gateway.policy import files as policy_files
from gateway.policy.withheld import stood_in
from gateway.protocol.fine_tuning import KIND, Order
from gateway.storage.commands import Refused
from gateway.storage.home import Home
from gateway.storage.protocols import Reader, Writer
from gateway.storage.reading.reader import open_reader
from gateway.storage.values import Run
from gateway.storage.writing.writers import open_writer
from optimizer.clusters import Cluster, find
from trainer import bounds, contest, tuning
from trainer.artifacts import registry
from trainer.artifacts.artifact import Artifact
from trainer.artifacts.seal import seal
from trainer.certify import Issuer, levels
from trainer.cluster.joined import ClusterAway, cluster_of
from trainer.contest import Chosen, Contest, Picked
from trainer.datasets.versions import Version
from trainer.evaluate import examine
from trainer.lesson import Lesson
from trainer.material import dataset_of
from trainer.messages import Done, Failed, Report, encode
from trainer.patience import Patient
from trainer.planner import round_of
from trainer.recipes import CannotLearn, Example, Means, train_first
from trainer.training.curve import telling

_RUNS_READ = 10_000
_BEGAN = time.monotonic()
_log = logging.getLogger("understudy.trainer")


class Fruitless(Exception):
    """The run cannot succeed; the text says why, for a person."""


def execute(lesson: Lesson) -> dict[str, Any]:
    """Carries the run out. → its result. Raises Fruitless, Refused, WriterAway."""
    round = round_of(lesson.run, lesson.reader.runs(task=lesson.run.task, limit=_RUNS_READ))
    where = registry.place(lesson.run, round, lesson.reader.students(), lesson.reader, lesson.issuer)
    version = dataset_of(lesson)
    picked = _train(lesson, where, version)
    clusters = _clusters(lesson, version)
    ends = [(one, _examined(lesson, version, picked, one, clusters)) for one in picked.chosen]
    if lesson.learn.candidates is not None:
        contest.clear(lesson.home.artifacts, where.student)
    on = [(one, settled) for one, settled in ends if settled.accepted]
    if not on:
        said = "; ".join(f"{settled.student.id} was not good enough to go on: {settled.reason}" for _, settled in ends)
        raise Fruitless(said)
    best, settled = on[0]
    result = {
        "student": settled.student.id,
        "artifact": best.artifact.digest,
        "dataset": version.digest,
        "round": where.round,
        "certificate": settled.certificate,
        "recipe": best.artifact.manifest.recipe,
    }
    return result if len(ends) == 1 else result | {"students": [settled.student.id for _, settled in on]}


def _examined(
    lesson: Lesson, version: Version, picked: Picked, one: Chosen, clusters: list[Cluster]
) -> registry.Settled:
    """Lets a picked candidate go on to shadow, or not."""
    learn, where, artifact, together = lesson.learn, one.where, one.artifact, len(picked.chosen)
    lesson.say(0.85, "examining", f"examining {where.student} on calls it never saw")
    terms, _ = levels(learn, where.round, where.earlier_promotions, picked.candidates, together)
    exam = examine(
        registry.as_trained(artifact), version, terms=terms,
        comparison=learn.comparison, provisional=learn.provisional, rivals=one.rivals,
    )  # fmt: skip
    if picked.told:
        exam.metrics["candidates"] = list(picked.told)
    lesson.say(0.95, "registering", _summary(exam.metrics["holdout"]), {"holdout": exam.metrics["holdout"]})
    seal(lesson.home.artifacts / where.student, lesson.issuer.signer)
    lessons = registry.taught_by(artifact.manifest, lesson.reader.students(), lesson.reader)
    return registry.register(
        lesson.run, where, artifact, exam,
        learn=learn, writer=lesson.writer, issuer=lesson.issuer, now=lesson.now(), lessons=lessons,
        clusters=clusters, candidates=picked.candidates, together=together,
    )  # fmt: skip


def _clusters(lesson: Lesson, version: Version) -> list[Cluster]:
    """Found in what the student learns from, before anything of it was examined."""
    wanted = lesson.learn.found_slices
    if wanted is None:
        return []
    texts = [row.text for row in version.part("train") if not row.source]
    found = find(texts, wanted, lesson.learn.seed)
    for one in found:
        lesson.say(0.95, "registering", f"a cluster of {one.share:.0%} of the calls: {', '.join(one.words)}")
    return found


def _summary(holdout: dict[str, Any]) -> str:
    if not holdout["answered"]:
        return f"the student would answer none of {holdout['n']} held-out calls"
    return (
        f"on {holdout['n']} held-out calls the student answers {holdout['coverage']:.0%} and agrees on "
        f"{holdout['agreement']:.1%} of those (95 % interval {holdout['agreement_low']:.1%} to "
        f"{holdout['agreement_high']:.1%})"
    )


def _examples(version: Version) -> list[Example]:
    return [
        Example(
            text=row.text,
            answer=row.answer,
            tokens=row.tokens,
            weight=row.weight,
            fold=row.fold,
            source=row.source,
            rejected=row.rejected,
            teacher=row.logprobs,
        )
        for row in version.part("train")
    ]


def _means(lesson: Lesson, where: registry.Place) -> Means:
    parent = None
    if lesson.learn.incremental:
        students = registry.clean(lesson.reader.students(), lesson.reader)
        parent = registry.parent_of(lesson.run, students, lesson.home.artifacts)
    return Means(
        lesson.learn.generative,
        lesson.home.artifacts / f".{where.student}.training",
        lesson.learn.fine_tune,
        lesson.learn.search,
        parent,
        lambda message, data: lesson.say(0.15, "searching", message, data),
        lesson.cluster,
    )


def _contest(lesson: Lesson, where: registry.Place, rules: Candidates, means: Means) -> Contest:
    ends = (lesson.run.started_at or lesson.now()) + rules.max_hours * 3600.0
    artifacts = lesson.home.artifacts
    return Contest(where, lesson.learn, rules, artifacts, means, lesson.say, lambda: lesson.now() > ends)


def _train(lesson: Lesson, where: registry.Place, version: Version) -> Picked:
    """The student's artifact: the one an earlier attempt finished, else freshly trained."""
    means = _means(lesson, where)
    try:
        if lesson.learn.candidates is None:
            return Picked((Chosen(where, _train_first(lesson, where, version, means)),))
        held = _contest(lesson, where, lesson.learn.candidates, means)
        settled = registry.settled_before(lesson.run, where, lesson.reader)
        return held.hold(version, _examples(version), settled)
    except CannotLearn as problem:
        raise Fruitless(str(problem)) from None


def _train_first(lesson: Lesson, where: registry.Place, version: Version, means: Means) -> Artifact:
    folder = lesson.home.artifacts / where.student
    seed = lesson.learn.seed
    before = registry.trained_before(folder, version.digest, seed)
    if before is not None:
        return before
    examples = _examples(version)
    lesson.say(0.15, "training", f"training {where.student} on {len(examples)} calls, round {where.round}")
    recipe, trained = train_first(
        lesson.learn.recipes,
        examples,
        seed=seed,
        tick=telling(lesson.say, 0.15, 0.65),
        encoder=lesson.learn.encoder,
        features=lesson.learn.features,
        means=means,
    )
    artifact = registry.store(folder, recipe, trained, version.digest, seed)
    shutil.rmtree(means.workspace, ignore_errors=True)
    return artifact


# ---------------------------------------------------------------- the process
def learning_task(config: Config, name: str) -> tuple[Task, Learn]:
    """Raises Fruitless when the policies do not say (or no longer) that the task learns."""
    task = next((task for task in config.tasks if task.name == name), None)
    if task is None or task.learn is None:
        raise Fruitless(f"the policies do not say that the task {name!r} learns: it needs `learn:` in routing.yaml")
    return task, task.learn


def _say(progress: float, step: str, message: str = "", data: dict[str, Any] | None = None) -> None:
    _out(Report(progress=progress, step=step, message=message, data=data or {}))


def _out(message: Report | Done | Failed) -> None:
    sys.stdout.buffer.write(encode(message) + b"\n")
    sys.stdout.buffer.flush()


def _die_with(parent: int) -> None:
    """Ends this process when its worker dies, so that a reclaimed run is never worked on twice for long."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.25)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _carry_out(run_id: str, home: Home, policies: Path) -> None:
    """Raises whatever goes wrong."""
    reader, writer = open_reader(home, bulk=True), Patient(open_writer(home))
    run = reader.run(run_id)
    if run is None:
        raise Fruitless(f"there is no run {run_id!r}")
    config = policy_files.load(policies, stood_in(os.environ))
    bounds.hold(bounds.most(config.trainer))
    try:
        _work_on(run, home, config, reader, writer)
    except Exception as problem:
        if not bounds.too_little(problem):
            raise
        _log.error("run %s: memory was refused: %s", run_id, problem)
        _out(Failed(error=bounds.refusal(bounds.most(config.trainer)), result=dict(_spent())))


def _work_on(run: Run, home: Home, config: Config, reader: Reader, writer: Writer) -> None:
    if run.kind == KIND:
        _tune(run, home, config, reader, writer)
        return
    have = {(one.project, one.task, one.fingerprint): one.trainable_calls for one in reader.task_versions()}
    calls = have.get((run.project, run.task, run.fingerprint), 0)
    try:
        task, learn = learning_task(config, run.task)
        lesson = Lesson(run, task, learn, home, reader, writer, Issuer.of(home), _say, cluster=cluster_of(config))
        _out(Done(result=execute(lesson) | {"trainable_calls": calls} | _spent()))
    except Fruitless as problem:
        _out(Failed(error=str(problem), result={"trainable_calls": calls} | _spent()))


def _spent() -> dict[str, float]:
    """What this attempt took, for the payback: seconds of its process, and of CPU."""
    return {
        "seconds": round(time.monotonic() - _BEGAN, 1),
        "cpu_seconds": round(sum(os.times()[:4]), 1),
    }


def _tune(run: Run, home: Home, config: Config, reader: Reader, writer: Writer) -> None:
    order = msgspec.convert(run.params, Order)
    try:
        _out(Done(result=tuning.execute(tuning.Workshop(run, order, config, home, reader, writer, _say))))
    except tuning.CannotTune as problem:
        _out(Failed(error=str(problem), result=problem.detail))


def main() -> None:
    parser = argparse.ArgumentParser(prog="trainer.job", description="Carries out one run.")
    parser.add_argument("run")
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--policies", type=Path, required=True)
    parser.add_argument("--parent", type=int, default=os.getppid())
    options = parser.parse_args()
    os.nice(19)
    _die_with(options.parent)
    try:
        _carry_out(options.run, Home(options.home.resolve()), options.policies)
    except (Refused, ClusterAway) as problem:
        _out(Failed(error=str(problem)))
        sys.exit(1)
    except Exception:
        logging.basicConfig()
        _log.exception("run %s broke", options.run)
        sys.exit(1)


if __name__ == "__main__":
    main()
