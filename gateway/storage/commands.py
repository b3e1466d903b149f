"""What is asked of the one who writes: one tagged union. Each command says what it returns."""

from __future__ import annotations

from typing import Any

from msgspec import Struct

from gateway.storage.data_values import (
    AddBatch,
    AddEvent,
    AddFile,
    CancelBatch,
    ClaimBatch,
    ClaimEvent,
    DeleteFile,
    ReportBatch,
    SettleEvent,
    TrimFile,
)
from gateway.storage.erasure_values import EraseUser, NoteErased
from gateway.storage.records import CallRecord
from gateway.storage.values import Dataset, Key, RunState
from optimizer.rollout import Stage, Student


class CreateKey(Struct, frozen=True, tag="create_key"):
    """→ Key. Raises Refused when the name is taken in the project."""

    key: Key
    actor: str


class RevokeKey(Struct, frozen=True, tag="revoke_key"):
    """→ Key. ``ref``: id, name or hint. Raises Refused when nothing (or more than one key) matches."""

    ref: str
    actor: str
    at: float


class RotateKey(Struct, frozen=True, tag="rotate_key"):
    """→ Key. Gives a key a new text under the same id; the old one is accepted for ``grace_s`` more seconds.
    ``ref``: id, name or hint. Raises Refused when nothing, or more than one key, matches."""

    ref: str
    digest: str
    hint: str
    actor: str
    at: float
    grace_s: float


class EnqueueRun(Struct, frozen=True, tag="enqueue_run"):
    """→ Run. One open (queued or running) run per (kind, project, task, fingerprint): a second returns it."""

    kind: str
    project: str
    task: str
    fingerprint: str
    params: dict[str, Any]
    at: float
    priority: int = 0


class ClaimRun(Struct, frozen=True, tag="claim_run"):
    """→ Run | None. Takes the queued run of the highest priority, of equals the oldest, or a running one whose
    heartbeat is older than ``stale_s``
    (attempt + 1). A run that was claimed ``max_attempts`` times is failed instead."""

    worker: str
    at: float
    stale_s: float
    max_attempts: int = 3


class ReportRun(Struct, frozen=True, tag="report_run"):
    """Heartbeat with progress and, when ``message`` is not empty, an event. → Run (look at
    ``cancel_requested``). Raises Refused when the run is no longer this worker's."""

    run_id: str
    worker: str
    at: float
    progress: float
    step: str
    level: str = "info"
    message: str = ""
    data: dict[str, Any] = {}


class FinishRun(Struct, frozen=True, tag="finish_run"):
    """→ Run. Idempotent for the same state."""

    run_id: str
    worker: str
    at: float
    state: RunState
    result: dict[str, Any]
    error: str = ""


class CancelRun(Struct, frozen=True, tag="cancel_run"):
    """→ Run. A queued run is cancelled at once, a running one is asked to stop."""

    run_id: str
    actor: str
    at: float


class PauseRun(Struct, frozen=True, tag="pause_run"):
    """→ Run. It waits as ``paused`` until it is resumed or cancelled; its worker stops when it next reports. Raises
    Refused when it has ended."""

    run_id: str
    actor: str
    at: float


class ResumeRun(Struct, frozen=True, tag="resume_run"):
    """→ Run, queued again. What it had reached is gone on with. Raises Refused unless it is paused."""

    run_id: str
    actor: str
    at: float


class PrioritiseRun(Struct, frozen=True, tag="prioritise_run"):
    """→ Run. Puts a run that waits before or behind others. Raises Refused when it has ended."""

    run_id: str
    priority: int
    actor: str
    reason: str
    at: float


class AddDataset(Struct, frozen=True, tag="add_dataset"):
    """→ Dataset, with its version number. The same digest twice is the same dataset."""

    dataset: Dataset


class AddStudent(Struct, frozen=True, tag="add_student"):
    """→ Student as stored, stage candidate. Idempotent by id."""

    student: Student
    dataset: str
    metrics: dict[str, Any]
    at: float


class MoveStudent(Struct, frozen=True, tag="move_student"):
    """A promotion, or a retirement/resume by the trainer. → Student after the move. Compare-and-set: raises
    Refused when the student's epoch is not ``expected_epoch`` (a demotion came in between). A promotion to a
    serving stage must carry its certificate's hash. Going live retires the task's previous live student.
    ``deferred``: the slices that stay with the teacher; None leaves them as they are."""

    student: str
    to: Stage
    paused: bool
    expected_epoch: int
    actor: str
    reason: str
    at: float
    certificate: str | None
    detail: dict[str, Any]
    deferred: tuple[str, ...] | None = None


class NoteDrift(Struct, frozen=True, tag="note_drift"):
    """→ None. What the watch found is written to the journal and told to webhooks; ``retrain`` asks for a successor
    of the scope's student. ``subject``: a student's id, or the name of a candidate; ``measure``: what has changed."""

    project: str
    task: str
    fingerprint: str
    subject: str
    measure: str
    event: str
    reason: str
    numbers: dict[str, float]
    retrain: bool
    at: float


class HandleWish(Struct, frozen=True, tag="handle_wish"):
    """Marks a wish as dealt with. → None."""

    wish_id: int
    outcome: str
    at: float


class AddForeign(Struct, frozen=True, tag="add_foreign"):
    """→ how many were new. Takes in calls that were answered elsewhere (each says its ``source``); one that is there
    already is passed over."""

    calls: tuple[CallRecord, ...]


Command = (
    CreateKey
    | RevokeKey
    | RotateKey
    | EnqueueRun
    | ClaimRun
    | ReportRun
    | FinishRun
    | CancelRun
    | PauseRun
    | ResumeRun
    | AddDataset
    | AddStudent
    | MoveStudent
    | HandleWish
    | NoteDrift
    | AddFile
    | DeleteFile
    | TrimFile
    | AddBatch
    | ClaimBatch
    | ReportBatch
    | CancelBatch
    | AddEvent
    | ClaimEvent
    | SettleEvent
    | EraseUser
    | NoteErased
    | AddForeign
    | PrioritiseRun
)


class Refused(Exception):
    """A command was understood and not carried out; the text says why, for a person."""


class WriterAway(Exception):
    """The writing process cannot be reached now; try again."""
