"""Dataset versions: immutable, named by the SHA-256 of their rows, with a card that says what they are."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from gateway.storage.values import TrainingCall
from trainer.datasets.curate import Step, curate
from trainer.datasets.split import PARTS, Part, part_of

ROWS, CARD = "rows.jsonl", "card.json"
STALE_WEIGHT = 0.25
"""What a training row counts that is older than the change a retrain answers (``fresh_since``)."""


class Row(Struct, frozen=True, forbid_unknown_fields=True):
    """One row. ``call`` is the SHA-256 of the call's id, so a row can be found again but names nobody."""

    call: str
    part: Part
    text: str
    answer: str
    tokens: int
    weight: float


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
) -> Version:
    """Splits, curates the training part and describes the result. Pure.

    ``fresh_since`` (unix seconds) is the demotion a retrain answers: calibration and holdout then hold only
    calls from after it, because the student must agree with the teacher as it is now; older training rows
    stay with less weight.
    """
    parts: dict[Part, list[TrainingCall]] = {part: [] for part in PARTS}
    for call in calls:
        part = part_of(project, task, call.group)
        if part == "train" or call.created_at >= fresh_since:
            parts[part].append(call)
    raw_training = len(parts["train"])
    parts["train"], steps = curate(parts["train"])
    rows = tuple(_row(call, part, fresh_since) for part in PARTS for call in parts[part])
    used = [call for part in PARTS for call in parts[part]]
    card = {
        "project": project,
        "task": task,
        "fingerprint": fingerprint,
        "masked": masked,
        "calls_read": len(calls),
        "raw_training_calls": raw_training,
        "rows": {part: len(parts[part]) for part in PARTS},
        "steps": msgspec.to_builtins(steps),
        "principal_caps_in_force": _caps_in_force(steps),
        "sources": {"keys": len({call.key_id for call in used}), "end_users": len({_user(c) for c in used})},
        "captured_from": min((call.created_at for call in used), default=None),
        "captured_to": max((call.created_at for call in used), default=None),
        "fresh_since": fresh_since or None,
        "answers": dict(Counter(call.answer for call in parts["train"]).most_common(200)),
        "lineage": {"run": run, "calls": "sha256 of each call's id, in rows.jsonl"},
    }
    return Version(digest=hashlib.sha256(_encode(rows)).hexdigest(), rows=rows, card=card)


def _row(call: TrainingCall, part: Part, fresh_since: float) -> Row:
    return Row(
        call=hashlib.sha256(call.call_id.encode()).hexdigest(),
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
