"""Dataset versions: immutable, named by the SHA-256 of their rows' SHA-256, with a card that says what they are.

What must be erased later leaves a tombstone (``erasing``): the row's place, its call's hash and its own, so that
the version still is what its name says.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

import msgspec
from msgspec import Struct

from gateway.storage.settled import settle, sync_folder
from gateway.storage.values import TokenThought, TrainingCall
from trainer.datasets.card import card_of, readable
from trainer.datasets.corrections import corrected
from trainer.datasets.curate import KEY_SHARE, Chain, curate, enough
from trainer.datasets.foreign import Foreign, admit, kind_of
from trainer.datasets.labels import labelled
from trainer.datasets.split import PARTS, Part, fold_of, part_of

ROWS, CARD, READABLE = "rows.jsonl", "card.json", "card.md"
STALE_WEIGHT = 0.25
"""What a training row counts that is older than the change a retrain answers (``fresh_since``)."""


Erased = Literal["request", "retention"]


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
    teacher: str = ""
    """What the teacher said, where ``answer`` is a client's correction."""
    disputed: bool = False
    """Whether a client said that ``answer`` is wrong, and its word is no label: no student is right here."""
    foreign: Foreign = ""
    """Whether it is imported or synthetic: such a row teaches, and neither calibrates nor examines."""
    erased: Erased | None = None
    """Why its text is gone, if it is: somebody asked for it, or its retention has run out."""
    was: str = ""
    """SHA-256 of the line this row was before it was erased; the call's hash in that line is its salt."""

    @property
    def calibrates(self) -> bool:
        """Whether its cross-fitted prediction counts: not when it is older than the change that is answered, and
        not when it comes from elsewhere."""
        return self.fold is not None and self.weight != STALE_WEIGHT and not self.foreign

    def tombstone(self, why: Erased) -> Row:
        """What stays of the row. One that is erased already stays as it is."""
        if self.erased is not None:
            return self
        was = hashlib.sha256(_line(self)).hexdigest()
        return Row(
            call=self.call, part=self.part, text="", answer="", tokens=self.tokens, weight=self.weight,
            fold=self.fold, foreign=self.foreign, erased=why, was=was,
        )  # fmt: skip


class Version(Struct, frozen=True):
    digest: str
    rows: tuple[Row, ...]
    card: dict[str, Any]

    def part(self, part: Part) -> list[Row]:
        """The rows of a part that still say something."""
        return [row for row in self.rows if row.part == part and row.erased is None]


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
    corrections: Mapping[str, str] | None = None,
    chain: Chain | None = None,
) -> Version:
    """Splits, curates the training part and describes the result. Pure.

    ``fresh_since`` (unix seconds) is the demotion a retrain answers: calibration and holdout then hold only
    calls from after it, because the student must agree with the teacher as it is now; older training rows
    stay with less weight. ``crossfit``: no calibration part; the training part calibrates itself, and holds the
    fresh calls that curation took out with weight 0, so that the threshold is chosen on raw traffic. ``thoughts``:
    training rows keep the teacher's log-probabilities; ``rejected``: and the answers that lost, by call id.
    Calls from elsewhere join the training part, as far as they are new (``foreign``). ``corrections``: by call id, what
    clients say that the answer is (``corrections.corrected``); None: nobody asks them.
    """
    chain = chain or Chain()
    chain.tick(0.0, "splitting")
    fixed = corrected(calls, corrections or {})
    own = [call for call in fixed.calls if not call.source]
    parts = _apart(own, project, task, crossfit=crossfit, fresh_since=fresh_since)
    raw = parts["train"]
    foreign, admitted = admit([call for call in calls if call.source], own, chain.within(0.0, 0.1))
    labels, voted = (raw, None) if crossfit else labelled(raw)
    parts["train"], steps = curate([*foreign, *labels], chain.within(0.1, 0.8))  # of equals the newest, own ones, stay
    chain.tick(0.8, "writing rows")
    keys, known = _keys(own)

    def row(call: TrainingCall, part: Part, *, taught: bool = True) -> Row:
        teaches = part == "train" and taught
        age = 1.0 if call.created_at >= fresh_since else STALE_WEIGHT
        teacher = fixed.teacher.get(call.call_id, "")
        lost = {*rejected.get(call.call_id, ()), *call.rejected, teacher} - {call.answer, ""} if teaches else ()
        return Row(
            call=hashlib.sha256(call.call_id.encode()).hexdigest(),
            part=part,
            text=call.text,
            answer=call.answer,
            tokens=max(1, call.completion_tokens),
            weight=0.0 if not taught else age if part != "train" or crossfit else age * call.label_share,
            fold=fold_of(project, task, call.group) if crossfit and part == "train" else None,
            source=keys.get(call.key_id, len(keys)) if known else None,
            logprobs=call.logprobs if thoughts and teaches else (),
            rejected=tuple(sorted(lost)),
            foreign=kind_of(call),
            teacher=teacher,
            disputed=call.call_id in fixed.disputed,
        )

    rows = [row(call, part) for part in PARTS for call in parts[part]]
    if crossfit:  # behind the others: what curation left out
        rows += [row(call, "train", taught=False) for call in _left_out(raw, parts["train"], fresh_since)]
    first = [*([fixed.step] if corrections is not None else []), admitted, *([voted] if voted else [])]
    card = card_of(
        parts, [*first, *steps], project=project, task=task,
        fingerprint=fingerprint, masked=masked, calls_read=len(calls), raw_training_calls=len(raw),
        calibration="crossfit" if crossfit else "split",
        rules=msgspec.to_builtins(chain.rules), words_of_one_key=known, fresh_since=fresh_since or None,
        lineage={"run": run, "calls": "sha256 of each call's id, in rows.jsonl"},
    )  # fmt: skip
    return Version(digest=_digest(rows), rows=tuple(rows), card=card)


def _apart(
    own: Sequence[TrainingCall], project: str, task: str, *, crossfit: bool, fresh_since: float
) -> dict[Part, list[TrainingCall]]:
    """The calls of each part; of those that do not train, the ones since ``fresh_since``."""
    parts: dict[Part, list[TrainingCall]] = {part: [] for part in PARTS}
    for call in own:
        part = part_of(project, task, call.group, crossfit=crossfit)
        if part == "train" or call.created_at >= fresh_since:
            parts[part].append(call)
    return parts


def _left_out(
    raw: Sequence[TrainingCall], taught: Sequence[TrainingCall], fresh_since: float
) -> list[TrainingCall]:
    """The fresh calls that curation took out of the lesson."""
    kept = {call.call_id for call in taught}
    return [call for call in raw if call.created_at >= fresh_since and call.call_id not in kept]


def _keys(own: Sequence[TrainingCall]) -> tuple[dict[str, int], bool]:
    """The number of each key, and whether there are enough of them to tell what one of them says alone."""
    keys = {key: number for number, key in enumerate(sorted({call.key_id for call in own}))}
    return keys, enough(len(keys), KEY_SHARE)


_encode = msgspec.json.Encoder().encode


def _line(row: Row) -> bytes:
    return _encode(row) + b"\n"


def lines_of(rows: Iterable[Row]) -> Iterator[bytes]:
    return map(_line, rows)


def _digest(rows: Iterable[Row]) -> str:
    digest = hashlib.sha256()
    for row in rows:
        digest.update(bytes.fromhex(row.was) if row.was else hashlib.sha256(_line(row)).digest())
    return digest.hexdigest()


def write(version: Version, datasets: Path) -> Path:
    """Writes the version's folder, completely or not at all; the same digest twice is the same folder.
    Raises OSError."""
    folder = datasets / version.digest
    if folder.exists():
        return folder
    draft = datasets / f".{version.digest}.{os.getpid()}.draft"
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(mode=0o700, parents=True)
    card = [msgspec.json.encode(version.card)]
    told = [readable(version.card, version.digest).encode()]
    for name, lines in ((ROWS, lines_of(version.rows)), (CARD, card), (READABLE, told)):
        with (draft / name).open("wb") as file:
            file.writelines(lines)
            file.flush()
            os.fsync(file.fileno())
    sync_folder(draft)
    settle(draft, folder)
    return folder


def read(digest: str, datasets: Path) -> Version:
    """A stored version, verified against its name. Raises DatasetRefused."""
    try:
        data = (datasets / digest / ROWS).read_bytes()
        card = msgspec.json.decode((datasets / digest / CARD).read_bytes(), type=dict[str, Any])
        rows = tuple(msgspec.json.decode(line, type=Row) for line in data.splitlines())
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError):
        raise DatasetRefused(f"dataset {digest[:12]} is missing or cannot be read") from None
    if _digest(rows) != digest:
        raise DatasetRefused(f"the rows of dataset {digest[:12]} are not the ones it was made of")
    return Version(digest=digest, rows=rows, card=card)
