"""Clients on raw sockets: what two parsers could read in two ways, floods, half-closed and idle connections."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
from typing import Any

import httpx
import pytest
from gateway_server import KEY, Gateway
from rough import BODY, Start, ask
from scripted import Line, Provider, usual

BYTES = json.dumps(BODY).encode()
CHUNKED = b"%x\r\n" % len(BYTES) + BYTES + b"\r\n0\r\n\r\n"
TE = "transfer-encoding: chunked\r\n"


def request(
    more: str = "", body: bytes = BYTES, *, length: bool = True, version: str = "HTTP/1.1", host: str = "host: x\r\n",
    key: str = KEY,
) -> bytes:  # fmt: skip
    head = f"POST /v1/chat/completions {version}\r\n{host}authorization: Bearer {key}\r\n{more}"
    return f"{head}{f'content-length: {len(body)}' if length else 'x: y'}\r\n\r\n".encode("latin-1") + body


async def said(served: Gateway, data: bytes, *, piece: int = 0) -> bytes:
    """Everything the gateway says until it closes, or has said a whole answer and nothing for a while."""
    reader, writer = await asyncio.open_connection("127.0.0.1", int(served.url.rsplit(":", 1)[1]))
    found = b""
    with contextlib.suppress(ConnectionError, TimeoutError):
        for at in range(0, len(data), piece or len(data)):
            writer.write(data[at : at + (piece or len(data))])
            await writer.drain()
            if piece:
                await asyncio.sleep(0)
        while True:
            part = await asyncio.wait_for(reader.read(65536), 5 if not _whole(found) else 0.15)
            if not part:
                break
            found += part
    writer.close()
    return found


def _whole(found: bytes) -> bool:
    head, _, body = found.partition(b"\r\n\r\n")
    length = re.search(rb"content-length: (\d+)", head)
    return length is not None and len(body) >= int(length.group(1))


async def answers(served: Gateway, data: bytes, **more: Any) -> list[int]:
    return [int(one) for one in re.findall(rb"HTTP/1\.1 (\d{3})", await said(served, data, **more))]


async def first_answer(served: Gateway, data: bytes, *, piece: int = 0) -> tuple[int, Any]:
    reader, writer = await asyncio.open_connection("127.0.0.1", int(served.url.rsplit(":", 1)[1]))
    with contextlib.suppress(ConnectionError):
        for at in range(0, len(data), piece or len(data)):
            writer.write(data[at : at + (piece or len(data))])
            await writer.drain()
    try:
        head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 60)
        length = re.search(rb"content-length: (\d+)", head)
        body = await reader.readexactly(int(length.group(1))) if length else b"null"
        return int(head[9:12]), json.loads(body)
    finally:
        writer.close()


AMBIGUOUS = {
    "a length and chunks": request(TE, CHUNKED),
    "two equal lengths": request(f"content-length: {len(BYTES)}\r\n"),
    "two lengths": request("content-length: 3\r\n"),
    "a list of lengths": request("content-length: 5, 5\r\n", length=False),
    "a negative length": request("content-length: -5\r\n", length=False),
    "a signed length": request("content-length: +5\r\n", length=False),
    "an endless length": request("content-length: 99999999999999999999999\r\n", length=False),
    "chunks twice": request(TE + TE, CHUNKED, length=False),
    "an encoding with a space": request("transfer-encoding : chunked\r\n", CHUNKED, length=False),
    "an encoding with a tab": request("transfer-encoding: \x0bchunked\r\n", CHUNKED, length=False),
    "an unknown encoding": request("transfer-encoding: xchunked\r\n", CHUNKED, length=False),
    "two encodings": request("transfer-encoding: gzip, chunked\r\n", CHUNKED, length=False),
    "a folded header": request("x-a: b\r\n c: d\r\n"),
    "two hosts": request(host="host: x\r\nhost: y\r\n"),
    "no host": request(host=""),
    "a host with a path": request(host="host: x/../y@z\r\n"),
    "two keys": request("authorization: Bearer another-key-altogether\r\n"),
    "a space in a name": request("x y: z\r\n"),
    "no name": request(": z\r\n"),
    "a zero byte": request("x: a\0b\r\n"),
    "bare line feeds": request().replace(b"\r\n", b"\n"),
    "HTTP/9.9": request(version="HTTP/9.9"),
    "HTTP/0.9": b"GET /healthz\r\n\r\n",
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "TLS": bytes.fromhex("16030100a5010000a10303") + bytes(160),
    "a tunnel": b"CONNECT inside:443 HTTP/1.1\r\nhost: inside:443\r\n\r\n",
    "a size that is none": request(TE, b"zz\r\n" + BYTES, length=False),
    "a negative size": request(TE, b"-5\r\n" + BYTES, length=False),
    "an endless size": request(TE, b"f" * 20 + b"\r\n" + BYTES, length=False),
    "no line end after a chunk": request(TE, b"%x\r\n" % len(BYTES) + BYTES + b"XX0\r\n\r\n", length=False),
    "101 headers": request("".join(f"x-{n}: y\r\n" for n in range(101))),
    "5,000 headers": request("".join(f"x-{n}: y\r\n" for n in range(5000))),
    "a header of 80 KiB": request(f"x: {'y' * 80_000}\r\n"),
    "an address of 100 KiB": request().replace(b"/v1/chat", b"/v1/chat?" + b"a" * 100_000, 1),
}


async def test_what_is_no_clear_request_is_refused_with_its_connection(start: Start, first: Provider) -> None:
    smuggled = b"GET /v1/models HTTP/1.1\r\nhost: x\r\n\r\n"
    async with start({"first": first.url}) as (served, client):
        for kind, data in AMBIGUOUS.items():
            for piece in (0, 7 if len(data) < 1000 else 4096):
                status, body = await first_answer(served, data, piece=piece)
                assert status in (400, 431, 501, 505), (kind, status)
                assert set(body["error"]) == {"message", "type", "param", "code"}
            said_then = await answers(served, data + smuggled)
            assert len(said_then) <= 1, kind  # nothing after it is read
            assert not first.seen, kind
        assert (await ask(client)).status_code == 200


async def test_what_stands_after_the_body_is_no_header(start: Start, first: Provider) -> None:
    """A proxy in front checks headers; trailers pass it by and must not take their place."""
    trailers = f"authorization: Bearer {KEY}\r\nx-understudy-force: teacher\r\n".encode()
    body = b"%x\r\n" % len(BYTES) + BYTES + b"\r\n0\r\n" + trailers + b"\r\n"
    async with start({"first": first.url}) as (served, _):
        assert await answers(served, request(TE, body, length=False, key="nobody-knows-this-key-01")) == [401]
        other = body.replace(KEY.encode(), b"nobody-knows-this-key-01")
        assert await answers(served, request(TE, other, length=False)) == [200]
    assert len(first.seen) == 1


@pytest.mark.parametrize("flood", ["trailers", "extensions"])
async def test_a_body_that_is_all_frame_is_cut(start: Start, first: Provider, flood: str) -> None:
    async with start({"first": first.url}) as (served, client):
        reader, writer = await asyncio.open_connection("127.0.0.1", int(served.url.rsplit(":", 1)[1]))
        writer.write(request(TE, b"5;" if flood == "extensions" else b"0\r\nx: ", length=False))
        with contextlib.suppress(ConnectionError):
            async with asyncio.timeout(60):
                while True:
                    writer.write(b"y" * 100_000)
                    await writer.drain()
                    await asyncio.sleep(0.001)
        writer.close()
        with contextlib.suppress(ConnectionError):
            assert (await reader.read())[9:12] in (b"400", b"")
        assert not first.seen and (await ask(client)).status_code == 200


async def test_chunks_of_one_byte_are_a_body_like_any_other(start: Start, first: Provider) -> None:
    long = json.dumps({**BODY, "messages": [{"role": "user", "content": "x" * 30_000}]}).encode()
    body = b"".join(b"1\r\n%c\r\n" % one for one in long) + b"0\r\n\r\n"
    async with start({"first": first.url}) as (served, _):
        assert await answers(served, request(TE, body, length=False)) == [200]
    assert len(first.seen[0].body["messages"][0]["content"]) == 30_000


@pytest.mark.parametrize("piece", [0, 11])
async def test_an_offer_to_upgrade_is_not_taken_and_the_request_is(start: Start, first: Provider, piece: int) -> None:
    """Java's HttpClient offers h2c on every plain connection and means its request to be answered all the same."""
    offer = "connection: Upgrade, HTTP2-Settings\r\nupgrade: h2c\r\nhttp2-settings: AAEAAEAAAAIAAAAB\r\n"
    async with start({"first": first.url}) as (served, _):
        assert await answers(served, request(offer) + request(), piece=piece) == [200, 200]
        assert await answers(served, request(offer + TE, CHUNKED, length=False), piece=piece) == [200]
        closing = offer.replace("Upgrade,", "close, Upgrade,")
        assert b"connection: close" in (await said(served, request(closing))).lower()
        assert await answers(served, request(offer, key="nobody-knows-this-key-01")) == [401]
    assert [seen.body["messages"] for seen in first.seen] == [BODY["messages"]] * 4


async def test_pipelined_requests_are_answered_in_their_order(start: Start, first: Provider) -> None:
    turn = 0

    async def behave(line: Line) -> None:
        nonlocal turn
        turn += 1
        await asyncio.sleep(0.05 if turn == 1 else 0)
        await line.answer(200, {**line_answer, "id": f"answer-{turn}"})

    from scripted import COMPLETION as line_answer  # noqa: N811

    first.behave = behave
    async with start({"first": first.url}) as (served, _):
        wrong = request(key="nobody-knows-this-key-01")
        data = await _until(served, request() + wrong + request(), 3)
    assert re.findall(rb"HTTP/1\.1 (\d{3})", data) == [b"200", b"401", b"200"]
    assert len(first.seen) == 2


async def _until(served: Gateway, data: bytes, count: int) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", int(served.url.rsplit(":", 1)[1]))
    writer.write(data)
    found = b""
    async with asyncio.timeout(60):
        while found.count(b"HTTP/1.1") < count or not found.endswith(b"}"):
            found += await reader.read(65536)
    writer.close()
    return found


async def test_who_expects_to_be_told_to_continue_is_told(start: Start, first: Provider) -> None:
    async with start({"first": first.url}) as (served, _):
        reader, writer = await asyncio.open_connection("127.0.0.1", int(served.url.rsplit(":", 1)[1]))
        head, _, body = request("expect: 100-continue\r\n").partition(b"\r\n\r\n")
        writer.write(head + b"\r\n\r\n")
        assert (await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 60)).startswith(b"HTTP/1.1 100")
        assert not first.seen
        writer.write(body)
        assert (await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 60)).startswith(b"HTTP/1.1 200")
        writer.close()
        # one whose body is too large is told so instead, and need not send it
        reader, writer = await asyncio.open_connection("127.0.0.1", int(served.url.rsplit(":", 1)[1]))
        large = head.replace(b"content-length: ", b"content-length: 9999999")
        writer.write(large + b"\r\n\r\n")
        told = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 60)
        assert b" 413 " in told or b" 413 " in await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 60)
        writer.close()


async def test_a_half_closed_connection_is_a_client_that_has_left(start: Start, first: Provider) -> None:
    async def hang(line: Line) -> None:
        await line.hang()

    first.behave = hang
    async with start({"first": first.url}) as (served, client):
        reader, writer = await asyncio.open_connection("127.0.0.1", int(served.url.rsplit(":", 1)[1]))
        writer.write(request())
        async with asyncio.timeout(60):
            while not first.seen:
                await asyncio.sleep(0.005)
            writer.write_eof()
            await first.seen[0].peer_left.wait()
            assert await reader.read() == b""
        writer.close()
        first.behave = usual
        assert (await ask(client)).status_code == 200


async def test_row_17_five_hundred_half_open_sockets_harm_nobody(start: Start, first: Provider) -> None:
    """Some say nothing, some begin a header, some a body: all are gone after their time, and others do not wait."""
    settings = "server: {header_timeout_s: 2, body_timeout_s: 2, max_connections: 600}"
    beginnings = [b"", b"POST /v1/chat", request()[:60], request()[:-5], b"GET /healthz HTTP/1.1\r\nhost: x\r\nx: "]
    async with start({"first": first.url}, settings=settings) as (served, client):
        port = int(served.url.rsplit(":", 1)[1])
        held = []
        for number in range(500):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(beginnings[number % len(beginnings)])
            held.append((reader, writer))
        answered = [await ask(client, stream=bool(number % 2)) for number in range(20)]
        assert {one.status_code for one in answered} == {200}
        async with asyncio.timeout(60):
            ends = await asyncio.gather(*[reader.read() for reader, _ in held])
        assert {one[9:12] for one in ends} == {b"408"}
        for _, writer in held:
            writer.close()
        assert (await ask(client)).status_code == 200
    assert len(first.seen) == 21


async def test_many_idle_connections_cost_nobody_anything(start: Start, first: Provider) -> None:
    async with start({"first": first.url}) as (served, client):
        port = int(served.url.rsplit(":", 1)[1])
        idle = [await asyncio.open_connection("127.0.0.1", port) for _ in range(300)]
        for reader, writer in idle:  # kept alive after an answer
            writer.write(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n")
            await reader.readuntil(b"}")
        assert {one.status_code for one in await asyncio.gather(*[ask(client) for _ in range(50)])} == {200}
        for reader, writer in idle[::10]:
            writer.write(request())
            assert (await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 60)).startswith(b"HTTP/1.1 200")
        for _, writer in idle:
            writer.close()


async def test_the_key_is_nowhere_in_what_is_refused(start: Start, first: Provider, caplog: pytest.LogCaptureFixture) -> None:
    async with start({"first": first.url}) as (served, client):
        for kind in ("two hosts", "two keys", "5,000 headers", "a folded header"):
            told = await first_answer(served, AMBIGUOUS[kind])
            assert KEY not in str(told)
        wrong: httpx.Response = await client.get("/v1/models", headers={"authorization": "Bearer sk-wrong-key-123456789"})
        assert wrong.status_code == 401 and "123456" not in wrong.text
    assert KEY not in caplog.text
