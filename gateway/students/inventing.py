"""Synthetic calls for thin parts of a task: its teacher writes inputs like the few that are there, and answers each of
them as it answers clients. Such a call teaches and proves nothing (``CallRecord.source``).

Everything that was asked is a ledger line of its own, so what a day may still cost, what there is already and what
was tried in vain are read from the database: a restart forgets nothing of it, and workers see each other's.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import random
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from msgspec import Struct, structs

from gateway.concurrency.telling import Ended
from gateway.config import Synthetic
from gateway.context import Exchange, WholeAnswer
from gateway.importing.load import Place, as_asked, record_of, single
from gateway.importing.shapes import Sample
from gateway.money.accounting import price_for
from gateway.protocol.called import lesson_of
from gateway.providers.codec import AttemptFailed
from gateway.sharing.bus import ALONE, Bus
from gateway.storage.protocols import Reader, Recorder
from gateway.storage.records import SYNTHETIC, CallRecord
from gateway.storage.values import Made
from gateway.students.questions import DayBudget, Questions, teaches
from gateway.texts.masking import mask
from optimizer.routing.plan import Candidate
from optimizer.thin import Known, Part, Seen, parse, render, thin

_log = logging.getLogger("understudy.learning")
_LOOK_S = 60.0
"""Between two looks at a task: what the last one made has reached the database by then."""
_QUEUE, _MOST_READ, _AT_ONCE, _TOKENS = 20, 5000, 10, 4000
Scope = tuple[str, str]
"""(project, task)."""


class Shelf(Struct, frozen=True):
    """What is there when a look begins: the parts that are thin, what was made before, and every input."""

    parts: list[Part]
    made: Made
    seen: Seen


class Inventing:
    """Hears of finished calls; looks at their task now and then, one at a time, and asks what it lacks."""

    def __init__(
        self, questions: Questions, recorder: Recorder, reader: Reader, rng: random.Random,
        paid: Callable[[CallRecord], None], clock: Callable[[], float] = time.time, bus: Bus = ALONE,
    ) -> None:  # fmt: skip
        self._questions, self._recorder, self._reader = questions, recorder, reader
        self._rng, self._paid, self._clock = rng, paid, clock
        self._queue: asyncio.Queue[tuple[Exchange, Synthetic]] = asyncio.Queue(_QUEUE)
        self._looked: dict[Scope, float] = {}
        self._written: dict[Scope, tuple[float, int]] = {}
        self._budget = DayBudget(clock)
        self._bus = bus
        bus.hear("thin parts", self._told)
        self._worker: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._worker = asyncio.create_task(self._work())

    async def stop(self) -> None:
        if self._worker is not None:
            self._worker.cancel()
            await asyncio.gather(self._worker, return_exceptions=True)

    def finished(self, calls: Sequence[Ended]) -> None:
        for one in calls:
            task = one.exchange.task
            if task is not None and task.learn is not None and task.learn.synthetic is not None:
                self._look_soon(one.exchange, one.record, one.text, task.learn.synthetic)

    def _look_soon(self, exchange: Exchange, record: CallRecord, text: str, rules: Synthetic) -> None:
        if not teaches(exchange, record, text) or not single(exchange.body):
            return
        scope, now = (record.project, record.task), self._clock()
        if now - self._looked.get(scope, 0.0) < _LOOK_S or not self._budget.affords(scope, rules.budget_usd_day):
            return
        if not self._queue.full():
            self._looked[scope] = now
            self._queue.put_nowait((exchange, rules))
            self._bus.tell("thin parts", *scope)

    def _told(self, project: str, task: str) -> None:
        """Another worker looks at the task, so this one need not."""
        self._looked[project, task] = self._clock()

    async def _work(self) -> None:
        while True:
            exchange, rules = await self._queue.get()
            try:
                await self._look(exchange, rules)
            except AttemptFailed as problem:
                _log.info("a synthetic call got no answer: %s", problem.error.message)
            except Exception:
                _log.exception("asking for synthetic calls failed")
            finally:
                self._queue.task_done()

    async def _look(self, exchange: Exchange, rules: Synthetic) -> None:
        """Raises AttemptFailed: the next look goes on from there."""
        scope, teacher = scope_of(exchange), teacher_of(exchange)
        if price_for(exchange.runtime.config, teacher) is None:
            _log.warning("no synthetic calls for '%s': the price of %s is unknown", scope[1], teacher.name)
            return
        today = self._budget.begins
        shelf = await asyncio.to_thread(self._shelf, exchange, rules, today)
        if not self._caught_up(scope, today, shelf.made):
            return
        self._budget.hear(scope, rules.budget_usd_day if shelf.made.unpriced else shelf.made.usd)
        left = rules.max_calls - shelf.made.kept
        for part in shelf.parts:
            wanted = min(part.short, left, _AT_ONCE)
            tried = shelf.made.tried.get(source_of(exchange, part), 0)
            if wanted > 0 and tried < most_tries(rules) and self._budget.affords(scope, rules.budget_usd_day):
                left -= await self._extend(exchange, rules, part, wanted, shelf.seen)

    def _shelf(self, exchange: Exchange, rules: Synthetic, today: float) -> Shelf:
        """Blocking: runs in a thread."""
        (project, task), learn = scope_of(exchange), exchange.task.learn if exchange.task else None
        assert learn is not None
        made = self._reader.synthetic_calls(project, task, since=today)
        lessons = self._reader.training_calls(project, task, exchange.fingerprint, limit=_MOST_READ)
        calls = [Known(one.text, one.answer, not one.source, one.metadata) for one in lessons]
        return Shelf(thin(calls, learn.slices, rules.per_answer), made, Seen(one.text for one in calls))

    def _caught_up(self, scope: Scope, today: float, made: Made) -> bool:
        """Whether the database knows what this process wrote: else the same would be made again."""
        day, written = self._written.get(scope, (today, 0))
        known = day != today or made.today >= written
        if known:
            self._written[scope] = today, made.today
        return known

    async def _extend(
        self, exchange: Exchange, rules: Synthetic, part: Part, wanted: int, seen: Seen
    ) -> int:
        """How many calls the part got. Raises AttemptFailed."""
        asked = {"model": scope_of(exchange)[1], "messages": render(part, wanted, self._rng)}
        answer = await self._ask(exchange, rules, part, {**asked, "max_completion_tokens": _TOKENS}, kept=False)
        texts = [mask(text).text for text in parse(answer.text)]
        kept = 0
        for text in [one for one in texts if seen.admit(one)][:wanted]:
            if not self._budget.affords(scope_of(exchange), rules.budget_usd_day):
                break
            body = as_asked({"messages": [{"role": "user", "content": text}]}, exchange.body)
            answer = await self._ask(exchange, rules, part, body, kept=True)
            kept += whole(answer, body)
        return kept

    async def _ask(
        self, exchange: Exchange, rules: Synthetic, part: Part, body: Mapping[str, Any], *, kept: bool
    ) -> WholeAnswer:
        """Asks the teacher and writes down that it did, with the text when it is ``kept``. Raises AttemptFailed."""
        scope = scope_of(exchange)
        answer, usd = await self._questions.ask(exchange, teacher_of(exchange), body)
        record = made_call(exchange, part, body, answer, usd, kept=kept and whole(answer, body), now=self._clock())
        self._recorder.append(record)
        self._budget.charge(scope, usd, rules.budget_usd_day)
        self._paid(record)
        day, written = self._written[scope]
        self._written[scope] = day, written + (record.created_at >= day)
        return answer


def made_call(
    exchange: Exchange, part: Part, body: Mapping[str, Any], answer: WholeAnswer, usd: float | None, *,
    kept: bool, now: float,
) -> CallRecord:  # fmt: skip
    """The ledger line of one question; with its text, under the task's fingerprint, when the pair is to teach."""
    (project, task), source, teacher = scope_of(exchange), source_of(exchange, part), teacher_of(exchange)
    capture = exchange.task.capture if exchange.task else None
    assert capture is not None
    place = Place(project, task, capture.mask, capture.retention_days, None, "", frozenset())
    sample = Sample(
        "chat", dict(body), _message(answer), answer.finish_reason or "",
        model=teacher.model, metadata={"source": SYNTHETIC},
    )  # fmt: skip
    record, usage = record_of(sample, place, source, now), answer.usage
    return structs.replace(
        record, id=f"chatcmpl-{uuid.uuid4().hex}", key_id=SYNTHETIC, provider=teacher.provider, reason=source,
        fingerprint=exchange.fingerprint if kept else "", text=record.text if kept else None, cost_usd=usd,
        prompt_tokens=usage.prompt if usage else 0, cached_tokens=usage.cached if usage else 0,
        completion_tokens=usage.completion if usage else record.completion_tokens, tokens_estimated=usage is None,
        config_digest=exchange.runtime.config.digest,
    )  # fmt: skip


def source_of(exchange: Exchange, part: Part) -> str:
    """What its calls say of where they come from: which part of which kind of request they were made for."""
    digest = hashlib.sha256(f"{exchange.fingerprint}\0{part.name}".encode()).hexdigest()
    return f"{SYNTHETIC}:{digest[:16]}"


def most_tries(rules: Synthetic) -> int:
    """Questions after which a part is given up that the teacher's answers do not fall into."""
    return 3 * rules.per_answer + 6


def whole(answer: WholeAnswer, body: Mapping[str, Any]) -> bool:
    """Whether the answer came to its end and says something a student could say."""
    return bool(lesson_of(answer, body))


def _message(answer: WholeAnswer) -> dict[str, Any]:
    """What was said and called, and nothing else of a provider's message."""
    calls = answer.data["choices"][0]["message"].get("tool_calls") if answer.finish_reason == "tool_calls" else None
    said = {"role": "assistant", "content": answer.text}
    return {**said, "tool_calls": calls} if calls else said


def scope_of(exchange: Exchange) -> Scope:
    assert exchange.task is not None and exchange.principal is not None
    return exchange.principal.project, exchange.task.name


def teacher_of(exchange: Exchange) -> Candidate:
    assert exchange.task is not None and exchange.task.teacher is not None
    return Candidate(provider=exchange.task.teacher.provider, model=exchange.task.teacher.model)
