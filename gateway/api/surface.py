"""The way in for what is not chat: one skeleton for errors and disconnects, and JSON endpoints on it."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Protocol

import msgspec
from litestar.types import Receive, Scope, Send

from gateway import errors
from gateway.api.checking import refuse_steering
from gateway.api.embedders import embedded
from gateway.api.http import ClientGone, client_patience, read_from, send_error
from gateway.api.ingress import told
from gateway.api.line import AsgiLine, Line, Watch
from gateway.api.repeated import Remembering, first_or_repeated
from gateway.caching.repeats import HEADER
from gateway.context import Exchange, Principal
from gateway.live import Live
from gateway.protocol.answer import WholeAnswer
from gateway.protocol.body import decode_object
from gateway.protocol.chat import ChatRequest, Message
from gateway.providers.codec import AttemptFailed, Codec, Embedder, UpstreamRequest
from gateway.providers.failures import nonsense
from gateway.stages.assign import check_force
from gateway.surface import Here, Surface, address, used_in
from gateway.upstreams import hops
from optimizer.routing.plan import Rung

encode = msgspec.json.encode
_NONE: Mapping[str, str] = {}


class Wanted(msgspec.Struct, frozen=True):
    """A request as it was understood: what goes upstream, the texts that are counted, how the answer is told."""

    body: dict[str, Any]
    model: str
    text: str
    tell: Callable[[dict[str, Any]], None]
    """Changes the provider's answer in place into what this client asked for. Raises ValueError for junk."""
    shown: str = ""
    """The model's name as the client wrote it; "" when it wrote none."""
    here: Here | None = None
    """Answers without a provider."""
    form: str = ""
    """What ``tell`` makes of an answer, where one body may be told in several ways: a cache keeps these apart."""


class Kind(Protocol):
    """One JSON endpoint."""

    @property
    def endpoint(self) -> str: ...
    @property
    def path(self) -> str: ...

    def read(self, data: dict[str, Any], live: Live) -> Wanted:
        """Raises BadRequest that names the parameter at fault, Unavailable when nobody is configured."""

    def again(self, provider: str, body: dict[str, Any], error: AttemptFailed) -> dict[str, Any] | None:
        """Another body for a provider that refused this one; None when there is nothing to change."""

    def fit(self, provider: str, body: dict[str, Any]) -> dict[str, Any]:
        """The body as this provider takes it."""


def new_exchange(
    live: Live, headers: Mapping[str, str], *, endpoint: str, model: str, text: str, body: dict[str, Any],
    request_id: str, started: float, principal: Principal | None = None, batch: str = "", form: str = "",
) -> Exchange:  # fmt: skip
    """A call that is not chat. Its typed request stands for it where stages count, price and match."""
    hops.arrived(headers)
    check_force(headers)
    runtime, user = live.runtime(), body.get("user")
    request = ChatRequest(
        model=model,
        messages=[Message(role="user", content=text)],
        max_completion_tokens=1,
        user=user if isinstance(user, str) else None,
    )
    return Exchange(
        call_id=f"{endpoint[:5]}-{secrets.token_hex(16)}",
        request_id=request_id,
        received_at=time.time(),
        started=started,
        deadline=started + min(runtime.config.timeouts.total, client_patience(headers)),
        headers=headers,
        body=body,
        request=request,
        runtime=runtime,
        endpoint=endpoint,
        principal=principal,
        batch=batch,
        form=form,
    )


ToldError = Callable[[errors.GatewayError, str], tuple[int, bytes]]
"""Status and body of an error, given the request's id."""


def openai_error(error: errors.GatewayError, _: str) -> tuple[int, bytes]:
    return error.status, error.body()


class Door:
    """One connection: tells errors in its API's shape and frees the upstream when the client leaves."""

    def __init__(self, receive: Receive, send: Send, tell: ToldError = openai_error) -> None:
        self.receive, self.send, self._tell = receive, send, tell
        self.request_id, self.started = "req_" + secrets.token_hex(16), time.monotonic()
        self.exchange: Exchange | None = None
        self._watch: Watch | None = None

    def watch(self) -> None:
        """From now on a client that leaves cancels the call; once is enough. The body must have been read."""
        here = asyncio.current_task()
        assert here is not None
        if self._watch is None:
            self._watch = Watch(self.receive, here)

    async def through(self, work: Callable[[Door], Awaitable[None]]) -> None:
        try:
            await work(self)
        except errors.GatewayError as error:
            headers = told(self.exchange) if self.exchange is not None else {}
            status, body = self._tell(error, self.request_id)
            await send_error(self.send, error, self.request_id, headers, status=status, body=body)
        except ClientGone:
            return
        except asyncio.CancelledError:
            if self._watch is None or not self._watch.noticed:
                raise  # not the client: the server is shutting down
            here = asyncio.current_task()
            if here is not None:
                here.uncancel()
        finally:
            if self._watch is not None:
                self._watch.stop()


class JsonEndpoint:
    """An ASGI app for one JSON endpoint; ``once`` is the same for a line of a batch."""

    def __init__(self, surface: Surface, live: Live, kind: Kind, tell: ToldError = openai_error) -> None:
        self._surface, self._live, self._kind, self._tell = surface, live, kind, tell

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def work(door: Door) -> None:
            line = AsgiLine(scope, receive, send)
            principal, body = await read_from(self._live, line.headers, line.read)
            if HEADER not in line.headers:
                await self._write(door, line, body, principal)
                return
            door.watch()
            first = await first_or_repeated(self._live, line, scope["path"], body)
            if first is None:
                return
            try:
                await self._write(door, first, body, principal)
                if isinstance(first, Remembering):
                    first.keep()
            finally:
                first.leave()

        await Door(receive, send, self._tell).through(work)

    async def _write(self, door: Door, line: Line, body: bytes, principal: Principal) -> None:
        wanted = self._read(decode_object(body))
        door.exchange = exchange = new_exchange(
            self._live, line.headers, endpoint=self._kind.endpoint, model=wanted.model, text=wanted.text,
            body=wanted.body, request_id=door.request_id, started=door.started, form=wanted.form, principal=principal,
        )  # fmt: skip
        door.watch()
        answer = await self._answer(exchange, wanted)
        headers = told(exchange)
        if exchange.cost_usd is not None:
            headers["x-understudy-cost-usd"] = f"{exchange.cost_usd:.9f}".rstrip("0").rstrip(".")
        fixed = {"content-type": "application/json", "x-request-id": door.request_id}
        await line.whole(200, fixed | headers, encode(answer))

    async def once(
        self, data: dict[str, Any], principal: Principal, *, batch: str, request_id: str,
        headers: Mapping[str, str] = _NONE,
    ) -> bytes:
        """The answer's body to one request without a connection, a batch's line. Raises GatewayError."""
        wanted = self._read(data)
        exchange = new_exchange(
            self._live, headers, endpoint=self._kind.endpoint, model=wanted.model, text=wanted.text, body=wanted.body,
            request_id=request_id, started=time.monotonic(), principal=principal, batch=batch, form=wanted.form,
        )  # fmt: skip
        return encode(await self._answer(exchange, wanted))

    def _read(self, data: dict[str, Any]) -> Wanted:
        refuse_steering(data)
        return self._kind.read(data, self._live)

    async def _answer(self, exchange: Exchange, wanted: Wanted) -> dict[str, Any]:
        async def ask(exchange: Exchange, rung: Rung) -> WholeAnswer:
            provider = rung.candidate.provider
            body = self._kind.fit(provider, exchange.body)
            try:
                return await self._ask(exchange, rung, body, wanted)
            except AttemptFailed as problem:
                other = self._kind.again(provider, body, problem)
                if other is None:
                    raise
            return await self._ask(exchange, rung, other, wanted)

        if wanted.here is not None:
            answer = await self._surface.run_here(exchange, wanted.here)
        else:
            answer = await self._surface.run(exchange, ask)
        assert isinstance(answer, WholeAnswer)
        return answer.data

    async def _ask(self, exchange: Exchange, rung: Rung, body: dict[str, Any], wanted: Wanted) -> WholeAnswer:
        name, model = rung.candidate.provider, rung.candidate.model
        codec = self._surface.codec(exchange.runtime, name)
        try:
            if self._kind.endpoint == "embeddings" and isinstance(codec, Embedder):
                data = await embedded(self._surface, exchange, rung, codec, body)
            else:
                data = await self._data(exchange, rung, encode({**body, "model": model}))
            exchange.usage = used_in(data.get("usage"))
            wanted.tell(data)
        except ValueError as problem:
            raise nonsense(name, str(problem)) from None
        if wanted.shown and "model" in data:
            data["model"] = wanted.shown
        return WholeAnswer(data=data, text="", finish_reason=None, usage=exchange.usage)

    async def _data(self, exchange: Exchange, rung: Rung, raw: bytes) -> dict[str, Any]:
        """The answer of a provider that speaks OpenAI. Raises AttemptFailed."""

        def request(codec: Codec) -> UpstreamRequest:
            url, headers = address(codec, self._kind.path, rung.candidate.model)
            return UpstreamRequest(url=url, headers=headers, body=raw)

        return await self._surface.asked(exchange, rung, request)
