"""Dataset versions: immutable, named by the SHA-256 of their rows, with a card that says what they are."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import msgspec
from msgspec import Struct

from gateway.storage.values import TokenThought, TrainingCall
from trainer.datasets.curate import KEY_SHARE, Step, curate, enough
from trainer.datasets.split import PARTS, Part, fold_of, part_of

ROWS, CARD = "rows.jsonl", "card.json"
STALE_WEIGHT = 0.25
"""What a training row counts that is older than the change a retrain answers (``fresh_since``)."""


class Row(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One row. ``call`` is the SHA-256 of the call's id, so a row can be found again but names nobody.

    In a cross-fitted dataset each training row has a ``fold``, and a row of weight 0 is raw traffic that
    curation left out of the lesson: it helps to choose the threshold all the same. ``source`` numbers the keys, once
    there are enough of them: a word that a single key uses is no feature (docs/students.md)."""

    call: str
    part: Part
    text: str
    answer: str
    tokens: int
    weight: float
    fold: int | None = None
    source: int | None = None
    logprobs: tuple[TokenThought, ...] = ()
    rejected: tuple[str, ...] = ()
    """Answers to the same input that lost against ``answer``."""

    @property
    def calibrates(self) -> bool:
        """Whether its cross-fitted prediction counts: not when it is older than the change that is answered."""
        return self.fold is not None and self.weight != STALE_WEIGHT


class Version(Struct, frozen=True):
    digest: str
    rows: tuple[Row, ...]
    card: dict[str, Any]

    def part(self, part: Part) -> list[Row]:
        return [row for row in self.rows if row.part == part]


class DatasetRefused(Exception):
    """A stored dataset is missing or is not what its name says."""


def assemble(
    calls: Sequence[TrainingCall],
    *,
    project: str,
    task: str,
    fingerprint: str,
    run: str,
    masked: bool,
    fresh_since: float = 0.0,
    crossfit: bool = False,
    thoughts: bool = False,
    rejected: Mapping[str, tuple[str, ...]] = MappingProxyType({}),
) -> Version:
    """Splits, curates the training part and describes the result. Pure.

    ``fresh_since`` (unix seconds) is the demotion a retrain answers: calibration and holdout then hold only
    calls from after it, because the student must agree with the teacher as it is now; older training rows
    stay with less weight. ``crossfit``: no calibration part; the training part calibrates itself, and holds the
    fresh calls that curation took out with weight 0, so that the threshold is chosen on raw traffic. ``thoughts``:
    training rows keep the teacher's log-probabilities; ``rejected``: and the answers that lost, by call id.
    """
    parts: dict[Part, list[TrainingCall]] = {part: [] for part in PARTS}
    for call in calls:
        part = part_of(project, task, call.group, crossfit=crossfit)
        if part == "train" or call.created_at >= fresh_since:
            parts[part].append(call)
    raw_training = parts["train"]
    parts["train"], steps = curate(raw_training)
    rows = tuple(_row(call, part, fresh_since) for part in PARTS for call in parts[part])
    rows = _with_more(rows, parts["train"], thoughts, rejected)
    if crossfit:
        folds = {_name(call): fold_of(project, task, call.group) for call in raw_training}
        rows = _crossfitted(rows, raw_training, folds, fresh_since)
    used = [call for part in PARTS for call in parts[part]]
    keys = {key: number for number, key in enumerate(sorted({call.key_id for call in calls}))}
    if known := enough(keys, KEY_SHARE):
        senders = {_name(call): keys[call.key_id] for call in calls}
        rows = tuple(msgspec.structs.replace(row, source=senders[row.call]) for row in rows)
    card = {
        "project": project,
        "task": task,
        "fingerprint": fingerprint,
        "masked": masked,
        "calls_read": len(calls),
        "raw_training_calls": len(raw_training),
        "calibration": "crossfit" if crossfit else "split",
        "rows": {part: len(parts[part]) for part in PARTS},
        "steps": msgspec.to_builtins(steps),
        "principal_caps_in_force": _caps_in_force(steps) | {"words_of_one_key": known},
        "sources": {"keys": len({call.key_id for call in used}), "end_users": len({_user(c) for c in used})},
        "captured_from": min((call.created_at for call in used), default=None),
        "captured_to": max((call.created_at for call in used), default=None),
        "fresh_since": fresh_since or None,
        "answers": dict(Counter(call.answer for call in parts["train"]).most_common(200)),
        "lineage": {"run": run, "calls": "sha256 of each call's id, in rows.jsonl"},
    }
    return Version(digest=hashlib.sha256(_encode(rows)).hexdigest(), rows=rows, card=card)


def _with_more(
    rows: Sequence[Row],
    taught: Sequence[TrainingCall],
    thoughts: bool,
    rejected: Mapping[str, tuple[str, ...]],
) -> tuple[Row, ...]:
    """The rows, those of the training part with what language models learn from beside the answer."""
    known = {_name(call): call for call in taught}

    def more(row: Row, call: TrainingCall) -> Row:
        lost = tuple(sorted(set(rejected.get(call.call_id, ())) - {call.answer}))
        return msgspec.structs.replace(row, logprobs=call.logprobs if thoughts else (), rejected=lost)

    return tuple(
        more(row, known[row.call]) if row.part == "train" and row.call in known else row for row in rows
    )


def _crossfitted(
    rows: Sequence[Row], raw: Sequence[TrainingCall], folds: dict[str, int], fresh_since: float
) -> tuple[Row, ...]:
    """The training rows with their folds, and behind them what curation left out."""
    taught = {row.call for row in rows if row.part == "train"}
    dropped = [
        msgspec.structs.replace(_row(call, "train", fresh_since), weight=0.0)
        for call in raw
        if call.created_at >= fresh_since and _name(call) not in taught
    ]
    return tuple(
        msgspec.structs.replace(row, fold=folds[row.call]) if row.part == "train" else row
        for row in (*rows, *dropped)
    )


def _name(call: TrainingCall) -> str:
    return hashlib.sha256(call.call_id.encode()).hexdigest()


def _row(call: TrainingCall, part: Part, fresh_since: float) -> Row:
    return Row(
        call=_name(call),
        part=part,
        text=call.text,
        answer=call.answer,
        tokens=max(1, call.completion_tokens),
        weight=1.0 if call.created_at >= fresh_since else STALE_WEIGHT,
    )


def _user(call: TrainingCall) -> tuple[str, str]:
    return call.key_id, call.end_user


def _caps_in_force(steps: Sequence[Step]) -> dict[str, bool]:
    return {step.name: step.in_force for step in steps if step.name.endswith("_cap")}


def _encode(rows: Sequence[Row]) -> bytes:
    return b"".join(msgspec.json.encode(row) + b"\n" for row in rows)


def write(version: Version, datasets: Path) -> Path:
    """Writes the version's folder, completely or not at all; the same digest twice is the same folder.
    Raises OSError."""
    folder = datasets / version.digest
    if folder.exists():
        return folder
    draft = datasets / f".{version.digest}.{os.getpid()}.draft"
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(mode=0o700, parents=True)
    for name, data in ((ROWS, _encode(version.rows)), (CARD, msgspec.json.encode(version.card))):
        with (draft / name).open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
    draft.rename(folder)
    return folder


def read(digest: str, datasets: Path) -> Version:
    """A stored version, verified against its name. Raises DatasetRefused."""
    try:
        data = (datasets / digest / ROWS).read_bytes()
        card = msgspec.json.decode((datasets / digest / CARD).read_bytes(), type=dict[str, Any])
        rows = tuple(msgspec.json.decode(line, type=Row) for line in data.splitlines())
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError):
        raise DatasetRefused(f"dataset {digest[:12]} is missing or cannot be read") from None
    if hashlib.sha256(data).hexdigest() != digest:
        raise DatasetRefused(f"the rows of dataset {digest[:12]} are not the ones it was made of")
    return Version(digest=digest, rows=rows, card=card)
