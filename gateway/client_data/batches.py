"""Runs batches: each line goes through the pipeline of its endpoint, with low priority.

A batch belongs to one process while that process reports on it; when it stops reporting, another takes over where
the output files end. Live traffic goes first: each live call takes a place away from the lines, down to one.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
import os
import secrets
import socket
import time
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

from gateway import errors
from gateway.access.keys import principal_of_key, principal_of_yaml_key
from gateway.client_data import batch_lines
from gateway.client_data.batch_lines import Line, Outputs
from gateway.concurrency.rounds import rounds
from gateway.context import Principal
from gateway.errors import GatewayError
from gateway.live import Live
from gateway.runtime import Runtime
from gateway.stages.assign import FORCE
from gateway.storage.away import database_errors
from gateway.storage.commands import Refused, WriterAway
from gateway.storage.data_values import (
    OPEN_BATCH,
    Batch,
    BatchStatus,
    ClaimBatch,
    LineError,
    ReportBatch,
    StoredFile,
)
from gateway.storage.files import FileStore
from gateway.storage.protocols import Writer

_log = logging.getLogger("understudy.batches")
BEAT_S = 1.0
STALE_S = 5.0
_AT_ONCE, _EACH = 8, 7
"""Batches of one process that are at work at a time, and those of one project."""
_TRIES = 3  # of a line whose providers fail
_LONGEST_PAUSE_S = 30.0
_UNLIMITED = 2**62
_NONE: Mapping[str, str] = {}


class Once(Protocol):
    """Asks one request through a pipeline. Returns the answer's body; raises GatewayError."""

    async def __call__(
        self, data: dict[str, Any], principal: Principal, *, batch: str, request_id: str,
        headers: Mapping[str, str] = _NONE,
    ) -> bytes: ...


def places(concurrency: int, live_calls: int, batches: int) -> int:
    """How many lines one of ``batches`` batches may have in flight beside so many live calls."""
    return max(1, (concurrency - live_calls) // max(1, batches))


def pause_before(error: GatewayError, attempt: int) -> float | None:
    """Seconds after which a line that failed is asked again; None when it has failed for good. What the gateway
    or a provider only delays is waited for, as long as the batch's window lasts."""
    waits = isinstance(error, errors.RateLimited) and error.code == "rate_limit_exceeded"
    if waits or error.code in ("overloaded", "providers_failing"):
        try:
            told = float(error.headers.get("retry-after", ""))
        except ValueError:
            told = 2.0 ** min(attempt, 5)
        return min(_LONGEST_PAUSE_S, max(1.0, told))
    if isinstance(error, errors.UpstreamFailed | errors.UpstreamTimeout) and attempt < _TRIES:
        return 2.0 ** (attempt - 1)
    return None


def output_id(batch_id: str, kind: str) -> str:
    """The id of a batch's output or error file: known from the beginning, so that a successor finds it."""
    return "file-" + hashlib.sha256(f"{batch_id}:{kind}".encode()).hexdigest()[:32]


def owner_of(runtime: Runtime, key_id: str, now: float) -> Principal | None:
    """The key a batch was made with, as it is now; None when it is no longer good for anything."""
    for key in runtime.snapshot.keys:
        if key.id == key_id:
            # Revoked is revoked, whatever the clock says now: it may have been set back.
            over = key.revoked_at is not None or (key.expires_at is not None and key.expires_at <= now)
            return None if over else principal_of_key(key)
    for own in runtime.config.keys:
        if key_id == own.id:
            return principal_of_yaml_key(own)
    return None


def headers_of(batch: Batch) -> dict[str, str]:
    """Lines have no headers: what keeps a request away from students is said once for all of them, and stands in the
    batch's metadata, where it outlives a restart and its client sees that it was understood."""
    asked = (batch.metadata or {}).get(FORCE)
    return {FORCE: asked} if asked is not None else {}


class BatchRunner:
    """One per gateway process. ``endpoints`` by path; ``traffic`` counts the live calls in flight."""

    def __init__(
        self,
        live: Live,
        store: FileStore,
        writer: Writer,
        endpoints: Mapping[str, Once],
        traffic: Callable[[], int],
    ) -> None:
        self.live, self.store, self.writer = live, store, writer
        self.endpoints, self.traffic = endpoints, traffic
        self.worker = f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"
        self.active: dict[asyncio.Task[None], str] = {}
        """What is at work, and whose it is."""
        self.jobs: set[_Job] = set()
        self._wake = asyncio.Event()

    def wake(self) -> None:
        """There is a new batch, or one was cancelled."""
        self._wake.set()
        for job in self.jobs:
            job.look()

    async def run(self) -> None:
        """Until cancelled; what is at work then is given back."""
        await rounds(self._look, self._wake, BEAT_S, lambda: self.active)

    async def _look(self) -> None:
        try:
            if await asyncio.to_thread(self.live.reader.batch_waiting, time.time() - STALE_S):
                await self._claim()
        except database_errors(WriterAway):
            pass  # batches wait for the database

    async def _claim(self) -> None:
        while self.live.runtime().config.batches.enabled and len(self.active) < _AT_ONCE:
            busy = tuple(project for project, count in Counter(self.active.values()).items() if count >= _EACH)
            command = ClaimBatch(self.worker, time.time(), STALE_S, busy)
            batch: Batch | None = await asyncio.to_thread(self.writer.execute, command)
            if batch is None:
                return
            task = asyncio.create_task(self._work(batch))
            self.active[task] = batch.project
            task.add_done_callback(self.active.pop)

    async def _work(self, batch: Batch) -> None:
        job = _Job(self, batch)
        self.jobs.add(job)
        try:
            await job.run()
        except (Refused, WriterAway):
            _log.warning("batch %s is left to another process", batch.id)
        except asyncio.CancelledError:
            with contextlib.suppress(Refused, WriterAway):
                await job.report(release=True)
            raise
        except Exception:
            _log.exception("batch %s stopped; it will be taken up again", batch.id)
        finally:
            self.jobs.discard(job)
            job.close()


class _Job:
    """One batch at work."""

    def __init__(self, runner: BatchRunner, batch: Batch) -> None:
        self._runner, self._batch = runner, batch
        self._status: BatchStatus = batch.status
        self._total = batch.total
        store = runner.store
        self._ids = (output_id(batch.id, "output"), output_id(batch.id, "error"))
        self._outputs = Outputs(store.path(self._ids[0]), store.path(self._ids[1]))
        self._outputs.completed, self._outputs.failed = batch.completed, batch.failed
        self._outputs.usage = batch.usage or self._outputs.usage
        self._tasks: set[asyncio.Task[None]] = set()
        self._freed, self._looks = asyncio.Event(), asyncio.Event()
        self._problem: BaseException | None = None

    def look(self) -> None:
        """Asks storage at once whether somebody cancelled."""
        self._looks.set()

    def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        self._outputs.close()

    async def run(self) -> None:
        source = await self._runner.store.get(self._batch.project, self._batch.input_file_id)
        path = self._runner.store.path(self._batch.input_file_id)
        if source is None or not path.exists():
            await self._end_unread(LineError("file_not_found", "The input file does not exist any more."))
            return
        if self._status == "validating":
            found = await asyncio.to_thread(batch_lines.validate, path, self._batch.endpoint)
            if found.errors:
                await self.report("failed", problems=found.errors, model=found.model)
                return
            self._total = found.count
            await self.report("in_progress", model=found.model)
        await asyncio.to_thread(self._outputs.open)
        beat = asyncio.create_task(self._beat())
        try:
            await self._ask_all(path)
        finally:
            rest = [beat, *self._tasks]  # lines are left here only when the batch is being given back
            for task in rest:
                task.cancel()
            await asyncio.gather(*rest, return_exceptions=True)
        if self._problem is not None:
            raise self._problem
        await self._finish()

    async def _end_unread(self, problem: LineError) -> None:
        await self.report("cancelled" if self._status == "cancelling" else "failed", problems=(problem,))

    async def report(
        self,
        status: BatchStatus | None = None,
        *,
        problems: tuple[LineError, ...] = (),
        files: tuple[str | None, str | None] = (None, None),
        model: str | None = None,
        release: bool = False,
    ) -> None:
        """Tells storage how far it is, and hears whether somebody cancelled. Raises Refused, WriterAway."""
        command = ReportBatch(
            batch_id=self._batch.id, worker=self._runner.worker, at=time.time(), status=status or self._status,
            total=self._total, completed=self._outputs.completed, failed=self._outputs.failed,
            output_file_id=files[0], error_file_id=files[1], errors=problems, release=release,
            model=model, usage=self._outputs.usage,
        )  # fmt: skip
        batch: Batch = await asyncio.to_thread(self._runner.writer.execute, command)
        self._status = batch.status

    async def _beat(self) -> None:
        while self._problem is None:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._looks.wait(), BEAT_S)
            self._looks.clear()
            try:
                await asyncio.to_thread(self._outputs.sync)
                await self.report()
                if self._status == "cancelling":
                    self._hang_up()
            except WriterAway:
                continue
            except (Refused, OSError) as problem:
                self._problem = problem

    def _hang_up(self) -> None:
        """Nobody waits for the lines in flight any more: their providers are freed."""
        for task in self._tasks:
            task.cancel()

    # ------------------------------------------------------------------ the lines
    def _over(self) -> bool:
        late = time.time() >= self._batch.expires_at
        return late or self._status == "cancelling" or self._problem is not None

    async def _ask_all(self, path: Path) -> None:
        for _, text in batch_lines.numbered(path):
            if self._over():
                break
            line = batch_lines.read_line(text)
            if line.custom_id in self._outputs.done:
                continue
            await self._place()
            task = asyncio.create_task(self._ask(line))
            self._tasks.add(task)
            task.add_done_callback(self._ended)
        while self._tasks:
            await asyncio.wait(self._tasks)

    async def _place(self) -> None:
        """Waits until one more line may be asked."""
        runner = self._runner
        while not self._over():
            most = runner.live.runtime().config.batches.concurrency
            if len(self._tasks) < places(most, runner.traffic(), len(runner.active)):
                return
            self._freed.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._freed.wait(), 0.05)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._freed.set()
        if not task.cancelled() and (problem := task.exception()) is not None:
            self._problem = problem  # the disk, most likely: the batch is taken up again later

    async def _ask(self, line: Line) -> None:
        line_id, attempt = "batch_req_" + secrets.token_hex(16), 0
        while not self._over():
            attempt, request_id = attempt + 1, "req_" + secrets.token_hex(16)
            try:
                body = await self._once(line, request_id)
            except GatewayError as error:
                pause = pause_before(error, attempt)
                if pause is None:
                    errors.note_detail(error, request_id)
                    told = batch_lines.refused(line_id, line.custom_id, request_id, error)
                    self._outputs.add(line.custom_id, told, ok=False)
                    return
                await asyncio.sleep(min(pause, max(0.0, self._batch.expires_at - time.time())))
                continue
            told = batch_lines.answered(line_id, line.custom_id, request_id, body)
            self._outputs.add(line.custom_id, told, ok=True, used=batch_lines.usage_in(body))
            return

    async def _once(self, line: Line, request_id: str) -> bytes:
        runner, batch = self._runner, self._batch
        owner = owner_of(runner.live.runtime(), batch.key_id, time.time())
        if owner is None:
            raise errors.Unauthenticated("The key this batch was made with is revoked, expired or gone.")
        try:
            return await runner.endpoints[batch.endpoint](
                line.body, owner, batch=batch.id, request_id=request_id, headers=headers_of(batch)
            )
        except GatewayError:
            raise
        except Exception as problem:
            raise errors.Internal(repr(problem)) from problem

    # ------------------------------------------------------------------ the end
    async def _finish(self) -> None:
        end: BatchStatus = "completed"
        if self._status == "cancelling":
            end = "cancelled"
        elif self._outputs.completed + self._outputs.failed < self._total:
            end = "expired"
            await asyncio.to_thread(self._expire_rest)
        if end == "completed" and self._status in OPEN_BATCH and self._status != "finalizing":
            await self.report("finalizing")
            if self._status == "cancelling":
                end = "cancelled"
        await asyncio.to_thread(self._outputs.sync)
        output = await self._publish("output", self._ids[0])
        error = await self._publish("error", self._ids[1])
        await self.report(end, files=(output, error))

    def _expire_rest(self) -> None:
        for _, text in batch_lines.numbered(self._runner.store.path(self._batch.input_file_id)):
            line = batch_lines.read_line(text)
            if line.custom_id not in self._outputs.done:
                told = batch_lines.expired("batch_req_" + secrets.token_hex(16), line.custom_id)
                self._outputs.add(line.custom_id, told, ok=False)

    async def _publish(self, kind: str, file_id: str) -> str | None:
        """Makes what was written a file of the project; None when nothing was."""
        path, now, batch = self._runner.store.path(file_id), time.time(), self._batch
        size = path.stat().st_size if path.exists() else 0
        if not size:
            path.unlink(missing_ok=True)
            return None
        lifetime = batch.output_expires_s
        file = StoredFile(
            id=file_id, project=batch.project, key_id=batch.key_id, filename=f"{batch.id}_{kind}.jsonl",
            purpose="batch_output", bytes=size, created_at=now,
            expires_at=now + lifetime if lifetime is not None else None,
        )  # fmt: skip
        await self._runner.store.register(file, _UNLIMITED)
        return file_id
