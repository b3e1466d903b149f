"""Works on runs in the background: each row is asked of the model, if there is one, as a call of the run's key, and
graded. Live calls go first as they do before anything: the pipeline's own limits, lanes and budgets hold.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import secrets
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
from msgspec import structs

from gateway import errors
from gateway.api.evals.captured import Opens
from gateway.api.evals.rows import BadRows, Row, as_texts, question, rows_of
from gateway.api.evals.shapes import Criterion, Custom, EvalRun, RunBody, Sampled, criteria_of
from gateway.api.evals.store import CANCELED, LINES, OPEN, ROWS, EvalStore, Item, lines_of, taken
from gateway.api.tuning.grading import Grading
from gateway.client_data.batches import Once, owner_of, pause_before
from gateway.concurrency.rounds import Crew
from gateway.context import Principal
from gateway.live import Live
from gateway.protocol.body import typed
from gateway.retrieval.turns import InTurn
from gateway.schemas.compile import compiled
from gateway.storage.files import FileStore
from gateway.storage.settled import write_whole
from optimizer.graders import Fault, scene

_log = logging.getLogger("understudy.evals")
_BEAT_S, _AT_ONCE, _RUNS, _EACH = 1.0, 4, 4, 3
"""Rows of a run, and runs of all projects and of one, that are at work at a time."""
_COMPARING = 2
Announce = Callable[[str, str, str], None]
"""(project, event, run): for webhooks."""


class EvalRunner:
    """One per gateway process. ``ask``: one chat completion through the pipeline; ``opens``: a stored response."""

    def __init__(
        self, live: Live, store: EvalStore, files: FileStore, ask: Once, announce: Announce, opens: Opens
    ) -> None:
        self.opens = opens
        self.live, self.store, self.files, self.ask, self.announce = live, store, files, ask, announce
        self.comparing = asyncio.Semaphore(_COMPARING)
        self._turns: InTurn[Path] = InTurn(store.owner, places=_RUNS, each=_EACH)
        self._crew = Crew(
            store.waiting, taken, self._work, most=_RUNS, every_s=_BEAT_S, log=_log, in_turn=self._turns.of
        )
        self.wake, self.run = self._crew.wake, self._crew.run

    async def _work(self, folder: Path) -> None:
        self._turns.begun(folder)
        with contextlib.suppress(FileNotFoundError):  # somebody deleted it
            await _Work(self, folder).run()


class _Work:
    """One run at work. What it has done is in its lines, so it may end anywhere."""

    def __init__(self, runner: EvalRunner, folder: Path) -> None:
        self._runner, self._folder = runner, folder
        self._present: EvalRun = msgspec.json.decode((folder / "run.json").read_bytes(), type=EvalRun)
        self._counts: Counter[str] = Counter()
        self._criteria: dict[str, list[int]] = defaultdict(lambda: [0, 0])
        self._usage: dict[str, list[int]] = defaultdict(lambda: [0, 0, 0, 0])

    async def run(self) -> None:
        try:
            source, criteria = await asyncio.to_thread(self._prepared)
            rows = await asyncio.to_thread(self._rows, source)
            self._owner()
        except (BadRows, errors.GatewayError) as problem:
            await self._end("failed", str(problem))
            return
        for name in (one.name for one in criteria):
            self._criteria[name]
        done = set()
        for item in await asyncio.to_thread(lambda: list(lines_of(self._folder / LINES))):
            done.add(item.number)
            self._count(item)
        self._counts["total"] = len(rows)
        await self._report("in_progress")
        left = iter([row for row in rows if row.number not in done])
        beat = asyncio.create_task(self._beat())
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(_AT_ONCE):
                    group.create_task(self._line_by_line(left, source, criteria))
        except BaseExceptionGroup as problems:
            raise problems.exceptions[0] from None
        finally:
            beat.cancel()
        await self._end("canceled" if self._canceled() else "completed")

    def _prepared(self) -> tuple[Any, list[Criterion]]:
        """Raises BadRows, GatewayError: policies may have changed since the run was ordered."""
        run = self._present
        try:
            self._eval = self._runner.store.eval(run.project, run.eval_id)
        except KeyError:
            raise BadRows("The eval was deleted.") from None
        encoder = self._runner.live.runtime().config.fine_tuning.encoder
        criteria = criteria_of(self._eval.criteria, encoder=encoder is not None)
        return typed({"data_source": run.data_source}, RunBody).data_source, criteria

    def _rows(self, source: Any) -> list[Row]:
        """Those that an earlier attempt read, else read now and kept, so that numbers mean the same row throughout."""
        kept = self._folder / ROWS
        if kept.exists():
            return [msgspec.json.decode(line, type=Row) for line in kept.read_bytes().splitlines()]
        config, schema = self._eval.config, None
        if config["type"] == "custom":
            schema = compiled(msgspec.convert(config, Custom).item_schema)
        rows = rows_of(
            source, self._present.project, config.get("metadata") or {}, schema, self._runner.live.reader,
            self._runner.files, self._runner.opens,
        )  # fmt: skip
        write_whole(kept, b"".join(msgspec.json.encode(row) + b"\n" for row in rows), folders=False)
        return rows

    def _owner(self) -> Principal:
        """The run's key as it is now. Raises BadRows when it is good for nothing any more."""
        found = owner_of(self._runner.live.runtime(), self._present.key_id, time.time())
        if found is None:
            raise BadRows("The key that ordered this run is no longer valid.")
        return found

    def _canceled(self) -> bool:
        return (self._folder / CANCELED).exists()

    # ------------------------------------------------------------ rows
    async def _line_by_line(self, left: Any, source: Any, criteria: list[Criterion]) -> None:
        for row in left:
            if self._canceled():
                return
            item = await self._done(row, source, criteria)
            self._append(item)
            self._count(item)

    async def _done(self, row: Row, source: Any, criteria: list[Criterion]) -> Item:
        sample, results = _blank(row, source), []
        try:
            text = row.output
            if isinstance(source, Sampled) and source.model is not None:
                text = await self._sampled(source, row, sample)
            if text is None:
                raise Fault("sample_parse_error", "The row has no sample, and no model was named to be asked for one.")
            sample["output"] = [{"role": "assistant", "content": text}]
            results = [await self._graded(one, row, text) for one in criteria]
        except (Fault, BadRows, errors.GatewayError) as problem:
            code = getattr(problem, "code", None) or getattr(problem, "kind", "") or "error"
            sample["error"] = {"code": str(code), "message": str(problem)}
        status = "error" if sample["error"] or any("error" in one for one in results) else "fail"
        if status == "fail" and all(one["passed"] for one in results):
            status = "pass"
        run = self._present
        shown = {
            "id": f"outputitem_{run.id.removeprefix('evalrun_')}{row.number:06d}", "object": "eval.run.output_item",
            "created_at": int(time.time()), "eval_id": run.eval_id, "run_id": run.id, "status": status,
            "datasource_item": row.item, "datasource_item_id": row.number, "results": results, "sample": sample,
        }  # fmt: skip
        return Item(row.number, status, row.user, shown)

    async def _sampled(self, source: Sampled, row: Row, sample: dict[str, Any]) -> str:
        """The model's answer. Raises Fault, GatewayError; what a limit delays is waited for."""
        body = question(source, row)
        sample["input"] = as_texts(body["messages"])
        completion = msgspec.json.decode(await self._patiently(body))
        choice, usage = completion["choices"][0], completion.get("usage") or {}
        cached = (usage.get("prompt_tokens_details") or {}).get("cached_tokens") or 0
        sample["finish_reason"] = choice.get("finish_reason") or ""
        sample["usage"] = {
            "prompt_tokens": usage.get("prompt_tokens", 0), "completion_tokens": usage.get("completion_tokens", 0),
            "total_tokens": usage.get("total_tokens", 0), "cached_tokens": cached,
        }  # fmt: skip
        return choice["message"].get("content") or ""

    async def _patiently(self, body: dict[str, Any]) -> bytes:
        attempt = 1
        while True:
            try:
                return await self._runner.ask(body, self._owner(), batch="", request_id=_request_id())
            except errors.GatewayError as problem:
                pause = pause_before(problem, attempt)
                if pause is None or self._canceled():
                    raise
                attempt += 1
                await asyncio.sleep(pause)

    async def _graded(self, one: Criterion, row: Row, text: str) -> dict[str, Any]:
        async def patiently(data: dict[str, Any], principal: Principal, **_more: object) -> bytes:
            return await self._patiently(data)

        encoder = self._runner.live.runtime().config.fine_tuning.encoder
        grading = Grading(
            scene(row.item, text), self._owner(), patiently, _request_id(), self._runner.comparing, encoder
        )
        outcome, _ = await grading.of(one.grader)
        score = outcome.score if outcome.score is not None else 0.0
        passed = outcome.score is not None and one.passes(outcome.score)
        result: dict[str, Any] = {
            "name": one.name, "type": one.grader.__struct_config__.tag, "score": score, "passed": passed,
        }  # fmt: skip
        if outcome.score is None:
            result["error"] = " ".join(dict.fromkeys(why for _, why in outcome.faults)) or "no score"
        return result

    # ------------------------------------------------------------ what is written
    def _append(self, item: Item) -> None:
        """One write of a whole line; a torn one before it, of a process that was killed, is ended first."""
        path = self._folder / LINES
        data = msgspec.json.encode(item) + b"\n"
        descriptor = os.open(path, os.O_CREAT | os.O_RDWR | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            size = os.fstat(descriptor).st_size
            torn = size and os.pread(descriptor, 1, size - 1) != b"\n"
            os.write(descriptor, b"\n" + data if torn else data)
        finally:
            os.close(descriptor)

    def _count(self, item: Item) -> None:
        named = {"pass": "passed", "fail": "failed", "error": "errored"}
        self._counts[named[item.status]] += 1
        for one in item.shown["results"]:
            self._criteria[one["name"]][0 if one["passed"] else 1] += 1
        usage = item.shown["sample"].get("usage")
        if usage and usage["total_tokens"]:
            tokens = (1, usage["prompt_tokens"], usage["completion_tokens"], usage["cached_tokens"])
            model = item.shown["sample"]["model"]
            self._usage[model] = [one + more for one, more in zip(self._usage[model], tokens, strict=True)]

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(_BEAT_S)
            with contextlib.suppress(FileNotFoundError):
                await self._report("in_progress")

    async def _report(self, status: Any, error: dict[str, str] | None = None) -> None:
        """Raises FileNotFoundError when the run was deleted."""
        if not self._folder.is_dir():
            raise FileNotFoundError(self._folder)
        self._present = structs.replace(
            self._present, status=status, error=error, counts=dict(self._counts),
            criteria={name: (passed, failed) for name, (passed, failed) in self._criteria.items()},
            usage={model: (a, b, c, d) for model, (a, b, c, d) in self._usage.items()},
        )  # fmt: skip
        told = msgspec.json.encode(self._present)
        await asyncio.to_thread(write_whole, self._folder / "run.json", told, folders=False)

    async def _end(self, status: str, why: str = "") -> None:
        await self._report(status, {"code": "invalid_run", "message": why} if why else None)
        for name in (ROWS, OPEN):
            (self._folder / name).unlink(missing_ok=True)
        event = "eval.run.succeeded" if status == "completed" else f"eval.run.{status}"
        self._runner.announce(self._present.project, event, self._present.id)


def _blank(row: Row, source: Any) -> dict[str, Any]:
    """OpenAI's sample, before anything was asked."""
    given = source.sampling_params if isinstance(source, Sampled) else None
    model = source.model if isinstance(source, Sampled) else None
    return {
        "model": model or str(row.item.get("model") or ""), "input": [], "output": [], "finish_reason": "",
        "error": None,
        "temperature": given.temperature if given else None, "top_p": given.top_p if given else None,
        "seed": given.seed if given else None,
        "max_completion_tokens": given.max_completion_tokens if given else None,
        "usage": dict.fromkeys(("prompt_tokens", "completion_tokens", "total_tokens", "cached_tokens"), 0),
    }  # fmt: skip


def _request_id() -> str:
    return "req_" + secrets.token_hex(16)
