"""Record: writes the call when its answer has ended, before the last byte is sent; the outermost stage.

Whatever happens inside (an error, a client that leaves, a stream cut by the provider), exactly one ledger line
is appended, so that ``kill -9`` afterwards loses nothing that was answered.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from typing import Any, Protocol

import msgspec

from gateway.concurrency.telling import Ended, Telling
from gateway.config import Capture, Discover
from gateway.context import Exchange
from gateway.errors import GatewayError, Internal
from gateway.money.accounting import Accountant
from gateway.pipeline import Handler
from gateway.protocol.answer import Answer, Chunk, ChunkStream, Pattern, WholeAnswer, arrived_of
from gateway.protocol.assemble import assemble
from gateway.protocol.called import spoken
from gateway.protocol.fingerprint import fingerprint
from gateway.providers.codec import AttemptFailed
from gateway.stages.thoughts import told
from gateway.storage.protocols import Recorder
from gateway.storage.records import CallRecord, CallStatus, CallText
from optimizer.routing.plan import Candidate

_log = logging.getLogger("understudy.record")
_encode = msgspec.json.encode
_NOBODY = Candidate("", "")
_STORED_DAYS = 30
"""How long a completion is kept that a client asked to store."""


class Reserved(Protocol):
    """What was reserved for calls, and is settled by what the ledger says."""

    def holds(self, exchange: Exchange) -> bool: ...
    def settle(self, exchange: Exchange, record: CallRecord) -> None: ...


class Record:
    def __init__(
        self,
        recorder: Recorder,
        accountant: Accountant,
        reserved: Reserved,
        telling: Telling,
        rng: random.Random,
    ) -> None:
        self._recorder, self._accountant, self._reserved = recorder, accountant, reserved
        self._telling, self._rng = telling, rng
        self.live_calls = 0
        """Calls in flight that are not lines of batches; streams count until their end."""

    async def __call__(self, exchange: Exchange, inner: Handler) -> Answer:
        self.live_calls += not exchange.batch
        try:
            answer = await inner(exchange)
        except GatewayError as error:
            await self.finish(exchange, "error", error.status, error.code or "", None, "")
            raise
        except asyncio.CancelledError:
            self._write(exchange, "client_closed", 499, "client_closed", None, "")
            raise
        except Exception as problem:
            _log.exception("unhandled error in the pipeline, request %s", exchange.request_id)
            await self.finish(exchange, "error", 500, "internal_error", None, "")
            raise Internal(repr(problem)) from problem
        if isinstance(answer, WholeAnswer):
            exchange.first_byte_at = time.monotonic()
            await self.finish(exchange, "ok", 200, "", answer.data, answer.text)
            return answer
        return RecordedStream(self, exchange, answer)

    async def finish(
        self,
        exchange: Exchange,
        status: CallStatus,
        http_status: int,
        code: str,
        answer: dict[str, Any] | None,
        text: str,
    ) -> None:
        """Settles and writes; with ``ack: durable`` it returns only when the disk has it."""
        self._write(exchange, status, http_status, code, answer, text)
        if exchange.runtime.config.spool.ack == "durable":
            await self._recorder.durable()

    def _write(
        self,
        exchange: Exchange,
        status: CallStatus,
        http_status: int,
        code: str,
        answer: dict[str, Any] | None,
        text: str,
    ) -> None:
        self.live_calls -= not exchange.batch
        if exchange.principal is None:
            return  # nobody's call: a wrong key is counted by the metrics, not by the ledger
        if answer and exchange.body.get("tools"):
            text = spoken(answer, exchange.body)
        self._accountant.settle(exchange, text)
        capture = self._capture(exchange, answer) if answer is not None and status == "ok" else None
        record = record_of(exchange, status, http_status, code, now=time.monotonic(), text=capture)
        self._recorder.append(record)
        if self._reserved.holds(exchange):
            # It need not hold up the answer. The loop keeps the order of what it is given, so this is done before
            # anything that the client sends after its answer.
            asyncio.get_running_loop().call_soon(self._reserved.settle, exchange, record)
        self._telling.later(Ended(exchange, record, text), soon=bool(exchange.findings))

    def _capture(self, exchange: Exchange, answer: dict[str, Any]) -> CallText | None:
        """The call's text when the task opted in or the client said ``store: true``."""
        task, store = exchange.task, exchange.request.store
        if task is None and (found := exchange.runtime.config.discover) is not None and store is not False:
            return self._untagged(exchange, answer, found)
        capture = task.capture if task is not None else None
        wanted = capture is not None and store is not False and not exchange.replayed
        captured = wanted and capture is not None and self._rng.random() < _rate(exchange, capture)
        if not captured and not store:
            return None
        shown = {**answer, "id": exchange.call_id, "model": exchange.request.model}
        exchange.shown = _encode(shown)
        return CallText(
            request=_encode(exchange.body),
            answer=_encode(told(exchange, shown)) if exchange.thoughts and captured else exchange.shown,
            visible=True,
            trainable=captured and task is not None and task.learn is not None,
            mask=capture.mask if capture is not None else True,
            retention_days=capture.retention_days if capture is not None else _STORED_DAYS,
        )


    def _untagged(self, exchange: Exchange, answer: dict[str, Any], rules: Discover) -> CallText | None:
        """A call that no task claims, for discovery when the draw says so, and for the client when it asked."""
        store, drawn = exchange.request.store is True, self._rng.random() < rules.rate
        if not store and not drawn:
            return None
        if drawn:
            exchange.fingerprint = exchange.fingerprint or fingerprint(exchange.request)
        exchange.shown = _encode({**answer, "id": exchange.call_id, "model": exchange.request.model})
        return CallText(
            request=_encode(exchange.body), answer=exchange.shown, visible=store, trainable=False, mask=True,
            retention_days=max(rules.retention_days, _STORED_DAYS if store else 0),
        )  # fmt: skip


def _rate(exchange: Exchange, capture: Capture) -> float:
    """The share of calls that is captured: all of them once the task's teacher is about to go."""
    assert exchange.task is not None
    begins = exchange.runtime.recorded_from.get(exchange.task.name)
    return 1.0 if begins is not None and exchange.received_at >= begins else capture.rate


def captures(exchange: Exchange) -> bool:
    """Whether the policies may want this call's text."""
    if exchange.task is not None:
        return exchange.task.capture is not None
    return exchange.runtime.config.discover is not None


def record_of(
    exchange: Exchange,
    status: CallStatus,
    http_status: int,
    code: str,
    *,
    now: float,
    text: CallText | None = None,
) -> CallRecord:
    """The ledger line of an exchange. ``now`` is monotonic."""
    principal, rung, plan, usage = exchange.principal, exchange.answered_by, exchange.plan, exchange.usage
    assert principal is not None
    first = exchange.first_byte_at
    busy = (first if first is not None else now) - exchange.started
    candidate, request, replayed = rung.candidate if rung else _NOBODY, exchange.request, exchange.replayed
    return CallRecord(  # in the order of its fields: told by their names they would cost twelve times as much
        exchange.call_id,
        exchange.request_id,
        exchange.received_at,
        principal.project,
        principal.key_id,
        request.end_user,
        exchange.session,
        exchange.task.name if exchange.task else "",
        exchange.fingerprint,
        request.model,
        candidate.provider,
        candidate.model,
        (rung.student or "") if rung else "",
        status,
        http_status,
        code,
        request.streamed,
        (now - exchange.started) * 1000,  # latency_ms
        (first - exchange.started) * 1000 if first is not None else None,  # first_byte_ms
        max(0.0, busy - exchange.upstream_seconds) * 1000,  # overhead_ms
        exchange.attempts,
        usage.prompt if usage else 0,
        usage.cached if usage else 0,
        usage.completion if usage else 0,
        usage.estimated if usage else False,
        exchange.cost_usd if rung or exchange.discarded else 0.0,
        exchange.teacher_cost_usd if rung or replayed else 0.0,
        exchange.confidence,
        plan.arm if plan else "plain",
        plan.propensity if plan else 1.0,
        plan.reason if plan else "",
        exchange.runtime.config.digest,
        exchange.verdicts[:],  # what comes later comes by itself
        request.metadata or {},
        text,
        exchange.endpoint,
        exchange.batch,
        plan.rungs[0].candidate.name if plan and plan.rungs else "",  # drawn
        exchange.cache if replayed else "",
        "",  # source: a client of this gateway
        exchange.prompt_cache_usd,
    )


class RecordedStream:
    """Passes chunks on, remembers what the record needs, and writes it when the stream has ended."""

    def __init__(self, record: Record, exchange: Exchange, inner: ChunkStream) -> None:
        self._record, self._exchange, self._inner = record, exchange, inner
        self._chunks, self._arrived = aiter(inner), arrived_of(inner)
        self._seen: list[dict[str, Any]] = []
        self._text: list[str] = []
        self._run_of: Pattern | None = None
        self._run: list[str] = []
        self._keep = exchange.request.store is True or captures(exchange)
        self._over = False

    def __aiter__(self) -> RecordedStream:
        return self

    async def __anext__(self) -> Chunk:
        exchange = self._exchange
        try:
            chunk = await anext(self._chunks)
        except StopAsyncIteration:
            await self._end("ok", 200, "")
            raise
        except asyncio.CancelledError:
            raise
        except AttemptFailed as problem:
            await self._end("upstream_cut", 200, problem.error.code or "upstream_error")
            raise problem.error from None
        except GatewayError as error:
            await self._end("error", 200, error.code or "")
            raise
        if exchange.first_byte_at is None:
            exchange.first_byte_at, exchange.begun = time.monotonic(), chunk.begun
        self._note(chunk)
        return chunk

    def arrived(self) -> list[Chunk]:
        chunks = self._arrived()
        for chunk in chunks:
            self._note(chunk)
        return chunks

    def _note(self, chunk: Chunk) -> None:
        if chunk.usage is not None:
            self._exchange.usage = chunk.usage
        if chunk.text:
            self._text.append(chunk.text)
        if not self._keep:
            return
        if chunk.pattern is not None and chunk.pattern is self._run_of:
            self._run.append(chunk.text)  # a chunk of many that are alike: one assembly for all of them
            return
        self._end_run()
        if chunk.pattern is not None:
            self._run_of, self._run = chunk.pattern, [chunk.text]
        else:
            self._seen.append(chunk.own or chunk.data)

    def _end_run(self) -> None:
        if self._run_of is not None:
            choice = {"index": 0, "delta": {"content": "".join(self._run)}}
            self._seen.append({**self._run_of.data, "choices": [choice]})
            self._run_of = None

    async def _end(self, status: CallStatus, http_status: int, code: str) -> None:
        if self._over:
            return
        self._over = True
        self._end_run()
        answer = assemble(self._seen) if self._keep and status == "ok" else {}
        await self._record.finish(self._exchange, status, http_status, code, answer, "".join(self._text))
        await self._inner.aclose()

    async def aclose(self) -> None:
        """Frees the upstream; a stream closed before its end is a client that left."""
        if not self._over:
            self._over = True
            self._record._write(
                self._exchange, "client_closed", 499, "client_closed", None, "".join(self._text)
            )
        await self._inner.aclose()
