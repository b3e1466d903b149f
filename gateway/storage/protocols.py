"""The narrow seams of storage. Backends live beside this file; callers know only these protocols.

* :class:`Recorder` — the gateway appends finished calls (``spooling/``).
* :class:`Writer` — commands that need an answer (keys, runs, students, promotions). On SQLite one process (the
  ingester) executes them and others reach it over a local socket (``writing/socket_server.py``); on PostgreSQL each
  process executes its own.
* :class:`Reader` — everything that is read, always read-only. Blocking: the gateway calls it in a thread.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

from gateway.storage.commands import Command
from gateway.storage.data_values import Batch, StoredFile
from gateway.storage.erasure_values import DatasetErasure, Erasure
from gateway.storage.records import SpoolRecord
from gateway.storage.values import (
    CostLine,
    Dataset,
    Incident,
    JournalEntry,
    Key,
    LedgerBucket,
    Made,
    Pair,
    PastCall,
    PromptTokens,
    Run,
    RunEvent,
    Snapshot,
    StoredCompletion,
    TaskVersion,
    TrainingCall,
    TrainingTime,
    Wish,
)
from optimizer.rollout import Student

if TYPE_CHECKING:  # these bring SQLAlchemy and every table along
    from gateway.storage.reading.discovery import UntaggedCall, UntaggedTotal
    from gateway.storage.reading.watch import WatchedCall
    from gateway.storage.spending import Spent


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
    def completion_place(self, project: str, call_id: str) -> tuple[float, str] | None: ...
    def client_states(self, project: str, kind: str, *, now: float, limit: int) -> list[bytes]:
        """Sealed documents of a kind, newest first; b"" where one was deleted."""
        ...

    def client_state(self, project: str, state_id: str, *, now: float) -> bytes | None:
        """The sealed document; b"" once it was deleted, None when unknown or expired."""

    # learning
    def task_versions(self) -> list[TaskVersion]: ...
    def training_calls(
        self,
        project: str,
        task: str,
        fingerprint: str,
        *,
        limit: int,
        tick: Callable[[int], None] | None = None,
    ) -> list[TrainingCall]:
        """The newest ``limit`` trainable, successful, *teacher-answered* calls, oldest first."""

    def watched_calls(
        self, project: str, task: str, fingerprint: str, *, after: int, limit: int
    ) -> list[WatchedCall]: ...
    def watched_between(
        self, project: str, task: str, fingerprint: str, *, since: float, until: float, limit: int
    ) -> list[WatchedCall]: ...
    def last_arrival(self, project: str, task: str) -> int: ...

    def untagged_calls(self, *, since: float, limit: int) -> list[UntaggedCall]:
        """The newest ``limit`` captured calls without a task, oldest first."""

    def untagged_totals(self, *, since: float) -> list[UntaggedTotal]: ...
    def training_request(self, project: str, task: str, fingerprint: str) -> dict[str, Any] | None: ...
    def corrections(self, project: str, task: str, fingerprint: str) -> dict[str, str]:
        """By trainable call, the first correction by the key that made it."""


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
    def project_runs(self, project: str, kind: str, *, limit: int) -> list[Run]: ...
    def training_times(self, *, since: float) -> list[TrainingTime]: ...
    def spent_on_day(self, now: float) -> list[Spent]:
        """What learning asked of providers on the day (UTC) that ``now`` falls into."""

    def past_calls(self, task: str, *, since: float, limit: int) -> list[PastCall]: ...
    def run(self, run_id: str) -> Run | None: ...
    def run_events(self, run_id: str, *, after_seq: int = 0, limit: int = 500) -> list[RunEvent]: ...
    def datasets(self, *, task: str | None = None) -> list[Dataset]: ...
    def open_wishes(self) -> list[Wish]: ...
    def retrain_requests(self) -> list[tuple[str, str, str]]:
        """(project, task, fingerprint) for which a demotion or a wish asked for a retrain that no later run
        has answered."""

    # files and batches (project-scoped by construction, but what the sweeper asks)
    def file(self, project: str, file_id: str) -> StoredFile | None: ...
    def files(
        self, project: str, *, purpose: str | None, after: tuple[float, str] | None, limit: int, descending: bool
    ) -> list[StoredFile]: ...
    def file_bytes(self, project: str) -> int: ...
    def expired_files(self, now: float, *, limit: int = 500) -> list[StoredFile]: ...
    def batch(self, project: str, batch_id: str) -> Batch | None: ...
    def batch_waiting(self, before: float) -> bool: ...
    def batches(self, project: str, *, after: Batch | None, limit: int) -> list[Batch]: ...

    def event_waiting(self, now: float) -> bool: ...

    # the page
    def ledger(self, *, since: float, bucket_s: int) -> list[LedgerBucket]: ...
    def journal(self, *, limit: int = 100, kind: str | None = None, seals: bool = True) -> list[JournalEntry]: ...
    def verify_journal(self) -> int | None:
        """The epoch of the first entry that breaks the hash chain; None when it holds."""

    def verify_verdicts(self, *, now: float, newest: int | None = None) -> int | None: ...

    def disagreements(self, *, task: str, limit: int, before_seq: int | None) -> list[dict[str, Any]]:
        """Newest first: the pair's fields plus ``input`` (masked last user text, "" once erased)."""

    # money
    def spent_usd(self, who: str, scope: str, since: float) -> float:
        """What a ``key``, ``project`` or ``task`` has spent since a time (its id or name is ``scope``)."""

    def costs(self, group_by: str, *, since: float, until: float, limit: int) -> list[CostLine]: ...

    def prompt_tokens(self, *, since: float) -> list[PromptTokens]: ...

    def synthetic_calls(self, project: str, task: str, *, since: float) -> Made: ...

    # guardrails
    def incidents(
        self, *, project: str | None, guardrail: str | None, before: int | None, limit: int
    ) -> list[Incident]:
        """Newest first, of all projects when ``project`` is None; ``before``: those with a smaller id."""

    # what was erased
    def erasures(self, *, after: int = 0, limit: int = 1000) -> list[Erasure]: ...
    def erased_calls(self, *, since: float) -> list[tuple[str, bool]]:
        """(id, whether it was asked for) of calls whose text was erased from ``since`` on."""

    def dataset_erasures(self) -> dict[str, DatasetErasure]: ...
    def salt(self) -> str: ...

    def close(self) -> None: ...
