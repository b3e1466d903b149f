"""The fast lane speaks HTTP/1.1 itself: whatever the bytes look like, it says what any server would."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from gateway_server import KEY
from rough import BODY, Start
from scripted import Line, Provider, chunk
from stopwatch import Stopwatch

from gateway.resilience.known_head import learn

PATH = "/v1/chat/completions"


def request(
    body: bytes, *, path: str = PATH, extra: str = "", framing: str | None = None, version: str = "1.1"
) -> bytes:
    framing = f"content-length: {len(body)}" if framing is None else framing
    head = f"POST {path} HTTP/{version}\r\nHost: x\r\nAuthorization: Bearer {KEY}\r\n{extra}{framing}\r\n\r\n"
    return head.encode() + body


def chunked(body: bytes, size: int) -> bytes:
    parts = [body[at : at + size] for at in range(0, len(body), size)]
    return b"".join(b"%x\r\n%b\r\n" % (len(one), one) for one in parts) + b"0\r\n\r\n"


class Wire:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def answer(self) -> tuple[int, dict[str, str], bytes]:
        async with asyncio.timeout(60):
            head = (await self.reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
            headers = dict(line.lower().split(": ", 1) for line in head[1:] if line)
            if headers.get("transfer-encoding") == "chunked":
                body = b""
                while size := int((await self.reader.readline()).strip(), 16):
                    body += await self.reader.readexactly(size)
                    await self.reader.readexactly(2)
                await self.reader.readexactly(2)
            else:
                body = await self.reader.readexactly(int(headers.get("content-length", "0")))
        return int(head[0].split()[1]), headers, body


@asynccontextmanager
async def wire(url: str) -> AsyncIterator[Wire]:
    reader, writer = await asyncio.open_connection("127.0.0.1", int(url.rsplit(":", 1)[1]))
    try:
        yield Wire(reader, writer)
    finally:
        writer.close()


RAW = json.dumps(BODY).encode()
LONG = json.dumps({**BODY, "messages": [{"role": "user", "content": "x" * 400_000}]}).encode()


@pytest.mark.parametrize("piece", [1, 7, 10**9])
async def test_requests_however_their_bytes_are_cut(start: Start, first: Provider, piece: int) -> None:
    raw = request(RAW)
    async with start({"first": first.url}) as (served, _), wire(served.url) as line:
        for _ in range(2):
            for at in range(0, len(raw), piece):
                line.writer.write(raw[at : at + piece])
                await line.writer.drain()
                if piece < len(raw):
                    await asyncio.sleep(0)
            status, headers, body = await line.answer()
            assert status == 200 and headers["content-type"] == "application/json" and headers["date"]
            assert (
                headers["x-request-id"].startswith("req_") and float(headers["x-understudy-overhead-ms"]) > 0
            )
            assert json.loads(body)["choices"][0]["message"]["content"] == "hello"


@pytest.mark.parametrize("body", [RAW, LONG], ids=["short", "long"])
async def test_chunked_requests(start: Start, first: Provider, body: bytes) -> None:
    async with start({"first": first.url}) as (served, _), wire(served.url) as line:
        line.writer.write(request(chunked(body, 60_000), framing="transfer-encoding: chunked"))
        assert (await line.answer())[0] == 200
        assert first.seen[0].body["messages"] == json.loads(body)["messages"]


async def test_pipelined_requests_are_answered_in_order(start: Start, first: Provider) -> None:
    async with start({"first": first.url}) as (served, _), wire(served.url) as line:
        bodies = [
            json.dumps({**BODY, "messages": [{"role": "user", "content": str(n)}]}).encode() for n in range(5)
        ]
        mixed = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
        line.writer.write(request(bodies[0]) + mixed + b"".join(map(request, bodies[1:])))
        answers = [await line.answer() for _ in range(6)]
    assert [status for status, _, _ in answers] == [200] * 6
    assert "choices" not in json.loads(answers[1][2])
    said = [one.body["messages"][0]["content"] for one in first.seen]
    assert said == ["0", "1", "2", "3", "4"]


async def test_a_pipelining_client_that_leaves_frees_the_upstream(start: Start, first: Provider) -> None:
    first.behave = lambda line: line.hang()
    async with start({"first": first.url}) as (served, _):
        async with wire(served.url) as line:
            line.writer.write(request(RAW) + request(RAW))
            while not first.seen:
                await asyncio.sleep(0.005)
        watch = Stopwatch()
        async with asyncio.timeout(60):
            await first.seen[0].peer_left.wait()
        assert watch.seconds < 1.0 and len(first.seen) == 1


async def test_a_client_that_asks_before_it_sends_is_told_to_go_on(start: Start, first: Provider) -> None:
    async with start({"first": first.url}) as (served, _), wire(served.url) as line:
        head, _, body = request(RAW, extra="Expect: 100-continue\r\n").partition(b"\r\n\r\n")
        line.writer.write(head + b"\r\n\r\n")
        async with asyncio.timeout(60):
            assert await line.reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        line.writer.write(body)
        assert (await line.answer())[0] == 200


@pytest.mark.parametrize(
    "raw",
    [
        request(RAW, path=PATH + "?a=b"),
        request(RAW, version="1.0", extra="Connection: keep-alive\r\n"),
        request(RAW, extra="Connection: close\r\n"),
    ],
    ids=["a query", "HTTP/1.0", "close"],
)
async def test_requests_beside_the_lane_are_answered_too(start: Start, first: Provider, raw: bytes) -> None:
    async with start({"first": first.url}) as (served, _), wire(served.url) as line:
        line.writer.write(raw)
        status, headers, body = await line.answer()
        assert status == 200 and json.loads(body)["choices"]
        if b"Connection: close" in raw:
            assert headers["connection"] == "close" and await line.reader.read() == b""


async def test_what_is_wrong_with_a_request_is_said(start: Start, first: Provider) -> None:
    async with start({"first": first.url}, settings="server: {max_body_bytes: 2000}") as (served, _):
        for raw, expected in [
            (request(b"{nope"), 400),
            (request(b""), 400),
            (request(RAW).replace(KEY.encode(), b"sk-wrong"), 401),
            (request(LONG), 413),
            (request(chunked(LONG, 50_000), framing="transfer-encoding: chunked"), 413),
            (request(b"zz", framing="transfer-encoding: chunked"), 400),
            (b"POST / HTTP/9.9\r\n\r\n", 400),
        ]:
            async with wire(served.url) as line:
                line.writer.write(raw)
                assert (await line.answer())[0] == expected, raw[:200]
    assert not first.seen


async def test_a_model_with_a_line_break_smuggles_no_header(start: Start, first: Provider) -> None:
    async with start({"first": first.url}) as (served, _), wire(served.url) as line:
        body = json.dumps({**BODY, "model": "first/m\r\nx-evil: yes"}).encode()
        line.writer.write(request(body))
        _, headers, _ = await line.answer()
        assert "x-evil" not in headers


async def test_streams_and_whole_answers_share_a_connection(start: Start, first: Provider) -> None:
    async with start({"first": first.url}) as (served, _), wire(served.url) as line:
        for stream in (True, False, True):
            line.writer.write(request(json.dumps({**BODY, "stream": stream}).encode()))
            status, headers, body = await line.answer()
            assert status == 200
            assert body.endswith(b"data: [DONE]\n\n") is stream
            assert headers["content-type"].startswith("text/event-stream" if stream else "application/json")


async def test_a_slow_reader_of_a_long_stream_gets_all_of_it(start: Start, first: Provider) -> None:
    async def long(line: Line) -> None:
        events = [chunk({"content": "y" * 1000}) for _ in range(3000)]
        raw = b"".join(b"data: " + json.dumps(one).encode() + b"\n\n" for one in events)
        await line.stream(raw + b"data: [DONE]\n\n")

    first.behave = long
    async with start({"first": first.url}) as (served, _), wire(served.url) as line:
        line.writer.write(request(json.dumps({**BODY, "stream": True}).encode()))
        await asyncio.sleep(0.3)
        _, _, body = await line.answer()
    assert body.count(b"y" * 1000) == 3000 and body.endswith(b"data: [DONE]\n\n")


# ---------------------------------------------------------------------- a head that is known from the call before
def asking(text: str) -> bytes:
    return json.dumps({**BODY, "messages": [{"role": "user", "content": text}]}).encode()


async def test_calls_with_the_same_head_have_bodies_and_keys_of_their_own(start: Start, first: Provider) -> None:
    async with start({"first": first.url}) as (served, _), wire(served.url) as line:
        stranger = request(asking("three")).replace(KEY.encode(), KEY.encode()[::-1])
        told = [request(asking("one")), request(asking("twenty-two")), stranger, request(asking("four"))]
        answers = []
        for raw in told:
            line.writer.write(raw)
            answers.append(await line.answer())
    assert [status for status, _, _ in answers] == [200, 200, 401, 200]
    assert [one.body["messages"][0]["content"] for one in first.seen] == ["one", "twenty-two", "four"]
    assert len({headers["x-request-id"] for _, headers, _ in answers}) == 4


@pytest.mark.parametrize("cut", [1, 40, -1, -len(RAW), -len(RAW) - 2])
async def test_a_known_head_that_comes_in_pieces(start: Start, first: Provider, cut: int) -> None:
    raw = request(RAW)
    async with start({"first": first.url}) as (served, _), wire(served.url) as line:
        for _ in range(2):
            line.writer.write(raw)
            assert (await line.answer())[0] == 200
        line.writer.write(raw[:cut])
        await line.writer.drain()
        await asyncio.sleep(0.05)
        line.writer.write(raw[cut:] + request(asking("behind it")))
        assert [(await line.answer())[0] for _ in range(2)] == [200, 200]
    assert [one.body["messages"][0]["content"] for one in first.seen][3:] == ["behind it"]


@pytest.mark.parametrize("length", ["+5", "0x5", "5 5", "", "99999999999"])
async def test_a_known_head_with_a_strange_length_is_refused(start: Start, first: Provider, length: str) -> None:
    async with start({"first": first.url}) as (served, _), wire(served.url) as line:
        line.writer.write(request(RAW))
        assert (await line.answer())[0] == 200
        line.writer.write(request(RAW, framing=f"content-length: {length}"))
        assert (await line.answer())[0] == (413 if length.isdigit() else 400)


async def test_junk_behind_a_known_head_is_refused_as_behind_any(start: Start, first: Provider) -> None:
    async with start({"first": first.url}) as (served, _), wire(served.url) as line:
        line.writer.write(request(RAW))
        assert (await line.answer())[0] == 200
        line.writer.write(request(RAW) + b"junk\r\n\r\n")
        assert (await line.answer())[0] == 400


async def test_the_last_answer_of_a_known_head_ends_the_connection_that_asked_for_it(
    start: Start, first: Provider
) -> None:
    async with start({"first": first.url}) as (served, _), wire(served.url) as line:
        for extra in ("", "", "Connection: close\r\n"):
            line.writer.write(request(RAW, extra=extra))
            assert (await line.answer())[0] == 200
        async with asyncio.timeout(60):
            assert await line.reader.read() == b""


@pytest.mark.parametrize(
    "raw",
    [
        request(chunked(b"{}", 1), framing="transfer-encoding: chunked"),
        request(b"{}") + request(b"{}"),
        request(b"{}")[:-1],
        request(b"{}", extra="x-note: " + "y" * 9000 + "\r\n"),
        b"POST / HTTP/1.1\r\nx-note: content-length: 2\r\n\r\n{}",
    ],
    ids=["chunks", "two", "a part", "too long", "a length in a value"],
)
def test_heads_that_are_not_remembered(raw: bytes) -> None:
    assert learn(raw, {}) is None


def test_a_head_is_known_by_all_its_bytes_and_one_whole_body() -> None:
    raw = request(b'{"a": 1}')
    known = learn(raw, {"host": "x", "content-length": "8"})
    assert known is not None and known.again(raw) == ({"host": "x", "content-length": "8"}, b'{"a": 1}')
    assert known.again(request(b"")) == ({"host": "x", "content-length": "0"}, b"")
    for at in range(len(raw)):
        assert known.again(raw[:at]) is None and known.again(raw[:at] + b"\0" + raw[at + 1 :]) in (
            None, ({"host": "x", "content-length": "8"}, raw[-8:at - len(raw)] + b"\0" + raw[at + 1 :])
        )  # fmt: skip
    assert known.again(raw + b"x") is None
