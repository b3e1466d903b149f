"""What the fine-tuning endpoints do: runs of the trainer, seen from one project."""

from __future__ import annotations

import asyncio
import re
import secrets
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from gateway import errors
from gateway.api.files.routes import listed, number
from gateway.api.tuning.orders import order_of
from gateway.api.tuning.shown import checkpoints, shown, shown_event
from gateway.config import Task
from gateway.context import Principal
from gateway.live import Live
from gateway.protocol.fine_tuning import KIND, Order, captured, run_id
from gateway.routing.named import TUNED
from gateway.stages.assign import unknown_model
from gateway.storage.commands import CancelRun, EnqueueRun, MoveStudent, PauseRun, Refused, ResumeRun
from gateway.storage.files import FileStore
from gateway.storage.protocols import Writer
from gateway.storage.values import Run
from optimizer.rollout import Stage

_RUNS_READ, _EVENTS_READ = 10_000, 10_000
_OPEN = ("queued", "running", "paused")
_METADATA = re.compile(r"metadata\[(.+)\]")
Query = Sequence[tuple[str, str]]


class Jobs:
    """Every method may raise what reading and writing the database raises."""

    def __init__(self, live: Live, store: FileStore, writer: Writer, artifacts: Path) -> None:
        self._live, self._store, self._writer, self._artifacts = live, store, writer, artifacts

    async def create(self, principal: Principal, data: dict[str, Any]) -> dict[str, Any]:
        """Raises BadRequest for an order that cannot be carried out, RateLimited for one too many."""
        config = self._live.runtime().config
        order = order_of(data, principal, config)
        task = await self._material(principal.project, order)
        runs = await self._runs(principal.project)
        if sum(run.state in _OPEN for run in runs) >= config.fine_tuning.open_per_project:
            raise errors.RateLimited(
                f"This project has {config.fine_tuning.open_per_project} open jobs already. Wait for one to end.",
                code="job_limit_exceeded",
            )
        # The fingerprint only keeps jobs apart: each is a scope of its own.
        params = msgspec.to_builtins(order)
        command = EnqueueRun(KIND, principal.project, task, secrets.token_hex(8), params, time.time())
        return shown(await self._do(command))

    async def one(self, project: str, job: str) -> Run:
        """Raises NotFound, for another project's job too."""
        known = run_id(job)
        run = await asyncio.to_thread(self._live.reader.run, known) if known else None
        if run is None or run.project != project or run.kind != KIND:
            raise errors.NotFound(
                f"Could not find fine tune: {job[:80]}", param="fine_tune_id", code="fine_tune_not_found"
            )
        made = run.result.get("fine_tuned_model")
        if made and all(student.id != made for student in self._live.runtime().snapshot.students):
            await self._live.catch_up()  # who is told of a model may call it
        return run

    async def page(self, project: str, query: Query) -> dict[str, Any]:
        values = dict(query)
        metadata = {found[1]: value for name, value in query if (found := _METADATA.fullmatch(name))}
        jobs = [shown(run) for run in await self._runs(project)]
        if values.get("metadata") == "null":
            jobs = [job for job in jobs if not job["metadata"]]
        jobs = [
            job for job in jobs if all(job["metadata"].get(name) == one for name, one in metadata.items())
        ]
        return _page(jobs, values, usual=20)

    async def events(self, project: str, job: str, query: Query) -> dict[str, Any]:
        """Newest first."""
        run = await self.one(project, job)
        found = await asyncio.to_thread(lambda: self._live.reader.run_events(run.id, limit=_EVENTS_READ))
        return _page([shown_event(run, one) for one in reversed(found)], dict(query), usual=20)

    async def checkpoints(self, project: str, job: str, query: Query) -> dict[str, Any]:
        return _page(checkpoints(await self.one(project, job)), dict(query), usual=10)

    async def cancel(self, principal: Principal, job: str) -> dict[str, Any]:
        """A job at work is paused first: so it ends here and now, and its worker hears of it."""
        run, now = await self.one(principal.project, job), time.time()
        if run.state == "running":
            run = await self._do(PauseRun(run.id, principal.key_id, now))
        if run.state not in _OPEN:
            raise errors.Conflict(f"The job has {run.state} already.", code="invalid_state")
        return shown(await self._do(CancelRun(run.id, principal.key_id, now)))

    async def pause(self, principal: Principal, job: str) -> dict[str, Any]:
        run = await self.one(principal.project, job)
        return shown(await self._do(PauseRun(run.id, principal.key_id, time.time())))

    async def resume(self, principal: Principal, job: str) -> dict[str, Any]:
        run = await self.one(principal.project, job)
        return shown(await self._do(ResumeRun(run.id, principal.key_id, time.time())))

    async def delete_model(self, principal: Principal, model: str) -> dict[str, Any]:
        """Retires a fine-tuned model and removes its files. Raises NotFound, for another project's too."""
        students = await asyncio.to_thread(lambda: self._live.reader.students(include_retired=False))
        found = next((one for one in students if one.id == model and one.project == principal.project), None)
        if found is None or not model.startswith(TUNED):
            raise unknown_model(model)
        await self._do(MoveStudent(
            student=model, to=Stage.RETIRED, paused=False, expected_epoch=found.epoch, actor=principal.key_id,
            reason="deleted by its project", at=time.time(), certificate=None, detail={},
        ))  # fmt: skip
        await asyncio.to_thread(shutil.rmtree, self._artifacts / model, ignore_errors=True)
        await self._live.catch_up()
        return {"id": model, "object": "model", "deleted": True}

    # ------------------------------------------------------------ what a job learns from
    async def _material(self, project: str, order: Order) -> str:
        """The task whose captured calls are learnt from, "" for a file. Raises BadRequest."""
        if order.validation_file is not None:
            await self._file(project, order.validation_file, "validation_file")
        source = captured(order.training_file)
        if source is None:
            await self._file(project, order.training_file, "training_file")
            return ""
        task, version = source
        self._may_learn(task)
        reader = self._live.reader
        if version is None:
            versions = await asyncio.to_thread(reader.task_versions)
            known = any((one.project, one.task) == (project, task) for one in versions)
        else:
            datasets = await asyncio.to_thread(lambda: reader.datasets(task=task))
            known = any((one.project, one.version) == (project, version) for one in datasets)
        if not known:
            raise errors.BadRequest(
                f"There is no dataset '{order.training_file[:100]}' in this project.",
                param="training_file",
                code="dataset_not_found",
            )
        return task

    async def _file(self, project: str, file_id: str, param: str) -> None:
        file = await self._store.get(project, file_id)
        if file is None:
            raise errors.BadRequest(
                f"'{param}' must name a file of this project, or captured calls as 'dataset:<task>' or "
                "'<task>@<version>'.",
                param=param,
                code="file_not_found",
            )
        if file.purpose != "fine-tune":
            raise errors.BadRequest(
                f"The file was uploaded with the purpose '{file.purpose}'. Upload it with 'fine-tune'.",
                param=param,
                code="invalid_purpose",
            )

    def _may_learn(self, name: str) -> None:
        task: Task | None = self._live.runtime().tasks.get(name)
        if (
            task is None
            or task.capture is None
            or task.teacher is None
            or not task.teacher.may_train_on_outputs
        ):
            raise errors.BadRequest(
                f"Nothing may be learnt from the calls of '{name[:64]}': that needs a task with 'capture' and with a "
                "teacher that says 'may_train_on_outputs: true'. The gateway's operator decides it.",
                param="training_file",
                code="dataset_not_available",
            )

    # ------------------------------------------------------------ the database
    async def _runs(self, project: str) -> list[Run]:
        reader = self._live.reader
        return await asyncio.to_thread(lambda: reader.project_runs(project, KIND, limit=_RUNS_READ))

    async def _do(self, command: Any) -> Any:
        try:
            return await asyncio.to_thread(self._writer.execute, command)
        except Refused as problem:
            raise errors.Conflict(str(problem), code="invalid_state") from None


def _page(data: list[dict[str, Any]], query: dict[str, str], *, usual: int) -> dict[str, Any]:
    """The part of a list behind ``after``. Raises BadRequest."""
    limit = number(query.get("limit", str(usual)), "limit", 1, 100)
    after = query.get("after")
    if after:
        places = [place for place, one in enumerate(data) if one["id"] == after]
        if not places:
            raise errors.BadRequest("The item that 'after' names does not exist.", param="after")
        data = data[places[0] + 1 :]
    return listed(data[:limit], has_more=len(data) > limit)
