"""Responses that are made in the background: begun by one request, read, followed or cancelled by others.

One at work lives in the worker that took it in; storage knows that it was queued and, later, how it ended. So what
storage calls queued and no worker has at work was lost with its process, and is told as failed.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections import OrderedDict
from collections.abc import AsyncIterator
from typing import Any

import msgspec
from litestar.types import ASGIApp, Receive, Scope, Send
from msgspec import structs

from gateway import errors
from gateway.api.http import send_whole
from gateway.api.ingress import Rendering, encode
from gateway.api.responses.rendering import ResponsesRendering
from gateway.client_data.client_state import ClientStates, ResponseState
from gateway.context import Answer, Chunk, Exchange, Principal, WholeAnswer
from gateway.live import Live
from gateway.pipeline import Handler
from gateway.protocol.blocks import as_chunks
from gateway.protocol.chat import Usage
from gateway.protocol.responses.answer import Event, frames
from gateway.resilience.drain import stopping
from gateway.sharing.bus import Bus
from gateway.webhooks import Announce

_MOST_AT_WORK = 200
_MOST_ENDED = 200
_UNFINISHED = frozenset({"queued", "in_progress"})
_Place = tuple[str, str]  # project, id


class Run:
    """One response in the making. An event's number is its place in ``events``."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.over = self.cancelled = False
        self.task: asyncio.Task[None] | None = None
        self._news = asyncio.Event()

    @property
    def response(self) -> dict[str, Any]:
        """The response as the last event that shows it whole has it, with what has been said since."""
        whole = next(event["response"] for event in reversed(self.events) if "response" in event)
        if whole["status"] not in _UNFINISHED:
            return dict(whole)
        done = [event["item"] for event in self.events if event["type"] == "response.output_item.done"]
        return {**whole, "output": done}

    def add(self, events: list[Event], *, over: bool = False) -> None:
        self.events += events
        self.over = self.over or over
        self._news.set()
        self._news = asyncio.Event()

    async def follow(self, after: int) -> AsyncIterator[Event]:
        """The events behind number ``after``, those to come included."""
        at = after + 1
        while True:
            while at < len(self.events):
                yield self.events[at]
                at += 1
            if self.over:
                return
            await self._news.wait()


class Backgrounds:
    """Those of one worker. What has ended can be streamed again until newer ones take its place."""

    def __init__(self, live: Live, states: ClientStates, bus: Bus, announce: Announce) -> None:
        self._live, self._states, self._bus, self._announce = live, states, bus, announce
        self._runs: OrderedDict[_Place, Run] = OrderedDict()
        bus.hear("background", self._shown)
        bus.hear("background cancel", self._cancel)

    def begin(
        self, pipeline: Handler, exchange: Exchange, inner: ResponsesRendering, principal: Principal
    ) -> Run:
        """Raises RateLimited when too many are at work."""
        if sum(not run.over for run in self._runs.values()) >= _MOST_AT_WORK:
            raise errors.RateLimited(
                f"{_MOST_AT_WORK} responses are being made in the background already. Wait for one of them.",
                code="rate_limit_exceeded",
                headers={"retry-after": "5"},
            )
        run = Run()
        run.add(inner.written(exchange).queued())
        inner.remember(exchange.call_id, principal.project, run.response)
        self._runs[principal.project, exchange.call_id] = run
        run.task = asyncio.create_task(self._work(run, pipeline, exchange, inner, principal))
        run.task.add_done_callback(lambda _: self._tell(run, principal.project, exchange.call_id))
        self._trim()
        return run

    def _tell(self, run: Run, project: str, response_id: str) -> None:
        if run.over:
            self._announce(project, f"response.{run.response['status']}", response_id)

    def _trim(self) -> None:
        ended = [place for place, run in self._runs.items() if run.over]
        for place in ended[: max(0, len(ended) - _MOST_ENDED)]:
            del self._runs[place]

    async def _work(
        self,
        run: Run,
        pipeline: Handler,
        exchange: Exchange,
        inner: ResponsesRendering,
        principal: Principal,
    ) -> None:
        writer, drain, here = inner.written(exchange), self._live.drain, asyncio.current_task()
        assert here is not None
        try:
            drain.enter(here)
            await self._ask(run, pipeline, exchange, inner)
        except errors.GatewayError as error:
            errors.note_detail(error, exchange.request_id)
            events = writer.failed(error)
        except asyncio.CancelledError:
            if not run.cancelled and not drain.over:
                raise
            events = writer.cancelled() if run.cancelled else writer.failed(stopping())
        except Exception as problem:
            events = writer.failed(errors.Internal(repr(problem)))
        else:
            return
        finally:
            drain.leave(here)
        if (principal.project, exchange.call_id) in self._runs:  # else it was deleted
            inner.remember(exchange.call_id, principal.project, writer.response)
        run.add(events, over=True)

    async def _ask(self, run: Run, pipeline: Handler, exchange: Exchange, inner: ResponsesRendering) -> None:
        writer, answer = inner.written(exchange), await inner.ask(pipeline, exchange)
        if isinstance(answer, WholeAnswer):
            for data in as_chunks(answer.data):
                run.add(writer.chunk(data))
        else:
            try:
                async for chunk in answer:
                    run.add(writer.chunk(chunk.data))
            finally:
                await answer.aclose()
        events = writer.finish(exchange.usage or Usage())
        await inner.keep(exchange, writer.response)
        run.add(events, over=True)

    # ------------------------------------------------------------------ what others ask about it
    def _shown(self, project: str, response_id: str) -> bytes | None:
        run = self._runs.get((project, response_id))
        return encode(run.response) if run is not None else None

    def _cancel(self, project: str, response_id: str) -> bool | None:
        run = self._runs.get((project, response_id))
        if run is None:
            return None
        if not run.over and run.task is not None:
            run.cancelled = True
            run.task.cancel()
        return True

    async def now(self, state: ResponseState) -> dict[str, Any]:
        """The response as it is at this moment."""
        if state.response["status"] not in _UNFINISHED:
            return state.response
        mine = self._shown(state.project, state.id)
        told = [mine] if mine is not None else await self._bus.ask("background", state.project, state.id)
        if told:
            found: dict[str, Any] = msgspec.json.decode(told[0])
            return found
        message = "The gateway was restarted while this response was being made. Send the request again."
        return {
            **state.response,
            "status": "failed",
            "error": {"code": "server_error", "message": message},
        }

    async def cancel(self, state: ResponseState) -> dict[str, Any]:
        """The response after it was told to stop; one that has ended stays as it is. Raises BadRequest."""
        if not state.response.get("background"):
            raise errors.BadRequest(
                "Cannot cancel a synchronous response. Close the connection while it is being made instead."
            )
        run = self._runs.get((state.project, state.id))
        if run is None:
            await self._bus.ask("background cancel", state.project, state.id)
            return await self.now(state)
        self._cancel(state.project, state.id)
        if run.task is not None:
            await asyncio.wait([run.task])
        return run.response

    async def drop(self, state: ResponseState) -> None:
        """Stops what is being deleted."""
        run = self._runs.get((state.project, state.id))
        if run is None:
            await self._bus.ask("background cancel", state.project, state.id)
            return
        self._cancel(state.project, state.id)
        if run.task is not None:
            await asyncio.wait([run.task])
        self._runs.pop((state.project, state.id), None)

    def stream(self, state: ResponseState, after: int) -> ASGIApp:
        """The events behind number ``after``. Raises BadRequest when they are not here."""
        run = self._runs.get((state.project, state.id))
        if run is None:
            raise errors.BadRequest(
                "This response cannot be streamed: only one made with 'background' can, while the gateway that "
                "made it remembers its events. Retrieve it without 'stream'.",
                param="stream",
                code="unsupported_parameter",
            )
        return _Followed(run, after)


class InBackground(Rendering):
    """Answers with the queued response, or follows its events; leaving does not stop it."""

    def __init__(self, inner: ResponsesRendering, principal: Principal, backgrounds: Backgrounds) -> None:
        super().__init__(inner.body)
        self.foreign = inner.foreign
        self.principal, self._inner, self._backgrounds = principal, inner, backgrounds
        self._first: dict[str, Any] = {}

    async def ask(self, pipeline: Handler, exchange: Exchange) -> Answer:
        timeouts = exchange.runtime.config.timeouts
        hidden = structs.replace(
            exchange,
            body={**exchange.body, "stream": True},
            request=structs.replace(exchange.request, stream=True),
            deadline=exchange.started + timeouts.total,
            attempts=[],
            verdicts=[],
            findings=[],
            placeholders={},
            response_headers={},
        )
        assert self.principal is not None
        run = self._backgrounds.begin(pipeline, hidden, self._inner, self.principal)
        self._first = run.response
        if exchange.request.streamed:
            return _Events(run)
        return WholeAnswer(data={}, text="", finish_reason=None, usage=Usage())

    async def whole(self, exchange: Exchange, data: dict[str, Any]) -> bytes:
        return encode(self._first)

    def chunk(self, exchange: Exchange, data: dict[str, Any]) -> bytes:
        return frames([data])

    def failed(self, exchange: Exchange, error: errors.GatewayError) -> bytes:
        """The run tells its own failure; nothing else can fail here."""
        return b""


class _Events:
    """A run's events in the place of chunks."""

    def __init__(self, run: Run) -> None:
        self._run = run

    async def __aiter__(self) -> AsyncIterator[Chunk]:
        async for event in self._run.follow(-1):
            yield Chunk(event)

    async def aclose(self) -> None:
        """The run goes on."""


class Whole:
    """A JSON answer, as an ASGI app."""

    def __init__(self, value: Any) -> None:
        self._body = encode(value)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send_whole(send, self._body, "req_" + secrets.token_hex(16), {})


class _Followed:
    """A run's events as a stream."""

    def __init__(self, run: Run, after: int) -> None:
        self._run, self._after = run, after

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = [
            (b"content-type", b"text/event-stream; charset=utf-8"),
            (b"cache-control", b"no-cache"),
            (b"x-accel-buffering", b"no"),
            (b"x-request-id", f"req_{secrets.token_hex(16)}".encode()),
        ]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        async with contextlib.aclosing(self._run.follow(self._after)) as events:  # type: ignore[type-var]
            async for event in events:
                await send({"type": "http.response.body", "body": frames([event]), "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})
