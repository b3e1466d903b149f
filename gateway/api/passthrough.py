"""/v1/images/* and /v1/audio/*: passed on to a provider that speaks OpenAI, and its answer passed back.

The gateway reads what it decides by (the model, the texts a guardrail judges) and leaves the rest as it is: file
parts of a form go through a temporary file, answers come back as bytes or as a stream, JSON or not.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from functools import partial
from itertools import repeat
from typing import Any

import msgspec
import multipart
from litestar import Request, post
from litestar.types import ASGIApp, Receive, Scope, Send

from gateway import errors
from gateway.api.checking import refuse_steering
from gateway.api.embeddings import model_in
from gateway.api.files.multipart import read_form
from gateway.api.http import Authenticator, ClientGone, headers_of, heard, read_body, read_from
from gateway.api.ingress import told
from gateway.api.surface import Door, new_exchange
from gateway.context import Exchange
from gateway.live import Live
from gateway.metering import sounds
from gateway.protocol.answer import Chunk, ChunkStream
from gateway.protocol.body import decode_object
from gateway.protocol.sse import frame
from gateway.providers.codec import Codec, UpstreamRequest
from gateway.resilience.provider_keys import Encode
from gateway.stages.guard_texts import PROSE
from gateway.storage.files import FileStore, Upload
from gateway.surface import Surface, address, used_in
from gateway.texts.masking import texts_of
from gateway.upstreams.passing import PassedStream, Piece
from gateway.upstreams.reply import StreamedRequest
from optimizer.routing.plan import Rung

PATHS = (
    "/images/generations", "/images/edits", "/images/variations",
    "/audio/speech", "/audio/transcriptions", "/audio/translations",
)  # fmt: skip
_HELD_S = 0.02
"""So long a piece waits for the one after it: the last leaves when its call is recorded, and one that is not the
last is not held up until the provider says more."""
_PASSED_HEADERS = ("content-disposition", "openai-model")


@dataclass
class Parcel:
    """A form on its way: text fields in memory, file parts already framed for the next hop in a temporary file."""

    boundary: str = field(default_factory=lambda: "understudy-" + secrets.token_hex(16))
    upload: Upload | None = None
    store: FileStore | None = None
    head: bytes = b""
    """The first bytes of the first file."""
    size: int = 0
    """Bytes of all files."""
    _open: bool = False

    def begin(self, part: multipart.MultipartSegment) -> None:
        assert self.store is not None
        if self.upload is None:
            self.upload = self.store.begin()
        self.close_part()
        lines = "".join(f"{name}: {value}\r\n" for name, value in part.headerlist)
        self.upload.write(f"--{self.boundary}\r\n{lines}\r\n".encode())
        self._open = True

    def write(self, piece: bytes) -> None:
        assert self.upload is not None
        self.upload.write(piece)
        self.head += piece[: sounds.HEAD - len(self.head)]
        self.size += len(piece)

    def close_part(self) -> None:
        if self._open and self.upload is not None:
            self.upload.write(b"\r\n")
            self._open = False

    async def flush(self) -> None:
        if self.upload is not None:
            await self.upload.flush()

    def framed(self, fields: list[tuple[str, str]]) -> bytes:
        """The text fields, framed."""
        frames = [
            f'--{self.boundary}\r\ncontent-disposition: form-data; name="{_quoted(name)}"\r\n\r\n{value}\r\n'
            for name, value in fields
        ]
        return "".join(frames).encode()

    async def pieces(self, head: bytes) -> AsyncIterator[bytes]:
        yield head
        if self.upload is not None:
            async for piece in self.upload.pieces():
                yield piece
        yield f"--{self.boundary}--\r\n".encode()

    def length(self, head: bytes) -> int:
        return len(head) + (self.upload.size if self.upload else 0) + len(self.boundary) + 6

    def close(self) -> None:
        if self.upload is not None:
            self.upload.close()


def _quoted(name: str) -> str:
    return name.replace('"', "%22").replace("\r", "%0D").replace("\n", "%0A")


def _gathered(fields: list[tuple[str, str]]) -> dict[str, Any]:
    """The fields of a form by name: of one that comes again the last counts, and of a list (``name[]``) all do."""
    data: dict[str, Any] = {}
    for name, value in fields:
        if name.endswith("[]"):
            data.setdefault(name, []).append(value)
        else:
            data[name] = value
    return data


class PassThrough:
    """An ASGI app for one path; ``model``: where the path names it, whatever the request says."""

    def __init__(
        self, surface: Surface, live: Live, store: FileStore, who: Authenticator, path: str, model: str = ""
    ) -> None:
        self._surface, self._live, self._store, self._path = surface, live, store, path
        self._who, self._named = who, [("model", model)] if model else []
        self._endpoint = path.split("/")[1]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def work(door: Door) -> None:
            headers = headers_of(scope)
            if headers.get("content-type", "").lower().startswith("multipart/form-data"):
                await self._form(door, headers)
            else:
                _, body = await read_from(self._live, headers, partial(read_body, scope, receive))
                await self._answer(door, headers, {**decode_object(body), **dict(self._named)}, None, [])

        await Door(receive, send).through(work)

    async def _form(self, door: Door, headers: dict[str, str]) -> None:
        config = self._live.runtime().config
        parcel = Parcel(store=self._store)
        try:
            try:
                async with heard(door.receive) as arriving:
                    self._who(headers)  # before the disk takes anything from a stranger
                    fields = await read_form(
                        headers, arriving, parcel,
                        limit=config.files.max_bytes, idle=config.server.body_timeout_s,
                    )  # fmt: skip
            except OSError as problem:
                raise errors.Unavailable(
                    "The gateway cannot write to its disk; its operator has to make room.",
                    code="storage_failed",
                    headers={"x-should-retry": "false"},
                    detail=repr(problem),
                ) from problem
            parcel.close_part()
            if parcel.upload is not None:
                await parcel.upload.flush(least=0)
            if self._named:
                fields = [one for one in fields if one[0] != "model"] + self._named
            await self._answer(door, headers, _gathered(fields), parcel, fields)
        finally:
            parcel.close()

    async def _answer(
        self,
        door: Door,
        headers: dict[str, str],
        data: dict[str, Any],
        parcel: Parcel | None,
        fields: list[tuple[str, str]],
    ) -> None:
        refuse_steering(data)
        text = "\n".join(texts_of({name: data[name] for name in PROSE if name in data}))
        door.exchange = exchange = new_exchange(
            self._live, headers, endpoint=self._endpoint, model=model_in(data), text=text, body=data,
            request_id=door.request_id, started=door.started,
        )  # fmt: skip
        if parcel is not None and self._endpoint == "audio":
            exchange.sound_s = sounds.seconds_at_most(parcel.head, parcel.size)
        door.watch()

        async def ask(exchange: Exchange, rung: Rung) -> PassedStream:
            def request(codec: Codec) -> UpstreamRequest:
                return self._request(codec, exchange, rung, parcel, fields)

            return await self._ask(exchange, rung, request)

        answer = await self._surface.run(exchange, ask)
        assert not hasattr(answer, "data")
        await _send(door, exchange, answer)

    def _request(
        self,
        codec: Codec,
        exchange: Exchange,
        rung: Rung,
        parcel: Parcel | None,
        fields: list[tuple[str, str]],
    ) -> UpstreamRequest:
        model = rung.candidate.model
        url, headers = address(codec, self._path, model)
        if parcel is None:
            return UpstreamRequest(url, headers, msgspec.json.encode({**exchange.body, "model": model}))
        left = {  # by the guardrails
            name: iter(value) if isinstance(value, list) else repeat(value)
            for name, value in exchange.body.items()
        }
        now = [(name, model if name == "model" else str(next(left[name]))) for name, _ in fields]
        head = parcel.framed(now)
        framed = {
            **headers,
            "content-type": f"multipart/form-data; boundary={parcel.boundary}",
            "content-length": str(parcel.length(head)),
        }
        return StreamedRequest(url, framed, b"", pieces=lambda: parcel.pieces(head))

    async def _ask(self, exchange: Exchange, rung: Rung, request: Encode) -> PassedStream:
        """The answer as it is; a JSON one is read whole, for its usage."""
        reply = await self._surface.send(exchange, rung, request)
        try:
            kind = reply.headers.get("content-type", "")
            for name in _PASSED_HEADERS:
                if name in reply.headers:
                    exchange.response_headers[name] = reply.headers[name]
            exchange.response_headers["content-type"] = kind or "application/octet-stream"
            if not kind.startswith("application/json"):
                return PassedStream(reply, await reply.piece())
            body = await reply.read()
        except BaseException:
            reply.release()
            raise
        with contextlib.suppress(msgspec.DecodeError, UnicodeDecodeError):
            data = msgspec.json.decode(body)
            exchange.usage = used_in(data.get("usage")) if isinstance(data, dict) else None
        return PassedStream(reply, body)


async def _send(door: Door, exchange: Exchange, stream: ChunkStream) -> None:
    begun = False
    coming: asyncio.Task[Chunk | None] | None = None
    try:
        pieces = aiter(stream)
        first = await anext(pieces, None)
        pairs = {**told(exchange), "x-request-id": door.request_id}
        headers = [
            (name.encode("latin-1"), value.encode("latin-1", "replace")) for name, value in pairs.items()
        ]
        await door.send({"type": "http.response.start", "status": 200, "headers": headers})
        begun = True
        piece = first
        while piece is not None:
            raw = piece.raw if isinstance(piece, Piece) else b""
            coming = asyncio.ensure_future(_next(pieces))
            await asyncio.wait((coming,), timeout=_HELD_S)
            await door.send({"type": "http.response.body", "body": raw, "more_body": True})
            piece = await coming
        await door.send({"type": "http.response.body", "body": b"", "more_body": False})
    except errors.GatewayError as error:
        if not begun:
            raise
        errors.note_detail(error, exchange.request_id)
        if not exchange.response_headers["content-type"].startswith("text/event-stream"):
            raise ClientGone from error  # after the 200, a body without its end is the only sign there is
        await door.send({"type": "http.response.body", "body": frame(error.body()), "more_body": False})
    finally:
        if coming is not None and not coming.done():
            coming.cancel()
            await asyncio.gather(coming, return_exceptions=True)
        await stream.aclose()


async def _next(pieces: AsyncIterator[Chunk]) -> Chunk | None:
    return await anext(pieces, None)


def pass_through_routes(surface: Surface, live: Live, store: FileStore, who: Authenticator) -> list[Any]:
    return [_route(PassThrough(surface, live, store, who, path), path) for path in PATHS]


def _route(endpoint: PassThrough, path: str) -> Any:
    @post(f"/v1{path}", status_code=200)
    async def pass_on(request: Request[Any, Any, Any]) -> ASGIApp:
        return endpoint

    return pass_on
