"""A fine-tuning job that a client ordered: rows in, a model out that its project may call by name.

Beside the lesson of a task (``job``) this is a short way: nothing is screened and no certificate is issued, so the
model never stands in for a teacher. A job that was paused or killed goes on with what it had finished.
"""

from __future__ import annotations

import csv
import hashlib
import io
import shutil
import time
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
from msgspec import Struct, structs

from gateway.config import Config, Generative
from gateway.protocol.fine_tuning import (
    MOST_ROWS,
    VALIDATING,
    BadRow,
    Order,
    TuningRow,
    captured,
    job_id,
    model_name,
    rows_of,
)
from gateway.storage import signing
from gateway.storage.commands import AddDataset, AddStudent
from gateway.storage.data_values import AddFile, StoredFile
from gateway.storage.home import Home
from gateway.storage.protocols import Reader, Writer
from gateway.storage.settled import write_whole
from gateway.storage.values import Dataset, Run, TaskVersion
from gateway.storage.writing.capture import mask_together
from optimizer.rollout import Stage, Student
from optimizer.stats.intervals import clopper_pearson
from trainer.artifacts import registry
from trainer.artifacts.artifact import Artifact
from trainer.artifacts.predictor import answer
from trainer.artifacts.seal import seal
from trainer.cluster.joined import cluster_of
from trainer.datasets.apart import known
from trainer.datasets.curate import Chain
from trainer.datasets.forms import Form
from trainer.datasets.versions import DatasetRefused, Version, assemble, read, write
from trainer.recipes import CannotLearn, Example, Means, train_first
from trainer.recipes.generative import usual_rate
from trainer.training.curve import telling

_CHARACTERS_A_TOKEN = 4
_MOST_JUDGED = 2_000


class CannotTune(Exception):
    """The job cannot succeed; ``code`` and ``param`` are what its client is told beside the text."""

    def __init__(self, message: str, code: str, param: str | None = None) -> None:
        super().__init__(message)
        self.detail = {"code": code, "param": param}


class Material(Struct, frozen=True):
    """What is learnt from, what it is judged on, and the SHA-256 that names the former. ``left_out``: how many rows
    are not judged on because they were learnt."""

    digest: str
    examples: list[Example]
    judged: list[TuningRow]
    left_out: int = 0


class Workshop(Struct, frozen=True):
    """What a job works with. ``say(progress, step, message, data)`` tells the worker."""

    run: Run
    order: Order
    config: Config
    home: Home
    reader: Reader
    writer: Writer
    say: Callable[..., None]


def longest_s(config: Config, run: Run, usual: float) -> float:
    """How long a job may take, in seconds: as the language model it names says."""
    base = _plan(msgspec.convert(run.params, Order), config)
    return usual if base is None else max(usual, base.max_hours * 3600.0)


def execute(work: Workshop) -> dict[str, Any]:
    """Carries the job out. → its result. Raises CannotTune, Refused, WriterAway, OSError."""
    run, order, home = work.run, work.order, work.home
    work.say(0.01, VALIDATING, f"Validating training file: {order.training_file}")
    material = _material(work)
    name = model_name(order.model, run.project, order.suffix, run.id)
    artifact = registry.trained_before(home.artifacts / name, material.digest, order.seed)
    if artifact is None:
        artifact = _train(work, name, material)
    metrics = dict(artifact.manifest.training) | _judged(artifact, material.judged)
    if material.left_out:
        metrics["valid_left_out"] = float(material.left_out)
        work.say(
            0.9, "finishing",
            f"{material.left_out} validation rows stand in the training material, too, and were not judged on.",
        )  # fmt: skip
    judged = (
        f"on {len(material.judged)} validation rows"
        if material.judged
        else "on nothing: there is no validation file"
    )
    work.say(0.95, "finishing", f"The model was judged {judged}.", metrics)
    file = _result_file(work, metrics)
    result = {
        "student": name,
        "fine_tuned_model": name,
        "artifact": artifact.digest,
        "dataset": material.digest,
        "recipe": artifact.manifest.recipe,
        "trained_tokens": _tokens(artifact, material.examples),
        "result_files": [file],
        "metrics": metrics,
    }
    present = work.reader.run(run.id)
    if present is None or present.state != "running":
        raise CannotTune("The job was stopped.", "stopped")
    student = Student(
        id=name, project=run.project, task="", fingerprint=run.fingerprint, version=1,
        recipe=artifact.manifest.recipe, round=1, threshold=0.0, artifact=artifact.digest,
        max_answer_tokens=artifact.manifest.max_answer_tokens, stage=Stage.CANDIDATE,
    )  # fmt: skip
    seal(home.artifacts / name, signing.load_or_create(home))
    work.writer.execute(AddStudent(student, material.digest, {"run": run.id, **metrics}, time.time()))
    work.say(1.0, "done", f"New fine-tuned model created: {name}")
    return result


def _train(work: Workshop, name: str, material: Material) -> Artifact:
    order, home = work.order, work.home
    plan = _plan(order, work.config)
    if order.model in ("classifier", "extractor"):
        recipes: str | list[str] = [order.model]
    elif order.model == "auto":
        recipes = "auto"
    else:
        recipes = ["dpo" if order.method == "dpo" else "sft"]
    workspace = home.artifacts / f".{name}.training"
    work.say(0.1, "training", f"Training on {len(material.examples)} rows.")
    try:
        recipe, trained = train_first(
            recipes,
            material.examples,
            seed=order.seed,
            tick=telling(work.say, 0.1, 0.75),
            means=Means(_tuned(plan, order), workspace, cluster=cluster_of(work.config)),
        )
        artifact = registry.store(home.artifacts / name, recipe, trained, material.digest, order.seed)
    except CannotLearn as problem:
        raise CannotTune(f"The model could not be trained: {problem}.", "training_failed") from None
    shutil.rmtree(workspace, ignore_errors=True)
    return artifact


# ---------------------------------------------------------------- the language model
def _plan(order: Order, config: Config) -> Generative | None:
    """The base that an order names by its name, folder or hub name; ``auto`` may use the first one."""
    bases = config.fine_tuning.bases
    if order.model == "auto":
        return next(iter(bases.values()), None)
    return bases.get(order.model) or next((one for one in bases.values() if one.base == order.model), None)


def _tuned(plan: Generative | None, order: Order) -> Generative | None:
    """The operator's plan with the client's hyperparameters in it. Raises CannotLearn for a base that is not there."""
    numbers = order.hyperparameters
    if plan is None or not numbers:
        return plan
    changes: dict[str, Any] = {}
    if "n_epochs" in numbers:
        changes["epochs"] = int(numbers["n_epochs"])
    if "batch_size" in numbers:
        changes["batch_tokens"] = max(16, int(numbers["batch_size"]) * plan.max_length // 4)
    if "learning_rate_multiplier" in numbers:
        changes["learning_rate"] = usual_rate(plan) * numbers["learning_rate_multiplier"]
    if "beta" in numbers:
        changes["preferences"] = structs.replace(plan.preferences, beta=numbers["beta"])
    return structs.replace(plan, **changes)


# ---------------------------------------------------------------- material
def _material(work: Workshop) -> Material:
    order = work.order
    source = captured(order.training_file)
    judged: list[TuningRow] | None = None
    if order.validation_file is not None:
        judged = _rows(work, order.validation_file, "validation_file")[0][:_MOST_JUDGED]
    if source is None:
        rows, digest = _rows(work, order.training_file, "training_file")
        return _apart(Material(digest, [_example(row) for row in rows], judged or []))
    version = _version(work, *source)
    examples = [
        Example(row.text, row.answer, row.tokens, row.weight, None, row.source)
        for row in version.part("train")
    ]
    if judged is None:
        judged = [TuningRow(row.text, row.answer) for row in version.part("holdout")[:_MOST_JUDGED]]
    return _apart(Material(version.digest, [one for one in examples if one.weight > 0], judged))


def _apart(material: Material) -> Material:
    """The same without judging what was learnt. Raises CannotTune when nothing is left to judge on."""
    twins = known([row.text for row in material.judged], [one.text for one in material.examples])
    judged = [row for row, twin in zip(material.judged, twins, strict=True) if not twin]
    if material.judged and not judged:
        raise CannotTune(
            "Every row of the validation file stands in the training file, too, so it could not tell how good the "
            "model is. Take rows that are in one of the files only.",
            "invalid_validation_file", "validation_file",
        )  # fmt: skip
    return structs.replace(material, judged=judged, left_out=sum(twins))


def _rows(work: Workshop, file_id: str, param: str) -> tuple[list[TuningRow], str]:
    """A file's rows, masked as every text a student sees, and the SHA-256 of its bytes. Raises CannotTune."""
    file = work.reader.file(work.run.project, file_id)
    path = work.home.files / file_id
    if file is None or not path.is_file():
        raise CannotTune(f"The file {file_id} was deleted.", "file_not_found", param)
    digest = hashlib.sha256()
    try:
        with path.open("rb") as lines:
            rows = [_masked(row) for row in rows_of(_hashed(lines, digest), work.order.method, _fault)]
    except BadRow as problem:
        raise CannotTune(
            f"The file {file_id} cannot be used: {problem}.", f"invalid_{param}", param
        ) from None
    return rows, digest.hexdigest()


def _hashed(lines: io.BufferedReader, digest: Any) -> Any:
    for line in lines:
        digest.update(line)
        yield line


def _fault(row: TuningRow) -> str:
    """What is wrong with a row's tool calls as its tools' schemas see them; "" for nothing."""
    if not row.tools:
        return ""
    form = Form(b'{"tools":' + row.tools + b"}")
    said = next((one for answer in (row.answer, *row.rejected) if (one := form(answer))), "")
    return f"its tool calls do not fit the schemas of its tools ({said})" if said else ""


def _masked(row: TuningRow) -> TuningRow:
    """The same placeholders in the text and in its answers, as a captured call has them."""
    hidden, answer, *rejected = mask_together(row.text, row.answer, *row.rejected)
    return TuningRow(hidden, answer, tuple(rejected))


def _example(row: TuningRow) -> Example:
    return Example(row.text, row.answer, _length(row.answer), rejected=row.rejected)


def _length(text: str) -> int:
    return max(1, -(-len(text) // _CHARACTERS_A_TOKEN))


def _version(work: Workshop, task: str, version: int | None) -> Version:
    """A dataset that there is, or a new one of the task's captured calls. Raises CannotTune."""
    run, reader, home = work.run, work.reader, work.home
    mine = [one for one in reader.datasets(task=task) if one.project == run.project]
    known = next(
        (one for one in mine if one.version == version or one.card.get("lineage", {}).get("run") == run.id),
        None,
    )
    if known is not None:
        try:
            return read(known.digest, home.datasets)
        except DatasetRefused as problem:
            raise CannotTune(f"{problem}.", "dataset_unreadable", "training_file") from None
    scopes = [one for one in reader.task_versions() if (one.project, one.task) == (run.project, task)]
    if version is not None or not scopes:
        raise CannotTune(
            f"There is no dataset '{work.order.training_file}'.", "dataset_not_found", "training_file"
        )
    return _assembled(work, max(scopes, key=lambda one: one.trainable_calls))


def _assembled(work: Workshop, scope: TaskVersion) -> Version:
    run, home = work.run, work.home
    task = next((one for one in work.config.tasks if one.name == scope.task), None)
    limit = task.learn.max_calls if task is not None and task.learn is not None else MOST_ROWS
    calls = work.reader.training_calls(run.project, scope.task, scope.fingerprint, limit=limit)
    learn = task.learn if task is not None else None
    chain = Chain(rules=learn.curation) if learn is not None else Chain()
    version = assemble(
        calls, project=run.project, task=scope.task, fingerprint=scope.fingerprint, run=run.id,
        masked=task.capture.mask if task is not None and task.capture is not None else False,
        chain=chain,
        corrections=work.reader.corrections(run.project, scope.task, scope.fingerprint)
        if learn is not None and learn.corrections
        else None,
    )  # fmt: skip
    write(version, home.datasets)
    work.writer.execute(AddDataset(Dataset(
        digest=version.digest, project=run.project, task=scope.task, fingerprint=scope.fingerprint,
        version=0, created_at=time.time(), card=version.card,
    )))  # fmt: skip
    return version


# ---------------------------------------------------------------- what comes out
def _judged(artifact: Artifact, rows: Sequence[TuningRow]) -> dict[str, float]:
    """How often the model gives a row's very answer, with its 95 % interval (Clopper and Pearson)."""
    if not rows:
        return {}
    ranked = answer(artifact.parameters, artifact.manifest.answers, [row.text for row in rows])
    hits = sum(best[0][0] == row.answer for best, row in zip(ranked, rows, strict=True))
    low, high = clopper_pearson(hits, len(rows), 0.95)
    return {
        "valid_rows": float(len(rows)),
        "valid_agreement": round(hits / len(rows), 6),
        "valid_agreement_low": round(low, 6),
        "valid_agreement_high": round(high, 6),
    }


def _tokens(artifact: Artifact, examples: Sequence[Example]) -> int:
    """What a language model counted; else four characters a token, once for each row."""
    counted = artifact.manifest.training.get("tokens")
    return int(counted) if counted else sum(_length(one.text) + _length(one.answer) for one in examples)


def _result_file(work: Workshop, metrics: dict[str, float]) -> str:
    """The metrics as a CSV file of the project; the same file when the job comes here twice."""
    run = work.run
    text = io.StringIO()
    csv.writer(text).writerows([("metric", "value"), *sorted(metrics.items())])
    data = text.getvalue().encode()
    file_id = "file-" + hashlib.sha256(f"{run.id}/results".encode()).hexdigest()[:32]
    write_whole(work.home.files / file_id, data)
    file = StoredFile(
        id=file_id, project=run.project, key_id=work.order.key_id, filename=f"{job_id(run.id)}-results.csv",
        purpose="fine-tune-results", bytes=len(data), created_at=time.time(), expires_at=None,
    )  # fmt: skip
    work.writer.execute(AddFile(file, work.config.files.project_bytes))
    return file_id
