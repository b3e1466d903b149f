"""Streams and answers that go wrong, and the second call beside a slow one."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import time
from typing import Any

import httpx
import pytest
from peak import Peak
from rough import BODY, Start, ask, events
from scripted import CHUNKS, Line, Provider, chunk, sse, usual

from gateway.providers import OpenAIProvider
from gateway.providers.codec import AttemptFailed
from gateway.resilience.hedging import Hedging
from gateway.upstreams.asking import UpstreamStream


async def _read(client: httpx.AsyncClient) -> str:
    answer = await client.post("/v1/chat/completions", json={**BODY, "stream": True})
    assert answer.status_code == 200
    return answer.text


@pytest.mark.parametrize("share", [0.5, 0.8, 0.99])
async def test_row_18_a_cut_stream_ends_in_an_error_event(
    start: Start, first: Provider, share: float
) -> None:
    raw = sse([chunk({"content": "x" * 300}) for _ in range(6)])

    async def cut(line: Line) -> None:
        await line.stream(raw[: int(len(raw) * share)], cut=True, piece=100, pause=0.002)

    first.behave = cut
    async with start({"first": first.url}) as (served, client):
        found = events(await _read(client))
        records = served.records()
    assert found[-1]["error"]["type"] == "server_error" and "[DONE]" not in found
    assert len(first.seen) == 1  # never asked again after the first byte
    assert records[-1].status == "upstream_cut"  # type: ignore[attr-defined]


class _Bytes:
    """A reply whose body is cut at one byte."""

    lease = None

    def __init__(self, raw: bytes) -> None:
        self._parts = [raw, b""]

    async def piece(self) -> bytes:
        return self._parts.pop(0)

    def rest(self) -> bytes:
        return b""

    def release(self) -> None:
        pass


async def test_row_18_at_every_byte_of_a_stream() -> None:
    raw = sse([chunk({"content": "wörd " * 60}) for _ in range(10)])
    end = raw.index(b"[DONE]") + len(b"[DONE]\n")
    assert len(raw) > 5000  # so much that its beginning is passed on first
    for at in range(len(raw)):
        codec = OpenAIProvider(base_url="http://x").build("p", "")
        told: list[bool] = []
        stream = UpstreamStream(_Bytes(raw[:at]), codec.stream())  # type: ignore[arg-type]
        stream.on_end(told.append)
        cut = False
        try:
            async for _ in stream:
                pass
        except AttemptFailed:
            cut = True
        assert cut is (at <= end), at
        assert told == [not cut]


async def test_the_first_words_of_a_stream_leave_before_those_behind_them_are_read() -> None:
    """Also where a provider is so fast that they have come together."""
    said = [f"word{number} " for number in range(300)]
    codec = OpenAIProvider(base_url="http://x").build("p", "")
    stream = UpstreamStream(_Bytes(sse([chunk({"content": one}) for one in said])), codec.stream())  # type: ignore[arg-type]
    await stream.prime()
    told, left = [(await anext(stream)).text, *(one.text for one in stream.arrived())], False

    def leave() -> None:
        nonlocal left
        left = True

    asyncio.get_running_loop().call_soon(leave)
    assert 1 <= len("".join(told).split()) < 20
    told.append((await anext(stream)).text)
    assert left
    assert "".join([*told, *[one.text async for one in stream]]) == "".join(said)


async def test_row_19_an_error_event_is_passed_on_as_one_and_counts_as_a_failure(
    start: Start, first: Provider, spare: Provider
) -> None:
    async def broken(line: Line) -> None:
        await line.start(200, {"content-type": "text/event-stream", "transfer-encoding": "chunked"})
        for part in (sse(CHUNKS[:2], done=False), sse([{"error": {"message": "overloaded"}}])):
            line.writer.write(f"{len(part):x}\r\n".encode() + part + b"\r\n")
            await line.writer.drain()
            await asyncio.sleep(0.03)
        line.writer.write(b"0\r\n\r\n")

    first.behave = broken
    async with start({"first": first.url, "spare": spare.url}) as (served, client):
        for _ in range(5):
            found = events(await _read(client))
            assert found[-1]["error"]["message"] and "[DONE]" not in found
        assert (await ask(client)).headers["x-understudy-candidate"] == "spare/m"
        records = served.records()
    assert all(one.text is None for one in records[:5])  # type: ignore[attr-defined]


async def test_row_19_before_the_first_chunk_another_candidate_is_asked(
    start: Start, first: Provider, spare: Provider
) -> None:
    async def broken(line: Line) -> None:
        await line.stream(sse([{"error": {"message": "overloaded"}}]))

    first.behave = broken
    async with start({"first": first.url, "spare": spare.url}) as (_, client):
        found = events(await _read(client))
    assert found[-1] == "[DONE]" and len(spare.seen) == 1


PLAIN = sse()
ODD = {
    "CRLF": PLAIN.replace(b"\n", b"\r\n"),
    "CR": PLAIN.replace(b"\n", b"\r"),
    "no space": PLAIN.replace(b"data: ", b"data:"),
    "comments": b": hello\n\n" + PLAIN.replace(b"data: ", b": c\nid: 7\nretry: 5\ndata: "),
    "BOM": b"\xef\xbb\xbf" + PLAIN,
    "multi-line data": PLAIN.replace(b'", "', b'",\ndata: "'),
    "no final blank line": PLAIN.removesuffix(b"\n"),
}


@pytest.mark.parametrize("kind", sorted(set(ODD) - {"no final blank line"}))
@pytest.mark.parametrize("piece", [0, 1])
async def test_row_20_odd_streams_say_the_same(start: Start, first: Provider, kind: str, piece: int) -> None:
    async def odd(line: Line) -> None:
        await line.stream(ODD[kind], piece=piece)

    first.behave = odd
    async with start({"first": first.url}) as (_, client):
        found = events(await _read(client))
    assert found[-1] == "[DONE]"
    assert "".join(one["choices"][0]["delta"].get("content", "") for one in found[:-1]) == "hello"


async def test_row_20_a_line_of_five_megabytes_is_refused(start: Start, first: Provider) -> None:
    async def long(line: Line) -> None:
        with contextlib.suppress(ConnectionError):
            await line.stream(b"data: " + b"x" * 5_000_000 + b"\n\n", piece=65536)

    first.behave = long
    async with start({"first": first.url}) as (_, client):
        assert (await ask(client, stream=True)).status_code == 502


def _raw(head: bytes, body: bytes = b"") -> Any:
    async def behave(line: Line) -> None:
        line.writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n" + head + b"\r\n" + body)
        with contextlib.suppress(ConnectionError):
            await line.writer.drain()
        line.writer.close()

    return behave


BOMB = gzip.compress(b'{"a": "' + b"0" * 100_000_000 + b'"}', 6)
NONSENSE = {
    "invalid JSON": _raw(b"content-length: 5\r\n", b"{nope"),
    "HTML": _raw(b"content-length: 13\r\n", b"<html></html>"),
    "empty": _raw(b"content-length: 0\r\n"),
    "a list": _raw(b"content-length: 2\r\n", b"[]"),
    "too short": _raw(b"content-length: 9999\r\n", b'{"choices": ['),
    "no choices": _raw(b"content-length: 2\r\n", b"{}"),
    "a gzip bomb": _raw(f"content-encoding: gzip\r\ncontent-length: {len(BOMB)}\r\n".encode(), BOMB),
    "broken gzip": _raw(b"content-encoding: gzip\r\ncontent-length: 5\r\n", b"abcde"),
    "ten thousand headers": _raw(b"".join(b"x-%d: y\r\n" % n for n in range(10_000)) + b"content-length: 2\r\n", b"{}"),
    "a line of a megabyte": _raw(b"x: " + b"y" * 1_000_000 + b"\r\ncontent-length: 2\r\n", b"{}"),
}  # fmt: skip


@pytest.mark.parametrize("kind", sorted(NONSENSE))
async def test_row_21_nonsense_becomes_one_clear_error(start: Start, first: Provider, kind: str) -> None:
    first.behave = NONSENSE[kind]
    peak = Peak()
    async with start({"first": first.url}) as (_, client):
        async with asyncio.timeout(60):
            answer = await ask(client)
        assert answer.status_code == 502
        assert answer.json()["error"]["code"] in ("upstream_error", "provider_unreachable")
        first.behave = usual
        assert (await ask(client)).status_code == 200
    assert peak.grown_mib < 150  # 32 MiB at most are decoded, whatever was promised


async def test_row_22_redirects_are_not_followed(start: Start, first: Provider, spare: Provider) -> None:
    async def away(line: Line) -> None:
        await line.answer(302, {}, {"location": spare.url + "/chat/completions"})

    first.behave = away
    async with start({"first": first.url}) as (_, client):
        assert (await ask(client)).status_code == 502
    assert not spare.seen


async def test_row_22_nor_by_uploads_nor_by_health_checks(start: Start, first: Provider, spare: Provider) -> None:
    """They go over another client, which follows redirects unless it is told not to."""
    asked: list[str] = []

    async def away(line: Line) -> None:
        asked.append(line.seen.path)
        await line.answer(302, {}, {"location": spare.url + "/secrets"})

    first.behave = away
    health = f"upstreams: {{first: {{health: {{url: 'http://127.0.0.1:{first.port}/health', every_s: 0.05, failures: 9}}}}}}"
    async with start({"first": first.url}, settings=health) as (_, client):
        upload = {"file": ("a.wav", b"RIFF", "audio/wav")}
        answer = await client.post("/v1/audio/transcriptions", files=upload, data={"model": "first/m"})
        assert answer.status_code == 502
        async with asyncio.timeout(60):
            while "/health" not in asked:
                await asyncio.sleep(0.01)
    assert "/v1/audio/transcriptions" in asked and not spare.seen


async def test_row_23_an_agreed_stream_carries_comments_while_the_provider_thinks(
    start: Start, first: Provider
) -> None:
    thought = 0.0

    async def thinks(line: Line) -> None:
        nonlocal thought
        await line.start(200, {"content-type": "text/event-stream", "transfer-encoding": "chunked"})
        began = time.monotonic()
        await asyncio.sleep(0.5)
        thought = time.monotonic() - began
        part = sse()
        line.writer.write(f"{len(part):x}\r\n".encode() + part + b"\r\n0\r\n\r\n")

    first.behave = thinks
    async with start({"first": first.url}, settings="server: {ping_s: 0.1}") as (_, client):
        text = await _read(client)
    assert 1 <= text.count(": ping\n\n") <= 1 + thought / 0.1  # a machine that stands still leaves some out
    assert text.index(": ping") < text.index("data: ")
    assert events(text)[-1] == "[DONE]"


async def test_row_23_a_failure_after_the_first_comment_is_an_error_event(
    start: Start, first: Provider
) -> None:
    async def dies(line: Line) -> None:
        await line.start(200, {"content-type": "text/event-stream", "transfer-encoding": "chunked"})
        await asyncio.sleep(0.3)
        line.writer.transport.abort()

    first.behave = dies
    async with start({"first": first.url}, settings="server: {ping_s: 0.1}") as (_, client):
        text = await _read(client)
    found = events(text)
    assert ": ping" in text and found[-1]["error"]["code"] == "upstream_error" and "[DONE]" not in found


async def test_row_24_a_hedge_cuts_the_tail_and_is_billed_once(
    start: Start, first: Provider, spare: Provider
) -> None:
    asked = 0

    async def tail(line: Line) -> None:
        nonlocal asked
        asked += 1
        if asked % 25 == 0:
            await line.hang()
        else:
            await line.answer()

    first.behave = tail
    extra = (
        "  - name: hedged\n    policy: twice\n"
        "policies:\n  - name: twice\n    hedge: {after_ms: 150, budget_share: 0.05}\n"
        "    candidates: [{provider: first, model: m}, {provider: spare, model: m}]\n"
    )
    async with start({"first": first.url, "spare": spare.url}, extra) as (served, client):
        answers = [await ask(client, model="hedged") for _ in range(100)]
        assert {one.status_code for one in answers} == {200}
        for seen in first.seen:
            if seen.peer_left.is_set():
                break
        else:
            pytest.fail("the loser was not hung up on")
        records = served.records()
    hedged = [one for one in records if len(one.attempts) == 2]  # type: ignore[attr-defined]
    assert 1 <= len(hedged) <= 5 and len(spare.seen) == len(hedged)
    assert all(one.provider == "spare" and one.cost_usd == pytest.approx(0.003) for one in hedged)  # type: ignore[attr-defined]
    assert all(sorted(a.outcome for a in one.attempts) == ["cancelled", "ok"] for one in hedged)  # type: ignore[attr-defined]


def test_row_24_at_most_the_agreed_share_is_hedged() -> None:
    hedging, taken = Hedging(), 0
    for _ in range(1000):
        hedging.called()
        taken += hedging.take(0.05)
    assert taken <= 50
