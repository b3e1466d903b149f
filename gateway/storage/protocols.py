"""The narrow seams of storage. Backends live beside this file; callers know only these protocols.

* :class:`Recorder` — the gateway appends finished calls (``spool.py``; a memory one ships for tests).
* :class:`Writer` — commands that need an answer (keys, runs, students, promotions). On SQLite one process (the
  ingester) executes them and others reach it over a local socket (``writer_socket.py``); on PostgreSQL each
  process executes its own.
* :class:`Reader` — everything that is read, always read-only. Blocking: the gateway calls it in a thread.
"""

from __future__ import annotations

from typing import Any, Literal, Protocol, TypeVar

from msgspec import Struct

from gateway.storage.records import SpoolRecord
from optimizer.rollout import Stage, Student

T = TypeVar("T")
RunState = Literal["queued", "running", "succeeded", "failed", "cancelled"]


# ---------------------------------------------------------------- values
class Key(Struct, frozen=True):
    """A virtual key as it is stored: its SHA-256, never its text. ``models`` empty means all."""

    id: str
    name: str
    project: str
    digest: str
    hint: str  # prefix and last four characters, for people
    scopes: tuple[str, ...]
    models: tuple[str, ...]
    requests_per_minute: int | None
    created_at: float
    expires_at: float | None
    revoked_at: float | None


class Snapshot(Struct, frozen=True):
    """What the hot path needs from the database; replaced whole when ``generation`` changes."""

    generation: int
    keys: tuple[Key, ...]
    students: tuple[Student, ...]  # every student that is not retired
    students_off: bool


class StoredCompletion(Struct, frozen=True):
    """A captured call as the API shows it (texts masked)."""

    id: str
    project: str
    created_at: float
    model: str  # as the client asked
    request: dict[str, Any]
    answer: dict[str, Any]
    metadata: dict[str, str]


class Run(Struct, frozen=True):
    """A durable job. ``progress`` in [0, 1]; ``heartbeat_at`` is fresh while its worker lives."""

    id: str
    kind: str  # train
    project: str
    task: str
    fingerprint: str
    state: RunState
    attempt: int
    params: dict[str, Any]
    result: dict[str, Any]
    error: str
    progress: float
    step: str
    created_at: float
    started_at: float | None
    finished_at: float | None
    heartbeat_at: float | None
    cancel_requested: bool


class RunEvent(Struct, frozen=True):
    run_id: str
    seq: int
    at: float
    level: Literal["info", "warn", "error"]
    message: str
    data: dict[str, Any]


class Dataset(Struct, frozen=True):
    """An immutable, content-addressed dataset version: ``digest`` names its folder under ``datasets/``."""

    digest: str
    project: str
    task: str
    fingerprint: str
    version: int
    created_at: float
    card: dict[str, Any]


class TrainingCall(Struct, frozen=True):
    """One captured call as the trainer reads it: masked input, the teacher's answer, its group."""

    call_id: str
    created_at: float
    group: str
    key_id: str
    end_user: str
    session: str
    text: str  # last user text
    answer: str  # assistant text
    finish_reason: str
    completion_tokens: int
    metadata: dict[str, str]


class Pair(Struct, frozen=True):
    """A row of evidence, in the order it was ingested (``seq``)."""

    seq: int
    call_id: str
    kind: str
    created_at: float
    student: str
    epoch: int
    session: str
    answered: bool
    agree: bool
    confidence: float
    propensity: float
    student_latency_ms: float
    extra_cost_usd: float | None
    teacher_text: str
    student_text: str


class Wish(Struct, frozen=True):
    id: int
    student: str
    action: str
    actor: str
    reason: str
    at: float


class JournalEntry(Struct, frozen=True):
    """One line of the hash-chained log. ``hash`` = SHA-256 over ``prev`` and the canonical JSON of the rest."""

    epoch: int
    at: float
    kind: Literal["rollout", "admin", "key"]
    actor: str
    subject: str
    action: str
    reason: str
    detail: dict[str, Any]
    prev: str
    hash: str


class LedgerBucket(Struct, frozen=True):
    """Calls of one task and one answering party in one time bucket (seconds since epoch at its start)."""

    start: int
    project: str
    task: str
    party: str  # teacher | student | plain
    calls: int
    errors: int
    cost_usd: float
    teacher_cost_usd: float
    unpriced: int
    extra_cost_usd: float  # re-asks and other learning costs charged against the savings
    prompt_tokens: int
    completion_tokens: int


class TaskVersion(Struct, frozen=True):
    """A (project, task, fingerprint) that was seen, with how many trainable calls it has."""

    project: str
    task: str
    fingerprint: str
    version: int
    first_seen: float
    trainable_calls: int


# ---------------------------------------------------------------- commands (each returns what its docstring says)
class CreateKey(Struct, frozen=True, tag="create_key"):
    """→ Key. Raises Refused when the name is taken in the project."""

    key: Key
    actor: str


class RevokeKey(Struct, frozen=True, tag="revoke_key"):
    """→ Key. ``ref``: id, name or hint. Raises Refused when nothing (or more than one key) matches."""

    ref: str
    actor: str
    at: float


class EnqueueRun(Struct, frozen=True, tag="enqueue_run"):
    """→ Run. One open (queued or running) run per (kind, project, task, fingerprint): a second returns it."""

    kind: str
    project: str
    task: str
    fingerprint: str
    params: dict[str, Any]
    at: float


class ClaimRun(Struct, frozen=True, tag="claim_run"):
    """→ Run | None. Takes the oldest queued run, or a running one whose heartbeat is older than ``stale_s``
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
    serving stage must carry its certificate's hash. Going live retires the task's previous live student."""

    student: str
    to: Stage
    paused: bool
    expected_epoch: int
    actor: str
    reason: str
    at: float
    certificate: str | None
    detail: dict[str, Any]


class HandleWish(Struct, frozen=True, tag="handle_wish"):
    """Marks a wish as dealt with. → None."""

    wish_id: int
    outcome: str
    at: float


Command = (
    CreateKey
    | RevokeKey
    | EnqueueRun
    | ClaimRun
    | ReportRun
    | FinishRun
    | CancelRun
    | AddDataset
    | AddStudent
    | MoveStudent
    | HandleWish
)


class Refused(Exception):
    """A command was understood and not carried out; the text says why, for a person."""


class WriterAway(Exception):
    """The writing process cannot be reached now; try again."""


# ---------------------------------------------------------------- seams
class Recorder(Protocol):
    """Appends records. ``append`` returns once the record is written (it survives kill -9 of this process);
    it never raises for a full disk: it drops text first, then counts (``stats``)."""

    def append(self, record: SpoolRecord) -> None: ...

    async def durable(self) -> None:
        """Returns when everything appended so far is on stable storage."""

    def stats(self) -> dict[str, float]:
        """``written, text_dropped, lost, degraded (0/1), unsynced`` for metrics and readiness."""

    def close(self) -> None: ...


class Writer(Protocol):
    """Executes commands. Blocking. Raises Refused or WriterAway."""

    def execute(self, command: Command) -> Any: ...

    def close(self) -> None: ...


class Reader(Protocol):
    """Read-only queries. Blocking. Raises ``sqlalchemy.exc.SQLAlchemyError`` when the database is away."""

    def generation(self) -> int: ...
    def snapshot(self) -> Snapshot: ...
    def keys(self) -> list[Key]: ...

    # stored completions (project-scoped by construction)
    def completions(
        self,
        project: str,
        *,
        model: str | None,
        metadata: dict[str, str],
        after: str | None,
        limit: int,
        descending: bool,
    ) -> list[StoredCompletion]: ...
    def completion(self, project: str, call_id: str) -> StoredCompletion | None: ...

    # learning
    def task_versions(self) -> list[TaskVersion]: ...
    def training_calls(self, project: str, task: str, fingerprint: str, *, limit: int) -> list[TrainingCall]:
        """The newest ``limit`` trainable, successful, *teacher-answered* calls, oldest first."""

    def students(self, *, include_retired: bool = True) -> list[Student]: ...
    def student_detail(self, student_id: str) -> dict[str, Any]:
        """``{"dataset": digest, "metrics": {...}, "created_at": float}``; {} when unknown."""

    def pairs(
        self,
        *,
        student: str | None = None,
        task: str | None = None,
        kinds: tuple[str, ...] = (),
        epoch: int | None = None,
        after_seq: int = 0,
        limit: int = 100_000,
    ) -> list[Pair]: ...
    def runs(self, *, task: str | None = None, limit: int = 50) -> list[Run]: ...
    def run(self, run_id: str) -> Run | None: ...
    def run_events(self, run_id: str, *, after_seq: int = 0, limit: int = 500) -> list[RunEvent]: ...
    def datasets(self, *, task: str | None = None) -> list[Dataset]: ...
    def open_wishes(self) -> list[Wish]: ...
    def retrain_requests(self) -> list[tuple[str, str, str]]:
        """(project, task, fingerprint) for which a demotion or a wish asked for a retrain that no later run
        has answered."""

    # the page
    def ledger(self, *, since: float, bucket_s: int) -> list[LedgerBucket]: ...
    def journal(self, *, limit: int = 100, kind: str | None = None) -> list[JournalEntry]: ...
    def verify_journal(self) -> int | None:
        """The epoch of the first entry that breaks the hash chain; None when it holds."""

    def disagreements(self, *, task: str, limit: int, before_seq: int | None) -> list[dict[str, Any]]:
        """Newest first: the pair's fields plus ``input`` (masked last user text, "" once erased)."""

    def close(self) -> None: ...
