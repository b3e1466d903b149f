"""Streams whose chunks are alike are read and passed on quickly, and say exactly what they said before."""

from __future__ import annotations

import asyncio
import json
import random
from pathlib import Path
from typing import Any

import msgspec
import pytest
from gateway_server import KEY, Gateway, gateway, write_policies
from scripted import Line, Provider, chunk, provider, sse

from gateway.protocol.answer import Chunk, parted
from gateway.protocol.sse import EventParser
from gateway.providers import OpenAIProvider
from gateway.providers.codec import AttemptFailed
from gateway.providers.openai.codec import OpenAIStream

TEXTS = [
    "hel",
    "lo",
    ' "quoted" \\ \n\t',
    "ünïcode 🎉",
    "",
    '"delta":{"content":""}',
    "\u2028",
    "</script>",
    "x" * 5000,
]


def stream() -> OpenAIStream:
    return OpenAIProvider(base_url="http://x").build("p", "").stream()


def events(texts: list[str], **style: Any) -> list[bytes]:
    parts = [chunk({"role": "assistant", "content": ""}), *(chunk({"content": text}) for text in texts)]
    parts += [
        chunk({}, "stop"),
        {**chunk({}), "choices": [], "usage": {"prompt_tokens": 7, "completion_tokens": 3}},
    ]
    return [json.dumps(one, **style).encode() for one in parts]


def raw_of(payloads: list[bytes]) -> bytes:
    return b"".join(b"data: " + one + b"\n\n" for one in payloads) + b"data: [DONE]\n\n"


def read(raw: bytes, cuts: list[int]) -> list[Chunk]:
    decoder, chunks = stream(), []
    for start, end in zip([0, *cuts], [*cuts, len(raw)], strict=True):
        chunks += decoder.feed(raw[start:end])
    return [one for chunk in chunks + decoder.finish() for one in apart(chunk)]


def apart(chunk: Chunk) -> list[Chunk]:
    """What arrived together as the chunks that it is made of."""
    if chunk.pattern is None:
        return [chunk]
    found = []
    while len(chunk.literals) > 1:
        first, chunk = parted(chunk)
        found.append(first)
    found.append(chunk)
    assert all(msgspec.json.decode(one.literals[0]) == one.data["choices"][0]["delta"]["content"] for one in found)
    return found


@pytest.mark.parametrize("style", [{}, {"separators": (",", ":")}, {"ensure_ascii": False}], ids=str)
def test_every_chunk_says_what_decoding_it_alone_says(style: dict[str, Any]) -> None:
    payloads = events(TEXTS, **style)
    raw, rng = raw_of(payloads), random.Random(1)
    for _ in range(40):
        chunks = read(raw, sorted(rng.sample(range(len(raw)), rng.randint(0, 30))))
        assert [one.data for one in chunks] == [json.loads(one) for one in payloads]
        assert [one.text for one in chunks] == ["", *TEXTS, "", ""]
        assert [one.finish_reason for one in chunks][-2] == "stop" and chunks[-1].usage is not None
    plain = [one for one in chunks if one.pattern is not None]
    assert [one.text for one in plain] == TEXTS


def test_what_only_looks_alike_is_decoded_completely() -> None:
    usual = b'{"id":"c","choices":[{"index":0,"delta":{"content":"%b"},"finish_reason":null}]}'
    odd = {
        "another field": usual % b'a","refusal":"b',
        "a second choice": usual % b'a"}},{"index":1,"delta":{"content":"b',
        "an escape": usual % b"a\\u0022b",
    }
    for name, payload in odd.items():
        found = read(raw_of([usual % b"first", payload, usual % b"last"]), [])
        assert [one.data for one in found] == [
            json.loads(usual % b"first"),
            json.loads(payload),
            json.loads(usual % b"last"),
        ], name
    for broken in (usual % b"a\\x", usual % b"a\xff", usual.replace(b'"%b"', b'"'), usual % b'"', b"{nope"):
        decoder = stream()
        found = decoder.feed(raw_of([usual % b"first", usual % b"second", broken]))
        assert [one.text for chunk in found for one in apart(chunk)] == ["first", "second"]
        with pytest.raises(AttemptFailed):
            decoder.finish()


def test_patterns_of_other_meaning_are_no_plain_chunks() -> None:
    others = [
        chunk({"content": "a", "role": "assistant"}), chunk({"content": "a"}, "stop"), chunk({"reasoning_content": "a"}),
        chunk({"content": "a"}, usage={"prompt_tokens": 1}), {**chunk({}), "choices": [{"index": 1, "delta": {"content": "a"}}]},
        {**chunk({}), "choices": [{"index": 0, "delta": {"content": "a"}, "logprobs": {"content": []}}] * 2},
    ]  # fmt: skip
    assert all(one.pattern is None for one in read(raw_of([json.dumps(one).encode() for one in others]), []))


def test_a_vendor_whose_chunks_all_differ_is_read_as_well() -> None:
    parts = [chunk({"content": str(n)}) | {"created": n} for n in range(30)]
    assert [one.data for one in read(raw_of([json.dumps(one).encode() for one in parts]), [])] == parts


def test_alike_and_odd_events_in_any_framing_say_what_each_says_alone() -> None:
    rng = random.Random(3)
    for _ in range(150):
        expected, parts = [], [b"\xef\xbb\xbf"] if rng.random() < 0.2 else []
        for _ in range(rng.randint(1, 12)):
            texts = [rng.choice(TEXTS[:8]) for _ in range(rng.choice((1, 1, 3, 90)))]
            odd = rng.choice(({}, {"role": "assistant"}, {"content": "a", "refusal": "b"}))
            said = [chunk({"content": one}) for one in texts] if rng.random() < 0.6 else [chunk(odd)]
            mark, before = rng.choice((b"\n", b"\n", b"\n", b"\r\n", b"\r")), b""
            if rng.random() < 0.2:
                before = rng.choice((b": ping" + mark, b"event: x" + mark, b"id: 1" + mark + mark, mark))
            expected += said
            parts += [before + b"data: " + json.dumps(one).encode() + mark + mark for one in said]
        raw = b"".join(parts) + b"data: [DONE]\n\n"
        cuts = sorted(rng.sample(range(len(raw)), rng.randint(0, min(9, len(raw)))))
        assert [one.data for one in read(raw, cuts)] == expected


def test_the_parser_sees_the_same_events_whichever_way_it_takes() -> None:
    rng = random.Random(2)
    for _ in range(300):
        lines = rng.choices(
            [b"data: a", b"data: b c", b"data:d", b": note", b"event: x", b"id: 1", b"", b""], k=12
        )
        raw = b"\n".join(lines) + b"\n\n"
        whole = EventParser().feed(raw)
        for mark in (b"\r\n", b"\r"):
            assert EventParser().feed(raw.replace(b"\n", mark) + b": end\r\n") == whole
        parser = EventParser()
        assert [one for at in range(len(raw)) for one in parser.feed(raw[at : at + 1])] == whole


async def _streamed(served: Gateway, **more: Any) -> tuple[list[Any], str]:
    import httpx

    body = {"model": "triage", "messages": [{"role": "user", "content": "hi"}], "stream": True, **more}
    async with httpx.AsyncClient(base_url=served.url, headers={"authorization": f"Bearer {KEY}"}) as client:
        answer = await client.post("/v1/chat/completions", json=body)
    lines = [line[6:] for line in answer.text.split("\n") if line.startswith("data: ")]
    return [one if one == "[DONE]" else json.loads(one) for one in lines], answer.headers[
        "x-understudy-call-id"
    ]


@pytest.mark.parametrize("wants_usage", [False, True])
@pytest.mark.parametrize("piece", [0, 1, 97])
async def test_a_relayed_stream_is_the_clients_own(tmp_path: Path, wants_usage: bool, piece: int) -> None:
    async def long(line: Line) -> None:
        await line.stream(raw_of(events(TEXTS)), piece=piece)

    async with provider() as upstream:
        upstream.behave = long
        policies = write_policies(tmp_path / "policies", {"first": upstream.url})
        async with gateway(tmp_path, policies) as served:
            found, call = await _streamed(
                served, **({"stream_options": {"include_usage": True}} if wants_usage else {})
            )
            record: Any = served.records()[0]
    assert found.pop() == "[DONE]"
    if wants_usage:
        assert found.pop()["usage"]["prompt_tokens"] == 7 and all(one["usage"] is None for one in found)
    assert {(one["id"], one["model"]) for one in found} == {(call, "triage")}
    assert [one["choices"][0]["delta"].get("content") for one in found] == ["", *TEXTS, None]
    assert found[-1]["choices"][0]["finish_reason"] == "stop"
    assert (record.status, record.prompt_tokens, record.completion_tokens) == ("ok", 7, 3)
    kept = json.loads(record.text.answer)
    assert kept["choices"][0]["message"]["content"] == "".join(TEXTS)
    assert kept["choices"][0]["finish_reason"] == "stop" and kept["usage"]["prompt_tokens"] == 7


async def test_what_came_before_an_error_in_the_same_read_reaches_the_client(tmp_path: Path) -> None:
    async def breaks(line: Line) -> None:
        first = sse([chunk({"role": "assistant", "content": ""})], done=False)
        rest = sse([chunk({"content": "some"}), {"error": {"message": "overloaded"}}], done=False)
        await line.start(200, {"content-type": "text/event-stream"})
        line.writer.write(first)
        await asyncio.sleep(0.1)
        line.writer.write(rest)
        await line.writer.drain()
        line.writer.close()

    async with provider() as upstream:
        upstream.behave = breaks
        policies = write_policies(tmp_path / "policies", {"first": upstream.url})
        async with gateway(tmp_path, policies) as served:
            found, _ = await _streamed(served)
            record: Any = served.records()[0]
    assert [one["choices"][0]["delta"]["content"] for one in found[:2]] == ["", "some"]
    assert found[2]["error"]["message"] and len(found) == 3
    assert record.status == "upstream_cut"


async def test_a_guarded_stream_of_plain_chunks_is_still_looked_at(
    tmp_path: Path, upstream: Provider
) -> None:
    apart = False

    async def says(line: Line) -> None:
        raw = raw_of(events(["the ", "pass", "word", " is out"]))
        at = raw.index(b'"word"') if apart else len(raw)
        await line.stream(raw, piece=raw.rindex(b"data:", 0, at) if apart else 0, pause=0.1)

    upstream.behave = says
    extra = "guardrails: {words: {type: blocklist, phrases: [password]}}"
    policies = write_policies(tmp_path / "policies", {"first": upstream.url}, gateway=extra)
    async with gateway(tmp_path, policies) as served:
        together, _ = await _streamed(served)
        apart = True
        found, _ = await _streamed(served)
    assert together == []  # refused before the stream began
    assert found[-1]["error"]["code"] == "guardrail_blocked"
    assert "word" not in "".join(one["choices"][0]["delta"].get("content", "") for one in found[:-1])


@pytest.fixture
async def upstream() -> Any:
    async with provider() as made:
        yield made
