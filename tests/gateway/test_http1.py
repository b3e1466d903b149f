"""The lean HTTP client: answers wherever their bytes were cut, and a pool that nothing can spoil."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import ssl
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from gateway.upstreams.http1 import Destination, Http1Error, Pool, destination, header_lines
from gateway.upstreams.places import Places

LENGTH = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX-A: b\r\n\r\nhello"
CHUNKED = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n"
UNTIL_END = b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\nhello"
INTERIM = b"HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n" + LENGTH
PACKED = gzip.compress(b"hello")
GZIP = b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: %d\r\n\r\n" % len(PACKED) + PACKED

Write = Callable[[asyncio.StreamWriter], "asyncio.Future[None]"]


async def resolve(host: str, port: int) -> list[str]:
    return [host]


class Server:
    """Answers every request with ``raw``, in pieces of ``piece`` bytes."""

    def __init__(self, raw: bytes, piece: int, close: bool) -> None:
        self.raw, self.piece, self.close, self.connections, self.requests = raw, piece, close, 0, []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
                self.requests.append(head + await reader.readexactly(length))
                for at in range(0, len(self.raw), self.piece):
                    writer.write(self.raw[at : at + self.piece])
                    await writer.drain()
                    if self.piece < len(self.raw):
                        await asyncio.sleep(0)
                if self.close:
                    break
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


@asynccontextmanager
async def serving(raw: bytes, *, piece: int = 10**9, close: bool = False) -> AsyncIterator[tuple[Server, Destination]]:
    made = Server(raw, piece, close)
    server = await asyncio.start_server(made.serve, "127.0.0.1", 0)
    try:
        yield made, destination(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1/chat?x=1")
    finally:
        server.close()


@pytest.fixture
async def pool() -> AsyncIterator[Pool]:
    made = Pool(resolve, ssl.create_default_context(), per_origin=4)
    yield made
    made.close()
    await asyncio.sleep(0)


async def ask(pool: Pool, where: Destination, *, within: float = 30.0) -> tuple[int, bytes]:
    until = time.monotonic() + within
    answer = await pool.post(where, header_lines({"a": "b"}), b"{}", connect_until=until, until=until)
    try:
        body = b""
        while part := await answer.piece(until):
            body += part
    finally:
        answer.release()
    return answer.status, body


@pytest.mark.parametrize("piece", [10**9, 1, 7])
@pytest.mark.parametrize("raw", [LENGTH, CHUNKED, INTERIM, GZIP], ids=["length", "chunked", "interim", "gzip"])
async def test_answers_in_any_pieces_and_the_connection_is_kept(pool: Pool, raw: bytes, piece: int) -> None:
    async with serving(raw, piece=piece) as (server, where):
        for _ in range(3):
            assert await ask(pool, where) == (200, b"hello")
        assert server.connections == 1
        assert server.requests[0].startswith(b"POST /v1/chat?x=1 HTTP/1.1\r\nhost: 127.0.0.1:")
        assert server.requests[0].endswith(b"a: b\r\ncontent-length: 2\r\n\r\n{}")


async def test_an_answer_that_ends_with_its_connection(pool: Pool) -> None:
    async with serving(UNTIL_END, close=True) as (server, where):
        assert await ask(pool, where) == (200, b"hello")
        assert await ask(pool, where) == (200, b"hello")
        assert server.connections == 2


@pytest.mark.parametrize("raw", [LENGTH, CHUNKED], ids=["length", "chunked"])
async def test_every_cut_is_an_error_and_never_a_short_answer(pool: Pool, raw: bytes) -> None:
    for cut in range(len(raw)):
        async with serving(raw[:cut], close=True) as (_, where):
            with pytest.raises(Http1Error):
                await ask(pool, where)


@pytest.mark.parametrize(
    "raw",
    [
        b"SSH-2.0-OpenSSH\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: x\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"".join(b"h%d: v\r\n" % i for i in range(10_000)) + b"\r\n",
        b"HTTP/1.1 200 OK\r\nx: " + b"v" * 70_000 + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 5\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\ncontent-encoding: br\r\ncontent-length: 5\r\n\r\nhello",
    ],
    ids=["not http", "bad length", "many headers", "long header", "no gzip", "unasked encoding"],
)
async def test_nonsense(pool: Pool, raw: bytes) -> None:
    async with serving(raw) as (_, where):
        with pytest.raises(Http1Error):
            await ask(pool, where)


async def test_a_second_answer_is_never_the_next_requests_answer(pool: Pool) -> None:
    async with serving(LENGTH + LENGTH.replace(b"hello", b"other")) as (_, where):
        for _ in range(3):
            with contextlib.suppress(Http1Error):  # also right: the connection is given up
                assert await ask(pool, where) == (200, b"hello")


@pytest.mark.parametrize("more", [b"H", b"HTTP/1.1 200 OK\r\nx: "])
async def test_the_beginning_of_a_second_answer_is_nothing_to_the_next_request(pool: Pool, more: bytes) -> None:
    async with serving(LENGTH + more) as (server, where):
        for _ in range(3):
            with contextlib.suppress(Http1Error):
                assert await ask(pool, where) == (200, b"hello")
        assert server.connections == 3


async def test_a_longer_patience_after_a_short_one_and_the_other_way_round(pool: Pool) -> None:
    async with serving(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n") as (_, where):  # never its body
        far = time.monotonic() + 30
        answer = await pool.post(where, b"", b"", connect_until=far, until=far)
        for within in (0.02, 0.1, 0.02):
            began = time.monotonic()
            with pytest.raises(TimeoutError):
                await answer.piece(began + within)
            assert time.monotonic() - began >= within - 0.002
        answer.release()


async def test_places_go_to_whoever_waited_longest_and_none_is_lost() -> None:
    places = Places(1)
    assert places.take() and not places.take()
    gone, first, second = (asyncio.create_task(places.wait()) for _ in range(3))
    await asyncio.sleep(0)
    gone.cancel()
    await asyncio.sleep(0)
    places.leave()
    first.cancel()  # in the very moment it is its turn
    places.take()
    await asyncio.wait([gone, first, second], timeout=60)
    assert gone.cancelled() and first.cancelled() and second.done() and not second.cancelled()
    assert not places.take()
    places.leave()
    assert places.take()


async def test_a_bomb_is_unpacked_in_bounded_pieces(pool: Pool) -> None:
    packed = gzip.compress(bytes(50_000_000))
    raw = b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: %d\r\n\r\n" % len(packed) + packed
    async with serving(raw) as (_, where):
        until = time.monotonic() + 60
        answer = await pool.post(where, b"", b"", connect_until=until, until=until)
        for _ in range(4):
            assert 0 < len(await answer.piece(until)) <= 1024 * 1024
        answer.release()


async def test_time_outs_and_cancels_give_their_place_back(pool: Pool) -> None:
    async with serving(b"") as (_, where):
        for _ in range(12):  # more than the pool has places
            with pytest.raises(TimeoutError):
                await ask(pool, where, within=0.02)
        for _ in range(12):
            task = asyncio.create_task(ask(pool, where))
            await asyncio.sleep(0.005)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        assert pool.used == 0 and pool.idle == 0
    async with serving(LENGTH) as (_, where):
        answers = await asyncio.gather(*(ask(pool, where) for _ in range(40)))
        assert set(answers) == {(200, b"hello")}
        assert pool.used == 0 and pool.idle <= 4


async def test_nobody_listens(pool: Pool) -> None:
    with pytest.raises(OSError):
        await ask(pool, destination("http://127.0.0.1:9/"))


def test_addresses_and_headers_are_checked_once() -> None:
    assert destination("https://api.openai.com/v1").origin == (True, "api.openai.com", 443, "")
    for wrong in ("ftp://x/", "nothing", "http://"):
        with pytest.raises(ValueError):
            destination(wrong)
    with pytest.raises(ValueError):
        header_lines({"a": "b\r\nhost: evil"})
