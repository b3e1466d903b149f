"""The trainer: ``python -m trainer.worker --policies DIR --home DIR``. Read downwards; a lesson's life.

Twice a second: look at the policies, prove students and hear wishes (``promoter``), plan runs (``planner``),
claim one, and carry it out in a child process (``job``) whose heartbeat this process is. Everything is in the
database and in content-addressed folders: kill it anywhere and the next start carries on.
"""

from __future__ import annotations

import argparse
import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from sqlalchemy.exc import SQLAlchemyError

from gateway.config import Config
from gateway.policy import files as policy_files
from gateway.policy.withheld import stood_in
from gateway.processes.memory_share import SHORT, memory_share
from gateway.protocol.counted import counted
from gateway.protocol.fine_tuning import KIND
from gateway.storage.commands import ClaimRun, FinishRun, Refused, ReportRun, WriterAway
from gateway.storage.home import Home
from gateway.storage.protocols import Reader, Writer
from gateway.storage.reading.reader import open_reader
from gateway.storage.values import Run
from gateway.storage.writing.writers import open_writer
from trainer import tuning
from trainer.artifacts.seal import seal_known
from trainer.certify import Issuer
from trainer.child import Child
from trainer.discovery.keeper import Keeper
from trainer.forgetting import Forgetting, attempt
from trainer.forgotten_files import FileForgetting
from trainer.forgotten_files import attempt as attempt_files
from trainer.messages import Done, Failed, Report
from trainer.planner import claimable, due, longest_s, waiting_for
from trainer.promoter import Promoter
from trainer.provable import Provable
from trainer.watch.drift import DriftWatch
from trainer.watch.retiring import RetiringWatch, retiring

TICK_S = 0.5
HEARTBEAT_S = 1.0
STALE_S = 10.0
JOB_TIMEOUT_S = 3600.0
_MAX_ATTEMPTS = 5
_JOB_STARTS = 3
_FOR_MEMORY = (signal.SIGABRT, signal.SIGKILL, signal.SIGSEGV)
"""How native code, or the kernel, ends a process that gets no more memory."""
_RUNS_READ = 10_000
_log = logging.getLogger("understudy.trainer")


class Worker:
    """Owns at most one job. Runs that were claimed but still wait for calls are parked."""

    def __init__(
        self, name: str, reader: Reader, writer: Writer, promoter: Promoter, start: Callable[[Run], Child],
        now: Callable[[], float] = time.time, stale_s: float = STALE_S,
        *, watches: Sequence[Callable[[Config], None]] = (), memory: Callable[[], float | None] = memory_share,
    ) -> None:  # fmt: skip
        self._name = name
        self._reader = reader
        self._writer = writer
        self._promoter = promoter
        self._start = start
        self._now = now
        self._stale_s = stale_s
        self._watches, self._memory = watches, memory
        self._limit: Callable[[Run], float] = lambda run: JOB_TIMEOUT_S
        self._job: _Job | None = None
        self._parked: dict[str, tuple[Run, float]] = {}
        self._provable = Provable(reader)

    def tick(self, config: Config) -> None:
        """One look at the world. Raises nothing that a later look may not mend."""
        self._limit = lambda run: (
            tuning.longest_s(config, run, JOB_TIMEOUT_S)
            if run.kind == KIND
            else longest_s(config, run.task, JOB_TIMEOUT_S)
        )
        self._try(
            self._attend,
            lambda: self._promoter.tick(config),
            *(partial(watch, config) for watch in self._watches),
            lambda: self._plan(config),
            self._claim,
        )

    def attend(self) -> None:
        """Hears what the job says, and nothing else."""
        if self._job is not None:
            self._try(self._attend)

    @staticmethod
    def _try(*steps: Callable[[], None]) -> None:
        for step in steps:
            try:
                step()
            except (WriterAway, SQLAlchemyError) as problem:
                _log.warning("the database is away (%s); trying again", type(problem).__name__)
            except Refused as problem:
                _log.warning("%s", problem)
            except OSError as problem:
                _log.error("%s; trying again", problem.strerror or type(problem).__name__)

    def stop(self) -> None:
        """Ends the job; its run is reclaimed by the next start once its heartbeat is stale."""
        if self._job is not None:
            self._job.child.kill()
            self._job = None

    # ------------------------------------------------------------ plan
    def _plan(self, config: Config) -> None:
        runs = self._reader.runs(limit=_RUNS_READ)
        wanted = due(
            config, self._reader.task_versions(), self._reader.students(), runs,
            self._reader.retrain_requests(), self._now(),
            hurried={one.task for one in retiring(config, self._now())},
        )  # fmt: skip
        for command in wanted:
            if self._provable.never((command.project, command.task, command.fingerprint)):
                continue
            run: Run = self._writer.execute(command)
            _log.info("%s: training is queued: %s", command.task, run.params.get("reason", ""))

    # ------------------------------------------------------------ claim
    def _claim(self) -> None:
        if self._job is not None or (self._memory() or 0.0) >= SHORT:
            return  # where memory is short calls come first, and no lesson begins
        versions = self._reader.task_versions()
        ready = next((run for run, _ in self._parked.values() if waiting_for(run, versions) == 0), None)
        if ready is not None:
            del self._parked[ready.id]
            self._begin(ready)
            return
        if not claimable(self._reader.runs(limit=_RUNS_READ), versions, self._now(), self._stale_s):
            return
        run: Run | None = self._writer.execute(
            ClaimRun(self._name, at=self._now(), stale_s=self._stale_s, max_attempts=_MAX_ATTEMPTS)
        )
        if run is None:
            return
        if waiting_for(run, versions):
            self._parked[run.id] = (run, 0.0)
        else:
            self._begin(run)

    def _begin(self, run: Run) -> None:
        self._job = _Job(run, self._start(run), self._now(), limit_s=self._limit(run))
        _log.info("%s: run %s begins (attempt %d)", run.task, run.id, run.attempt)

    # ------------------------------------------------------------ attend
    def _attend(self) -> None:
        """Heartbeats for what is parked and for the job; passes on what the job says; ends it."""
        self._attend_parked()
        job = self._job
        if job is None:
            return
        if job.ending is not None:
            self._close(job, job.ending)
            return
        job.inbox.extend(job.child.messages())
        while job.inbox:
            message = job.inbox[0]
            if not isinstance(message, Report):
                self._finish(job, message)
                return
            self._report(job, message)
            if self._job is not job or job.ending is not None:
                return
            job.inbox.pop(0)
        code = job.child.exit_code()
        if code is not None and not job.child.has_more():
            self._ended_silently(job, code)
        elif self._now() - job.began > job.limit_s:
            self._finish(job, Failed(f"the training took longer than {job.limit_s:.0f} s and was stopped"))
        elif self._now() - job.reported >= HEARTBEAT_S:
            self._report(job, Report(progress=job.progress, step=job.step))

    def _attend_parked(self) -> None:
        versions = self._reader.task_versions() if self._parked else []
        for run, reported in list(self._parked.values()):
            if self._now() - reported < HEARTBEAT_S:
                continue
            step = f"waiting for {counted(waiting_for(run, versions), 'more call')}"
            beat = ReportRun(run.id, self._name, at=self._now(), progress=0.0, step=step)
            try:
                seen: Run = self._writer.execute(beat)
            except Refused:
                del self._parked[run.id]
                raise
            self._parked[run.id] = (run, self._now())
            if seen.cancel_requested:
                self._writer.execute(FinishRun(run.id, self._name, self._now(), "cancelled", {}))
                del self._parked[run.id]

    def _report(self, job: _Job, report: Report) -> None:
        job.progress, job.step = report.progress, report.step
        command = ReportRun(
            job.run.id, self._name, at=self._now(), progress=report.progress, step=report.step,
            message=report.message, data=report.data,
        )  # fmt: skip
        try:
            seen: Run = self._writer.execute(command)
        except Refused:
            self.stop()  # somebody else has the run now
            raise
        job.reported = self._now()
        if report.message:
            _log.info("%s: %s", job.run.task, report.message)
        if seen.cancel_requested:
            self._finish(job, None)

    def _finish(self, job: _Job, message: Done | Failed | None) -> None:
        """``message`` None: cancelled."""
        job.child.kill()
        if isinstance(message, Done):
            command = FinishRun(job.run.id, self._name, self._now(), "succeeded", message.result)
        elif isinstance(message, Failed):
            command = FinishRun(job.run.id, self._name, self._now(), "failed", message.result, message.error)
            _log.warning("%s: run %s failed: %s", job.run.task, job.run.id, message.error)
        else:
            command = FinishRun(job.run.id, self._name, self._now(), "cancelled", {})
        job.ending = command
        self._close(job, command)

    def _close(self, job: _Job, ending: FinishRun) -> None:
        """Tells the database how the run ended; stays to be told again while the writer is away."""
        try:
            self._writer.execute(ending)
        except Refused:
            self._job = None  # somebody else has the run now
            raise
        self._job = None

    def _ended_silently(self, job: _Job, code: int) -> None:
        """A job that was killed from outside starts again and resumes; one that broke has failed."""
        if code < 0 and job.starts < _JOB_STARTS:
            text = f"the training process was ended by signal {-code}; it starts again"
            self._report(job, Report(progress=job.progress, step=job.step, message=text))
            if self._job is job:
                job.child, job.starts = self._start(job.run), job.starts + 1
            return
        how = f"was ended by signal {-code}" if code < 0 else "broke"
        if -code in _FOR_MEMORY:
            how += " (perhaps for want of memory: trainer.max_memory_bytes)"
        self._finish(job, Failed(f"the training process {how}; the trainer's log says more"))


class _Job:
    """The run this worker carries out now."""

    def __init__(self, run: Run, child: Child, began: float, limit_s: float) -> None:
        self.run = run
        self.child = child
        self.began = began
        self.limit_s = limit_s
        self.starts = 1
        self.progress = 0.0
        self.step = "starting"
        self.reported = 0.0
        self.inbox: list[Report | Done | Failed] = []
        self.ending: FinishRun | None = None


# ---------------------------------------------------------------- the process
def serve(home: Home, policies: Path, stopping: threading.Event, stale_s: float) -> None:
    """Works until ``stopping`` is set. Raises PolicyError when the policies cannot be used at the start."""
    watcher = policy_files.PolicyWatcher(
        policies, stood_in(os.environ), policy_files.load(policies, stood_in(os.environ)), now=time.time()
    )
    reader, writer = open_reader(home, bulk=True), open_writer(home)
    issuer = Issuer.of(home)
    seal_known(reader.students(), home.artifacts, issuer.signer)
    promoter = Promoter(reader, writer, issuer, home.root / "standings.json", time.time)
    worker = Worker(
        name=f"trainer-{os.getpid()}-{int(time.time())}",
        reader=reader,
        writer=writer,
        promoter=promoter,
        start=lambda run: Child.of(run.id, home, policies),
        stale_s=stale_s,
        watches=(
            DriftWatch(reader, writer, home.drift, time.time).tick,
            RetiringWatch(reader, writer, time.time).tick,
        ),
    )
    keeper, forgetting = Keeper(home, policies), Forgetting(home, reader, writer)
    files = FileForgetting(home, reader, writer)
    try:
        while not stopping.is_set():
            watcher.poll(time.time())
            worker.tick(watcher.config)
            keeper.tick(watcher.config, time.time())
            attempt(forgetting, watcher.config, time.time())
            attempt_files(files, time.time())
            stopping.wait(TICK_S / 2)
            worker.attend()  # once more between two looks: progress shows within a second
            stopping.wait(TICK_S / 2)
    finally:
        keeper.stop()
        worker.stop()
        reader.close()
        writer.close()


def main() -> None:
    parser = argparse.ArgumentParser(prog="trainer.worker", description="Trains, examines, promotes.")
    parser.add_argument("--policies", type=Path, default=Path("policies"))
    parser.add_argument("--home", type=Path, default=None, help="data directory (default: UNDERSTUDY_HOME)")
    parser.add_argument(
        "--stale-s", type=float, default=STALE_S, help="take over a run whose worker was silent this long"
    )
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="trainer: %(message)s")
    home = Home(options.home.resolve()) if options.home else Home.from_env()
    home.prepare()
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    try:
        serve(home, options.policies, stopping, options.stale_s)
    except policy_files.PolicyError as problem:
        raise SystemExit(str(problem)) from None


if __name__ == "__main__":
    main()
