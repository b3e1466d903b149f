"""Files, batches and events as storage knows them, and what is asked of the writer about them."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

BatchStatus = Literal[
    "validating", "failed", "in_progress", "finalizing", "completed", "expired", "cancelling", "cancelled"
]
OPEN_BATCH: tuple[BatchStatus, ...] = ("validating", "in_progress", "finalizing", "cancelling")


class StoredFile(Struct, frozen=True):
    """One file of a project. Its bytes lie under the data directory by ``id``; ``filename`` is only shown."""

    id: str
    project: str
    key_id: str
    filename: str
    purpose: str
    bytes: int
    created_at: float
    expires_at: float | None


class LineError(Struct, frozen=True):
    """What is wrong with an input file; ``line`` counts from one, None when it is the file as a whole."""

    code: str
    message: str
    line: int | None = None
    param: str | None = None


class BatchUsage(Struct, frozen=True):
    """Tokens of a batch's answers together; ``cached`` are inside ``input``, ``reasoning`` inside ``output``."""

    input: int = 0
    cached: int = 0
    output: int = 0
    reasoning: int = 0

    def __add__(self, more: BatchUsage) -> BatchUsage:
        return BatchUsage(
            self.input + more.input, self.cached + more.cached, self.output + more.output,
            self.reasoning + more.reasoning,
        )  # fmt: skip


class Batch(Struct, frozen=True):
    """A batch as it is stored. While it is open, ``worker`` with a fresh ``heartbeat_at`` is at work on it."""

    id: str
    project: str
    key_id: str
    endpoint: str
    completion_window: str
    input_file_id: str
    created_at: float
    expires_at: float
    status: BatchStatus = "validating"
    output_file_id: str | None = None
    error_file_id: str | None = None
    output_expires_s: int | None = None
    errors: tuple[LineError, ...] = ()
    metadata: dict[str, str] | None = None
    in_progress_at: float | None = None
    finalizing_at: float | None = None
    completed_at: float | None = None
    failed_at: float | None = None
    expired_at: float | None = None
    cancelling_at: float | None = None
    cancelled_at: float | None = None
    total: int = 0
    completed: int = 0
    failed: int = 0
    worker: str = ""
    heartbeat_at: float | None = None
    model: str | None = None
    """The one that all lines name; None while they are not read, and when they name several."""
    usage: BatchUsage | None = None
    """What its answers say that they used; None for a batch from before this was counted."""


class AddFile(Struct, frozen=True, tag="add_file"):
    """→ StoredFile. Idempotent by id. Raises Refused when the project's files would exceed ``quota`` bytes."""

    file: StoredFile
    quota: int


class DeleteFile(Struct, frozen=True, tag="delete_file"):
    """→ None. Idempotent."""

    project: str
    file_id: str


class TrimFile(Struct, frozen=True, tag="trim_file"):
    """→ None. A file has lost ``lines`` because their person was erased; ``bytes`` are left. Idempotent but for the
    journal's line."""

    project: str
    file_id: str
    bytes: int
    lines: int


class AddBatch(Struct, frozen=True, tag="add_batch"):
    """→ Batch. Idempotent by id. Raises Refused when its project has ``most_open`` open batches already."""

    batch: Batch
    most_open: int


class ClaimBatch(Struct, frozen=True, tag="claim_batch"):
    """→ Batch | None. Takes an open batch that nobody has reported on for ``stale_s`` seconds, of the project that has
    the fewest at work, the oldest; none of the projects ``but``."""

    worker: str
    at: float
    stale_s: float
    but: tuple[str, ...] = ()


class ReportBatch(Struct, frozen=True, tag="report_batch"):
    """→ Batch, as it is afterwards. Moves a batch on, or only says that its worker lives. The time of a new
    status is ``at``. Raises Refused when the batch is no longer this worker's. A batch that is being cancelled
    goes on to an end only."""

    batch_id: str
    worker: str
    at: float
    status: BatchStatus
    total: int
    completed: int
    failed: int
    output_file_id: str | None = None
    error_file_id: str | None = None
    errors: tuple[LineError, ...] = ()
    release: bool = False
    model: str | None = None
    usage: BatchUsage | None = None


class CancelBatch(Struct, frozen=True, tag="cancel_batch"):
    """→ Batch | None (None: no such batch in the project). Raises Refused when it has ended already."""

    project: str
    batch_id: str
    at: float


class Event(Struct, frozen=True):
    """Something that webhooks are told: ``subject`` is the id of a job, a batch or a response. ``done``: who has taken
    it; ``tries``: how often it was offered, this time included."""

    id: str
    project: str
    type: str
    subject: str
    at: float
    tries: int
    done: tuple[str, ...]


class AddEvent(Struct, frozen=True, tag="add_event"):
    """→ None. ``kind`` is the type its receivers see. Idempotent by kind, subject and ``once``."""

    project: str
    kind: str
    subject: str
    at: float
    once: str = ""


class ClaimEvent(Struct, frozen=True, tag="claim_event"):
    """→ Event | None. The one that has waited longest; nobody else gets it for ``lease_s`` seconds."""

    at: float
    lease_s: float


class SettleEvent(Struct, frozen=True, tag="settle_event"):
    """→ None. ``next_at`` None: everybody has taken it, or nobody wants it; else it is offered again then."""

    event_id: str
    done: tuple[str, ...]
    next_at: float | None
